#include "aleph/cli/verify_model.h"

#include <algorithm>
#include <map>

#include "aleph/infer/generate.h"
#include "aleph/models/checkpoint_map.h"
#include "aleph/models/convert_rows.h"
#include "aleph/models/registry.h"

namespace aleph::cli {

namespace {

constexpr int32_t kIgnored = -100;

NamedTensor make_tensor(std::string name, const Shape& shape) {
  return {std::move(name), shape, std::vector<float>(static_cast<size_t>(shape.elements()))};
}

TensorView view(NamedTensor& tensor) { return view_of(std::span(tensor.values), tensor.shape); }

// The part of a parameter's gradient that belongs to one checkpoint tensor.
NamedTensor bound_gradient(const models::TensorBinding& binding, const ConstTensorView& gradient) {
  NamedTensor tensor = make_tensor(binding.checkpoint_name, binding.checkpoint_shape);
  const ConstTensorView part = gradient.slice(binding.row_begin, binding.rows);
  if (binding.transposed)
    models::convert_transposed(part, 0, view(tensor));
  else
    models::convert_elements(part, view(tensor));
  return tensor;
}

}  // namespace

std::vector<int32_t> shifted_labels(const ReferenceBatch& batch) {
  std::vector<int32_t> targets(batch.labels.size(), kIgnored);
  for (size_t i = 0; i + 1 < targets.size(); ++i)
    if ((i + 1) % static_cast<size_t>(batch.seq) != 0) targets[i] = batch.labels[i + 1];
  return targets;
}

VerifyModel::VerifyModel(const std::filesystem::path& directory, DType dtype, int64_t max_seq,
                         const CurveOptions& curve)
    : curve_(curve),
      dtype_(dtype),
      max_seq_(max_seq),
      spec_(models::read_directory_spec(directory)),
      weights_(models::WeightSource::open(directory, spec_)),
      rule_(optim::make_adam(curve.adam)) {
  const nn::Model::Options options{
      .embedding = spec_.embedding, .blocks = spec_.blocks, .head = spec_.head, .max_seq = max_seq};
  model_ = std::make_unique<nn::Model>(device_, options);
  engine_ = std::make_unique<zero::Engine>(
      zero::EngineContext{device_, nvme_, self_}, *model_, *rule_,
      zero::EngineOptions{.dtype = dtype, .decay_all = true, .dropout = false});
  engine_->load_parameters([&](const autograd::Parameter& parameter, const TensorView& values) {
    weights_.read(parameter.name, values);
  });
}

VerifyModel::Forward VerifyModel::forward(const ReferenceBatch& batch) {
  Forward result;
  result.logits = make_tensor("output.logits", {batch.rows, batch.seq, spec_.head.vocab_size});
  result.last_hidden =
      make_tensor("output.last_hidden_state", {batch.rows, batch.seq, spec_.head.hidden_size});
  const std::vector<int32_t> targets = shifted_labels(batch);
  const zero::LossSum loss =
      engine_->evaluate({.ids = batch.ids, .targets = targets, .rows = batch.rows, .seq = batch.seq},
                        {.logits = view(result.logits), .last_hidden = view(result.last_hidden)});
  result.loss = loss.mean();
  return result;
}

zero::LossSum VerifyModel::backward(const ReferenceBatch& batch, int64_t step) {
  const std::vector<int32_t> targets = shifted_labels(batch);
  return engine_->backward({.ids = batch.ids, .targets = targets, .rows = batch.rows, .seq = batch.seq}, 0,
                           step, 1);
}

std::vector<NamedTensor> VerifyModel::gradients(const ReferenceBatch& batch) {
  std::map<std::string, std::vector<models::TensorBinding>> bindings;
  for (const models::TensorBinding& binding : models::checkpoint_map(spec_))
    bindings[binding.parameter].push_back(binding);
  std::vector<NamedTensor> result;
  backward(batch, 0);
  engine_->for_each_gradient([&](const autograd::Parameter& parameter, const ConstTensorView& gradient) {
    for (const models::TensorBinding& binding : bindings[parameter.name])
      result.push_back(bound_gradient(binding, gradient));
  });
  engine_->skip_update();
  return result;
}

double VerifyModel::train_step(const ReferenceBatch& batch, int64_t step) {
  const zero::LossSum loss = backward(batch, step - 1);
  const double norm = engine_->gradient_norm(1).norm;
  const double factor = std::min(1.0, curve_.clip / (norm + 1e-6));
  engine_->update({.step = step,
                   .learning_rate = curve_.learning_rate,
                   .weight_decay = curve_.weight_decay,
                   .gradient_scale = static_cast<float>(factor),
                   .betas = {}});
  return loss.mean();
}

// Weights are at home on the device, in the type of the run.
infer::Model VerifyModel::inference_model() {
  return infer::Model(device_, spec_, &weights_, {.dtype = dtype_, .capacity = max_seq_});
}

NamedTensor VerifyModel::inference_logits(std::span<const int32_t> ids) {
  infer::Model model = inference_model();
  const Tensor logits = model.forward_logits(ids);
  NamedTensor result = make_tensor("logits", logits.shape());
  models::convert_elements(logits.view(), view(result));
  return result;
}

std::vector<int32_t> VerifyModel::greedy(std::span<const int32_t> prompt, int64_t count) {
  infer::Model model = inference_model();
  return infer::generate(model, prompt, {.sampling = {}, .max_tokens = count, .eos_ids = {}}).tokens;
}

}  // namespace aleph::cli
