// The folder a run writes to: the final model in OUTPUT itself, training checkpoints in
// OUTPUT/checkpoint-STEP, and OUTPUT/training_run.json, written last, which says that the run is complete.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "aleph/train/config.h"

namespace aleph::train {

/// What training_run.json holds.
struct FinishedRun {
  int64_t steps = 0;
  double loss = 0;  ///< of the last step
  std::optional<double> eval_loss, eval_nats_per_byte;
};

class OutputDir {
 public:
  explicit OutputDir(std::filesystem::path path) : path_(std::move(path)) {}

  const std::filesystem::path& path() const { return path_; }
  /// Weights of a model, or training checkpoints.
  bool holds_results() const;
  std::optional<FinishedRun> finished() const;

  /// Makes the folder. Throws Error where it holds results and the run was neither told to resume nor to
  /// overwrite, or where overwriting would remove the model that the run starts from.
  void prepare(const TrainConfig& config) const;
  /// Removes checkpoints and the mark of a finished run. Weights stay until a save replaces them.
  void remove_checkpoints() const;
  /// Marks the run as complete.
  void finish(const FinishedRun& run) const;
  /// Removes the mark: the run goes on.
  void reopen() const;

 private:
  std::filesystem::path path_;
};

}  // namespace aleph::train
