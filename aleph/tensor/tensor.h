// Owner and views. A Tensor owns its memory and only moves; views are plain pointers with a shape and a
// dtype, passed by value, and live no longer than what they look at. All are dense and row-major. No maths
// here.
#pragma once

#include <cstddef>
#include <span>
#include <utility>

#include "aleph/tensor/dtype.h"
#include "aleph/tensor/memory_pool.h"
#include "aleph/tensor/shape.h"

namespace aleph {

/// Pointer is std::byte or const std::byte.
template <typename Byte>
class BasicView {
 public:
  BasicView() = default;
  BasicView(Byte* data, const Shape& shape, DType dtype) : data_(data), shape_(shape), dtype_(dtype) {}
  /// A mutable view converts to a const one.
  template <typename Other>
  requires(std::is_convertible_v<Other*, Byte*> && !std::is_same_v<Other, Byte>)
      BasicView(const BasicView<Other>& other)  // NOLINT(google-explicit-constructor)
      : data_(other.raw()), shape_(other.shape()), dtype_(other.dtype()) {}

  Byte* raw() const { return data_; }
  const Shape& shape() const { return shape_; }
  DType dtype() const { return dtype_; }
  int64_t elements() const { return shape_.elements(); }
  int64_t bytes() const { return elements() * dtype_bytes(dtype_); }
  explicit operator bool() const { return data_ != nullptr; }

  /// The elements as T; T must be the C++ type of the dtype.
  template <typename T>
  auto data() const {
    using Element = std::conditional_t<std::is_const_v<Byte>, const T, T>;
    ALEPH_CHECK(dtype_of<T>() == dtype_, "{} read as {}", dtype_name(dtype_), dtype_name(dtype_of<T>()));
    return reinterpret_cast<Element*>(data_);
  }
  template <typename T>
  auto span() const {
    return std::span(data<T>(), static_cast<size_t>(elements()));
  }

  /// The same elements under another shape of equal size.
  BasicView reshape(const Shape& shape) const {
    ALEPH_CHECK(shape.elements() == elements(), "{} reshaped to {}", shape_.to_string(), shape.to_string());
    return BasicView(data_, shape, dtype_);
  }
  /// Rows [begin, begin + count) of the first dimension.
  BasicView slice(int64_t begin, int64_t count) const {
    ALEPH_CHECK(shape_.rank() > 0 && begin >= 0 && count >= 0 && begin <= shape_[0] - count,
                "rows {}+{} of {}", begin, count, shape_.to_string());
    const int64_t stride = shape_[0] == 0 ? 0 : elements() / shape_[0];
    std::array<int64_t, Shape::kMaxRank> sizes{};
    for (int i = 0; i < shape_.rank(); ++i) sizes[static_cast<size_t>(i)] = i == 0 ? count : shape_[i];
    const Shape part(std::span<const int64_t>(sizes.data(), static_cast<size_t>(shape_.rank())));
    return BasicView(data_ + begin * stride * dtype_bytes(dtype_), part, dtype_);
  }

 private:
  Byte* data_ = nullptr;
  Shape shape_;
  DType dtype_ = DType::kF32;
};

using TensorView = BasicView<std::byte>;
using ConstTensorView = BasicView<const std::byte>;

/// Views over plain arrays, for tests and host-side data.
template <typename T>
TensorView view_of(std::span<T> values, const Shape& shape) {
  ALEPH_CHECK(static_cast<int64_t>(values.size()) == shape.elements());
  return TensorView(reinterpret_cast<std::byte*>(values.data()), shape, dtype_of<T>());
}
template <typename T>
ConstTensorView view_of(std::span<const T> values, const Shape& shape) {
  ALEPH_CHECK(static_cast<int64_t>(values.size()) == shape.elements());
  return ConstTensorView(reinterpret_cast<const std::byte*>(values.data()), shape, dtype_of<T>());
}

/// Owns memory of a pool. Contents start undefined.
class Tensor {
 public:
  Tensor() = default;
  Tensor(MemoryPool& pool, const Shape& shape, DType dtype, MemoryTag tag)
      : buffer_(pool.allocate(shape.elements() * dtype_bytes(dtype), tag)), shape_(shape), dtype_(dtype) {}

  /// Shape and dtype alone, for a value that is kept elsewhere.
  static Tensor without_memory(const Shape& shape, DType dtype) {
    Tensor tensor;
    tensor.shape_ = shape;
    tensor.dtype_ = dtype;
    return tensor;
  }

  TensorView view() { return TensorView(buffer_.data(), shape_, dtype_); }
  ConstTensorView view() const { return ConstTensorView(buffer_.data(), shape_, dtype_); }
  const Shape& shape() const { return shape_; }
  DType dtype() const { return dtype_; }
  int64_t bytes() const { return shape_.elements() * dtype_bytes(dtype_); }
  explicit operator bool() const { return static_cast<bool>(buffer_); }

 private:
  Buffer buffer_;
  Shape shape_;
  DType dtype_ = DType::kF32;
};

}  // namespace aleph
