// The log file of a run: one JSON object a line (docs: --log-file).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "aleph/io/file.h"
#include "aleph/train/run_stats.h"

namespace aleph::train {

/// One training step.
struct StepRecord {
  int64_t step = 0;  ///< from 1
  double loss = 0;   ///< mean per token
  double learning_rate = 0;
  double grad_norm = 0;  ///< before clipping
  int64_t tokens = 0;    ///< of this step, over all ranks
  double step_seconds = 0;
  MemoryPeaks peaks;                 ///< since the run began
  IoStats io;                        ///< of this step
  SwapStats swap;                    ///< of this step
  std::optional<double> loss_scale;  ///< fp16
  bool skipped = false;              ///< fp16: gradients overflowed, nothing was updated

  double tokens_per_second() const {
    return step_seconds > 0 ? static_cast<double>(tokens) / step_seconds : 0;
  }
};

/// One evaluation, after `step` steps.
struct EvalRecord {
  int64_t step = 0;
  double loss = 0;           ///< mean per token
  double nats_per_byte = 0;  ///< of the text the tokens stand for
  int64_t tokens = 0;
  double seconds = 0;
};

/// Appends to a file; every line is in the system's hands when the call returns.
class MetricsLog {
 public:
  /// An empty path: nothing is written. Lines of the file about steps after `keep_through` are removed: a run
  /// that resumes at a step writes them again. Throws Error where the file cannot be written, or is something
  /// else than a log.
  MetricsLog(const std::filesystem::path& path, int64_t keep_through, io::SystemCalls* calls = nullptr);

  void step(const StepRecord& record);
  void evaluation(const EvalRecord& record);

 private:
  void append(const std::string& line);

  io::File file_;
  int64_t end_ = 0;
};

}  // namespace aleph::train
