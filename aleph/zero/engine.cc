#include "aleph/zero/engine.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "aleph/base/clock.h"
#include "aleph/base/parallel.h"
#include "aleph/base/random.h"
#include "aleph/kernels/elementwise/elementwise.h"
#include "aleph/zero/activation_store.h"
#include "aleph/zero/gradient_store.h"
#include "aleph/zero/optimizer_pipeline.h"
#include "aleph/zero/parameter_store.h"
#include "aleph/zero/partition.h"

namespace aleph::zero {
namespace {

using autograd::Gradient;
using autograd::Parameter;
using autograd::Pin;
using autograd::PinMode;
using autograd::Tape;
using autograd::Variable;

constexpr int32_t kIgnored = -100;

/// A micro-batch on the device, with the positions and the targets that models need.
class DeviceBatch {
 public:
  DeviceBatch(DeviceContext& device, const MicroBatch& batch) {
    const Shape shape{batch.rows, batch.seq};
    for (Tensor* tensor : {&ids_, &positions_, &targets_}) {
      *tensor = Tensor(device.memory(), shape, DType::kI32, MemoryTag::kActivations);
    }
    if (device.meta()) return;
    ALEPH_CHECK(static_cast<int64_t>(batch.ids.size()) == shape.elements());
    std::copy(batch.ids.begin(), batch.ids.end(), ids_.view().data<int32_t>());
    fill_positions(batch.seq);
    fill_targets(batch);
  }

  nn::Batch view() {
    return {.ids = ids_.view(),
            .positions = positions_.view().reshape({positions_.shape().elements()}),
            .targets = targets_.view()};
  }

 private:
  void fill_positions(int64_t seq) {
    int64_t i = 0;
    for (int32_t& position : positions_.view().span<int32_t>()) position = static_cast<int32_t>(i++ % seq);
  }

  void fill_targets(const MicroBatch& batch) {
    const auto targets = targets_.view().span<int32_t>();
    if (!batch.targets.empty()) {
      std::copy(batch.targets.begin(), batch.targets.end(), targets.begin());
      return;
    }
    for (size_t i = 0; i < targets.size(); ++i) {
      const bool last = (i + 1) % static_cast<size_t>(batch.seq) == 0;
      targets[i] = last ? kIgnored : batch.ids[i + 1];
    }
  }

  Tensor ids_, positions_, targets_;
};

std::vector<Variable> saved_variables(const Tape& tape) {
  std::vector<Variable> all;
  tape.for_each_saved([&](const Variable& variable) { all.push_back(variable); });
  return all;
}

}  // namespace

struct EngineState {
  EngineState(const EngineContext& c, nn::Model& m, const optim::UpdateRule& rule, const EngineOptions& o)
      : context(c),
        model(m),
        options(o),
        units(m, c.communicator.size()),
        gradients({c.device, c.communicator, units}, home(o.placement.optimizer, StateKind::kGradients),
                  o.accumulation),
        parameters({c.device, c.communicator, units, gradients},
                   home(o.placement.parameters, StateKind::kParameters), o.dtype, o.placement.prefetch),
        optimizer({c.device, c.communicator, units, rule, parameters, gradients},
                  home(o.placement.optimizer, StateKind::kOptimizer),
                  {.chunk_elements = o.placement.update_chunk_elements, .decay_all = o.decay_all}),
        activations(c.device, o.placement.activations == MemoryTier::kDevice
                                  ? nullptr
                                  : home(o.placement.activations, StateKind::kActivations)) {
    for (const auto& block : model.blocks()) block_parameters.push_back(block->parameters());
    parameters.follow(optimizer);
    gradients.notify([this](int unit) { optimizer.release(unit); });
  }

  std::unique_ptr<Home> home(MemoryTier tier, StateKind kind) const {
    return make_home({context.device, context.nvme, context.swap}, tier, kind);
  }

  size_t num_blocks() const { return model.blocks().size(); }
  nn::Block& block(size_t i) { return *model.blocks()[i]; }
  /// Blocks whose backward reads no values keep their tape from the forward pass: it holds nothing.
  bool records_forward(size_t i) {
    return !options.placement.recompute || block(i).backward_pin() == PinMode::kGradient;
  }
  std::vector<int> units_of(size_t i) const { return units.units_of(block_parameters[i]); }
  std::vector<ShardedParameterStore::Use> training_schedule(bool another_follows);
  std::vector<ShardedParameterStore::Use> evaluation_schedule() const;
  std::vector<int> forward_order() const;
  void begin_announced_update();
  void before_values_change();

  EngineContext context;
  nn::Model& model;
  EngineOptions options;
  UnitTable units;
  GradientStore gradients;
  ShardedParameterStore parameters;
  OptimizerPipeline optimizer;
  ActivationStore activations;
  std::vector<std::vector<Parameter*>> block_parameters;
  StepTimes times;
  std::optional<UpdateOptions> next_update;  // begins in the next backward pass
};

/// Up to the first pins of the next micro-batch, where one follows with the same values.
std::vector<ShardedParameterStore::Use> EngineState::training_schedule(bool another_follows) {
  std::vector<ShardedParameterStore::Use> uses = evaluation_schedule();
  uses.back().gradients = uses.back().values;
  for (size_t i = num_blocks() - 1; i-- > 0;) {
    const bool gradient_only = block(i).backward_pin() == PinMode::kGradient;
    uses.push_back({.values = gradient_only ? std::vector<int>() : units_of(i), .gradients = units_of(i)});
  }
  const size_t ahead = another_follows ? static_cast<size_t>(options.placement.prefetch) : 0;
  for (size_t i = 0; i < std::min(ahead, num_blocks()); ++i) uses.push_back({.values = units_of(i)});
  return uses;
}

std::vector<ShardedParameterStore::Use> EngineState::evaluation_schedule() const {
  std::vector<ShardedParameterStore::Use> uses;
  for (size_t i = 0; i < num_blocks(); ++i) uses.push_back({.values = units_of(i)});
  return uses;
}

/// Units in the order in which a forward pass first needs them. Their gradients are complete in the reverse
/// order.
std::vector<int> EngineState::forward_order() const {
  std::vector<int> order;
  for (const ShardedParameterStore::Use& use : evaluation_schedule()) {
    for (const int unit : use.values) {
      if (std::find(order.begin(), order.end(), unit) == order.end()) order.push_back(unit);
    }
  }
  return order;
}

/// The forward pass is over: all shards have been updated, and from here on each is read once more before its
/// gradient is complete.
void EngineState::begin_announced_update() {
  if (!next_update) return;
  std::vector<int> order = forward_order();
  std::reverse(order.begin(), order.end());
  optimizer.start(*next_update, order);
  next_update.reset();
}

/// Ends an update under way, and gives up what was gathered for a micro-batch to come.
void EngineState::before_values_change() {
  optimizer.finish();
  parameters.end();
}

namespace {

/// One micro-batch through the blocks and back.
class TrainingPass {
 public:
  TrainingPass(EngineState& state, const nn::Pass& pass, bool another_follows)
      : state_(state),
        pass_(pass),
        another_follows_(another_follows),
        inputs_(state.num_blocks()),
        outputs_(state.num_blocks()),
        tapes_(state.num_blocks()) {}

  LossSum run() {
    const double update_before = state_.optimizer.seconds();
    state_.parameters.begin(state_.training_schedule(another_follows_));
    enter(ComputePhase::kForward);
    for (size_t i = 0; i + 1 < state_.num_blocks(); ++i) forward(i);
    state_.optimizer.finish();
    const double update_seconds = state_.optimizer.seconds() - update_before;
    seconds_in(ComputePhase::kUpdate) += update_seconds;
    seconds_in(ComputePhase::kForward) -= update_seconds;
    state_.begin_announced_update();
    enter(ComputePhase::kHead);
    head();
    enter(ComputePhase::kBackward);
    for (size_t i = state_.num_blocks() - 1; i-- > 0;) backward(i);
    state_.parameters.end();
    enter(ComputePhase::kOther);
    return pass_.result;
  }

 private:
  /// Seconds, and the calls of kernels, count for `phase` from now on.
  void enter(ComputePhase phase) {
    seconds_in(phase_) += watch_.restart();
    phase_ = phase;
    pass_.op.device.profile().enter(phase);
  }
  double& seconds_in(ComputePhase phase) { return state_.times[static_cast<size_t>(phase)]; }

  void forward(size_t i) {
    Pin pin(state_.parameters, state_.block_parameters[i], PinMode::kValue);
    pass_.op.tape = state_.records_forward(i) ? &tapes_[i] : nullptr;
    const Variable output = state_.block(i).forward(pass_, inputs_[i]);
    pin.release();
    outputs_[i] = output.gradient();
    keep(i);
    inputs_[i + 1] = output;
  }

  /// What backward needs of block i goes to its home.
  void keep(size_t i) {
    std::vector<Variable> kept = saved_variables(tapes_[i]);
    if (!state_.records_forward(i)) kept = {inputs_[i]};
    state_.activations.store(static_cast<int>(i), kept);
  }

  /// Forward and backward of the last block in one go: nothing to recompute.
  void head() {
    const size_t last = state_.num_blocks() - 1;
    Pin pin(state_.parameters, state_.block_parameters[last], PinMode::kValueAndGradient);
    Tape tape;
    pass_.op.tape = &tape;
    state_.block(last).forward(pass_, inputs_[last]);
    prefetch_activations(last);
    tape.backward();
    pin.release();
    inputs_[last] = Variable();
  }

  void backward(size_t i) {
    const PinMode mode = state_.block(i).backward_pin();
    state_.activations.restore(static_cast<int>(i));
    Pin pin(state_.parameters, state_.block_parameters[i], mode);
    prefetch_activations(i);
    if (!state_.records_forward(i)) recompute(i);
    tapes_[i].backward();
    pin.release();
    inputs_[i] = Variable();
  }

  void recompute(size_t i) {
    enter(ComputePhase::kRecompute);
    pass_.op.tape = &tapes_[i];
    const Variable output = state_.block(i).forward(pass_, inputs_[i]);
    output.gradient().add(pass_.op.device, outputs_[i].take());
    enter(ComputePhase::kBackward);
  }

  void prefetch_activations(size_t i) {
    if (i > 0 && state_.options.placement.prefetch > 0) state_.activations.prefetch(static_cast<int>(i) - 1);
  }

  EngineState& state_;
  nn::Pass pass_;
  bool another_follows_;  // a micro-batch with the same values
  ComputePhase phase_ = ComputePhase::kOther;
  Stopwatch watch_;                // since phase_ began
  std::vector<Variable> inputs_;   // of each block, while needed
  std::vector<Gradient> outputs_;  // gradient of each block's output
  std::vector<Tape> tapes_;
};

nn::Pass make_pass(DeviceContext& device, DeviceBatch& batch) {
  return {.op = {.device = device}, .batch = batch.view()};
}

}  // namespace

Engine::Engine(const EngineContext& context, nn::Model& model, const optim::UpdateRule& rule,
               const EngineOptions& options)
    : state_(std::make_unique<EngineState>(context, model, rule, options)) {}

Engine::~Engine() = default;

void Engine::load_parameters(const ParameterSource& source) {
  state_->before_values_change();
  state_->optimizer.load(source);
}

ParameterSource Engine::random_initializer(DeviceContext& device, uint64_t seed) {
  return [&device, seed](const Parameter& parameter, const TensorView& values) {
    if (parameter.init.kind == autograd::InitKind::kZeros) return kernels::zero(device, values);
    const auto data = values.span<float>();
    if (parameter.init.kind == autograd::InitKind::kOnes) return std::fill(data.begin(), data.end(), 1.0f);
    const RandomStream stream(
        {.seed = seed, .purpose = RandomPurpose::kInit, .stream = stable_hash(parameter.name)});
    parallel_for(values.elements(), 4096, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        data[static_cast<size_t>(i)] = parameter.init.std * stream.normal(static_cast<uint64_t>(i));
      }
    });
  };
}

LossSum Engine::backward(const MicroBatch& batch, int64_t index, int64_t global_micro_step,
                         float loss_scale) {
  if (index == 0) state_->times = {};
  DeviceBatch device_batch(state_->context.device, batch);
  nn::Pass pass = make_pass(state_->context.device, device_batch);
  pass.training = state_->options.dropout;
  pass.seed = state_->options.seed;
  pass.micro_step = static_cast<uint64_t>(global_micro_step);
  pass.loss_scale = loss_scale / static_cast<float>(state_->options.accumulation);
  return TrainingPass(*state_, pass, index + 1 < state_->options.accumulation).run();
}

GradientNorm Engine::gradient_norm(float loss_scale) {
  const kernels::SquareSum sum = state_->gradients.square_sum();
  GradientNorm result{.norm = std::sqrt(sum.sum) / static_cast<double>(loss_scale),
                      .non_finite = sum.non_finite};
  if (sum.non_finite > 0) result.first_non_finite = state_->gradients.first_non_finite();
  return result;
}

void Engine::begin_update(const UpdateOptions& options) {
  ALEPH_CHECK(state_->options.update_in_backward, "an update before its norm is known");
  state_->next_update = options;
}

void Engine::end_update() {
  ALEPH_CHECK(state_->optimizer.under_way(), "no update has begun");
  state_->gradients.end_step();
}

void Engine::update(const UpdateOptions& options) {
  state_->gradients.settle();
  state_->parameters.end();
  const std::vector<int> order = state_->forward_order();
  state_->optimizer.start(options, order);
  for (const int unit : order) state_->optimizer.release(unit);
  state_->gradients.end_step();
}

void Engine::skip_update() {
  ALEPH_CHECK(!state_->optimizer.under_way(), "an update has begun");
  state_->gradients.end_step();
}

LossSum Engine::evaluate(const MicroBatch& batch, const Outputs& outputs) {
  state_->optimizer.finish();
  DeviceBatch device_batch(state_->context.device, batch);
  nn::Pass pass = make_pass(state_->context.device, device_batch);
  pass.logits = outputs.logits;
  pass.last_hidden = outputs.last_hidden;
  state_->parameters.begin(state_->evaluation_schedule());
  Variable hidden;
  for (size_t i = 0; i < state_->num_blocks(); ++i) {
    Pin pin(state_->parameters, state_->block_parameters[i], PinMode::kValue);
    hidden = state_->block(i).forward(pass, hidden);
    pin.release();
  }
  state_->parameters.end();
  return pass.result;
}

void Engine::for_each_parameter(const ParameterSink& sink) {
  state_->optimizer.finish();
  for (const Unit& unit : state_->units.units()) {
    std::vector<Parameter*> parameters;
    for (const UnitPiece& piece : unit.pieces) parameters.push_back(piece.parameter);
    Pin pin(state_->parameters, parameters, PinMode::kValue);
    for (const Parameter* parameter : parameters) sink(*parameter, parameter->value);
    pin.release();
  }
}

void Engine::for_each_gradient(const ParameterSink& sink) {
  state_->gradients.settle();
  Home& home = state_->gradients.home();
  for (const Unit& unit : state_->units.units()) {
    Tensor whole(state_->context.device.memory(), {unit.elements}, DType::kF32, MemoryTag::kGradients);
    const Range own = unit.shard(state_->context.communicator.rank(), state_->context.communicator.size());
    const TensorView shard = whole.view().slice(own.begin, own.size());
    home.wait(home.read(state_->gradients.region(unit.index), 0,
                        {shard.raw(), static_cast<size_t>(shard.bytes())}));
    state_->context.communicator.all_gather(whole.view());
    for (const UnitPiece& piece : unit.pieces) {
      const int64_t elements = piece.parameter->shape.elements();
      sink(*piece.parameter, whole.view().slice(piece.begin, elements).reshape(piece.parameter->shape));
    }
  }
}

std::vector<Engine::StatePiece> Engine::state_pieces() const { return state_->optimizer.pieces(); }
void Engine::save_state(const StateSink& sink) {
  state_->optimizer.finish();
  state_->optimizer.save(sink);
}
void Engine::load_state(const StateSource& source) {
  state_->before_values_change();
  state_->optimizer.restore(source);
}

std::array<HomeStats, kStateKinds> Engine::io_stats() const {
  std::array<HomeStats, kStateKinds> all{};
  const auto put = [&](StateKind kind, const HomeStats& stats) { all[static_cast<size_t>(kind)] = stats; };
  put(StateKind::kParameters, state_->parameters.home().stats());
  put(StateKind::kGradients, state_->gradients.home().stats());
  put(StateKind::kOptimizer, state_->optimizer.home().stats());
  put(StateKind::kActivations, state_->activations.stats());
  return all;
}

const StepTimes& Engine::times() const { return state_->times; }

}  // namespace aleph::zero
