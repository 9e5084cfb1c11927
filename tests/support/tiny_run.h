// Training runs that take milliseconds: a model of 20,000 parameters, a byte-level tokenizer, generated text.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "aleph/io/temporary_directory.h"
#include "aleph/train/config.h"
#include "aleph/train/trainer.h"

namespace aleph::tests {

/// A folder with a model configuration (GPT-2 with dropout, or Llama), text and room for swap files.
class TinyWorld {
 public:
  enum class Family : uint8_t { kGpt2, kLlama };
  explicit TinyWorld(Family family = Family::kGpt2);

  std::filesystem::path operator/(const std::string& name) const { return directory_ / name; }
  /// Six steps of two rows of 16 tokens, everything on the device, log in OUTPUT.jsonl.
  train::TrainConfig config(const std::string& output) const;
  /// The same run as arguments of the program.
  std::vector<std::string> arguments(const std::string& output) const;

 private:
  io::TemporaryDirectory directory_;
};

/// Everything of a run that must not depend on where states live.
struct RunResult {
  std::vector<double> losses, norms;
  std::string weights;  ///< the bytes of model.safetensors
  std::string state;  ///< the bytes of the last checkpoint's states: master weights and moments; empty: none
};

/// Trains to the end, quietly.
RunResult run(const train::TrainConfig& config);
train::Outcome train_quietly(const train::TrainConfig& config, const train::Disk& disk = {});
/// What a run left in its output directory and log file.
RunResult read_result(const train::TrainConfig& config);

/// The value at `key` of every line of a log that has it, in order.
std::vector<double> log_values(const std::filesystem::path& log, const std::string& key);
/// Of the last complete checkpoint; 0: there is none.
int64_t newest_step(const std::filesystem::path& output);
std::string read_bytes(const std::filesystem::path& path);
/// A number from the environment, for long runs of slow tests by hand.
int64_t number_from_environment(const char* name, int64_t otherwise);
/// About `wanted` of the numbers 1 ... last, at equal distances from a random start (ALEPH_TEST_SEED); 0:
/// all.
std::vector<int64_t> spread(int64_t last, int64_t wanted);

}  // namespace aleph::tests
