// Pointwise activations and their gated forms, computed in fp32.
#pragma once

#include <cstdint>

#include "aleph/tensor/device.h"
#include "aleph/tensor/tensor.h"

namespace aleph::kernels {

enum class Activation : uint8_t {
  kGelu,       ///< x Phi(x), exact (erf)
  kGeluTanh,   ///< x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
  kQuickGelu,  ///< x sigmoid(1.702 x)
  kSilu,       ///< x sigmoid(x)
  kRelu,
  kReluSquared,  ///< max(x, 0)^2
  kTanh,
  kSigmoid,
  kIdentity,
};

/// y = f(x), elementwise.
struct ActivationForwardArgs {
  Activation activation = Activation::kGelu;
  ConstTensorView x;  ///< any shape; fp32, bf16 or fp16
  TensorView y;       ///< shape and dtype of x
};
void activation_forward(DeviceContext& device, const ActivationForwardArgs& args);
void activation_forward_reference(const ActivationForwardArgs& args);

/// dx = dy f'(x). dx may be dy.
struct ActivationBackwardArgs {
  Activation activation = Activation::kGelu;
  ConstTensorView x;
  ConstTensorView dy;
  TensorView dx;  ///< assigned
};
void activation_backward(DeviceContext& device, const ActivationBackwardArgs& args);
void activation_backward_reference(const ActivationBackwardArgs& args);

/// y[i, j] = f(x[i, j]) x[i, n + j]: the first half of a row is the gate, the second is what it gates.
struct GatedForwardArgs {
  Activation activation = Activation::kSilu;
  ConstTensorView x;  ///< [rows, 2 n]
  TensorView y;       ///< [rows, n]; dtype of x
};
void gated_forward(DeviceContext& device, const GatedForwardArgs& args);
void gated_forward_reference(const GatedForwardArgs& args);

struct GatedBackwardArgs {
  Activation activation = Activation::kSilu;
  ConstTensorView x;   ///< [rows, 2 n]
  ConstTensorView dy;  ///< [rows, n]
  TensorView dx;       ///< [rows, 2 n]; assigned; may not be x
};
void gated_backward(DeviceContext& device, const GatedBackwardArgs& args);
void gated_backward_reference(const GatedBackwardArgs& args);

}  // namespace aleph::kernels
