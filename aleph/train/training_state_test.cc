#include "aleph/train/training_state.h"

#include <gmock/gmock.h>

#include <functional>

#include "aleph/base/json.h"
#include "aleph/base/testing.h"
#include "aleph/checkpoint/training_checkpoint.h"
#include "aleph/io/temporary_directory.h"
#include "aleph/train/model_setup.h"

namespace aleph::train {
namespace {

using ::testing::HasSubstr;

models::TransformerSpec tiny_spec(int64_t hidden = 16, size_t layers = 1) {
  models::TransformerSpec spec;
  spec.family = "gpt2";
  spec.embedding = {.vocab_size = 20, .hidden_size = hidden, .learned_positions = 8};
  spec.blocks.assign(layers, {.hidden_size = hidden, .intermediate_size = 32, .heads = 2, .kv_heads = 2});
  for (nn::BlockSpec& block : spec.blocks) block.head_dim = hidden / 2;
  spec.head = {.vocab_size = 20, .hidden_size = hidden};
  return spec;
}

/// An engine that has made some updates.
class TinyEngine {
 public:
  explicit TinyEngine(uint64_t seed, const models::TransformerSpec& spec = tiny_spec())
      : model_(device_, model_options(spec, 8)) {
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

Fingerprint print_of(const TrainConfig& config, const models::TransformerSpec& spec = tiny_spec()) {
  return make_fingerprint(config, spec, {}, stream(1));
}

Json saved_as(const Fingerprint& print) {
  return {{"fixed", Json::parse(print.fixed)}, {"other", Json::parse(print.other)}};
}

class TrainingStateTest : public ::testing::Test {
 protected:
  bool differs_from(const Fingerprint& now, const Fingerprint& saved) {
    return fault_of([&] { check_fingerprint(now, saved_as(saved), "checkpoint", console_); }) != "no error";
  }

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

/// Even where the fingerprint would let them pass: every state, of the same size, and no other.
TEST_F(TrainingStateTest, StatesOfAnotherModelAreRefused) {
  const std::vector<models::TransformerSpec> specs = {tiny_spec(), tiny_spec(32), tiny_spec(16, 2)};
  for (const models::TransformerSpec& saved : specs) {
    TinyEngine writer(1, saved);
    save_checkpoint(directory_.path(), writer.get(), {.step = 1}, print_of({}));
    for (const models::TransformerSpec& loaded : specs) {
      TinyEngine reader(2, loaded);
      TrainingState state;
      const std::string fault = fault_of(
          [&] { load_checkpoint(directory_ / "checkpoint-1", reader.get(), state, print_of({}), console_); });
      EXPECT_EQ(fault == "no error", saved == loaded) << fault;
      EXPECT_EQ(state.step, saved == loaded ? 1 : 0);
    }
  }
}

/// A checkpoint of the tiny engine in which `change` has changed the tensors and the state.
class Foreign : public TrainingStateTest {
 protected:
  std::string fault_with(const std::function<void(std::vector<checkpoint::StatePiece>&, Json&)>& change) {
    TinyEngine engine(1);
    std::vector<checkpoint::StatePiece> pieces;
    for (const auto& piece : engine.get().state_pieces())
      pieces.push_back({.name = piece.name, .elements = piece.elements});
    Json state = {{"format", 1},
                  {"step", 5},
                  {"updates", 5},
                  {"loss", 1.5},
                  {"loss_scaler", optim::LossScaler::unit().state()},
                  {"run", saved_as(print_of({}))}};
    change(pieces, state);
    checkpoint::CheckpointWriter writer({.root = directory_.path(), .step = 5});
    writer.begin(pieces);
    for (const checkpoint::StatePiece& piece : pieces)
      writer.write(piece.name, 0, std::vector<std::byte>(static_cast<size_t>(piece.bytes())));
    writer.commit(state);
    TrainingState loaded;
    return fault_of(
        [&] { load_checkpoint(directory_ / "checkpoint-5", engine.get(), loaded, print_of({}), console_); });
  }
};

TEST_F(Foreign, TensorsAreRefused) {
  using Pieces = std::vector<checkpoint::StatePiece>;
  EXPECT_EQ(fault_with([](Pieces&, Json&) {}), "no error");
  EXPECT_THAT(fault_with([](Pieces& pieces, Json&) { pieces.clear(); }), HasSubstr("found no state "));
  EXPECT_THAT(fault_with([](Pieces& pieces, Json&) { pieces.pop_back(); }), HasSubstr("found no state "));
  EXPECT_THAT(fault_with([](Pieces& pieces, Json&) { ++pieces[3].elements; }),
              HasSubstr(" elements of fp32, "));
  EXPECT_THAT(fault_with([](Pieces& pieces, Json&) { --pieces[3].elements; }),
              HasSubstr(" elements of fp32, "));
  EXPECT_THAT(fault_with([](Pieces& pieces, Json&) { pieces[0].dtype = DType::kBF16; }),
              HasSubstr(" elements of bf16, "));
  EXPECT_THAT(
      fault_with([](Pieces& pieces, Json&) { pieces.push_back({.name = "master/more", .elements = 1}); }),
      HasSubstr("found state master/more, "));
}

TEST_F(Foreign, StatesAreRefused) {
  const auto with = [&](const char* key, const Json& value) {
    return fault_with([&](auto&, Json& state) { state[key] = value; });
  };
  for (const Json& value : {Json(), Json("x"), Json::array(), Json(-1), Json(2), Json(1e300)})
    for (const char* key : {"format", "step", "updates", "loss", "loss_scaler", "run"}) {
      SCOPED_TRACE(key + value.dump());
      const bool fine =
          value.is_number() && ((key == std::string("updates") && value == 2) || key == std::string("loss"));
      EXPECT_EQ(with(key, value) == "no error", fine);
    }
  for (const Json& part : {Json("x"), Json::array({1}), Json(3)}) {
    EXPECT_THAT(with("run", {{"fixed", part}}), HasSubstr("checkpoint-5: fixed: found "));
    Json run = saved_as(print_of({}));
    run["other"] = part;
    EXPECT_THAT(with("run", run), HasSubstr("checkpoint-5: other: found "));
  }
}

TEST_F(TrainingStateTest, WhatDecidesAboutStatesAndDataIsFixed) {
  const auto differs = [&](auto change) {
    TrainConfig config;
    change(config);
    return differs_from(print_of(config), print_of({}));
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
  EXPECT_TRUE(differs_from(make_fingerprint({}, tiny_spec(), {}, stream(9)), print_of({})));
  EXPECT_FALSE(differs_from(make_fingerprint({}, tiny_spec(), {}, stream(1)), print_of({})));
}

TEST_F(TrainingStateTest, AnotherModelIsRefusedByTheFirstValueThatDiffers) {
  const auto fault = [&](const models::TransformerSpec& now, const models::TransformerSpec& saved) {
    return fault_of(
        [&] { check_fingerprint(print_of({}, now), saved_as(print_of({}, saved)), "here", console_); });
  };
  EXPECT_EQ(fault(tiny_spec(16, 3), tiny_spec(16, 2)),
            "here: model/blocks/0/layers: found 2, expected 3 as in this run");
  models::TransformerSpec other = tiny_spec(16, 2);
  other.blocks[1].activation = kernels::Activation::kRelu;
  EXPECT_EQ(fault(other, tiny_spec(16, 2)),
            "here: model/blocks/0/layers: found 2, expected 1 as in this run");
  other.blocks[0] = other.blocks[1];
  EXPECT_EQ(fault(other, tiny_spec(16, 2)),
            "here: model/blocks/0/activation: found \"gelu_new\", expected \"relu\" as in this run");
  EXPECT_EQ(fault_of([&] {
              check_fingerprint(print_of({}), {{"fixed", {{"seed", 0}, {"of later versions", 1}}}}, "here",
                                console_);
            }).find("here: "),
            0u);
  other = tiny_spec();
  other.family = "of another name";
  other.max_positions = 7;
  other.eos_ids = {3};
  EXPECT_EQ(fault(other, tiny_spec()), "no error");
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
