// What a run says at its end.
#pragma once

#include <string>
#include <vector>

#include "aleph/train/metrics_log.h"
#include "aleph/train/run_stats.h"
#include "aleph/zero/engine.h"

namespace aleph::train {

/// Sums of a whole run.
struct RunTotals {
  int64_t steps = 0;
  int64_t skipped = 0;  ///< of the steps, for gradients that overflowed
  int64_t tokens = 0;
  double seconds = 0;
  int64_t model_state_bytes = 0;  ///< parameters, gradients and optimizer states of this rank
  MemoryPeaks peaks;
  IoStats io;      ///< of the training steps
  SwapStats swap;  ///< of the training steps
  RunTimes times;

  void add_step(const StepRecord& record, const zero::StepTimes& engine);
};

/// Share of the time in which NVMe transfers were under way that computation did not wait for them:
/// 1 - stalls / busy, in [0, 1]. 1 where nothing was moved.
double hidden_io_share(const RunTotals& totals);

/// Lines: speed; peak bytes by tier and purpose; bytes moved and stalls by kind of state; I/O hidden.
std::vector<std::string> summary_lines(const RunTotals& totals);

}  // namespace aleph::train
