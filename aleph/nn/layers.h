// Layers: parameters and a forward. Structs without memory of their own; a store binds the parameters.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "aleph/autograd/ops.h"
#include "aleph/nn/spec.h"

namespace aleph::nn {

/// y = x W^T + b.
struct Linear {
  autograd::Parameter weight;               ///< [out, in]
  std::optional<autograd::Parameter> bias;  ///< [out]

  /// Parameters NAME.weight and NAME.bias; weights start normal with `std`, biases at zero.
  static Linear make(const std::string& name, int64_t in, int64_t out, bool bias, float std);
  autograd::Variable forward(const autograd::OpContext& context, const autograd::Variable& x);
  void collect(std::vector<autograd::Parameter*>& parameters);
};

/// Layer norm with bias, or RMS norm.
struct Norm {
  NormKind kind = NormKind::kLayerNorm;
  float epsilon = 1e-5f;
  autograd::Parameter weight;               ///< [n]
  std::optional<autograd::Parameter> bias;  ///< [n]; layer norm

  static Norm make(const std::string& name, NormKind kind, int64_t n, float epsilon);
  autograd::Variable forward(const autograd::OpContext& context, const autograd::Variable& x);
  void collect(std::vector<autograd::Parameter*>& parameters);
};

}  // namespace aleph::nn
