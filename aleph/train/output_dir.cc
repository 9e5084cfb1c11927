#include "aleph/train/output_dir.h"

#include <algorithm>
#include <vector>

#include "aleph/base/json.h"
#include "aleph/checkpoint/training_checkpoint.h"
#include "aleph/io/file.h"

namespace aleph::train {

namespace {

namespace fs = std::filesystem;

constexpr const char* kFinishedName = "training_run.json";

// checkpoint-STEP, complete or not.
bool is_checkpoint(const fs::path& path) {
  return path.filename().string().starts_with("checkpoint-") && fs::is_directory(path);
}

bool is_weights(const fs::path& path) {
  return path.extension() == ".safetensors" || path.filename() == "model.safetensors.index.json";
}

std::vector<fs::path> entries_of(const fs::path& directory) {
  std::error_code error;
  fs::directory_iterator entries(directory, error);
  if (error) return {};
  std::vector<fs::path> paths;
  for (const fs::directory_entry& entry : entries) paths.push_back(entry.path());
  return paths;
}

bool is_inside(const fs::path& path, const fs::path& folder) {
  const fs::path relative = fs::weakly_canonical(path).lexically_relative(fs::weakly_canonical(folder));
  return !relative.empty() && *relative.begin() != "..";
}

void refuse_removing_inputs(const TrainConfig& config, const fs::path& output) {
  if (config.model.empty() || !is_inside(config.model, output)) return;
  throw Error("--overwrite",
              fmt::format("the model to start from in the output directory {}", output.string()),
              "another --output-dir");
}

template <typename T>
std::optional<T> optional_value(const Json& json, const char* key) {
  return json.contains(key) ? std::optional<T>(json[key].get<T>()) : std::nullopt;
}

}  // namespace

bool OutputDir::holds_results() const {
  const std::vector<fs::path> entries = entries_of(path_);
  return std::any_of(entries.begin(), entries.end(), is_weights) ||
         !checkpoint::list_checkpoints(path_).empty();
}

std::optional<FinishedRun> OutputDir::finished() const {
  const fs::path path = path_ / kFinishedName;
  if (!fs::exists(path)) return std::nullopt;
  const Json json = parse_json_file(path);
  FinishedRun run;
  run.steps = json_get<int64_t>(json, "steps", path.string());
  run.loss = json_get_or<double>(json, "loss", 0, path.string());
  run.eval_loss = optional_value<double>(json, "eval_loss");
  run.eval_nats_per_byte = optional_value<double>(json, "eval_nats_per_byte");
  return run;
}

void OutputDir::prepare(const TrainConfig& config) const {
  if (holds_results() && !config.save.resume) {
    if (!config.save.overwrite)
      throw Error(fmt::format("output directory {}", path_.string()), "a model or checkpoints in it",
                  "an empty or new directory, --resume to continue, or --overwrite to replace them");
    refuse_removing_inputs(config, path_);
  }
  io::create_directories(path_);
}

void OutputDir::remove_checkpoints() const {
  io::remove_all(path_ / kFinishedName);
  for (const fs::path& path : entries_of(path_))
    if (is_checkpoint(path)) io::remove_all(path);
}

void OutputDir::finish(const FinishedRun& run) const {
  OrderedJson json = {{"steps", run.steps}, {"loss", run.loss}};
  if (run.eval_loss) json["eval_loss"] = *run.eval_loss;
  if (run.eval_nats_per_byte) json["eval_nats_per_byte"] = *run.eval_nats_per_byte;
  io::write_file_atomically(path_ / kFinishedName, json.dump(2) + "\n");
}

void OutputDir::reopen() const { io::remove_all(path_ / kFinishedName); }

}  // namespace aleph::train
