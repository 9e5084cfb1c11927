// The shape of a dense row-major tensor.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "aleph/base/error.h"

namespace aleph {

/// Up to five dimensions, each >= 0. Negative indices count from the end.
class Shape {
 public:
  static constexpr int kMaxRank = 5;

  Shape() = default;
  Shape(std::initializer_list<int64_t> sizes)
      : Shape(std::span<const int64_t>(sizes.begin(), sizes.size())) {}
  explicit Shape(std::span<const int64_t> sizes) : rank_(static_cast<int>(sizes.size())) {
    ALEPH_CHECK(sizes.size() <= kMaxRank, "{} dimensions", sizes.size());
    for (size_t i = 0; i < sizes.size(); ++i) {
      ALEPH_CHECK(sizes[i] >= 0, "dimension {} of size {}", i, sizes[i]);
      sizes_[i] = sizes[i];
    }
  }

  int rank() const { return rank_; }
  int64_t operator[](int axis) const {
    const int i = axis < 0 ? axis + rank_ : axis;
    ALEPH_CHECK(i >= 0 && i < rank_, "axis {} of {} dimensions", axis, rank_);
    return sizes_[static_cast<size_t>(i)];
  }
  int64_t elements() const { return product(rank_); }
  /// Elements of everything but the last dimension (rows of the matrix that kernels see).
  int64_t rows() const { return product(rank_ - 1); }
  std::span<const int64_t> sizes() const { return {sizes_.data(), static_cast<size_t>(rank_)}; }
  bool operator==(const Shape& other) const = default;
  /// "[2, 40, 48]"
  std::string to_string() const;

 private:
  int64_t product(int axes) const {
    int64_t all = 1;
    for (int i = 0; i < axes; ++i) all *= sizes_[static_cast<size_t>(i)];
    return all;
  }

  std::array<int64_t, kMaxRank> sizes_{};
  int rank_ = 0;
};

}  // namespace aleph
