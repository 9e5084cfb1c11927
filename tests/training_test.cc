// What a run does with its numbers: scaling, clipping, accumulation, schedules, evaluation.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "aleph/base/error.h"
#include "aleph/base/json.h"
#include "aleph/io/json_file.h"
#include "tests/support/tiny_run.h"

namespace aleph::tests {
namespace {

using ::testing::Contains;
using ::testing::DoubleNear;
using ::testing::Each;
using ::testing::Gt;
using ::testing::HasSubstr;
using ::testing::Pointwise;

std::vector<double> values(const train::TrainConfig& config, const std::string& key) {
  return log_values(config.log.file, key);
}

TEST(TrainingTest, Learns) {
  const TinyWorld world;
  train::TrainConfig config = world.config("run");
  config.steps = 60;
  const RunResult result = run(config);
  EXPECT_LT(result.losses.back(), result.losses.front() - 2);
}

TEST(TrainingTest, SixteenBitLossesAreNear) {
  const TinyWorld world(TinyWorld::Family::kLlama);
  const RunResult full = run(world.config("fp32"));
  for (DType dtype : {DType::kBF16, DType::kF16}) {
    train::TrainConfig config = world.config(dtype_name(dtype));
    config.dtype = dtype;
    config.loss_scale.loss_scale = 1024;
    const double bound = dtype == DType::kBF16 ? 0.05 : 0.01;
    EXPECT_THAT(run(config).losses, Pointwise(DoubleNear(bound), full.losses)) << dtype_name(dtype);
  }
}

TEST(TrainingTest, OverflowsAreSkippedAndTheScaleHalved) {
  const TinyWorld world;
  train::TrainConfig config = world.config("fp16");
  config.dtype = DType::kF16;
  config.loss_scale.initial_scale_power = 32;
  config.loss_scale.hysteresis = 1;
  config.steps = 40;
  run(config);
  const std::vector<double> scales = values(config, "loss_scale");
  ASSERT_EQ(scales.size(), 40u);
  EXPECT_EQ(scales[0], std::exp2(32));
  EXPECT_EQ(scales[1], std::exp2(31));
  EXPECT_LT(scales.back(), scales.front());
  EXPECT_EQ(scales.back(), scales[scales.size() - 2]);
  const std::vector<double> losses = values(config, "loss");
  EXPECT_THAT(losses, Each(Gt(0)));
  EXPECT_LT(losses.back(), losses.front());
}

TEST(TrainingTest, GradientsThatAreNotFiniteStopTheRun) {
  const TinyWorld world;
  for (DType dtype : {DType::kF32, DType::kBF16}) {
    train::TrainConfig config = world.config(dtype_name(dtype));
    config.dtype = dtype;
    config.grad_clip = 0;
    config.optimizer.learning_rate = 1e30;
    try {
      train_quietly(config);
      ADD_FAILURE() << "trained on";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("step 2: gradient of "));
      EXPECT_THAT(error.what(), HasSubstr("--lr"));
    }
    EXPECT_FALSE(std::filesystem::exists(config.save.output_dir / "model.safetensors"));
  }
}

TEST(TrainingTest, AccumulationIsALargerBatch) {
  const TinyWorld world(TinyWorld::Family::kLlama);
  train::TrainConfig small = world.config("small"), large = world.config("large");
  small.gradient_accumulation = 4;
  large.micro_batch = 8;
  const RunResult a = run(small), b = run(large);
  EXPECT_THAT(a.losses, Pointwise(DoubleNear(1e-5), b.losses));
  EXPECT_THAT(a.norms, Pointwise(DoubleNear(1e-5), b.norms));
}

TEST(TrainingTest, ClippingLimitsTheUpdateNotTheLoggedNorm) {
  const TinyWorld world;
  train::TrainConfig free = world.config("free"), clipped = world.config("clipped"),
                     other = world.config("other");
  for (train::TrainConfig* config : {&free, &clipped, &other}) {
    config->optimizer.kind = train::OptimizerKind::kSgd;
    config->optimizer.weight_decay = 0;
    config->steps = 1;
  }
  free.grad_clip = 0;
  clipped.grad_clip = 0.01;
  const RunResult a = run(free), b = run(clipped);
  EXPECT_EQ(a.norms, b.norms);
  EXPECT_GT(a.norms[0], 0.01);
  other.grad_clip = 0;  // the same step, scaled by hand
  other.optimizer.learning_rate *= 0.01 / (a.norms[0] + 1e-6);
  other.steps = clipped.steps = 2;
  clipped.save.overwrite = true;
  run(clipped);
  run(other);
  EXPECT_NEAR(values(clipped, "loss")[1], values(other, "loss")[1], 1e-6);
}

TEST(TrainingTest, TheScheduleIsLogged) {
  const TinyWorld world;
  train::TrainConfig config = world.config("run");
  config.schedule = optim::HfSchedule{.kind = optim::HfSchedule::Kind::kLinear, .warmup = 2};
  config.steps = 4;
  run(config);
  EXPECT_THAT(values(config, "learning_rate"), Pointwise(DoubleNear(1e-12), {0.0, 0.005, 0.01, 0.005}));
}

TEST(TrainingTest, EvaluatesAtItsStepsAndAtTheEnd) {
  const TinyWorld world;
  train::TrainConfig config = world.config("run");
  config.data.eval_split = 0.2;
  config.data.eval_steps = 2;
  const RunResult with = run(config);
  const std::vector<double> losses = values(config, "eval_loss"), nats = values(config, "eval_nats_per_byte");
  ASSERT_EQ(losses.size(), 3u);  // steps 2, 4 and 6
  EXPECT_LT(losses.back(), losses.front());
  EXPECT_LT(nats.back(), losses.back());
  EXPECT_GT(nats.back(), losses.back() / 8);
  const Json mark = io::parse_json_file(config.save.output_dir / "training_run.json");
  EXPECT_EQ(mark["eval_loss"].get<double>(), losses.back());

  train::TrainConfig without = world.config("quiet");
  without.data.eval_split = 0.2;
  EXPECT_TRUE(run(without).weights == with.weights) << "evaluation changed the training";
}

TEST(TrainingTest, EvaluationFilesAreRead) {
  const TinyWorld world;
  train::TrainConfig config = world.config("run");
  config.data.eval_files = config.data.files;
  run(config);
  EXPECT_EQ(values(config, "eval_loss").size(), 1u);
}

TEST(TrainingTest, EpochsGiveTheNumberOfSteps) {
  const TinyWorld world;
  train::TrainConfig config = world.config("run");
  config.steps.reset();
  config.micro_batch = 16;
  config.epochs = 2;
  run(config);
  const std::vector<double> steps = values(config, "step");
  config.epochs = 1;
  config.save.overwrite = true;
  run(config);
  EXPECT_NEAR(static_cast<double>(steps.size()), 2 * static_cast<double>(values(config, "step").size()), 1);
}

TEST(TrainingTest, OrderAndSeedDecideWhatIsSeen) {
  const TinyWorld world;
  train::TrainConfig shuffled = world.config("shuffled"), sequential = world.config("sequential");
  shuffled.data.order = train::DataOrder::kShuffled;
  sequential.data.order = train::DataOrder::kSequential;
  EXPECT_NE(run(shuffled).losses, run(sequential).losses);
}

TEST(TrainingTest, MatricesAloneDecayUnlessAsked) {
  const TinyWorld world;
  train::TrainConfig matrices = world.config("matrices"), all = world.config("all");
  matrices.optimizer.weight_decay = all.optimizer.weight_decay = 0.5;
  all.optimizer.decay_all = true;
  EXPECT_NE(run(matrices).weights, run(all).weights);
}

}  // namespace
}  // namespace aleph::tests
