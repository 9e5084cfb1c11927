// The machine as one rank of a run sees it: device, books, swap files, communicator.
#pragma once

#include <memory>

#include "aleph/comm/communicator.h"
#include "aleph/train/config.h"
#include "aleph/train/disk.h"
#include "aleph/train/run_stats.h"
#include "aleph/zero/engine.h"

namespace aleph::train {

/// Outlives the engine and everything else that computes.
class Runtime {
 public:
  /// Sets the number of threads and takes the budgets of `config`. Throws Error for what this build cannot
  /// do.
  explicit Runtime(const TrainConfig& config);

  /// Swap files in `config`'s NVMe directories, or in OUTPUT/swap where none is given. Throws Error naming
  /// the directory that cannot be used. Does nothing where `placement` needs none.
  void open_swap(const TrainConfig& config, const zero::Placement& placement, const Disk& disk = {});

  DeviceContext& device() { return device_; }
  const MemoryLedger& nvme() const { return nvme_; }
  comm::Communicator& communicator() { return communicator_; }
  zero::EngineContext engine_context();
  /// Of all transfers so far.
  SwapStats swap_stats() const;

 private:
  DeviceContext device_;
  MemoryLedger nvme_{MemoryTier::kNvme, 0};
  comm::SelfCommunicator communicator_;
  std::unique_ptr<zero::SwapSpace> swap_;
};

}  // namespace aleph::train
