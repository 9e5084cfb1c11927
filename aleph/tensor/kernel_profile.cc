#include "aleph/tensor/kernel_profile.h"

namespace aleph {

const char* kernel_kind_name(KernelKind kind) {
  static constexpr std::array<const char*, kKernelKinds> kNames = {"matmul",     "attention",     "norm",
                                                                   "activation", "cross entropy", "embedding",
                                                                   "rotary",     "elementwise",   "update"};
  return kNames[static_cast<size_t>(kind)];
}

const char* compute_phase_name(ComputePhase phase) {
  static constexpr std::array<const char*, kComputePhases> kNames = {"forward",   "head",   "backward",
                                                                     "recompute", "update", "other"};
  return kNames[static_cast<size_t>(phase)];
}

void KernelProfile::enter(ComputePhase phase) {
  const std::lock_guard lock(mutex_);
  phase_ = phase;
}

KernelTotals& KernelTotals::operator+=(const KernelTotals& other) {
  calls += other.calls;
  seconds += other.seconds;
  operations += other.operations;
  bytes += other.bytes;
  return *this;
}

void KernelProfile::add(KernelKind kind, const KernelTotals& call) {
  const std::lock_guard lock(mutex_);
  const ComputePhase phase = kind == KernelKind::kUpdate ? ComputePhase::kUpdate : phase_;
  totals_[static_cast<size_t>(phase)][static_cast<size_t>(kind)] += call;
}

KernelTotals KernelProfile::of(ComputePhase phase, KernelKind kind) const {
  const std::lock_guard lock(mutex_);
  return totals_[static_cast<size_t>(phase)][static_cast<size_t>(kind)];
}

KernelTotals KernelProfile::of(KernelKind kind) const {
  KernelTotals sum;
  for (size_t phase = 0; phase < kComputePhases; ++phase)
    if (static_cast<ComputePhase>(phase) != ComputePhase::kOther)
      sum += of(static_cast<ComputePhase>(phase), kind);
  return sum;
}

}  // namespace aleph
