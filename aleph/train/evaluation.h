// Loss on held-out text.
#pragma once

#include "aleph/train/dataset.h"
#include "aleph/train/metrics_log.h"
#include "aleph/zero/engine.h"

namespace aleph::train {

/// Mean loss over the rows of `loader`, without dropout. `record.step` is left to the caller. Stops early
/// when interrupted(): the record is of no use then.
EvalRecord evaluate(zero::Engine& engine, const EvalLoader& loader, int64_t seq_len, double tokens_per_byte);

}  // namespace aleph::train
