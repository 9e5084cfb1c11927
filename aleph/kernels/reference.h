// Element access for the plain references: any dtype, in double.
#pragma once

#include "aleph/tensor/tensor.h"

namespace aleph::kernels {

inline double get(const ConstTensorView& view, int64_t i) {
  switch (view.dtype()) {
    case DType::kF32:
      return view.data<float>()[i];
    case DType::kBF16:
      return to_float(view.data<BF16>()[i]);
    case DType::kF16:
      return to_float(view.data<F16>()[i]);
    case DType::kI32:
      return view.data<int32_t>()[i];
    case DType::kF64:
      return view.data<double>()[i];
    default:
      ALEPH_CHECK(false, "a reference reads {}", dtype_name(view.dtype()));
  }
}

/// Rounds once to the dtype of `view`.
inline void put(const TensorView& view, int64_t i, double value) {
  switch (view.dtype()) {
    case DType::kF32:
      view.data<float>()[i] = static_cast<float>(value);
      return;
    case DType::kBF16:
      view.data<BF16>()[i] = from_float<BF16>(static_cast<float>(value));
      return;
    case DType::kF16:
      view.data<F16>()[i] = from_float<F16>(static_cast<float>(value));
      return;
    case DType::kF64:
      view.data<double>()[i] = value;
      return;
    default:
      ALEPH_CHECK(false, "a reference writes {}", dtype_name(view.dtype()));
  }
}

}  // namespace aleph::kernels
