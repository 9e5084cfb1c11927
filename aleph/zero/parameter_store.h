// The parameter shards of a rank and the gathered units made of them: gather, prefetch by plan, bind,
// release.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "aleph/comm/communicator.h"
#include "aleph/zero/home.h"
#include "aleph/zero/partition.h"

namespace aleph::zero {

/// Keeps the gradients of a unit while backward adds to them, and receives them when it is through.
class GradientReceiver {
 public:
  virtual ~GradientReceiver() = default;
  /// Before the use: time to fetch what adding will need. May be repeated, and come while an earlier use of
  /// the unit is open.
  virtual void expect(const Unit& unit) = 0;
  /// Zeros [unit.elements], fp32, that backward adds this rank's contribution to.
  virtual TensorView open(const Unit& unit) = 0;
  /// The contribution is complete.
  virtual void close(const Unit& unit) = 0;
};

/// An update of the shards that may still be under way when the next step begins.
class PendingUpdates {
 public:
  virtual ~PendingUpdates() = default;
  /// Whether the updated shard of `unit` is at home.
  virtual bool settled(int unit) const = 0;
  /// Blocks until it is.
  virtual void settle(int unit) = 0;
};

class ShardedParameterStore final : public autograd::ParameterStore {
 public:
  struct Context {
    DeviceContext& device;
    comm::Communicator& communicator;
    const UnitTable& units;
    GradientReceiver& gradients;
  };
  /// `home` keeps the shards in `dtype`; `prefetch` units are gathered ahead.
  ShardedParameterStore(const Context& context, std::unique_ptr<Home> home, DType dtype, int prefetch);

  /// To be told once, before the first pin; outlives the store's use.
  void follow(PendingUpdates& updates) { updates_ = &updates; }

  /// One pin of the schedule: the units whose values it needs, and those whose gradients it computes.
  struct Use {
    std::vector<int> values, gradients;
  };
  /// Announces the coming pins in order. Values are gathered ahead of them and kept while a near use follows;
  /// gradients are expected one pin ahead, unless nothing is to be gathered ahead.
  void begin(std::vector<Use> schedule);
  /// The schedule is through: everything is released but what was gathered ahead of announced pins that have
  /// not come. They are to come first in the next schedule; end() once more gives them up.
  void end();

  void pin(std::span<autograd::Parameter* const> parameters, autograd::PinMode mode) override;
  void unpin(std::span<autograd::Parameter* const> parameters, autograd::PinMode mode) override;

  Home& home() { return *home_; }
  DType dtype() const { return dtype_; }
  /// The region of a unit's shard of this rank.
  const Region& region(int unit) const { return slots_[static_cast<size_t>(unit)].region; }

 private:
  struct Slot {
    Region region;
    Tensor gathered;  // the whole unit; empty while not gathered or where the shard itself serves
    Ticket arriving;
    bool gathering = false;
    bool ready = false;
    TensorView gradient;  // while pinned for it
  };

  const Unit& unit_of(int unit) const;
  bool in_place() const;
  void start_gather(int unit);
  void finish_gather(int unit);
  void release(int unit);
  bool used_soon(int unit) const;
  bool settled(int unit) const { return updates_ == nullptr || updates_->settled(unit); }
  void prefetch();
  void expect_next();
  TensorView unit_values(int unit);
  void bind(autograd::Parameter& parameter, autograd::PinMode mode);

  Context context_;
  PendingUpdates* updates_ = nullptr;
  DType dtype_;
  int prefetch_;
  std::vector<Slot> slots_;
  std::vector<Use> schedule_;
  size_t next_use_ = 0;
  std::unique_ptr<Home> home_;  // goes first: its moves end before the memory they use
};

}  // namespace aleph::zero
