// A training run: everything `aleph train` does once its options are known.
#pragma once

#include <cstdint>

#include "aleph/base/log.h"
#include "aleph/train/config.h"
#include "aleph/train/disk.h"

namespace aleph::train {

enum class Outcome : uint8_t {
  kFinished,  ///< OUTPUT holds the model
  /// A signal came. OUTPUT holds a checkpoint of the last complete step, or where this run had made none yet,
  /// what it held before.
  kInterrupted,
};

/// Trains. `config` has passed validate(). A signal that comes under the caller's InterruptGuard ends the run
/// after the step under way. Throws Error for the world's faults; checkpoints that were
/// complete before stay complete then.
Outcome train(const TrainConfig& config, Console& console, const Disk& disk = {});

}  // namespace aleph::train
