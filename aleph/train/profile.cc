#include "aleph/train/profile.h"

#include <algorithm>
#include <deque>
#include <numeric>

#include "aleph/base/clock.h"

namespace aleph::train {

namespace {

constexpr double kMeasureSeconds = 0.5;
constexpr int64_t kHeadRows = 4096;  // of the head in one product
constexpr int64_t kDiskBytes = int64_t{256} << 20, kDiskPieceBytes = int64_t{2} << 20, kDiskPieces = 8;

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

std::string rate_text(double rate, const char* unit, double share) {
  return fmt::format("{:>10.1f} {:<7}{:>10.0f} %", rate / 1e9, unit, 100 * share);
}

std::string rate_cells(const KernelTotals& total, const Ceilings& ceilings) {
  if (total.seconds <= 0) return "";
  const bool computes = total.operations > 0;
  const double rate = (computes ? total.operations : total.bytes) / total.seconds;
  const double ceiling = computes ? ceilings.operations : ceilings.bytes;
  return rate_text(rate, computes ? "GFLOP/s" : "GB/s", rate / ceiling);
}

std::string disk_text(const Ceilings& ceilings) {
  if (ceilings.disk_read <= 0) return "";
  return fmt::format(", swap files {:.1f} GB/s read, {:.1f} written", ceilings.disk_read / 1e9,
                     ceilings.disk_written / 1e9);
}

/// Kinds of kernels, the costliest first. `of` gives the totals of a kind.
template <typename Of>
void add_kinds(Table& table, const Ceilings& ceilings, const Of& of) {
  std::vector<std::pair<KernelTotals, KernelKind>> parts;
  for (size_t i = 0; i < kKernelKinds; ++i) {
    const auto kind = static_cast<KernelKind>(i);
    const KernelTotals total = of(kind);
    if (total.calls > 0) parts.emplace_back(total, kind);
  }
  std::sort(parts.begin(), parts.end(),
            [](const auto& a, const auto& b) { return a.first.seconds > b.first.seconds; });
  for (const auto& [total, kind] : parts)
    table.row(fmt::format("  {}", kernel_kind_name(kind)), total.seconds, rate_cells(total, ceilings));
}

void add_phase(Table& table, ComputePhase phase, double seconds, const KernelProfile& kernels,
               const Ceilings& ceilings) {
  if (seconds == 0) return;
  table.row(compute_phase_name(phase), seconds);
  add_kinds(table, ceilings, [&](KernelKind kind) { return kernels.of(phase, kind); });
}

void add_waits(Table& table, const RunTotals& totals, const Ceilings& ceilings) {
  table.line("  of which waiting for");
  for (size_t kind = 0; kind < totals.io.size(); ++kind)
    table.row(fmt::format("  {}", zero::state_kind_name(static_cast<zero::StateKind>(kind))),
              totals.io[kind].stall_seconds);
  const SwapStats& swap = totals.swap;
  if (swap.busy_seconds <= 0) return;
  const auto read = static_cast<double>(swap.read_bytes), written = static_cast<double>(swap.written_bytes);
  const double least = read / ceilings.disk_read + written / ceilings.disk_written;
  table.row("NVMe transfers, beside", swap.busy_seconds,
            rate_text((read + written) / swap.busy_seconds, "GB/s", least / swap.busy_seconds));
}

/// Writes a region in the run's own swap files once from end to end, and then reads it.
void measure_disk(const zero::EngineContext& context, Ceilings& ceilings) {
  const auto home = zero::make_home({context.device, context.nvme, context.swap}, MemoryTier::kNvme,
                                    zero::StateKind::kOptimizer);
  const zero::Region region = home->reserve(kDiskBytes);
  Tensor memory(context.device.host_memory(), {kDiskPieces * kDiskPieceBytes}, DType::kU8,
                MemoryTag::kIoBuffers);
  const auto rate_of = [&](const auto& move) {
    const Stopwatch watch;
    std::deque<zero::Ticket> open;
    for (int64_t offset = 0; offset < kDiskBytes; offset += kDiskPieceBytes) {
      if (open.size() == static_cast<size_t>(kDiskPieces)) {
        home->finish(open.front());
        open.pop_front();
      }
      std::byte* piece = memory.view().raw() + offset % memory.bytes();
      open.push_back(move(offset, std::span(piece, static_cast<size_t>(kDiskPieceBytes))));
    }
    for (const zero::Ticket& ticket : open) home->finish(ticket);
    return static_cast<double>(kDiskBytes) / watch.seconds();
  };
  ceilings.disk_written = rate_of(
      [&](int64_t offset, std::span<const std::byte> piece) { return home->write(region, offset, piece); });
  ceilings.disk_read =
      rate_of([&](int64_t offset, std::span<std::byte> piece) { return home->read(region, offset, piece); });
}

}  // namespace

std::vector<kernels::ProductSize> product_sizes(const models::TransformerSpec& spec, int64_t tokens) {
  const nn::BlockSpec& block = spec.blocks.front();
  const auto blocks = static_cast<double>(spec.blocks.size());
  const int64_t hidden = block.hidden_size, mixed = block.heads * block.head_dim;
  const int64_t qkv = mixed + 2 * block.kv_heads * block.head_dim;
  const int64_t up = (block.gated_mlp ? 2 : 1) * block.intermediate_size;
  const int64_t head_rows = std::min(spec.head.vocab_size, kHeadRows);
  return {{tokens, qkv, hidden, blocks},
          {tokens, hidden, mixed, blocks},
          {tokens, up, hidden, blocks},
          {tokens, hidden, block.intermediate_size, blocks},
          {tokens, head_rows, hidden,
           static_cast<double>(spec.head.vocab_size) / static_cast<double>(head_rows)}};
}

Ceilings measure_ceilings(const zero::EngineContext& context, const models::TransformerSpec& spec,
                          DType dtype, int64_t tokens) {
  Ceilings ceilings{.dtype = dtype};
  DeviceContext& device = context.device;
  ceilings.operations = kernels::matmul_ceiling(device, dtype, product_sizes(spec, tokens), kMeasureSeconds);
  ceilings.bytes = kernels::triad_ceiling(device, kMeasureSeconds);
  if (context.swap != nullptr) measure_disk(context, ceilings);
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
  add_waits(table, totals, ceilings);
  table.line("  kernels of all phases");
  add_kinds(table, ceilings, [&](KernelKind kind) { return kernels.of(kind); });
  table.line(fmt::format("  beside steps: evaluation {:.2f} s, saving {:.2f} s", times.evaluation,
                         times.checkpoints));
  table.line(fmt::format(
      "  ceilings: {:.0f} GFLOP/s (products of this model in {}), {:.1f} GB/s (STREAM triad){}",
      ceilings.operations / 1e9, dtype_name(ceilings.dtype), ceilings.bytes / 1e9, disk_text(ceilings)));
  return table.take();
}

}  // namespace aleph::train
