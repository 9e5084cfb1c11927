// The update: every shard's master weights and moments streamed through the update rule, chunk by chunk, from
// wherever they live. Also how those states are set, saved and restored.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "aleph/comm/communicator.h"
#include "aleph/optim/update_rule.h"
#include "aleph/zero/engine.h"
#include "aleph/zero/gradient_store.h"
#include "aleph/zero/parameter_store.h"
#include "aleph/zero/update_run.h"

namespace aleph::zero {

class OptimizerPipeline final : public PendingUpdates {
 public:
  struct Context {
    DeviceContext& device;
    comm::Communicator& communicator;
    const UnitTable& units;
    const optim::UpdateRule& rule;
    ShardedParameterStore& parameters;
    GradientStore& gradients;
  };
  struct Options {
    int64_t chunk_elements = int64_t{1} << 20;
    bool decay_all = false;
  };
  /// `home` keeps the moments and, where parameters are 16-bit, the fp32 master weights. With fp32 parameters
  /// the parameter shards are the master weights.
  OptimizerPipeline(const Context& context, std::unique_ptr<Home> home, const Options& options);

  /// Begins an update; states are read from now on. A unit is computed once released; `order` is that in
  /// which units will be.
  void start(const UpdateOptions& options, std::span<const int> order);
  /// The gradient of `unit` is at home.
  void release(int unit);
  bool under_way() const { return run_ != nullptr; }
  bool settled(int unit) const override;
  void settle(int unit) override;
  /// Completes the update and gives its buffers back.
  void finish();
  /// Seconds that the thread that trains spent in updates since construction, waiting included.
  double seconds() const { return seconds_; }

  /// Sets master weights and parameter shards from whole units; moments keep their values.
  void load(const ParameterSource& source);

  std::vector<Engine::StatePiece> pieces() const;
  void save(const Engine::StateSink& sink);
  void restore(const Engine::StateSource& source);

  Home& home() { return *home_; }

 private:
  /// Visits the parameters that lie in a chunk: the range inside the parameter and where it starts in the
  /// chunk.
  struct PiecePart {
    const UnitPiece* piece;
    int64_t in_parameter;  // first element, counted in the parameter
    int64_t in_chunk;      // the same element, counted in the chunk
    int64_t elements;
  };
  std::vector<PiecePart> parts_of(const Chunk& chunk) const;

  bool separate_master() const { return context_.parameters.dtype() != DType::kF32; }
  size_t num_states() const { return context_.rule.state_names().size(); }
  template <typename Body>
  void wait(const Body& body);
  bool on_drive() const;
  std::vector<Chunk> chunks() const;
  std::vector<Chunk> chunks(std::span<const int> order) const;
  ShardArray master(int unit, Access access) const;
  ShardArray copy_16bit(int unit) const;
  std::vector<ShardArray> state_arrays(int unit, Access access) const;
  void update_part(const PiecePart& part, std::span<const TensorView> views) const;
  void load_unit(const Unit& unit, const ParameterSource& source);
  size_t first_piece(int unit) const;

  Context context_;
  std::unique_ptr<Home> home_;
  Options options_;
  std::vector<std::vector<Region>> regions_;  // per unit: master where separate, then the states
  double seconds_ = 0;
  UpdateOptions update_;            // of the run
  std::unique_ptr<Worker> worker_;  // that runs updates beside the passes
  std::unique_ptr<UpdateRun> run_;  // the update under way
};

}  // namespace aleph::zero
