// Gradients on their way home: reduce-scattered to the owner's shard, accumulated there in fp32, measured
// when complete.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "aleph/comm/communicator.h"
#include "aleph/kernels/elementwise/elementwise.h"
#include "aleph/zero/home.h"
#include "aleph/zero/parameter_store.h"
#include "aleph/zero/partition.h"

namespace aleph::zero {

class GradientStore final : public GradientReceiver {
 public:
  struct Context {
    DeviceContext& device;
    comm::Communicator& communicator;
    const UnitTable& units;
  };
  /// `accumulation`: micro-batches per step.
  GradientStore(const Context& context, std::unique_ptr<Home> home, int64_t accumulation);

  /// `listener(unit)` is called whenever the sum of a step is complete and at home.
  void notify(std::function<void(int unit)> listener) { listener_ = std::move(listener); }

  void expect(const Unit& unit) override;
  TensorView open(const Unit& unit) override;
  void close(const Unit& unit) override;

  /// Sums of squares over all ranks' shards. Every gradient of the step has arrived.
  kernels::SquareSum square_sum();
  /// A parameter of this rank's shards with a non-finite gradient, or "".
  std::string first_non_finite();
  /// Blocks until every gradient is at home; before others read the regions.
  void settle();
  /// The next contribution of each unit starts a new sum.
  void end_step();

  Home& home() { return *home_; }
  const Region& region(int unit) const { return slots_[static_cast<size_t>(unit)].region; }

 private:
  struct Slot {
    Region region;
    int64_t arrived = 0;  // contributions in this step
    Tensor contribution;  // of the use under way; empty where it is summed at home
    Tensor previous;      // what stands at home, fetched to be added to
    Ticket previous_ticket;
    kernels::SquareSum square_sum;
  };
  struct Write {
    int unit;
    Tensor gradient;
    Ticket ticket;
  };

  bool sums_at_home(const Slot& slot) const;
  TensorView at_home(const Unit& unit, const Slot& slot);
  TensorView shard(const Unit& unit, const TensorView& whole) const;
  void add_in_memory(Slot& slot, const TensorView& own);
  void add_to_file(const Unit& unit, Slot& slot, Tensor gradient);
  void finish_writes();
  bool complete(int unit) const;
  void tell(int unit) const;

  Context context_;
  int64_t accumulation_;
  std::vector<Slot> slots_;
  std::deque<Write> writes_;
  std::function<void(int unit)> listener_;
  std::unique_ptr<Home> home_;  // goes first: its moves end before the memory they use
};

}  // namespace aleph::zero
