// Adam (Kingma and Ba, 2015) and AdamW (Loshchilov and Hutter, 2019) over flat shards: one pass that
// unscales, clips, updates moments and weight, and writes the 16-bit copy. Bound by memory bandwidth.
#pragma once

#include <cstdint>

#include "aleph/tensor/device.h"
#include "aleph/tensor/tensor.h"

namespace aleph::kernels {

/// g = gradient * gradient_scale; without decoupled decay: g += decay * p
/// m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
/// with decoupled decay: p -= lr * decay * p;  p -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) +
/// epsilon)
struct AdamArgs {
  TensorView parameter;        ///< [n]; fp32 master weights
  TensorView exp_avg;          ///< [n]; fp32
  TensorView exp_avg_sq;       ///< [n]; fp32
  ConstTensorView gradient;    ///< [n]; fp32
  TensorView parameter_16bit;  ///< optional [n]; bf16 or fp16: the rounded new parameter
  int64_t step = 1;            ///< t, counted from 1
  double learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;
  bool decoupled_decay = true;  ///< AdamW; false adds decay * p to the gradient (Adam with L2)
  bool bias_correction = true;
  float gradient_scale = 1;  ///< 1 / loss scale, times the clip factor
};
/// Elementwise: the result does not depend on threads or on where shards are cut.
void adam_update(DeviceContext& device, const AdamArgs& args);
void adam_update_reference(const AdamArgs& args);

}  // namespace aleph::kernels
