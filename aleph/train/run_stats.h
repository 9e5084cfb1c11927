// What a run used: peak bytes per tier and purpose, bytes moved and time lost per kind of state.
#pragma once

#include <array>
#include <cstdint>

#include "aleph/zero/home.h"

namespace aleph::train {

inline constexpr size_t kMemoryTiers = 3;

/// Peak bytes of the tiers, in the order of MemoryTier.
struct MemoryPeaks {
  std::array<int64_t, kMemoryTiers> total{};
  std::array<std::array<int64_t, kMemoryTags>, kMemoryTiers> by_tag{};

  int64_t of(MemoryTier tier) const { return total[static_cast<size_t>(tier)]; }
};
MemoryPeaks read_peaks(DeviceContext& device, const MemoryLedger& nvme);

/// By StateKind.
using IoStats = std::array<zero::HomeStats, zero::kStateKinds>;
/// What came on top of `before`.
IoStats io_since(const IoStats& now, const IoStats& before);
/// Sums over all kinds.
zero::HomeStats io_total(const IoStats& stats);

/// What the queue of NVMe transfers did.
struct SwapStats {
  double busy_seconds = 0;  ///< while some transfer was under way
  int64_t read_bytes = 0, written_bytes = 0;

  SwapStats& operator+=(const SwapStats& other) {
    busy_seconds += other.busy_seconds;
    read_bytes += other.read_bytes;
    written_bytes += other.written_bytes;
    return *this;
  }
  /// What came on top of `before`.
  SwapStats operator-(const SwapStats& before) const {
    return {busy_seconds - before.busy_seconds, read_bytes - before.read_bytes,
            written_bytes - before.written_bytes};
  }
};

/// Seconds of everything a run does, summed over its steps.
struct RunTimes {
  double data = 0;  ///< filling batches
  std::array<double, kComputePhases> phases{};
  double norm = 0;  ///< gradient norm and overflow check
  double evaluation = 0;
  double checkpoints = 0;
  double steps = 0;  ///< whole training steps: data to update
};

}  // namespace aleph::train
