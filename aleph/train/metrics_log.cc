#include "aleph/train/metrics_log.h"

#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <string_view>

#include "aleph/base/json.h"

namespace aleph::train {

namespace {

const MemoryTier kTiers[] = {MemoryTier::kDevice, MemoryTier::kHost, MemoryTier::kNvme};

OrderedJson peaks_json(const MemoryPeaks& peaks) {
  OrderedJson tiers;
  for (MemoryTier tier : kTiers) {
    OrderedJson tags;
    for (size_t tag = 0; tag < kMemoryTags; ++tag)
      tags[memory_tag_name(static_cast<MemoryTag>(tag))] = peaks.by_tag[static_cast<size_t>(tier)][tag];
    tags["total"] = peaks.of(tier);
    tiers[memory_tier_name(tier)] = std::move(tags);
  }
  return tiers;
}

OrderedJson io_json(const IoStats& io) {
  OrderedJson read, written, stall;
  for (size_t kind = 0; kind < io.size(); ++kind) {
    const char* name = zero::state_kind_name(static_cast<zero::StateKind>(kind));
    read[name] = io[kind].read_bytes;
    written[name] = io[kind].written_bytes;
    stall[name] = io[kind].stall_seconds;
  }
  return {{"read_bytes", read}, {"written_bytes", written}, {"stall_seconds", stall}};
}

constexpr char kStart[] = R"({"step":)";  // of every line

OrderedJson step_json(const StepRecord& record) {
  OrderedJson line = {
      {"step", record.step},
      {"loss", record.loss},
      {"learning_rate", record.learning_rate},
      {"grad_norm", record.skipped ? OrderedJson() : OrderedJson(record.grad_norm)},
      {"tokens", record.tokens},
      {"tokens_per_second", record.tokens_per_second()},
      {"step_seconds", record.step_seconds},
      {"peak_bytes", peaks_json(record.peaks)},
      {"io", io_json(record.io)},
  };
  if (record.loss_scale) line["loss_scale"] = *record.loss_scale;
  if (record.skipped) line["skipped"] = true;
  return line;
}

// The step a line is about; nothing for a line that was cut off by a crash.
std::optional<int64_t> step_of(const std::string& line) {
  const Json json = Json::parse(line, nullptr, false);
  if (!json.is_object() || !json.contains("step") || !json["step"].is_number_integer()) return std::nullopt;
  return json["step"].get<int64_t>();
}

std::string lines_through(const std::filesystem::path& path, int64_t keep_through, io::SystemCalls* calls) {
  if (!std::filesystem::exists(path)) return "";
  std::istringstream in(io::read_file(path, std::numeric_limits<int64_t>::max(), calls));
  std::string kept;
  for (std::string line; std::getline(in, line);) {
    const std::optional<int64_t> step = step_of(line);
    if (step && *step <= keep_through) kept += line + "\n";
  }
  return kept;
}

/// Whatever else stands in the file is somebody's data. A power cut may leave a log short, or zeros in it.
void require_log(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return;
  char start[sizeof(kStart) - 1] = {};
  std::ifstream in(path);
  in.read(start, sizeof(start));
  const std::string_view found(start, static_cast<size_t>(in.gcount()));
  if (std::string_view(kStart).starts_with(found) || found.front() == '\0') return;
  throw Error("--log-file " + path.string(), "a file that is no log of a run",
              "a new file, or a log to replace");
}

}  // namespace

MetricsLog::MetricsLog(const std::filesystem::path& path, int64_t keep_through, io::SystemCalls* calls) {
  if (path.empty()) return;
  require_log(path);
  if (path.has_parent_path()) io::create_directories(path.parent_path(), calls);
  const std::string kept = keep_through > 0 ? lines_through(path, keep_through, calls) : "";
  if (!kept.empty()) io::write_file_atomically(path, kept, calls);
  file_ =
      kept.empty() ? io::File::create(path, calls) : io::File::open_read_write(path, io::Direct::kNo, calls);
  end_ = static_cast<int64_t>(kept.size());
}

void MetricsLog::step(const StepRecord& record) {
  if (file_) append(step_json(record).dump());
}

void MetricsLog::evaluation(const EvalRecord& record) {
  if (!file_) return;
  const OrderedJson line = {{"step", record.step},
                            {"eval_loss", record.loss},
                            {"eval_nats_per_byte", record.nats_per_byte},
                            {"eval_tokens", record.tokens},
                            {"eval_seconds", record.seconds}};
  append(line.dump());
}

void MetricsLog::append(const std::string& line) {
  const std::string text = line + "\n";
  file_.write_at(end_, std::as_bytes(std::span(text)));
  end_ += static_cast<int64_t>(text.size());
}

}  // namespace aleph::train
