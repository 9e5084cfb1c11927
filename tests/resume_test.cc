// A run that was interrupted and resumed is the run that was not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "aleph/base/testing.h"
#include "aleph/io/file.h"
#include "tests/support/tiny_run.h"

namespace aleph::tests {
namespace {

using ::testing::HasSubstr;

train::TrainConfig resumable(const TinyWorld& world, const std::string& output) {
  train::TrainConfig config = world.config(output);
  config.save.save_steps = 1;
  config.data.order = train::DataOrder::kShuffled;
  config.gradient_accumulation = 2;
  return config;
}

/// Leaves OUTPUT as a run that died after step `step` would.
void cut_back(const train::TrainConfig& config, int64_t step) {
  const std::filesystem::path output = config.save.output_dir;
  for (int64_t later = step + 1; later <= *config.steps; ++later)
    io::remove_all(output / fmt::format("checkpoint-{}", later));
  io::remove_all(output / "model.safetensors");
  io::remove_all(output / "training_run.json");
}

class Resume : public ::testing::TestWithParam<std::tuple<DType, int64_t>> {};

TEST_P(Resume, ContinuesBitForBit) {
  const auto [dtype, step] = GetParam();
  const TinyWorld world;
  train::TrainConfig config = resumable(world, "run");
  config.dtype = dtype;
  const RunResult whole = run(config);
  cut_back(config, step);
  config.save.resume = true;
  config.placement.offload_optimizer = train::Offload::kNvme;  // a resumed run may live elsewhere
  const RunResult resumed = run(config);
  EXPECT_EQ(resumed.losses, whole.losses);
  EXPECT_EQ(resumed.norms, whole.norms);
  EXPECT_TRUE(resumed.weights == whole.weights);
  EXPECT_TRUE(resumed.state == whole.state);
}

INSTANTIATE_TEST_SUITE_P(Integration, Resume,
                         ::testing::Combine(::testing::Values(DType::kF32, DType::kBF16, DType::kF16),
                                            ::testing::Range<int64_t>(1, 6)),
                         [](const auto& case_info) {
                           return fmt::format("{}_step{}", dtype_name(std::get<0>(case_info.param)),
                                              std::get<1>(case_info.param));
                         });

TEST(ResumeTest, StartsFromTheBeginningWithoutACheckpoint) {
  const TinyWorld world;
  train::TrainConfig config = world.config("new");
  config.save.resume = true;
  EXPECT_EQ(run(config).weights, run(world.config("plain")).weights);
}

TEST(ResumeTest, AFinishedRunDoesNothing) {
  const TinyWorld world;
  train::TrainConfig config = world.config("done");
  run(config);
  const auto written = std::filesystem::last_write_time(config.save.output_dir / "model.safetensors");
  config.save.resume = true;
  EXPECT_EQ(train_quietly(config), train::Outcome::kFinished);
  EXPECT_EQ(std::filesystem::last_write_time(config.save.output_dir / "model.safetensors"), written);
}

TEST(ResumeTest, AFinishedRunWithoutItsWeightsIsFinishedAgain) {
  const TinyWorld world;
  train::TrainConfig config = resumable(world, "lost");
  const RunResult whole = run(config);
  std::filesystem::remove(config.save.output_dir / "model.safetensors");
  config.save.resume = true;
  EXPECT_TRUE(run(config).weights == whole.weights);
}

TEST(ResumeTest, ANamedCheckpointDoesNotReplaceAFinishedRun) {
  const TinyWorld world;
  train::TrainConfig config = resumable(world, "named");
  run(config);
  config.save.resume = true;
  config.save.resume_from = config.save.output_dir / "checkpoint-3";
  EXPECT_THAT(fault_of([&] { train_quietly(config); }),
              ::testing::HasSubstr("checkpoint-3: found a finished run of 6 steps in "));
  std::filesystem::remove(config.save.output_dir / "training_run.json");
  ::testing::internal::CaptureStderr();
  train_quietly(config);
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              ::testing::HasSubstr("named has checkpoints of another course up to step 6"));
}

TEST(ResumeTest, ACheckpointPastTheLastStepIsRefused) {
  const TinyWorld world;
  train::TrainConfig config = resumable(world, "long");
  run(config);
  config.save.resume = true;
  config.save.resume_from = config.save.output_dir / "checkpoint-5";
  config.save.output_dir = world / "short";
  config.steps = 4;
  EXPECT_THAT(fault_of([&] { train_quietly(config); }),
              ::testing::HasSubstr("checkpoint-5: found step 5, expected one of the 4 steps of this run"));
}

TEST(ResumeTest, MoreStepsContinueAFinishedRun) {
  const TinyWorld world;
  train::TrainConfig config = resumable(world, "more");
  run(config);
  config.steps = 9;
  config.save.resume = true;
  const RunResult extended = run(config);
  train::TrainConfig whole = resumable(world, "whole");
  whole.steps = 9;
  EXPECT_TRUE(extended.weights == run(whole).weights);
}

TEST(ResumeTest, TakesTheNamedCheckpoint) {
  const TinyWorld world;
  const train::TrainConfig first = resumable(world, "first");
  const RunResult whole = run(first);
  train::TrainConfig second = resumable(world, "second");
  second.save.resume = true;
  second.save.resume_from = first.save.output_dir / "checkpoint-3";
  const RunResult resumed = run(second);
  EXPECT_TRUE(resumed.weights == whole.weights);
  EXPECT_EQ(resumed.losses, std::vector<double>(whole.losses.begin() + 3, whole.losses.end()));
}

TEST(ResumeTest, KeepsTheNewestCheckpoints) {
  const TinyWorld world;
  train::TrainConfig config = resumable(world, "limit");
  config.save.save_total_limit = 2;
  run(config);
  EXPECT_FALSE(std::filesystem::exists(config.save.output_dir / "checkpoint-4"));
  EXPECT_TRUE(std::filesystem::exists(config.save.output_dir / "checkpoint-5"));
  EXPECT_TRUE(std::filesystem::exists(config.save.output_dir / "checkpoint-6"));
}

TEST(ResumeTest, AnotherRunIsRefused) {
  const TinyWorld world;
  train::TrainConfig config = resumable(world, "run");
  run(config);
  config.steps = 8;
  config.save.resume = true;
  const auto refused = [&](auto change) {
    train::TrainConfig other = config;
    change(other);
    EXPECT_THROW(train_quietly(other), Error);
  };
  refused([](auto& other) { other.data.seq_len = 12; });
  refused([](auto& other) { other.seed = 1; });
  refused([](auto& other) { other.dtype = DType::kBF16; });
  refused([](auto& other) { other.micro_batch = 3; });
  refused([](auto& other) { other.optimizer.kind = train::OptimizerKind::kSgd; });
  refused([](auto& other) { other.data.order = train::DataOrder::kSequential; });
  refused([](auto& other) { other.data.eval_split = 0.3; });
}

/// Whichever of its states would fit.
TEST(ResumeTest, AnotherModelIsRefused) {
  const TinyWorld world;
  const std::string json = read_bytes(world / "config.json");
  train::TrainConfig config = resumable(world, "run");
  run(config);
  const std::string model = read_bytes(config.save.output_dir / "model.safetensors");
  config.steps = 8;
  config.save.resume = true;
  config.init_config = world / "other.json";
  const auto refused = [&](const std::string& from, const std::string& to, const std::string& words) {
    std::string other = json;
    io::write_file_atomically(config.init_config, other.replace(other.find(from), from.size(), to));
    EXPECT_THAT(fault_of([&] { train_quietly(config); }), HasSubstr(words)) << to;
    EXPECT_TRUE(read_bytes(config.save.output_dir / "model.safetensors") == model);
  };
  refused("\"n_layer\": 3", "\"n_layer\": 2", "model/blocks/0/layers: found 3, expected 2 as in this run");
  refused("\"n_layer\": 3", "\"n_layer\": 4", "model/blocks/0/layers: found 3, expected 4 as in this run");
  refused("\"n_embd\": 24", "\"n_embd\": 16", "model/blocks/0/");
  refused("\"n_positions\": 32", "\"n_positions\": 24", "learned_positions: found 32, expected 24");
  refused("\"n_layer\"", "\"activation_function\": \"relu\", \"n_layer\"",
          "activation: found \"gelu_new\", expected \"relu\" as in this run");
  io::write_file_atomically(config.init_config, json + "\n");
  EXPECT_EQ(train_quietly(config), train::Outcome::kFinished) << "the same, from another file";
}

TEST(ResumeTest, ResultsAreNotOverwrittenUnasked) {
  const TinyWorld world;
  train::TrainConfig config = resumable(world, "run");
  const RunResult first = run(config);
  EXPECT_THROW(train_quietly(config), Error);
  config.save.overwrite = true;
  config.steps = 2;
  const RunResult second = run(config);
  EXPECT_EQ(second.losses.size(), 2u);
  EXPECT_FALSE(std::filesystem::exists(config.save.output_dir / "checkpoint-6"));
}

TEST(ResumeTest, TheModelToStartFromIsNotOverwritten) {
  const TinyWorld world;
  train::TrainConfig config = world.config("run");
  run(config);
  config.model = config.save.output_dir;
  config.init_config.clear();
  config.save.overwrite = true;
  EXPECT_THROW(train_quietly(config), Error);
  EXPECT_TRUE(std::filesystem::exists(config.model / "model.safetensors"));
}

TEST(ResumeTest, TheSavedModelTrainsOn) {
  const TinyWorld world;
  train::TrainConfig config = world.config("run");
  const RunResult first = run(config);
  train::TrainConfig second = world.config("tuned");
  second.init_config.clear();
  second.model = config.save.output_dir;
  second.data.tokenizer.clear();  // the model's own
  const RunResult tuned = run(second);
  EXPECT_LT(tuned.losses.front(), first.losses.front());
}

}  // namespace
}  // namespace aleph::tests
