// Layer norm (Ba et al., 2016) and RMS norm (Zhang and Sennrich, 2019) over the last dimension. Statistics
// and sums in fp32. Backward assigns dx and adds into the parameter gradients, in an order that does not
// depend on threads.
#pragma once

#include "aleph/tensor/device.h"
#include "aleph/tensor/tensor.h"

namespace aleph::kernels {

/// y = (x - mean) * rstd * weight + bias, rstd = 1 / sqrt(variance + epsilon).
struct LayerNormForwardArgs {
  ConstTensorView x;       ///< [rows, n]; fp32, bf16 or fp16
  ConstTensorView weight;  ///< [n]; dtype of x
  ConstTensorView bias;    ///< optional [n]; dtype of x
  float epsilon = 1e-5f;
  TensorView y;     ///< [rows, n]; dtype of x
  TensorView mean;  ///< [rows]; fp32, kept for backward
  TensorView rstd;  ///< [rows]; fp32, kept for backward
};
void layer_norm_forward(DeviceContext& device, const LayerNormForwardArgs& args);
void layer_norm_forward_reference(const LayerNormForwardArgs& args);

struct LayerNormBackwardArgs {
  ConstTensorView x;       ///< [rows, n]
  ConstTensorView weight;  ///< [n]
  ConstTensorView mean;    ///< [rows]; fp32
  ConstTensorView rstd;    ///< [rows]; fp32
  ConstTensorView dy;      ///< [rows, n]
  TensorView dx;           ///< [rows, n]; assigned
  TensorView dweight;      ///< [n]; fp32, added to
  TensorView dbias;        ///< optional [n]; fp32, added to
};
void layer_norm_backward(DeviceContext& device, const LayerNormBackwardArgs& args);
void layer_norm_backward_reference(const LayerNormBackwardArgs& args);

/// y = x * rstd * weight, rstd = 1 / sqrt(mean(x^2) + epsilon).
struct RmsNormForwardArgs {
  ConstTensorView x;       ///< [rows, n]
  ConstTensorView weight;  ///< [n]; dtype of x
  float epsilon = 1e-6f;
  TensorView y;     ///< [rows, n]; dtype of x
  TensorView rstd;  ///< [rows]; fp32, kept for backward
};
void rms_norm_forward(DeviceContext& device, const RmsNormForwardArgs& args);
void rms_norm_forward_reference(const RmsNormForwardArgs& args);

struct RmsNormBackwardArgs {
  ConstTensorView x;       ///< [rows, n]
  ConstTensorView weight;  ///< [n]
  ConstTensorView rstd;    ///< [rows]; fp32
  ConstTensorView dy;      ///< [rows, n]
  TensorView dx;           ///< [rows, n]; assigned
  TensorView dweight;      ///< [n]; fp32, added to
};
void rms_norm_backward(DeviceContext& device, const RmsNormBackwardArgs& args);
void rms_norm_backward_reference(const RmsNormBackwardArgs& args);

}  // namespace aleph::kernels
