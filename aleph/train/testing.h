// A model, a tokenizer and a text small enough to train in a moment, for tests.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "aleph/base/error.h"
#include "aleph/base/random.h"
#include "aleph/base/testing.h"
#include "aleph/io/temporary_directory.h"
#include "aleph/train/config.h"

namespace aleph::train::testing {

/// Random words, nine a line.
inline std::string random_text(int64_t words, uint64_t seed = 7) {
  const char* const kWords[] = {"the",   "and",  "thing", "ran",   "one",
                                "under", "sour", "wind",  "there", "ring"};
  const RandomStream random({.seed = seed, .purpose = RandomPurpose::kSampling});
  std::string text;
  for (int64_t i = 0; i < words; ++i) {
    text += kWords[random.below(std::size(kWords), static_cast<uint64_t>(2 * i))];
    text += i % 9 == 8 ? "\n" : " ";
  }
  return text;
}

/// A folder with config.json and text.txt, and configurations that use them.
class SmallWorld {
 public:
  SmallWorld() {
    write("config.json", R"({"model_type": "gpt2", "vocab_size": 280, "n_positions": 32, "n_embd": 24,
                             "n_layer": 2, "n_head": 2, "eos_token_id": 272, "resid_pdrop": 0.0,
                             "embd_pdrop": 0.0, "attn_pdrop": 0.0})");
    write("text.txt", random_text(300));
  }
  std::filesystem::path write(const std::string& name, const std::string& text) const {
    std::ofstream(directory_ / name, std::ios::binary | std::ios::trunc) << text;
    return directory_ / name;
  }
  std::filesystem::path operator/(const std::string& name) const { return directory_ / name; }

  TrainConfig config() const {
    TrainConfig config;
    config.init_config = directory_ / "config.json";
    config.data.tokenizer = ALEPH_TEST_DATA "/tiny-tokenizer";
    config.data.files = {directory_ / "text.txt"};
    config.data.seq_len = 16;
    config.micro_batch = 2;
    config.steps = 4;
    config.optimizer.learning_rate = 1e-2;
    config.seed = 11;
    config.save.output_dir = directory_ / "out";
    config.log.file = directory_ / "log.jsonl";
    config.log.quiet = true;
    return config;
  }

 private:
  io::TemporaryDirectory directory_;
};

}  // namespace aleph::train::testing
