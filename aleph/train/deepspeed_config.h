// DeepSpeed's JSON, read strictly: a key is honoured, accepted without effect (and said so once), or refused
// with the reason. Unknown keys are errors with the nearest known name.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "aleph/train/config.h"

namespace aleph::train {

/// Reads a DeepSpeed configuration into `config`: values, `sources` and `notes`. Both spellings are taken
/// where DeepSpeed's documentation and code differ (documentation of 0.3 to 0.19). A value of "auto" leaves
/// what `config` holds; flags are applied afterwards and win. Without "fp16" and "bf16" the dtype is left
/// alone. Throws Error naming the file and the full path of the key.
void read_deepspeed_config(std::string_view text, const std::string& object, TrainConfig& config);
void read_deepspeed_file(const std::filesystem::path& path, TrainConfig& config);

}  // namespace aleph::train
