// The disk as a run sees it.
#pragma once

#include "aleph/io/async_queue.h"

namespace aleph::train {

/// Through which calls a run reads and writes swap files, checkpoints, its log and the model it saves; the
/// defaults are right outside tests. What it starts from (model, tokenizer, data) is not read through them.
struct Disk {
  io::SystemCalls* calls = nullptr;  ///< nullptr: the real ones
  io::AsyncQueue::BackendKind queue = io::AsyncQueue::BackendKind::kAuto;
};

}  // namespace aleph::train
