// One update of all shards while training goes on: beside the passes, or where states lie in memory, in one
// go.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <vector>

#include "aleph/base/worker.h"
#include "aleph/zero/shard_stream.h"

namespace aleph::zero {

/// Runs a shard stream. Where `worker` is given, the stream starts at once on its thread, and the thread that
/// trains waits only for units that it needs; otherwise the stream runs in the first settle or finish.
class UpdateRun final : private StreamGate {
 public:
  /// `args.gate` is set here. Buffers are taken now. `worker` outlives the run.
  UpdateRun(DeviceContext& device, ShardStreamArgs args, size_t units, Worker* worker);
  /// An unfinished run is given up; transfers under way are waited for.
  ~UpdateRun() override;
  UpdateRun(const UpdateRun&) = delete;
  UpdateRun& operator=(const UpdateRun&) = delete;

  /// The gradient of `unit` is complete and at home: it can be updated.
  void release(int unit);
  /// Whether a unit is at home with the values that it has now: those before the update until it is released,
  /// those after it once they are written. False after a failure, which settle tells.
  bool is_settled(int unit) const;
  /// Blocks until a released unit is updated and at home. Rethrows a failure of the run.
  void settle(int unit);
  void finish();

 private:
  bool complete(int unit) override;
  void await(int unit) override;
  void settled(int unit) override;
  void run_on_worker();
  void run_here();

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<bool> complete_, settled_;  // by unit; guarded by mutex_
  bool failed_ = false;                   // guarded by mutex_
  bool given_up_ = false;                 // guarded by mutex_
  ShardStream stream_;
  Worker* worker_;
  int64_t task_ = 0;
  bool ran_here_ = false;
};

}  // namespace aleph::zero
