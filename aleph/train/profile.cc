#include "aleph/train/profile.h"

#include <algorithm>
#include <numeric>

namespace aleph::train {

namespace {

constexpr double kMeasureSeconds = 0.5;

/// Lines of one table, whose columns are seconds per step, share of the step, and rate.
class Table {
 public:
  explicit Table(const RunTotals& totals) : totals_(totals) {
    lines_.push_back(fmt::format("  {:<26}{:>14}{:>11}{:>18}{:>12}", "profile", "per step", "share", "rate",
                                 "of ceiling"));
  }

  void row(const std::string& name, double seconds, const std::string& rate = "") {
    const double steps = static_cast<double>(std::max<int64_t>(1, totals_.steps));
    const double share = totals_.times.steps > 0 ? 100 * seconds / totals_.times.steps : 0;
    lines_.push_back(fmt::format("  {:<26}{:>12.4f} s{:>9.1f} %{}", name, seconds / steps, share, rate));
  }
  void line(std::string text) { lines_.push_back(std::move(text)); }
  std::vector<std::string> take() { return std::move(lines_); }

 private:
  const RunTotals& totals_;
  std::vector<std::string> lines_;
};

std::string rate_cells(const KernelTotals& total, const Ceilings& ceilings) {
  if (total.seconds <= 0) return "";
  const bool computes = total.operations > 0;
  const double rate = (computes ? total.operations : total.bytes) / total.seconds;
  const double ceiling = computes ? ceilings.operations : ceilings.bytes;
  return fmt::format("{:>10.1f} {:<7}{:>10.0f} %", rate / 1e9, computes ? "GFLOP/s" : "GB/s",
                     100 * rate / ceiling);
}

/// A phase and the kernels in it, the costliest first.
void add_phase(Table& table, ComputePhase phase, double seconds, const KernelProfile& kernels,
               const Ceilings& ceilings) {
  if (seconds == 0) return;
  table.row(compute_phase_name(phase), seconds);
  std::vector<std::pair<KernelTotals, KernelKind>> parts;
  for (size_t i = 0; i < kKernelKinds; ++i) {
    const auto kind = static_cast<KernelKind>(i);
    const KernelTotals total = kernels.of(phase, kind);
    if (total.calls > 0) parts.emplace_back(total, kind);
  }
  std::sort(parts.begin(), parts.end(),
            [](const auto& a, const auto& b) { return a.first.seconds > b.first.seconds; });
  for (const auto& [total, kind] : parts)
    table.row(fmt::format("  {}", kernel_kind_name(kind)), total.seconds, rate_cells(total, ceilings));
}

}  // namespace

Ceilings measure_ceilings(DeviceContext& device, const models::TransformerSpec& spec, DType dtype,
                          int64_t tokens) {
  const nn::BlockSpec& block = spec.blocks.front();
  Ceilings ceilings{.dtype = dtype,
                    .size = {.m = tokens, .n = block.intermediate_size, .k = block.hidden_size}};
  ceilings.operations = kernels::matmul_ceiling(device, dtype, ceilings.size, kMeasureSeconds);
  ceilings.bytes = kernels::triad_ceiling(kMeasureSeconds);
  return ceilings;
}

std::vector<std::string> profile_lines(const RunTotals& totals, const KernelProfile& kernels,
                                       const Ceilings& ceilings) {
  const RunTimes& times = totals.times;
  Table table(totals);
  for (const ComputePhase phase : {ComputePhase::kForward, ComputePhase::kHead, ComputePhase::kBackward,
                                   ComputePhase::kRecompute, ComputePhase::kUpdate})
    add_phase(table, phase, times.phases[static_cast<size_t>(phase)], kernels, ceilings);
  table.row("data", times.data);
  table.row("gradient norm", times.norm);
  table.row("other",
            std::max(0.0, times.steps - std::accumulate(times.phases.begin(), times.phases.end(), 0.0) -
                              times.data - times.norm));
  table.row("step", times.steps);
  table.line("  of which waiting for");
  for (size_t kind = 0; kind < totals.io.size(); ++kind)
    table.row(fmt::format("  {}", zero::state_kind_name(static_cast<zero::StateKind>(kind))),
              totals.io[kind].stall_seconds);
  table.line(fmt::format("  beside steps: evaluation {:.2f} s, saving {:.2f} s", times.evaluation,
                         times.checkpoints));
  table.line(
      fmt::format("  ceilings: {:.0f} GFLOP/s in {} ({} x {} times {} x {}), {:.1f} GB/s (STREAM triad)",
                  ceilings.operations / 1e9, dtype_name(ceilings.dtype), ceilings.size.m, ceilings.size.k,
                  ceilings.size.k, ceilings.size.n, ceilings.bytes / 1e9));
  return table.take();
}

}  // namespace aleph::train
