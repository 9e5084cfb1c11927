#include "aleph/train/step_reporter.h"

#include "aleph/base/text_util.h"

namespace aleph::train {

namespace {

constexpr double kSecondsBetweenRewrites = 0.1;

std::string describe_memory(const MemoryPeaks& peaks) {
  std::string text = "memory";
  const char* separator = " ";
  for (size_t tier = 0; tier < kMemoryTiers; ++tier) {
    if (peaks.total[tier] == 0) continue;
    text += fmt::format("{}{} {}", separator, memory_tier_name(static_cast<MemoryTier>(tier)),
                        format_bytes(peaks.total[tier]));
    separator = ", ";
  }
  return text;
}

}  // namespace

std::string describe_step(const StepRecord& record) {
  const std::string norm =
      record.skipped ? "overflow, skipped" : fmt::format("norm {:.3g}", record.grad_norm);
  return fmt::format("loss {:.4f}  lr {:.2e}  {}  {}", record.loss, record.learning_rate, norm,
                     describe_memory(record.peaks));
}

bool StepReporter::due(int64_t step) {
  if (step == options_.total_steps || !shown_) return true;
  if (console_.options().terminal) return since_shown_.seconds() >= kSecondsBetweenRewrites;
  return options_.every > 0 && step % options_.every == 0;
}

void StepReporter::step(const StepRecord& record) {
  rate_.add(static_cast<double>(record.tokens), record.step_seconds);
  if (!due(record.step)) return;
  ProgressLine line{.label = "train",
                    .done = static_cast<double>(record.step),
                    .total = static_cast<double>(options_.total_steps),
                    .unit = "steps",
                    .rate = rate_.per_second(),
                    .rate_unit = "tokens",
                    .extra = describe_step(record)};
  if (line.rate > 0)
    line.remaining = (line.total - line.done) * static_cast<double>(record.tokens) / line.rate;
  console_.progress(format_progress(line, console_.options().terminal ? terminal_columns() : 0));
  since_shown_.restart();
  shown_ = true;
}

void StepReporter::evaluation(const EvalRecord& record) {
  console_.finish();
  console_.note("eval  step {}  loss {:.4f}  {:.4f} nats per byte  ({} tokens in {:.1f} s)", record.step,
                record.loss, record.nats_per_byte, record.tokens, record.seconds);
}

}  // namespace aleph::train
