#include "tests/support/tiny_run.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "aleph/base/json.h"
#include "aleph/base/random.h"
#include "aleph/checkpoint/training_checkpoint.h"
#include "aleph/io/file.h"

namespace aleph::tests {

namespace {

constexpr int64_t kMaxFileBytes = int64_t{1} << 30;

constexpr const char* kGpt2Config =
    R"({"model_type": "gpt2", "vocab_size": 280, "n_positions": 32, "n_embd": 24,
  "n_layer": 3, "n_head": 2, "bos_token_id": 272, "eos_token_id": 272,
  "resid_pdrop": 0.1, "embd_pdrop": 0.1, "attn_pdrop": 0.1})";

constexpr const char* kLlamaConfig =
    R"({"model_type": "llama", "vocab_size": 280, "max_position_embeddings": 32,
  "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
  "num_key_value_heads": 2, "tie_word_embeddings": false, "bos_token_id": 272, "eos_token_id": 272})";

std::string words(int64_t count) {
  const char* const kWords[] = {"the",   "and",  "thing", "ran",   "one",
                                "under", "sour", "wind",  "there", "ring"};
  const RandomStream random({.seed = 7, .purpose = RandomPurpose::kSampling});
  std::string text;
  for (int64_t i = 0; i < count; ++i) {
    text += kWords[random.below(std::size(kWords), static_cast<uint64_t>(2 * i))];
    text += i % 9 == 8 ? "\n" : " ";
  }
  return text;
}

}  // namespace

TinyWorld::TinyWorld(Family family) {
  io::write_file_atomically(directory_ / "config.json", family == Family::kGpt2 ? kGpt2Config : kLlamaConfig);
  io::write_file_atomically(directory_ / "text.txt", words(600));
  io::create_directories(directory_ / "swap");
}

train::TrainConfig TinyWorld::config(const std::string& output) const {
  train::TrainConfig config;
  config.init_config = directory_ / "config.json";
  config.data.tokenizer = ALEPH_TEST_DATA "/tiny-tokenizer";
  config.data.files = {directory_ / "text.txt"};
  config.data.seq_len = 16;
  config.micro_batch = 2;
  config.steps = 6;
  config.optimizer.learning_rate = 1e-2;
  config.optimizer.weight_decay = 0.1;
  config.seed = 11;
  config.save.output_dir = directory_ / output;
  config.log.file = directory_ / (output + ".jsonl");
  config.log.quiet = true;
  config.placement.nvme_paths = {directory_ / "swap"};
  config.placement.offload_param = train::Offload::kNone;
  config.placement.offload_optimizer = train::Offload::kNone;
  config.placement.offload_activations = train::Offload::kNone;
  return config;
}

std::vector<std::string> TinyWorld::arguments(const std::string& output) const {
  const train::TrainConfig c = config(output);
  return {"train",
          "--init",
          c.init_config.string(),
          "--tokenizer",
          c.data.tokenizer.string(),
          "--data",
          c.data.files.front().string(),
          "--seq-len",
          std::to_string(c.data.seq_len),
          "--batch-size",
          std::to_string(*c.micro_batch),
          "--steps",
          std::to_string(*c.steps),
          "--lr",
          std::to_string(c.optimizer.learning_rate),
          "--weight-decay",
          std::to_string(c.optimizer.weight_decay),
          "--seed",
          std::to_string(c.seed),
          "--output-dir",
          c.save.output_dir.string(),
          "--log-file",
          c.log.file.string(),
          "--nvme-path",
          c.placement.nvme_paths.front().string(),
          "--offload-param",
          "none",
          "--offload-optimizer",
          "none",
          "--offload-activations",
          "none"};
}

int64_t newest_step(const std::filesystem::path& output) {
  const auto all = checkpoint::list_checkpoints(output);
  return all.empty() ? 0 : all.back().step;
}

std::string read_bytes(const std::filesystem::path& path) { return io::read_file(path, kMaxFileBytes); }

std::vector<double> log_values(const std::filesystem::path& log, const std::string& key) {
  std::ifstream in(log);
  std::vector<double> values;
  for (std::string line; std::getline(in, line);) {
    const Json json = parse_json(line, log.string());
    if (json.contains(key) && json[key].is_number()) values.push_back(json[key].get<double>());
  }
  return values;
}

int64_t number_from_environment(const char* name, int64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::stoll(text);
}

std::vector<int64_t> spread(int64_t last, int64_t wanted) {
  const int64_t stride = wanted == 0 ? 1 : std::max<int64_t>(1, last / wanted);
  const RandomStream random({.seed = static_cast<uint64_t>(number_from_environment("ALEPH_TEST_SEED", 3))});
  std::vector<int64_t> chosen;
  for (auto number = 1 + static_cast<int64_t>(random.below(static_cast<uint64_t>(stride), 0)); number <= last;
       number += stride)
    chosen.push_back(number);
  return chosen;
}

train::Outcome train_quietly(const train::TrainConfig& config, const train::Disk& disk) {
  Console console({.quiet = true});
  train::validate(config);
  return train::train(config, console, disk);
}

RunResult read_result(const train::TrainConfig& config) {
  RunResult result{.losses = log_values(config.log.file, "loss"),
                   .norms = log_values(config.log.file, "grad_norm"),
                   .weights = read_bytes(config.save.output_dir / "model.safetensors"),
                   .state = {}};
  const auto checkpoints = checkpoint::list_checkpoints(config.save.output_dir);
  if (!checkpoints.empty())
    result.state = read_bytes(checkpoints.back().path / "state-rank-00000.safetensors");
  return result;
}

RunResult run(const train::TrainConfig& config) {
  train_quietly(config);
  return read_result(config);
}

}  // namespace aleph::tests
