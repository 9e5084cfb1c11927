#include "aleph/train/run_stats.h"

namespace aleph::train {

namespace {

void read_tier(const MemoryLedger& ledger, MemoryPeaks& peaks) {
  const auto tier = static_cast<size_t>(ledger.tier());
  peaks.total[tier] = ledger.peak();
  for (size_t tag = 0; tag < kMemoryTags; ++tag)
    peaks.by_tag[tier][tag] = ledger.peak(static_cast<MemoryTag>(tag));
}

}  // namespace

MemoryPeaks read_peaks(DeviceContext& device, const MemoryLedger& nvme) {
  MemoryPeaks peaks;
  read_tier(device.memory().ledger(), peaks);
  read_tier(device.host_memory().ledger(), peaks);
  read_tier(nvme, peaks);
  return peaks;
}

IoStats io_since(const IoStats& now, const IoStats& before) {
  IoStats difference = now;
  for (size_t kind = 0; kind < difference.size(); ++kind) {
    difference[kind].read_bytes -= before[kind].read_bytes;
    difference[kind].written_bytes -= before[kind].written_bytes;
    difference[kind].stall_seconds -= before[kind].stall_seconds;
  }
  return difference;
}

zero::HomeStats io_total(const IoStats& stats) {
  zero::HomeStats sum;
  for (const zero::HomeStats& kind : stats) {
    sum.read_bytes += kind.read_bytes;
    sum.written_bytes += kind.written_bytes;
    sum.stall_seconds += kind.stall_seconds;
  }
  return sum;
}

}  // namespace aleph::train
