// Builds the bindings of a family from few words.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "aleph/models/checkpoint_map.h"

namespace aleph::models {

/// Collects bindings. `from` and `to` are names without ".weight" and ".bias", appended to the prefixes.
class BindingList {
 public:
  void prefixes(std::string from, std::string to) {
    from_ = std::move(from);
    to_ = std::move(to);
  }
  void vector(const std::string& from, const std::string& to, int64_t n) {
    bind(from, to, Shape{n}, 0, n, false);
  }
  void matrix(const std::string& from, const std::string& to, int64_t rows, int64_t columns) {
    bind(from, to, Shape{rows, columns}, 0, rows, false);
  }
  void norm(const std::string& from, const std::string& to, int64_t n, bool bias) {
    vector(from + ".weight", to + ".weight", n);
    if (bias) vector(from + ".bias", to + ".bias", n);
  }
  /// torch Linear [out, in], rows [row_begin, row_begin + out) of ours.
  void linear_rows(const std::string& from, const std::string& to, int64_t row_begin, const Shape& shape,
                   bool bias) {
    bind(from + ".weight", to + ".weight", shape, row_begin, shape[0], false);
    if (bias) bind(from + ".bias", to + ".bias", Shape{shape[0]}, row_begin, shape[0], false);
  }
  void linear(const std::string& from, const std::string& to, const Shape& shape, bool bias) {
    linear_rows(from, to, 0, shape, bias);
  }
  /// Conv1D [in, out] of GPT-2, given as the [out, in] it is here.
  void conv1d(const std::string& from, const std::string& to, int64_t out, int64_t in) {
    bind(from + ".weight", to + ".weight", Shape{in, out}, 0, out, true);
    vector(from + ".bias", to + ".bias", out);
  }
  std::vector<TensorBinding> take() { return std::move(bindings_); }

 private:
  void bind(const std::string& from, const std::string& to, const Shape& shape, int64_t row_begin,
            int64_t rows, bool transposed) {
    bindings_.push_back({from_ + from, shape, to_ + to, row_begin, rows, transposed});
  }

  std::string from_, to_;
  std::vector<TensorBinding> bindings_;
};

}  // namespace aleph::models
