// What a run leaves in its folder, however it went: checkpoints, log, model, mark.
#include "aleph/train/trainer.h"

#include <gmock/gmock.h>

#include <set>

#include "aleph/base/json.h"
#include "aleph/io/directory_lock.h"
#include "aleph/io/file.h"
#include "aleph/train/output_dir.h"
#include "aleph/train/testing.h"

namespace aleph::train {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class TrainerTest : public ::testing::Test {
 protected:
  Outcome run(const Disk& disk = {}) {
    Console quiet({.quiet = true});
    validate(config_);
    return train(config_, quiet, disk);
  }
  std::string model() const { return io::read_file(config_.save.output_dir / "model.safetensors", 1 << 24); }
  /// Numbers of the steps in the log, evaluations negative.
  std::vector<int64_t> logged() const {
    std::ifstream in(config_.log.file);
    std::vector<int64_t> steps;
    for (std::string line; std::getline(in, line);) {
      const Json record = parse_json(line, "log");
      steps.push_back(record.at("step").get<int64_t>() * (record.contains("eval_loss") ? -1 : 1));
    }
    return steps;
  }
  std::set<std::string> checkpoints() const {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(config_.save.output_dir)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with("checkpoint-")) names.insert(name);
    }
    return names;
  }

  testing::SmallWorld world_;
  TrainConfig config_ = world_.config();
};

TEST_F(TrainerTest, LeavesAModelALogAndAMark) {
  EXPECT_EQ(run(), Outcome::kFinished);
  EXPECT_THAT(logged(), ElementsAre(1, 2, 3, 4));
  EXPECT_TRUE(checkpoints().empty());
  const std::optional<FinishedRun> mark = OutputDir(config_.save.output_dir).finished();
  ASSERT_TRUE(mark.has_value());
  EXPECT_EQ(mark->steps, 4);
  EXPECT_FALSE(mark->eval_loss.has_value());
  EXPECT_TRUE(fs::exists(config_.save.output_dir / "config.json"));
  EXPECT_TRUE(fs::exists(config_.save.output_dir / "vocab.json"));
}

TEST_F(TrainerTest, KeepsTheNewestCheckpoints) {
  config_.steps = 5;
  config_.save.save_steps = 2;
  config_.save.save_total_limit = 1;
  run();
  EXPECT_EQ(checkpoints(), (std::set<std::string>{"checkpoint-4"}));
  config_.save.save_total_limit = 0;
  config_.save.overwrite = true;
  run();
  EXPECT_EQ(checkpoints(), (std::set<std::string>{"checkpoint-2", "checkpoint-4"}));
}

TEST_F(TrainerTest, EvaluatesWhereItIsToldAndOnceAtTheEnd) {
  config_.data.eval_split = 0.2;
  config_.data.eval_steps = 2;
  run();
  EXPECT_THAT(logged(), ElementsAre(1, 2, -2, 3, 4, -4));
  const std::optional<FinishedRun> mark = OutputDir(config_.save.output_dir).finished();
  ASSERT_TRUE(mark && mark->eval_loss && mark->eval_nats_per_byte);
  EXPECT_GT(*mark->eval_loss, *mark->eval_nats_per_byte) << "a token is more than a byte";
}

TEST_F(TrainerTest, ResumesFromAnyCheckpointToTheSameModelAndLog) {
  config_.save.save_steps = 1;
  run();
  const std::string whole = model();
  config_.save.resume = true;
  for (const int64_t step : {3, 1, 2}) {
    fs::remove(config_.save.output_dir / "training_run.json");
    config_.save.resume_from = config_.save.output_dir / fmt::format("checkpoint-{}", step);
    EXPECT_EQ(run(), Outcome::kFinished);
    EXPECT_EQ(model(), whole) << step;
    EXPECT_THAT(logged(), ElementsAre(1, 2, 3, 4)) << "no step is logged twice";
  }
}

TEST_F(TrainerTest, AFinishedRunIsNotRunAgainUnlessItIsLonger) {
  config_.save.save_steps = 4;
  run();
  const std::string whole = model();
  const auto written = fs::last_write_time(config_.save.output_dir / "model.safetensors");
  config_.save.resume = true;
  EXPECT_EQ(run(), Outcome::kFinished);
  EXPECT_EQ(fs::last_write_time(config_.save.output_dir / "model.safetensors"), written)
      << "nothing was done";
  config_.steps = 6;
  EXPECT_EQ(run(), Outcome::kFinished);
  EXPECT_THAT(logged(), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_NE(model(), whole);
}

TEST_F(TrainerTest, ResultsAreNotOverwrittenUnasked) {
  run();
  const std::string whole = model();
  EXPECT_THAT(fault_of([&] { run(); }), HasSubstr(config_.save.output_dir.string()));
  EXPECT_EQ(model(), whole);
  config_.save.overwrite = true;
  config_.seed = 12;
  run();
  EXPECT_NE(model(), whole);
}

TEST_F(TrainerTest, ARunThatFailsKeepsItsCheckpointsAndMayGoOn) {
  config_.save.save_steps = 1;
  config_.grad_clip = 0;
  run();
  const std::string whole = model();
  config_.save.overwrite = true;
  config_.optimizer.learning_rate = 1e30;
  EXPECT_THAT(fault_of([&] { run(); }), HasSubstr("step 2: gradient of"));
  EXPECT_EQ(checkpoints(), (std::set<std::string>{"checkpoint-1"}));
  EXPECT_FALSE(OutputDir(config_.save.output_dir).finished().has_value());
  EXPECT_EQ(model(), whole) << "stays until the new one replaces it";
}

TEST_F(TrainerTest, AFinishedRunWithoutCheckpointsIsNotStartedAgainByResuming) {
  run();
  const std::string whole = model();
  config_.save.resume = true;
  *config_.steps += 2;
  EXPECT_THAT(fault_of([&] { run(); }), HasSubstr("and no checkpoint to go on from"));
  EXPECT_EQ(model(), whole);
  EXPECT_TRUE(OutputDir(config_.save.output_dir).finished().has_value());
}

TEST_F(TrainerTest, OneRunAtATimeInADirectory) {
  fs::create_directories(config_.save.output_dir);
  const io::DirectoryLock lock(config_.save.output_dir);
  EXPECT_THAT(fault_of([&] { run(); }), HasSubstr("found another run at work in it"));
}

/// A disk on which another run ends when this one makes its folder.
class RunThatEnds : public io::SystemCalls {
 public:
  explicit RunThatEnds(fs::path output) : output_(std::move(output)) {}
  int make_directory(const char* path) override {
    const int result = SystemCalls::make_directory(path);
    if (path == output_) io::write_file_atomically(output_ / "model.safetensors", "of another");
    return result;
  }

 private:
  fs::path output_;
};

TEST_F(TrainerTest, WhatARunHasLeftThatJustEndedIsSeen) {
  RunThatEnds disk(config_.save.output_dir);
  EXPECT_THAT(fault_of([&] { run({.calls = &disk}); }), HasSubstr("found a model or checkpoints in it"));
  EXPECT_EQ(model(), "of another");
}

/// The step before was fine: its weights are finite, and too large to compute with, or they are not.
TEST_F(TrainerTest, AnEvaluationThatIsNotFiniteStopsAndNamesWhatIsNot) {
  config_.data.eval_split = 0.2;
  config_.data.eval_steps = 1;
  config_.optimizer.learning_rate = 1e30;
  EXPECT_THAT(fault_of([&] { run(); }),
              ::testing::MatchesRegex("step 1: evaluation: found a loss of -?nan, .*"));
  config_.optimizer.weight_decay = 1e20;
  EXPECT_THAT(
      fault_of([&] { run(); }),
      ::testing::MatchesRegex("step 1: evaluation, parameter embedding.*: found a loss of -?nan, .*"));
}

TEST_F(TrainerTest, OneStepOfOneRowOfTwoTokensIsARun) {
  config_.steps = 1;
  config_.micro_batch = 1;
  config_.data.seq_len = 2;
  EXPECT_EQ(run(), Outcome::kFinished);
  EXPECT_THAT(logged(), ElementsAre(1));
}

}  // namespace
}  // namespace aleph::train
