// Softmax cross entropy over rows of logits. Callers feed it pieces of the rows, so that the logits of a
// whole batch never exist at once.
#pragma once

#include <cstdint>

#include "aleph/tensor/device.h"
#include "aleph/tensor/tensor.h"

namespace aleph::kernels {

/// losses[i] = log(sum_j exp(logits[i, j])) - logits[i, labels[i]]; 0 where labels[i] is `ignored`.
/// With `gradient_scale` != 0 the gradient (softmax - one_hot) * gradient_scale (0 where ignored) is written
/// to `gradient`, which may be the logits themselves.
struct CrossEntropyArgs {
  ConstTensorView logits;  ///< [rows, vocabulary]; fp32
  ConstTensorView labels;  ///< [rows]; int32
  TensorView losses;       ///< [rows]; fp32
  TensorView gradient;     ///< [rows, vocabulary]; fp32, bf16 or fp16; only with gradient_scale != 0
  float gradient_scale = 0;
  int32_t ignored = -100;
};
/// Throws Error when a label is neither `ignored` nor inside the vocabulary.
void cross_entropy(DeviceContext& device, const CrossEntropyArgs& args);
void cross_entropy_reference(const CrossEntropyArgs& args);

}  // namespace aleph::kernels
