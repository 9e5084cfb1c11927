// What people see while a run trains.
#pragma once

#include <string>

#include "aleph/base/clock.h"
#include "aleph/base/log.h"
#include "aleph/base/progress.h"
#include "aleph/train/metrics_log.h"

namespace aleph::train {

/// One rewritten line on a terminal, a line every so many steps elsewhere.
class StepReporter {
 public:
  struct Options {
    int64_t total_steps = 0;
    int64_t every = 10;  ///< steps between lines
  };
  StepReporter(Console& console, const Options& options) : console_(console), options_(options) {}

  void step(const StepRecord& record);
  void evaluation(const EvalRecord& record);

 private:
  bool due(int64_t step);

  Console& console_;
  Options options_;
  SmoothedRate rate_;
  Stopwatch since_shown_;
  bool shown_ = false;
};

/// "loss 2.3456  lr 1.00e-03  norm 0.812  memory device 12.0 MiB, host 3.1 MiB, nvme 80.0 MiB"
std::string describe_step(const StepRecord& record);

}  // namespace aleph::train
