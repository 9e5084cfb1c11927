// What kernels demand of their arguments: cheap, always on, and the message shows both sides.
#pragma once

#include "aleph/tensor/tensor.h"

namespace aleph::kernels {

inline void check_dtype(const char* name, const ConstTensorView& view, DType expected) {
  ALEPH_CHECK(view.dtype() == expected, "{} is {}, expected {}", name, dtype_name(view.dtype()),
              dtype_name(expected));
}

inline void check_float(const char* name, const ConstTensorView& view) {
  ALEPH_CHECK(view.dtype() == DType::kF32 || view.dtype() == DType::kBF16 || view.dtype() == DType::kF16,
              "{} is {}, expected fp32, bf16 or fp16", name, dtype_name(view.dtype()));
}

inline void check_shape(const char* name, const ConstTensorView& view, const Shape& expected) {
  ALEPH_CHECK(view.shape() == expected, "{} is {}, expected {}", name, view.shape().to_string(),
              expected.to_string());
}

inline void check_elements(const char* name, const ConstTensorView& view, int64_t expected) {
  ALEPH_CHECK(view.elements() == expected, "{} is {}, expected {} elements", name, view.shape().to_string(),
              expected);
}

/// The same shape and dtype as `other`.
inline void check_like(const char* name, const ConstTensorView& view, const ConstTensorView& other) {
  check_shape(name, view, other.shape());
  check_dtype(name, view, other.dtype());
}

/// A vector of n elements.
inline void check_vector(const char* name, const ConstTensorView& view, int64_t n, DType dtype) {
  check_elements(name, view, n);
  check_dtype(name, view, dtype);
}

/// Columns of the matrix a kernel sees: the last dimension.
inline int64_t columns_of(const char* name, const ConstTensorView& view) {
  ALEPH_CHECK(view.shape().rank() > 0, "{} has no dimensions", name);
  return view.shape()[-1];
}

/// Rows of the matrix a kernel sees: all dimensions but the last, folded. 0 for an empty view.
inline int64_t rows_of(const char* name, const ConstTensorView& view) {
  const int64_t columns = columns_of(name, view);
  return columns == 0 ? 0 : view.elements() / columns;
}

/// What a kernel reads or writes, for its KernelTimer. Empty views have no bytes.
template <typename... Views>
double bytes_of(const Views&... views) {
  return static_cast<double>((int64_t{0} + ... + (views ? views.bytes() : 0)));
}

/// Floating-point operations of [m, k] times [k, n].
inline double product_operations(int64_t m, int64_t n, int64_t k) {
  return 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
}

}  // namespace aleph::kernels
