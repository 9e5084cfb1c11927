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

struct Part {
  const char* name;
  double seconds;
};

std::string part_line(const Part& part, const RunTotals& totals) {
  const double steps = static_cast<double>(std::max<int64_t>(1, totals.steps));
  const double share = totals.times.steps > 0 ? 100 * part.seconds / totals.times.steps : 0;
  return fmt::format("  {:<26}{:>12.4f} s{:>9.1f} %", part.name, part.seconds / steps, share);
}

}  // namespace

void RunTotals::add_step(const StepRecord& record, const zero::StepTimes& engine) {
  ++steps;
  skipped += record.skipped ? 1 : 0;
  tokens += record.tokens;
  io_busy_seconds += record.io_busy_seconds;
  times.steps += record.step_seconds;
  times.forward += engine.forward;
  times.backward += engine.backward;
  times.update += engine.update;
  for (size_t kind = 0; kind < io.size(); ++kind) {
    io[kind].read_bytes += record.io[kind].read_bytes;
    io[kind].written_bytes += record.io[kind].written_bytes;
    io[kind].stall_seconds += record.io[kind].stall_seconds;
  }
}

double hidden_io_share(const RunTotals& totals) {
  if (totals.io_busy_seconds <= 0) return 1;
  return std::clamp(1 - io_total(totals.io).stall_seconds / totals.io_busy_seconds, 0.0, 1.0);
}

std::vector<std::string> summary_lines(const RunTotals& totals) {
  const double rate = totals.times.steps > 0 ? static_cast<double>(totals.tokens) / totals.times.steps : 0;
  std::vector<std::string> lines = {fmt::format(
      "trained {} steps, {} tokens in {} ({:.0f} tokens/s); model states {}", totals.steps, totals.tokens,
      format_duration(totals.seconds), rate, format_bytes(totals.model_state_bytes))};
  if (totals.skipped > 0)
    lines.push_back(fmt::format("{} of the steps were skipped: gradients overflowed", totals.skipped));
  lines.emplace_back("peak memory:");
  for (MemoryTier tier : {MemoryTier::kDevice, MemoryTier::kHost, MemoryTier::kNvme})
    lines.push_back(tier_line(totals.peaks, tier));
  if (!moved(io_total(totals.io))) return lines;
  lines.push_back("moved between tiers:");
  for (size_t kind = 0; kind < totals.io.size(); ++kind)
    if (moved(totals.io[kind]))
      lines.push_back(io_line(zero::state_kind_name(static_cast<zero::StateKind>(kind)), totals.io[kind]));
  if (totals.io_busy_seconds > 0)
    lines.push_back(fmt::format("I/O hidden behind compute: {:.0f} % of {:.1f} s",
                                100 * hidden_io_share(totals), totals.io_busy_seconds));
  return lines;
}

std::vector<std::string> profile_lines(const RunTotals& totals) {
  const RunTimes& times = totals.times;
  const double known = times.data + times.forward + times.backward + times.norm + times.update;
  const Part parts[] = {{"data", times.data},         {"forward", times.forward},
                        {"backward", times.backward}, {"gradient norm", times.norm},
                        {"update", times.update},     {"other", std::max(0.0, times.steps - known)},
                        {"step", times.steps}};
  std::vector<std::string> lines = {fmt::format("  {:<26}{:>14}{:>11}", "profile", "per step", "share")};
  for (const Part& part : parts) lines.push_back(part_line(part, totals));
  lines.push_back("  of which waiting for");
  for (size_t kind = 0; kind < totals.io.size(); ++kind) {
    const std::string name = std::string("  ") + zero::state_kind_name(static_cast<zero::StateKind>(kind));
    lines.push_back(part_line({name.c_str(), totals.io[kind].stall_seconds}, totals));
  }
  lines.push_back(fmt::format("  beside steps: evaluation {:.2f} s, saving {:.2f} s", times.evaluation,
                              times.checkpoints));
  return lines;
}

}  // namespace aleph::train
