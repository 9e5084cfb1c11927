// The training engine: one optimizer step of a model whose states live where their homes are. Forward and
// backward pin blocks one at a time; gradients go to their home in fp32; the update streams shards through.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "aleph/comm/communicator.h"
#include "aleph/nn/transformer.h"
#include "aleph/optim/update_rule.h"
#include "aleph/zero/home.h"

namespace aleph::zero {

/// Where every kind of state lives and how it moves. Never changes the numbers.
struct Placement {
  MemoryTier parameters = MemoryTier::kDevice;
  MemoryTier optimizer = MemoryTier::kDevice;    ///< moments, fp32 master weights, and accumulated gradients
  MemoryTier activations = MemoryTier::kDevice;  ///< what is kept between forward and backward
  int prefetch = 1;       ///< blocks gathered ahead of their use; with any, gradients are read one ahead
  bool recompute = true;  ///< keep only the input of each block, run forward again in backward
  int64_t update_chunk_elements = int64_t{1} << 20;  ///< elements per step of the streamed update
};

struct EngineOptions {
  Placement placement;
  DType dtype = DType::kF32;  ///< parameters and activations
  int64_t accumulation = 1;   ///< micro-batches per optimizer step
  bool decay_all = false;     ///< weight decay on every parameter, not only matrices
  uint64_t seed = 0;          ///< of dropout
  bool dropout = true;        ///< whether backward applies the model's dropout
  /// Updates need nothing that is known only after backward (no norm to clip by, no overflow to skip for):
  /// steps end with Engine::begin_update and end_update instead of update.
  bool update_in_backward = false;
};

/// Everything a rank computes with. All outlive the engine.
struct EngineContext {
  DeviceContext& device;
  MemoryLedger& nvme;
  comm::Communicator& communicator;
  SwapSpace* swap = nullptr;  ///< needed where some state lives on NVMe
};

/// Rows of token ids on the host, [rows, seq] int32. Targets are the next ids of the row unless given.
struct MicroBatch {
  std::span<const int32_t> ids;
  std::span<const int32_t> targets;  ///< optional [rows, seq]; -100: not counted
  int64_t rows = 0;
  int64_t seq = 0;
};

/// Sum over the tokens that count; `tokens` of them.
using LossSum = autograd::CrossEntropyResult;

/// What backward left behind, over all ranks.
struct GradientNorm {
  double norm = 0;               ///< global L2 norm of the unscaled, accumulated gradients
  int64_t non_finite = 0;        ///< how many elements are infinite or NaN
  std::string first_non_finite;  ///< a parameter that has some, or ""
};

struct UpdateOptions {
  int64_t step = 1;  ///< optimizer step, from 1
  double learning_rate = 0;
  double weight_decay = 0;
  float gradient_scale = 1;  ///< 1 / loss scale, times the clip factor
  std::optional<optim::Betas> betas;
};

/// Seconds of the last step by ComputePhase. Its update is that of the step before, made during this one's
/// forward pass.
using StepTimes = std::array<double, kComputePhases>;

/// Fills a parameter's fp32 values [shape]: from a checkpoint, or at random.
using ParameterSource = std::function<void(const autograd::Parameter&, const TensorView& values)>;
/// Receives a parameter's values, one parameter at a time.
using ParameterSink = std::function<void(const autograd::Parameter&, const ConstTensorView& values)>;

struct EngineState;

class Engine {
 public:
  /// Reserves all homes. Throws Error where they do not fit.
  Engine(const EngineContext& context, nn::Model& model, const optim::UpdateRule& rule,
         const EngineOptions& options);
  ~Engine();

  /// Sets all parameters (master weights and the copies in `dtype`), in unit order.
  void load_parameters(const ParameterSource& source);
  /// Starts every parameter from its initializer: normal draws keyed by (seed, parameter name).
  static ParameterSource random_initializer(DeviceContext& device, uint64_t seed);

  /// Forward and backward of micro-batch `index` of the step (from 0). The gradients of loss_scale /
  /// accumulation * mean loss are added to their home. `global_micro_step` keys dropout. But for the last one
  /// of a step, what was gathered ahead for the next micro-batch stays in memory.
  LossSum backward(const MicroBatch& batch, int64_t index, int64_t global_micro_step, float loss_scale);
  /// Norm over what backward accumulated in this step, in units of the scaled loss divided by `loss_scale`.
  GradientNorm gradient_norm(float loss_scale);
  /// After backward: one update of every parameter; ends the step.
  void update(const UpdateOptions& options);
  /// Instead, with update_in_backward: begin_update before the last backward of a step, end_update after it.
  /// Each unit is updated as soon as its gradient is complete.
  ///
  /// Either way the update may still be under way when the step ends: with states on NVMe it runs beside the
  /// passes, and a unit is waited for when it is next needed.
  void begin_update(const UpdateOptions& options);
  void end_update();
  /// Forgets the gradients of this step (an overflow); ends the step.
  void skip_update();

  /// Forward without dropout. `logits` [rows, seq, vocabulary] and `last_hidden` [rows, seq, hidden], fp32,
  /// are written where given.
  struct Outputs {
    TensorView logits;
    TensorView last_hidden;
  };
  LossSum evaluate(const MicroBatch& batch, const Outputs& outputs = {});

  /// Hands out every parameter in `dtype`, gathered, in unit order.
  void for_each_parameter(const ParameterSink& sink);
  /// Hands out the accumulated gradient of every parameter (fp32, scaled as backward left it), between
  /// backward and update.
  void for_each_gradient(const ParameterSink& sink);

  /// The optimizer's memory as flat pieces for checkpoints: "master/NAME", "exp_avg/NAME", ... of this rank's
  /// ranges.
  struct StatePiece {
    std::string name;   ///< STATE/PARAMETER
    int64_t begin = 0;  ///< first element of the parameter that this rank holds
    int64_t elements = 0;
    int64_t whole = 0;  ///< elements of the parameter
  };
  std::vector<StatePiece> state_pieces() const;
  /// Streams the pieces in order; `data` is a part of piece `index`, `offset` elements from its start.
  using StateSink = std::function<void(size_t index, int64_t offset, std::span<const float> data)>;
  void save_state(const StateSink& sink);
  using StateSource = std::function<void(size_t index, int64_t offset, std::span<float> data)>;
  /// Restores master weights and moments and rebuilds the copies in `dtype`.
  void load_state(const StateSource& source);

  /// Sums since construction, by StateKind.
  std::array<HomeStats, kStateKinds> io_stats() const;
  const StepTimes& times() const;

 private:
  std::unique_ptr<EngineState> state_;
};

}  // namespace aleph::zero
