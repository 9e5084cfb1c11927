#include "aleph/train/output_dir.h"

#include <gmock/gmock.h>

#include "aleph/base/json.h"
#include "aleph/base/testing.h"
#include "aleph/checkpoint/training_checkpoint.h"
#include "aleph/io/file.h"
#include "aleph/io/temporary_directory.h"

namespace aleph::train {
namespace {

using ::testing::HasSubstr;

void write_checkpoint(const std::filesystem::path& root, int64_t step) {
  checkpoint::CheckpointWriter writer({.root = root, .step = step});
  writer.begin({{.name = "master/x", .elements = 1}});
  const float value = 1;
  writer.write("master/x", 0, std::as_bytes(std::span(&value, 1)));
  writer.commit({{"step", step}});
}

class OutputDirTest : public ::testing::Test {
 protected:
  TrainConfig config(bool resume = false, bool overwrite = false) const {
    TrainConfig config;
    config.save = {.output_dir = directory_.path(), .resume = resume, .overwrite = overwrite};
    return config;
  }

  io::TemporaryDirectory directory_;
  OutputDir output_{directory_.path()};
};

TEST_F(OutputDirTest, EmptyAndNewDirectoriesAreTaken) {
  output_.check(config());
  TrainConfig other = config();
  other.save.output_dir = directory_ / "a/b";
  const OutputDir output(other.save.output_dir);
  output.create();
  output.check(other);
  EXPECT_TRUE(std::filesystem::is_directory(directory_ / "a/b"));
}

TEST_F(OutputDirTest, OtherFilesDoNotMatter) {
  io::write_file_atomically(directory_ / "notes.txt", "x");
  io::write_file_atomically(directory_ / "log.jsonl", "x");
  output_.check(config());
}

TEST_F(OutputDirTest, AModelIsRefused) {
  io::write_file_atomically(directory_ / "model.safetensors", "x");
  EXPECT_THROW(output_.check(config()), Error);
  output_.check(config(true));
  output_.check(config(false, true));
}

TEST_F(OutputDirTest, ShardsAreRefused) {
  io::write_file_atomically(directory_ / "model-00001-of-00002.safetensors", "x");
  EXPECT_THROW(output_.check(config()), Error);
}

TEST_F(OutputDirTest, CheckpointsAreRefused) {
  write_checkpoint(directory_.path(), 4);
  EXPECT_THROW(output_.check(config()), Error);
  output_.check(config(true));
}

TEST_F(OutputDirTest, TheModelToStartFromIsKept) {
  io::write_file_atomically(directory_ / "model.safetensors", "x");
  TrainConfig inside = config(false, true);
  inside.model = directory_.path() / "." / "";
  EXPECT_THROW(output_.check(inside), Error);
  inside.model = directory_ / "..";
  output_.check(inside);
}

TEST_F(OutputDirTest, OverwritingRemovesCheckpointsAndKeepsWeightsUntilTheyAreReplaced) {
  for (const char* name :
       {"model.safetensors", "model.safetensors.index.json", "tokenizer.json", "notes.txt"})
    io::write_file_atomically(directory_ / name, "x");
  write_checkpoint(directory_.path(), 4);
  output_.finish({.steps = 4});
  output_.remove_checkpoints();
  output_.reopen();
  EXPECT_TRUE(std::filesystem::exists(directory_ / "model.safetensors"));
  EXPECT_FALSE(output_.finished());
  EXPECT_FALSE(std::filesystem::exists(directory_ / "checkpoint-4"));
  EXPECT_TRUE(std::filesystem::exists(directory_ / "tokenizer.json"));
  EXPECT_TRUE(std::filesystem::exists(directory_ / "notes.txt"));
}

TEST_F(OutputDirTest, TheMarkOfAFinishedRunIsReadBack) {
  EXPECT_FALSE(output_.finished());
  output_.finish({.steps = 12, .loss = 2.25, .eval_loss = 2.5, .eval_nats_per_byte = 0.75});
  const std::optional<FinishedRun> run = output_.finished();
  ASSERT_TRUE(run);
  EXPECT_EQ(run->steps, 12);
  EXPECT_EQ(run->loss, 2.25);
  EXPECT_EQ(run->eval_loss, 2.5);
  EXPECT_EQ(run->eval_nats_per_byte, 0.75);
  output_.reopen();
  EXPECT_FALSE(output_.finished());
}

TEST_F(OutputDirTest, WithoutEvaluationTheMarkHasNone) {
  output_.finish({.steps = 1});
  EXPECT_FALSE(output_.finished()->eval_loss);
}

TEST_F(OutputDirTest, ABrokenMarkIsAnError) {
  for (const char* text : {R"({"steps": "many"})", R"({"steps": -1})", R"({"steps": 1, "loss": []})",
                           R"({"steps": 1, "eval_loss": "x"})", R"({"steps": 1, "eval_nats_per_byte": {}})",
                           "[]", "7", "null"}) {
    io::write_file_atomically(directory_ / "training_run.json", text);
    EXPECT_THAT(fault_of([&] { output_.finished(); }),
                HasSubstr("training_run.json (without it, --resume goes on from the newest checkpoint): "))
        << text;
  }
  io::write_file_atomically(directory_ / "training_run.json", R"({"steps": 1, "eval_loss": null})");
  EXPECT_FALSE(output_.finished()->eval_loss);
}

}  // namespace
}  // namespace aleph::train
