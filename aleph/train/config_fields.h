// The options of a run as data: one table drives flags, environment variables, the block "aleph" of a
// DeepSpeed file, --help and --print-config.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "aleph/train/config.h"

namespace aleph::train {

struct ConfigField {
  enum class Arity : uint8_t {
    kSwitch,    ///< no value: given means true
    kOne,       ///< one value
    kMany,      ///< one or more values; commas separate them too where `commas`
    kOptional,  ///< none or one value
  };

  std::string name;   ///< snake_case: "micro_batch" is --micro-batch, ALEPH_ARG_MICRO_BATCH
  std::string group;  ///< heading in --help
  std::string value;  ///< what stands for the value: "N", "DIR", "none|cpu|nvme"
  std::string help;
  std::string fallback;  ///< what --help shows as the default where `get` of a new configuration has none
  Arity arity = Arity::kOne;
  bool commas = false;

  /// Reads `values` into the configuration. Throws UsageError naming `flag`.
  std::function<void(TrainConfig& config, const std::vector<std::string>& values, const std::string& flag)>
      set;
  /// The value as JSON text, "null" where it is not given.
  std::function<std::string(const TrainConfig& config)> get;
};

/// In the order of --help.
std::span<const ConfigField> config_fields();
/// The field of that name, or nullptr.
const ConfigField* find_config_field(const std::string& name);

/// Sets `field` from `source` ("--lr", "ALEPH_ARG_LR", "ds.json: aleph.lr") and notes where that replaces
/// another value that a DeepSpeed file gave.
void set_config_field(TrainConfig& config, const ConfigField& field, const std::vector<std::string>& values,
                      const std::string& source);
/// To call once after all fields are set: makes flags reach what a DeepSpeed file said in other words (the
/// schedule's own rates and warm-up, the total batch), keeps 2 % of the data for evaluation where eval_steps
/// stands alone, and notes that a stage of ZeRO changes nothing on one rank.
void reconcile_flags(TrainConfig& config);

}  // namespace aleph::train
