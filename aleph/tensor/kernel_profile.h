// Where the time of computation goes: every kernel counts its seconds and its work, by kind of operation and
// by the phase of the step that called it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include "aleph/base/clock.h"

namespace aleph {

/// What a kernel call is counted as.
enum class KernelKind : uint8_t {
  kMatmul,
  kAttention,
  kNorm,
  kActivation,
  kCrossEntropy,
  kEmbedding,
  kRotary,
  kElementwise,  ///< sums, conversions, dropout, bias gradients
  kUpdate,       ///< optimizer rules
};
inline constexpr size_t kKernelKinds = 9;
/// "matmul", "cross entropy", ...
const char* kernel_kind_name(KernelKind kind);

/// Which part of a training step calls.
enum class ComputePhase : uint8_t {
  kForward,
  kHead,  ///< last layer and loss, forward and backward
  kBackward,
  kRecompute,  ///< forward once more, within backward
  kUpdate,
  kOther,
};
inline constexpr size_t kComputePhases = 6;
/// "forward", "recompute", ...
const char* compute_phase_name(ComputePhase phase);

/// Sums over kernel calls.
struct KernelTotals {
  int64_t calls = 0;
  double seconds = 0;
  double operations = 0;  ///< floating-point, a multiply-add counts as two
  double bytes = 0;       ///< operands and results, each once

  KernelTotals& operator+=(const KernelTotals& other);
};

/// Sums by phase and kind. Safe to use from several threads.
class KernelProfile {
 public:
  /// Calls are counted in `phase` from now on, those of KernelKind::kUpdate always in ComputePhase::kUpdate:
  /// updates run beside the passes.
  void enter(ComputePhase phase);
  void add(KernelKind kind, const KernelTotals& call);
  KernelTotals of(ComputePhase phase, KernelKind kind) const;
  /// Of all phases but kOther, in which evaluations count, too.
  KernelTotals of(KernelKind kind) const;

 private:
  mutable std::mutex mutex_;
  ComputePhase phase_ = ComputePhase::kOther;                                  // guarded by mutex_
  std::array<std::array<KernelTotals, kKernelKinds>, kComputePhases> totals_;  // guarded by mutex_
};

/// Counts the time of its scope. Kernels construct it once they compute: scopes must not nest.
class KernelTimer {
 public:
  KernelTimer(KernelProfile& profile, KernelKind kind, double operations, double bytes)
      : profile_(profile), kind_(kind), operations_(operations), bytes_(bytes) {}
  ~KernelTimer() {
    profile_.add(kind_,
                 {.calls = 1, .seconds = watch_.seconds(), .operations = operations_, .bytes = bytes_});
  }
  KernelTimer(const KernelTimer&) = delete;
  KernelTimer& operator=(const KernelTimer&) = delete;

 private:
  KernelProfile& profile_;
  KernelKind kind_;
  double operations_, bytes_;
  Stopwatch watch_;
};

}  // namespace aleph
