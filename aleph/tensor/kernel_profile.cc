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

void KernelProfile::add(KernelKind kind, const KernelTotals& call) {
  const std::lock_guard lock(mutex_);
  const ComputePhase phase = kind == KernelKind::kUpdate ? ComputePhase::kUpdate : phase_;
  KernelTotals& total = totals_[static_cast<size_t>(phase)][static_cast<size_t>(kind)];
  total.calls += call.calls;
  total.seconds += call.seconds;
  total.operations += call.operations;
  total.bytes += call.bytes;
}

KernelTotals KernelProfile::of(ComputePhase phase, KernelKind kind) const {
  const std::lock_guard lock(mutex_);
  return totals_[static_cast<size_t>(phase)][static_cast<size_t>(kind)];
}

}  // namespace aleph
