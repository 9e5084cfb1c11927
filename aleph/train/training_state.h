// What a training checkpoint holds beside the states of the optimizer, and how both are saved and restored.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "aleph/base/log.h"
#include "aleph/models/transformer_spec.h"
#include "aleph/optim/loss_scaler.h"
#include "aleph/train/config.h"
#include "aleph/train/dataset.h"
#include "aleph/zero/engine.h"

namespace aleph::train {

/// Where a run stands between two steps.
struct TrainingState {
  int64_t step = 0;     ///< steps done, skipped ones included: places the data and keys dropout
  int64_t updates = 0;  ///< optimizer steps done: places the schedule and the bias correction
  double loss = 0;      ///< of the last step
  optim::LossScaler scaler = optim::LossScaler::unit();
};

/// What decides about the numbers of a run: two JSON objects, by flag.
struct Fingerprint {
  std::string fixed;  ///< must be the same to continue: what the states and the place in the data depend on
  std::string other;  ///< may change, and the run says so
};
Fingerprint make_fingerprint(const TrainConfig& config, const models::TransformerSpec& spec,
                             const BatchShape& batch, const TokenStream& data);
/// Throws Error for a fixed value that differs from `saved` or is not in both; notes other differences.
void check_fingerprint(const Fingerprint& now, const nlohmann::json& saved, const std::string& object,
                       Console& console);

/// Writes OUTPUT/checkpoint-STEP; when it returns the checkpoint is complete. Throws Error for states that
/// are not finite, before anything that was complete is touched.
void save_checkpoint(const std::filesystem::path& output, zero::Engine& engine, const TrainingState& state,
                     const Fingerprint& fingerprint, io::SystemCalls* calls = nullptr);

/// `start` as the JSON that save_checkpoint has left in the manifest of a checkpoint of `step` continues it.
/// Throws Error naming `object` where it is not of that step, or could not have been saved.
TrainingState parse_training_state(const nlohmann::json& saved, int64_t step, const TrainingState& start,
                                   const std::string& object);

/// Restores engine and state. Everything that is read is checked. Throws Error where the checkpoint is
/// damaged or belongs to another run.
void load_checkpoint(const std::filesystem::path& directory, zero::Engine& engine, TrainingState& state,
                     const Fingerprint& fingerprint, Console& console, io::SystemCalls* calls = nullptr);

/// Restores them from the newest checkpoint in `output` that is whole, and warns of what is wrong with newer
/// ones. Returns its directory; nothing where there is no checkpoint. Throws Error where all are damaged, or
/// where that checkpoint belongs to another run.
std::optional<std::filesystem::path> load_newest_checkpoint(const std::filesystem::path& output,
                                                            zero::Engine& engine, TrainingState& state,
                                                            const Fingerprint& fingerprint, Console& console,
                                                            io::SystemCalls* calls = nullptr);

}  // namespace aleph::train
