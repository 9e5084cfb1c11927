#include "aleph/train/runtime.h"

#include "aleph/base/parallel.h"
#include "aleph/base/start_threads.h"

namespace aleph::train {

namespace {

DeviceContext::Options device_options(const TrainConfig& config) {
  return {.kind = DeviceKind::kCpu,
          .device_budget_bytes = config.placement.device_memory_bytes.value_or(0),
          .host_budget_bytes = config.placement.host_memory_bytes.value_or(0)};
}

bool needs_swap(const zero::Placement& placement) {
  return placement.parameters == MemoryTier::kNvme || placement.optimizer == MemoryTier::kNvme ||
         placement.activations == MemoryTier::kNvme;
}

}  // namespace

Runtime::Runtime(const TrainConfig& config) : device_(device_options(config)) {
  if (config.ranks.value_or(1) != 1)
    throw Error("--ranks", std::to_string(*config.ranks), "1: this build trains on one rank");
  if (config.threads) set_num_threads(static_cast<int>(*config.threads));
  start_threads();
}

void Runtime::open_swap(const TrainConfig& config, const zero::Placement& placement, const Disk& disk) {
  if (!needs_swap(placement)) return;
  zero::SwapSpace::Options options{
      .directories = config.placement.nvme_paths, .backend = disk.queue, .calls = disk.calls};
  if (options.directories.empty()) options.directories = {config.save.output_dir / "swap"};
  if (config.placement.io_queue_depth)
    options.queue_depth = static_cast<int>(*config.placement.io_queue_depth);
  if (config.placement.io_block_bytes) options.block_bytes = *config.placement.io_block_bytes;
  swap_ = std::make_unique<zero::SwapSpace>(options);
}

zero::EngineContext Runtime::engine_context() { return {device_, nvme_, communicator_, swap_.get()}; }

SwapStats Runtime::swap_stats() const {
  if (swap_ == nullptr) return {};
  const io::AsyncQueue::Stats stats = swap_->queue().stats();
  return {stats.busy_seconds, stats.bytes_read, stats.bytes_written};
}

}  // namespace aleph::train
