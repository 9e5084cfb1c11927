#include "aleph/nn/layers.h"

namespace aleph::nn {
namespace {

using autograd::InitKind;
using autograd::Parameter;

Parameter* pointer(std::optional<Parameter>& parameter) { return parameter ? &*parameter : nullptr; }

}  // namespace

Linear Linear::make(const std::string& name, int64_t in, int64_t out, bool bias, float std) {
  Linear layer;
  layer.weight = {
      .name = name + ".weight", .shape = {out, in}, .init = {.kind = InitKind::kNormal, .std = std}};
  if (bias)
    layer.bias = Parameter{.name = name + ".bias", .shape = {out}, .init = {.kind = InitKind::kZeros}};
  return layer;
}

autograd::Variable Linear::forward(const autograd::OpContext& context, const autograd::Variable& x) {
  return autograd::linear(context, x, weight, pointer(bias));
}

void Linear::collect(std::vector<Parameter*>& parameters) {
  parameters.push_back(&weight);
  if (bias) parameters.push_back(&*bias);
}

Norm Norm::make(const std::string& name, NormKind kind, int64_t n, float epsilon) {
  Norm layer{.kind = kind, .epsilon = epsilon};
  layer.weight = {.name = name + ".weight", .shape = {n}, .init = {.kind = InitKind::kOnes}};
  if (kind == NormKind::kLayerNorm) {
    layer.bias = Parameter{.name = name + ".bias", .shape = {n}, .init = {.kind = InitKind::kZeros}};
  }
  return layer;
}

autograd::Variable Norm::forward(const autograd::OpContext& context, const autograd::Variable& x) {
  if (kind == NormKind::kRmsNorm) return autograd::rms_norm(context, x, weight, epsilon);
  return autograd::layer_norm(context, x, weight, pointer(bias), epsilon);
}

void Norm::collect(std::vector<Parameter*>& parameters) {
  parameters.push_back(&weight);
  if (bias) parameters.push_back(&*bias);
}

}  // namespace aleph::nn
