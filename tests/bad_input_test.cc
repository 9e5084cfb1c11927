// Everything that may be wrong with what users give: one clear line, the right exit status, nothing
// half-written.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "aleph/io/file.h"
#include "tests/support/arguments.h"
#include "tests/support/tiny_run.h"

namespace aleph::tests {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

const fs::path kStories = fs::path(ALEPH_TEST_DATA) / "goldens" / "stories260K-hf";

void replace_in(const fs::path& file, const std::string& from, const std::string& to) {
  std::string text = read_bytes(file);
  const size_t at = text.find(from);
  ASSERT_NE(at, std::string::npos) << from;
  io::write_file_atomically(file, text.replace(at, from.size(), to));
}

/// A world with a copy of a small model that each test damages.
class BadInput : public ::testing::Test {
 protected:
  void SetUp() override { fs::copy(kStories, model_, fs::copy_options::recursive); }

  Arguments train(const Arguments& more = {}) const {
    return Arguments{"train",
                     "--model",
                     model_.string(),
                     "--data",
                     (world_ / "text.txt").string(),
                     "--seq-len",
                     "16",
                     "--batch-size",
                     "2",
                     "--steps",
                     "2",
                     "--quiet",
                     "--output-dir",
                     output_.string()} +
           more;
  }
  Arguments generate(const Arguments& more = {}) const {
    return Arguments{"generate",     "--model", model_.string(), "--prompt", "Once",
                     "--max-tokens", "2",       "--quiet"} +
           more;
  }
  fs::path write(const std::string& name, const std::string& text) const {
    io::write_file_atomically(world_ / name, text);
    return world_ / name;
  }
  /// Training with these flags fails and leaves no file behind.
  void expect_refused(const Arguments& more, int status, const std::string& words) const {
    expect_one_line(run_program(train(more)), status, words);
    EXPECT_TRUE(!fs::exists(output_) || fs::is_empty(output_));
  }
  /// Neither command takes the model.
  void expect_bad_model(const std::string& words) const {
    expect_refused({}, 1, words);
    expect_one_line(run_program(generate()), 1, words);
  }

  TinyWorld world_;
  fs::path model_ = world_ / "a model";
  fs::path output_ = world_ / "out put";
};

TEST_F(BadInput, TheUndamagedModelIsFine) {
  EXPECT_EQ(run_program(train()).status, 0);
  EXPECT_EQ(run_program(generate()).out, " upon a\n");
}

TEST_F(BadInput, DeepSpeedFiles) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"({"zero_optimization": {"stage": 2, "offload_optimzer": {"device": "cpu"}}})",
       "zero_optimization.offload_optimzer: found an unknown key, expected 'offload_optimizer' perhaps"},
      {R"({"zero_optimisation": {}})",
       "zero_optimisation: found an unknown key, expected 'zero_optimization' perhaps"},
      {R"({"zero_optimization": {"stage": "two"}})", "stage: found \"two\""},
      {R"({"train_batch_size": 0})", "train_batch_size"},
      {R"({"fp16": {"enabled": true}, "bf16": {"enabled": true}})", "bf16"},
      {R"({"optimizer": {"type": "Adamm"}})", "Adamm"},
      {R"({"gradient_clipping": "much"})", "gradient_clipping"},
      {"{\"a\": 1, \"a\": 2}", "a"},
      {"{", "found invalid JSON at line 1"},
      {"", "ds.json"}};
  for (const auto& [text, words] : cases) {
    const fs::path file = write("ds.json", text);
    expect_refused({"--deepspeed", file.string()}, 1, words);
    expect_refused({"--deepspeed", file.string()}, 1, "ds.json");
  }
  expect_refused({"--deepspeed", (world_ / "none.json").string()}, 1,
                 "none.json: found No such file or directory");
}

TEST_F(BadInput, Data) {
  const auto refused = [&](const fs::path& data, int status, const std::string& words) {
    expect_refused({"--data", data.string()}, status, words);
  };
  // --data given twice adds files: here one stands alone.
  const auto only = [&](const fs::path& data, const std::string& words) {
    expect_one_line(run_program(with(train(), "--data", data.string())), 1, words);
    EXPECT_TRUE(!fs::exists(output_) || fs::is_empty(output_));
  };
  refused("/no/such.txt", 1, "--data /no/such.txt: found nothing there, expected a file");
  refused(world_ / "swap", 1, "found something else, expected a file");
  only(write("empty.txt", ""), "empty.txt: found no text, expected text to train on");
  only(write("short.txt", "a"), "training data: found");
  only(write("bad.jsonl", "{\"text\": \"fine\"}\n{\"text\": 5}\n"), "bad.jsonl");
  only(write("cut.jsonl", "{\"text\": \"fine\"}\n{\"text\": \"cut"), "cut.jsonl");
  only(write("other.jsonl", "{\"content\": \"fine\"}\n"), "other.jsonl");
}

TEST_F(BadInput, ConfigurationOfTheModel) {
  const fs::path config = model_ / "config.json";
  const std::string good = read_bytes(config);
  struct Case {
    std::string from, to, words;
  };
  const std::vector<Case> cases = {
      {"\"llama\"", "\"lama\"", "config.json: model_type: found 'lama', expected one of "},
      {"\"hidden_size\": 64", "\"hidden_size\": 128",
       "tensor 'model.embed_tokens.weight': found F32 [512, 64], expected F32, BF16 or F16 [512, 128]"},
      {"\"vocab_size\": 512", "\"vocab_size\": 500",
       "tensor 'model.embed_tokens.weight': found F32 [512, 64]"},
      {"\"num_hidden_layers\": 5", "\"num_hidden_layers\": 6", "model.layers.5."},
      {"\"hidden_size\": 64", "\"hidden_size\": \"wide\"", "hidden_size"},
      {"\"hidden_size\": 64", "\"hidden_size\": -64", "hidden_size"},
      {"\"hidden_size\": 64,", "", "expected F32, BF16 or F16 [512, 4096]"},  // the default of transformers
      {"\"num_attention_heads\": 8", "\"num_attention_heads\": 0", "num_attention_heads"},
      {"\"silu\"", "\"silly\"", "silly"}};
  for (const Case& one : cases) {
    io::write_file_atomically(config, good);
    replace_in(config, one.from, one.to);
    expect_bad_model(one.words);
  }
  for (const std::string text : {"", "{", "[]", "null"}) {
    io::write_file_atomically(config, text);
    expect_bad_model("config.json");
  }
  fs::remove(config);
  expect_bad_model("config.json");
}

TEST_F(BadInput, WeightsOfTheModel) {
  const fs::path weights = model_ / "model.safetensors";
  const std::string good = read_bytes(weights);
  const std::vector<std::pair<std::string, std::string>> cases = {
      {good.substr(0, good.size() - 100), "model.safetensors: tensor 'model."},
      {good.substr(0, 500), "the file is cut off"},
      {good.substr(0, 4), "model.safetensors: found 4 bytes, expected a safetensors file"},
      {"", "model.safetensors: found 0 bytes"},
      {"<!DOCTYPE html>", "model.safetensors: found a header of"}};
  for (const auto& [bytes, words] : cases) {
    io::write_file_atomically(weights, bytes);
    expect_bad_model(words);
  }
  io::write_file_atomically(weights, good);
  replace_in(weights, "\"F32\"", "\"I32\"");
  expect_bad_model("expected F32, BF16 or F16");
  io::write_file_atomically(weights, good);
  replace_in(weights, "model.norm.weight", "model.nrom.weight");
  expect_bad_model("model.norm.weight");
  fs::remove(weights);
  expect_bad_model("a model: found no weights, expected model.safetensors or model.safetensors.index.json");
  write("a model/model.safetensors.index.json",
        R"({"weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}})");
  expect_bad_model("model-00001-of-00002.safetensors: found no such file, expected the shard");
}

TEST_F(BadInput, TokenizerOfTheModel) {
  const fs::path tokenizer = model_ / "tokenizer.json";
  for (const std::string text : {"", "{", "{}", R"({"model": {"type": "Magic"}})"}) {
    io::write_file_atomically(tokenizer, text);
    expect_bad_model("tokenizer.json");
  }
  fs::remove(tokenizer);
  expect_bad_model("a model: found no tokenizer, expected tokenizer.json, or vocab.json and merges.txt");
  expect_refused({"--tokenizer", (world_ / "none").string()}, 1, "none");
}

TEST_F(BadInput, ValuesOutOfRangeNameTheirFlag) {
  const std::vector<std::pair<Arguments, std::string>> cases = {
      {{"--seq-len", "1"}, "--seq-len: found 1, expected a value of at least 2"},
      {{"--batch-size", "0"}, "--batch-size: found 0"},
      {{"--steps", "0"}, "--steps: found 0"},
      {{"--epochs", "2"}, "--steps and --epochs: found both, expected one of them"},
      {{"--lr", "-1"}, "--lr: found -1"},
      {{"--lr", "nan"}, "--lr: found 'nan'"},
      {{"--adam-betas", "0.9,1"}, "--adam-betas: found 1, expected a value of at least 0 and below 1"},
      {{"--adam-eps", "0"}, "--adam-eps: found 0"},
      {{"--warmup", "-1"}, "--warmup: found '-1'"},
      {{"--zero-stage", "4"}, "--zero-stage: found 4"},
      {{"--eval-split", "0.95"}, "--eval-split: found 0.95"},
      {{"--device-memory", "1K"}, "--device-memory: found 1024"},
      {{"--device-memory", "20X"}, "--device-memory: found '20X'"},
      {{"--threads", "0"}, "--threads: found 0"},
      {{"--resume", "--overwrite"}, "--resume and --overwrite: found both"},
      {{"--save-steps", "-1"}, "--save-steps: found -1"},
      {{"--offload-optimizer", "nvme"},
       "--nvme-path: found nothing, expected a directory, as --offload-optimizer is nvme"},
      {{"--init", "x.json"}, "--model and --init: found both"},
      {{"--output-dir", ""}, "--output-dir: found an empty path"}};
  for (const auto& [more, words] : cases) expect_refused(more, 2, words);
}

TEST_F(BadInput, PlacesThatCannotBeWritten) {
  const std::string file = write("file", "text").string();
  expect_refused({"--offload-optimizer", "nvme", "--nvme-path", "/proc"}, 1, "swap folder /proc: found");
  expect_refused({"--offload-optimizer", "nvme", "--nvme-path", "/no/swap"}, 1,
                 "--nvme-path /no/swap: found nothing there");
  expect_refused({"--offload-param", "nvme", "--nvme-path", file}, 1,
                 "found something else, expected a directory");
  expect_refused({"--log-file", "/proc/none/log"}, 1, "/proc/none");
  expect_refused({"--output-dir", "/proc/none"}, 1, "/proc/none: found No such file or directory");
  expect_refused({"--output-dir", file}, 1, file + ": found File exists, expected a directory");
  expect_refused({"--output-dir", file + "/in"}, 1, file);
  expect_refused({"--resume", (world_ / "none").string()}, 1, "found nothing there, expected a directory");
  expect_refused({"--resume", model_.string()}, 1, "manifest.json");
}

TEST_F(BadInput, BudgetsThatAreTooSmall) {
  const ProgramResult train_result =
      run_program(train({"--host-memory", "1M", "--offload-optimizer", "cpu"}));
  EXPECT_EQ(train_result.status, 1);
  EXPECT_THAT(train_result.err, HasSubstr("\naleph: error: memory plan: found at least"));
  EXPECT_EQ(train_result.err.find("\nbudget"), train_result.err.rfind("\nbudget")) << "one table";
  EXPECT_TRUE(fs::is_empty(output_));
  expect_one_line(run_program(generate({"--device-memory", "10K"})), 1, "10.0 KiB of --device-memory");
}

TEST_F(BadInput, PromptsThatAreTooLong) {
  std::string text;
  for (int i = 0; i < 600; ++i) text += " dog";
  expect_one_line(run_program(generate({"--prompt", text})), 1, "512");
  const fs::path file = write("prompt.txt", text);
  expect_one_line(run_program(generate({"--prompt-file", file.string()})), 1, "512");
  expect_one_line(run_program(generate({"--prompt-file", "/no/prompt"})), 1,
                  "/no/prompt: found No such file");
}

TEST_F(BadInput, MarksOfFinishedRuns) {
  ASSERT_EQ(run_program(train()).status, 0);
  for (const std::string text :
       {R"({"steps": 2, "loss": 1, "eval_loss": "x"})", R"({"steps": {}})", "[]", "{"}) {
    io::write_file_atomically(output_ / "training_run.json", text);
    expect_one_line(run_program(train({"--resume"})), 1,
                    "training_run.json (without it, --resume goes on from the newest checkpoint): ");
  }
}

TEST_F(BadInput, DamagedCheckpoints) {
  const Arguments first = train({"--save-steps", "1"});
  ASSERT_EQ(run_program(first).status, 0);
  const fs::path checkpoint = output_ / "checkpoint-1", state = checkpoint / "state-rank-00000.safetensors";
  const std::string before = read_bytes(output_ / "model.safetensors");
  const std::string good = read_bytes(state);
  const auto refused = [&](const std::string& words) {
    fs::remove_all(world_ / "again");
    const Arguments other = {"--resume", checkpoint.string(), "--output-dir", (world_ / "again").string()};
    expect_one_line(run_program(train(other)), 1, words);
    EXPECT_TRUE(!fs::exists(world_ / "again") || fs::is_empty(world_ / "again"));
  };
  std::string damaged = good;
  damaged[damaged.size() - 7] = static_cast<char>(damaged[damaged.size() - 7] ^ 8);
  io::write_file_atomically(state, damaged);
  refused("state-rank-00000.safetensors: tensor '");
  io::write_file_atomically(state, good.substr(0, good.size() - 1));
  refused("state-rank-00000.safetensors: found");
  fs::remove(state);
  refused("state-rank-00000.safetensors: found No such file");
  fs::remove(checkpoint / "manifest.json");
  refused("manifest.json: found No such file");
  EXPECT_EQ(read_bytes(output_ / "model.safetensors"), before);
}

}  // namespace
}  // namespace aleph::tests
