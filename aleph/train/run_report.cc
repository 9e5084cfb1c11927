#include "aleph/train/run_report.h"

#include <algorithm>

#include "aleph/base/text_util.h"

namespace aleph::train {

namespace {

std::string tier_line(const MemoryPeaks& peaks, MemoryTier tier) {
  const auto& tags = peaks.by_tag[static_cast<size_t>(tier)];
  std::string line = fmt::format("  {:<8}{:>12}", memory_tier_name(tier), format_bytes(peaks.of(tier)));
  const char* separator = "   ";
  for (size_t tag = 0; tag < kMemoryTags; ++tag) {
    if (tags[tag] == 0) continue;
    line += fmt::format("{}{} {}", separator, memory_tag_name(static_cast<MemoryTag>(tag)),
                        format_bytes(tags[tag]));
    separator = ", ";
  }
  return line;
}

std::string io_line(const char* name, const zero::HomeStats& stats) {
  return fmt::format("  {:<14}{:>12} read  {:>12} written  {:>8.2f} s waited", name,
                     format_bytes(stats.read_bytes), format_bytes(stats.written_bytes), stats.stall_seconds);
}

bool moved(const zero::HomeStats& stats) { return stats.read_bytes + stats.written_bytes > 0; }

}  // namespace

void RunTotals::add_step(const StepRecord& record, const zero::StepTimes& engine) {
  ++steps;
  skipped += record.skipped ? 1 : 0;
  tokens += record.tokens;
  swap += record.swap;
  times.steps += record.step_seconds;
  for (size_t phase = 0; phase < engine.size(); ++phase) times.phases[phase] += engine[phase];
  for (size_t kind = 0; kind < io.size(); ++kind) {
    io[kind].read_bytes += record.io[kind].read_bytes;
    io[kind].written_bytes += record.io[kind].written_bytes;
    io[kind].stall_seconds += record.io[kind].stall_seconds;
  }
}

double hidden_io_share(const RunTotals& totals) {
  if (totals.swap.busy_seconds <= 0) return 1;
  return std::clamp(1 - io_total(totals.io).stall_seconds / totals.swap.busy_seconds, 0.0, 1.0);
}

std::vector<std::string> summary_lines(const RunTotals& totals) {
  const double rate = totals.times.steps > 0 ? static_cast<double>(totals.tokens) / totals.times.steps : 0;
  std::vector<std::string> lines = {fmt::format(
      "trained {} steps, {} tokens in {} ({:.0f} tokens/s); model states {}", totals.steps, totals.tokens,
      format_duration(totals.seconds), rate, format_bytes(totals.model_state_bytes))};
  if (totals.skipped > 0)
    lines.push_back(
        fmt::format("{} of the steps were skipped: gradients overflowed{}", totals.skipped,
                    totals.skipped < totals.steps ? "" : "; nothing was learned, try a lower --loss-scale"));
  lines.emplace_back("peak memory:");
  for (MemoryTier tier : {MemoryTier::kDevice, MemoryTier::kHost, MemoryTier::kNvme})
    lines.push_back(tier_line(totals.peaks, tier));
  if (!moved(io_total(totals.io))) return lines;
  lines.push_back("moved between tiers:");
  for (size_t kind = 0; kind < totals.io.size(); ++kind)
    if (moved(totals.io[kind]))
      lines.push_back(io_line(zero::state_kind_name(static_cast<zero::StateKind>(kind)), totals.io[kind]));
  if (totals.swap.busy_seconds > 0)
    lines.push_back(fmt::format("I/O hidden behind compute: {:.0f} % of {:.1f} s",
                                100 * hidden_io_share(totals), totals.swap.busy_seconds));
  return lines;
}

}  // namespace aleph::train
