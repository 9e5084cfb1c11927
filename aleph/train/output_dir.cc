#include "aleph/train/output_dir.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <vector>

#include "aleph/base/json.h"
#include "aleph/checkpoint/model_files.h"
#include "aleph/checkpoint/training_checkpoint.h"
#include "aleph/io/file.h"
#include "aleph/train/run_data.h"

namespace aleph::train {

namespace {

namespace fs = std::filesystem;

constexpr const char* kFinishedName = "training_run.json";
constexpr int64_t kLargestRecord = 1 << 20;

bool is_part_of_model(const fs::path& path) {
  return path.extension() == ".safetensors" || path.extension() == ".bin" ||
         path.filename() == "model.safetensors.index.json" || path.filename() == "config.json";
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

}  // namespace

bool OutputDir::holds_model() const {
  const std::vector<fs::path> entries = io::list_directory(path_);
  return std::any_of(entries.begin(), entries.end(), is_part_of_model);
}

bool OutputDir::holds_weights() const {
  const std::vector<fs::path> entries = io::list_directory(path_);
  return std::any_of(entries.begin(), entries.end(),
                     [](const fs::path& path) { return path.extension() == ".safetensors"; });
}

/// What a run would replace, in words; empty: nothing.
std::string OutputDir::results(const TrainConfig& config) const {
  if (holds_model() || !checkpoint::find_checkpoints(path_).empty()) return "a model or checkpoints in it";
  const fs::path replaced = checkpoint::replaced_tokenizer_file(tokenizer_directory(config), path_);
  return replaced.empty() ? "" : "another " + replaced.filename().string() + " in it";
}

std::optional<FinishedRun> read_finished_run(const fs::path& directory) {
  const fs::path path = directory / kFinishedName;
  if (!fs::exists(path)) return std::nullopt;
  const std::string where = path.string() + " (without it, --resume goes on from the newest checkpoint)";
  const Json json = parse_json(io::read_file(path, kLargestRecord), where);
  FinishedRun run;
  run.steps = json_get<int64_t>(json, "steps", where);
  if (run.steps < 0) throw Error(where, fmt::format("{} steps", run.steps), "as many as the run has made");
  run.loss = json_get_or<double>(json, "loss", 0, where);
  run.eval_loss = json_optional<double>(json, "eval_loss", where);
  run.eval_nats_per_byte = json_optional<double>(json, "eval_nats_per_byte", where);
  return run;
}

void OutputDir::create() const { io::create_directories(path_, calls_); }

void OutputDir::check(const TrainConfig& config) const {
  if (const std::string found = results(config); !found.empty() && !config.save.resume) {
    if (!config.save.overwrite)
      throw Error(fmt::format("output directory {}", path_.string()), found,
                  "an empty or new directory, --resume to continue, or --overwrite to replace them");
    refuse_removing_inputs(config, path_);
  }
  // A finished run that has nothing to write may lie anywhere.
  if (!(config.save.resume && finished()) && ::faccessat(AT_FDCWD, path_.c_str(), W_OK, AT_EACCESS) != 0)
    throw Error(path_.string(), std::generic_category().message(errno), "a directory that can be written");
}

void OutputDir::remove_checkpoints() const { checkpoint::remove_checkpoints(path_, calls_); }

void OutputDir::finish(const FinishedRun& run) const {
  OrderedJson json = {{"steps", run.steps}, {"loss", run.loss}};
  if (run.eval_loss) json["eval_loss"] = *run.eval_loss;
  if (run.eval_nats_per_byte) json["eval_nats_per_byte"] = *run.eval_nats_per_byte;
  io::write_file_atomically(path_ / kFinishedName, json.dump(2) + "\n", calls_);
}

void OutputDir::reopen() const {
  if (!fs::exists(path_ / kFinishedName)) return;
  io::remove_all(path_ / kFinishedName, calls_);
  io::sync_directory(path_, calls_);  // not back after a power cut
}

}  // namespace aleph::train
