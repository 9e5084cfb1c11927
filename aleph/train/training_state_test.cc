#include "aleph/train/training_state.h"

#include <gtest/gtest.h>

#include "aleph/base/json.h"
#include "aleph/checkpoint/training_checkpoint.h"
#include "aleph/io/temporary_directory.h"
#include "aleph/train/model_setup.h"

namespace aleph::train {
namespace {

models::TransformerSpec tiny_spec(int64_t hidden = 16) {
  models::TransformerSpec spec;
  spec.family = "gpt2";
  spec.embedding = {.vocab_size = 20, .hidden_size = hidden, .learned_positions = 8};
  spec.blocks.resize(1);
  spec.blocks[0].hidden_size = hidden;
  spec.blocks[0].intermediate_size = 32;
  spec.blocks[0].heads = spec.blocks[0].kv_heads = 2;
  spec.blocks[0].head_dim = hidden / 2;
  spec.head = {.vocab_size = 20, .hidden_size = hidden};
  return spec;
}

/// An engine that has made some updates.
class TinyEngine {
 public:
  explicit TinyEngine(uint64_t seed, int64_t hidden = 16)
      : model_(device_, model_options(tiny_spec(hidden), 8)) {
    engine_.load_parameters(zero::Engine::random_initializer(device_, seed));
  }
  zero::Engine& get() { return engine_; }

  double step(int64_t number) {
    const std::vector<int32_t> ids = {1, 5, 2, 9, 19, 0, 3, 7};
    const double loss =
        engine_.backward({.ids = ids, .targets = {}, .rows = 1, .seq = 8}, 0, number, 1).mean();
    engine_.update({.step = number, .learning_rate = 0.01, .betas = {}});
    return loss;
  }

 private:
  DeviceContext device_{DeviceContext::Options{}};
  MemoryLedger nvme_{MemoryTier::kNvme, 0};
  comm::SelfCommunicator self_;
  std::unique_ptr<optim::UpdateRule> rule_ = optim::make_adam({});
  nn::Model model_;
  zero::Engine engine_{zero::EngineContext{device_, nvme_, self_}, model_, *rule_, zero::EngineOptions{}};
};

TokenStream stream(int32_t first) {
  return {.tokens = {first, 2, 3, 4, 5, 6, 7, 8}, .bytes = 30, .documents = 1};
}

Fingerprint print_of(const TrainConfig& config) { return make_fingerprint(config, {}, stream(1)); }

class TrainingStateTest : public ::testing::Test {
 protected:
  Console console_{Console::Options{.quiet = true}};
  io::TemporaryDirectory directory_;
};

TEST_F(TrainingStateTest, ARestoredEngineContinues) {
  TinyEngine first(1), second(2);
  const Fingerprint print = print_of({});
  for (int64_t i = 1; i <= 3; ++i) first.step(i);
  TrainingState saved{.step = 4, .updates = 3, .loss = 1.25, .scaler = optim::LossScaler({})};
  saved.scaler.finish_step(true);
  saved.scaler.finish_step(true);
  save_checkpoint(directory_.path(), first.get(), saved, print);

  TrainingState loaded{.scaler = optim::LossScaler({})};
  load_checkpoint(directory_ / "checkpoint-4", second.get(), loaded, print, console_);
  EXPECT_EQ(loaded.step, 4);
  EXPECT_EQ(loaded.updates, 3);
  EXPECT_EQ(loaded.loss, 1.25);
  EXPECT_EQ(loaded.scaler.scale(), saved.scaler.scale());
  for (int64_t i = 4; i <= 6; ++i) EXPECT_EQ(second.step(i), first.step(i));
}

TEST_F(TrainingStateTest, AnotherModelIsRefused) {
  TinyEngine small(1), large(1, 32);
  save_checkpoint(directory_.path(), small.get(), {.step = 1}, print_of({}));
  TrainingState state;
  EXPECT_THROW(load_checkpoint(directory_ / "checkpoint-1", large.get(), state, print_of({}), console_),
               Error);
  EXPECT_EQ(state.step, 0);
}

TEST_F(TrainingStateTest, AForeignCheckpointIsRefused) {
  checkpoint::CheckpointWriter writer({.root = directory_.path(), .step = 1});
  writer.begin({});
  writer.commit(Json::object());
  TinyEngine engine(1);
  TrainingState state;
  EXPECT_THROW(load_checkpoint(directory_ / "checkpoint-1", engine.get(), state, print_of({}), console_),
               Error);
}

TEST_F(TrainingStateTest, WhatDecidesAboutStatesAndDataIsFixed) {
  const auto differs = [&](auto change) {
    TrainConfig config;
    change(config);
    const Fingerprint saved = print_of({});
    const Json json = {{"fixed", Json::parse(saved.fixed)}, {"other", Json::parse(saved.other)}};
    try {
      check_fingerprint(print_of(config), json, "checkpoint", console_);
    } catch (const Error&) {
      return true;
    }
    return false;
  };
  EXPECT_TRUE(differs([](TrainConfig& c) { c.seed = 1; }));
  EXPECT_TRUE(differs([](TrainConfig& c) { c.dtype = DType::kF16; }));
  EXPECT_TRUE(differs([](TrainConfig& c) { c.data.seq_len = 3; }));
  EXPECT_TRUE(differs([](TrainConfig& c) { c.data.order = DataOrder::kSequential; }));
  EXPECT_TRUE(differs([](TrainConfig& c) { c.optimizer.kind = OptimizerKind::kSgd; }));
  EXPECT_FALSE(differs([](TrainConfig& c) { c.optimizer.learning_rate = 0.5; }));
  EXPECT_FALSE(differs([](TrainConfig& c) { c.grad_clip = 0.5; }));
  EXPECT_FALSE(differs([](TrainConfig& c) { c.placement.offload_param = Offload::kNvme; }));
  EXPECT_FALSE(differs([](TrainConfig& c) { c.steps = 77; }));
}

TEST_F(TrainingStateTest, OtherTextIsRefused) {
  const Fingerprint saved = make_fingerprint({}, {}, stream(1));
  const Json json = {{"fixed", Json::parse(saved.fixed)}, {"other", Json::parse(saved.other)}};
  EXPECT_THROW(check_fingerprint(make_fingerprint({}, {}, stream(9)), json, "checkpoint", console_), Error);
  EXPECT_NO_THROW(check_fingerprint(make_fingerprint({}, {}, stream(1)), json, "checkpoint", console_));
}

TEST(ModelSetupTest, SequencesMustFitThePositions) {
  EXPECT_THROW(model_options(tiny_spec(), 9), Error);
  EXPECT_EQ(model_options(tiny_spec(), 8).max_seq, 8);
}

TEST(ModelSetupTest, StatesAreCountedByType) {
  const auto rule = optim::make_adam({});
  const int64_t parameters = models::parameter_count(tiny_spec());
  EXPECT_EQ(model_state_bytes(tiny_spec(), DType::kF32, *rule), parameters * 16);
  EXPECT_EQ(model_state_bytes(tiny_spec(), DType::kBF16, *rule), parameters * 18);
  EXPECT_EQ(model_state_bytes(tiny_spec(), DType::kBF16, *optim::make_sgd({})), parameters * 10);
}

}  // namespace
}  // namespace aleph::train
