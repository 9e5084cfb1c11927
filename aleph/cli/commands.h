// The commands of the program. Each group has a file of its own; flags are parsed into an options struct and
// handed to a function that does the work.
#pragma once

#include <cstdint>
#include <exception>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "aleph/base/log.h"
#include "aleph/tensor/dtype.h"
#include "aleph/train/config.h"

namespace aleph::cli {

enum ExitStatus : int {
  kDone = 0,
  kWorldsFault = 1,
  kWrongUsage = 2,
  kOwnBug = 70,
  kInterrupted = 130,
};

/// The whole program: parses, runs a command, maps exceptions to exit statuses and one line on stderr.
int run(int argc, const char* const* argv);
/// Writes the one line of a failure to standard error; returns the exit status it means.
int report_failure(const std::exception_ptr& failure);

struct GenerateOptions {
  std::filesystem::path model;
  std::vector<std::string> prompts;  ///< of --prompt, or the whole --prompt-file as one
  int64_t max_tokens = 128;
  // Sampling. Not given: what the model's generation_config.json says where it samples, else greedy.
  std::optional<double> temperature;         ///< 0: greedy
  std::optional<int64_t> top_k;              ///< 0: off
  std::optional<double> top_p;               ///< 1: off
  std::optional<double> min_p;               ///< 0: off
  std::optional<double> repetition_penalty;  ///< 1: off
  uint64_t seed = 0;
  std::vector<std::string> stop;
  std::optional<DType> dtype;  ///< not given: that of the checkpoint
  std::optional<int64_t> device_memory_bytes;
  std::optional<train::Offload> offload_param;
  std::vector<std::filesystem::path> nvme_paths;
  std::optional<int64_t> threads;
  bool ids = false;
  bool quiet = false;
};

struct VerifyOptions {
  std::vector<std::filesystem::path> directories;
  DType dtype = DType::kF32;
  std::filesystem::path dump;  ///< empty: nothing is written
  bool verbose = false;        ///< every gradient, not only the worst
  std::optional<int64_t> threads;
  bool quiet = false;  ///< only checks that fail, and the verdict
};

/// Arguments without the program's and the command's names. Throw UsageError or Error.
train::TrainConfig parse_train_arguments(const std::vector<std::string>& arguments);
GenerateOptions parse_generate_arguments(const std::vector<std::string>& arguments);
VerifyOptions parse_verify_arguments(const std::vector<std::string>& arguments);

/// Bodies in train_command.cc, generate_command.cc and verify_command.cc. Return an exit status.
int train_command(const train::TrainConfig& config, Console& console);
int generate_command(const GenerateOptions& options, Console& console);
int verify_command(const VerifyOptions& options);

}  // namespace aleph::cli
