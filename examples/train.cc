// Trains a small model from random weights, with parameters, optimizer states and activations in files on a
// drive.
//
//   train TOKENIZER TEXT.txt DIR       DIR gets config.json, swap files while it runs, and the model in
//   DIR/model
#include <fmt/format.h>

#include <filesystem>

#include "aleph/base/interrupt.h"
#include "aleph/base/log.h"
#include "aleph/io/file.h"
#include "aleph/text/tokenizer.h"
#include "aleph/train/config.h"
#include "aleph/train/trainer.h"

namespace aleph::examples {
namespace {

namespace fs = std::filesystem;

/// A GPT-2 of two layers with the tokenizer's vocabulary.
fs::path write_model_config(const fs::path& directory, const fs::path& tokenizer) {
  const int64_t vocabulary = text::Tokenizer::load(tokenizer).vocab_size();
  io::create_directories(directory);
  io::write_file_atomically(directory / "config.json",
                            fmt::format(R"({{"model_type": "gpt2", "vocab_size": {}, "n_positions": 64,
                                             "n_embd": 64, "n_layer": 2, "n_head": 4,
                                             "resid_pdrop": 0, "embd_pdrop": 0, "attn_pdrop": 0}})",
                                        vocabulary));
  return directory / "config.json";
}

train::Outcome train(const fs::path& tokenizer, const fs::path& text, const fs::path& directory) {
  train::TrainConfig config;
  config.init_config = write_model_config(directory, tokenizer);
  config.data.tokenizer = tokenizer;
  config.data.files = {text};
  config.data.seq_len = 64;
  config.micro_batch = 4;
  config.steps = 20;
  config.optimizer.learning_rate = 1e-3;
  config.save.output_dir = directory / "model";
  config.save.overwrite = true;
  config.placement.offload_param = train::Offload::kNvme;
  config.placement.offload_optimizer = train::Offload::kNvme;
  config.placement.offload_activations = train::Offload::kNvme;
  config.placement.nvme_paths = {directory};
  config.log.steps = 5;
  train::validate(config);
  const InterruptGuard guard;  // Ctrl-C: saves a checkpoint and stops
  Console console = Console::detect(/*quiet=*/false);
  return train::train(config, console);
}

}  // namespace
}  // namespace aleph::examples

int main(int argc, char** argv) {
  if (argc != 4) {
    fmt::print(stderr, "usage: train TOKENIZER TEXT.txt DIR\n");
    return 2;
  }
  try {
    const auto outcome = aleph::examples::train(argv[1], argv[2], argv[3]);
    return outcome == aleph::train::Outcome::kFinished ? 0 : 130;
  } catch (const std::exception& error) {
    fmt::print(stderr, "train: {}\n", error.what());
    return 1;
  }
}
