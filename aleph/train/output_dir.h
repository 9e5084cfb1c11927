// The folder a run writes to: the final model in OUTPUT itself, training checkpoints in
// OUTPUT/checkpoint-STEP, and OUTPUT/training_run.json, written last, which says that the run is complete.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "aleph/io/syscalls.h"
#include "aleph/train/config.h"

namespace aleph::train {

/// What training_run.json holds.
struct FinishedRun {
  int64_t steps = 0;
  double loss = 0;  ///< of the last step
  std::optional<double> eval_loss, eval_nats_per_byte;
};

/// What DIRECTORY/training_run.json says; nothing where there is none. Throws Error where it is broken.
std::optional<FinishedRun> read_finished_run(const std::filesystem::path& directory);

class OutputDir {
 public:
  explicit OutputDir(std::filesystem::path path, io::SystemCalls* calls = nullptr)
      : path_(std::move(path)), calls_(calls) {}

  const std::filesystem::path& path() const { return path_; }
  /// The configuration or weights of a model, of whatever format.
  bool holds_model() const;
  /// Whether weights are among it.
  bool holds_weights() const;
  std::optional<FinishedRun> finished() const { return read_finished_run(path_); }

  void create() const;
  /// Before the work. Throws Error where the folder cannot be written; where it holds a model, checkpoints or
  /// another tokenizer and the run was neither told to resume nor to overwrite; and where overwriting would
  /// remove the model that the run starts from. Whoever holds the folder's lock can rely on it.
  void check(const TrainConfig& config) const;
  /// Weights stay until a save replaces them.
  void remove_checkpoints() const;
  /// Marks the run as complete.
  void finish(const FinishedRun& run) const;
  /// Removes the mark: the run goes on.
  void reopen() const;

 private:
  std::string results(const TrainConfig& config) const;

  std::filesystem::path path_;
  io::SystemCalls* calls_ = nullptr;
};

}  // namespace aleph::train
