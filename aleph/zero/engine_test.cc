// The engine's arithmetic against plain double precision, its steps in any order a trainer may call them, its
// ranks, and drives that fail.
#include "aleph/zero/engine.h"

#include <gmock/gmock.h>

#include <cerrno>
#include <cmath>
#include <mutex>
#include <numeric>

#include "aleph/io/fault_injection.h"
#include "aleph/zero/partition.h"
#include "aleph/zero/testing.h"

namespace aleph::zero {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using testing::small_model;
using testing::ThreadGroup;
using testing::token_ids;

constexpr MemoryTier kTiers[] = {MemoryTier::kDevice, MemoryTier::kHost, MemoryTier::kNvme};

Placement everywhere(MemoryTier tier, int prefetch = 1, bool recompute = true) {
  return {.parameters = tier,
          .optimizer = tier,
          .activations = tier,
          .prefetch = prefetch,
          .recompute = recompute,
          .update_chunk_elements = kShardAlignment};
}

using Values = std::map<std::string, std::vector<double>>;

std::vector<double> doubles(const ConstTensorView& view) {
  std::vector<double> values(static_cast<size_t>(view.elements()));
  dispatch_float(view.dtype(), [&](auto type) {
    const auto* data = view.data<decltype(type)>();
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(to_float(data[i]));
  });
  return values;
}

struct RankOptions {
  EngineOptions engine;
  bool tied = true;
  float dropout = 0;
  io::SystemCalls* calls = nullptr;
  comm::Communicator* communicator = nullptr;
};

/// One rank with an engine of its own.
class Rank {
 public:
  explicit Rank(const RankOptions& options)
      : accumulation_(options.engine.accumulation),
        communicator_(options.communicator != nullptr ? options.communicator : &self_),
        swap_({.directories = {directory_ / "swap"},
               .rank = communicator_->rank(),
               .block_bytes = 4096,
               .calls = options.calls}),
        model_(device_, small_model(options.tied, options.dropout)),
        rule_(optim::make_adam({})),
        engine_(std::make_unique<Engine>(
            EngineContext{.device = device_, .nvme = nvme_, .communicator = *communicator_, .swap = &swap_},
            model_, *rule_, options.engine)) {}

  Rank& start(uint64_t seed = 5) {
    engine_->load_parameters(Engine::random_initializer(device_, seed));
    return *this;
  }
  LossSum backward(int64_t index, uint64_t batch, float loss_scale = 1) {
    const std::vector<int32_t> ids = token_ids(2 * 11, batch);
    return engine_->backward({.ids = ids, .rows = 2, .seq = 11}, index, static_cast<int64_t>(batch),
                             loss_scale);
  }
  /// All micro-batches of a step and the update.
  void step(int64_t number) {
    for (int64_t i = 0; i < accumulation_; ++i)
      backward(i, static_cast<uint64_t>(number * accumulation_ + i) *
                          static_cast<uint64_t>(communicator_->size()) +
                      static_cast<uint64_t>(communicator_->rank()));
    engine_->update({.step = number + 1, .learning_rate = 1e-2, .weight_decay = 0.1});
  }
  Values weights() {
    Values all;
    engine_->for_each_parameter(
        [&](const autograd::Parameter& p, const ConstTensorView& view) { all[p.name] = doubles(view); });
    return all;
  }
  Values gradients() {
    Values all;
    engine_->for_each_gradient(
        [&](const autograd::Parameter& p, const ConstTensorView& view) { all[p.name] = doubles(view); });
    return all;
  }
  std::map<std::string, std::vector<float>> state() {
    const auto pieces = engine_->state_pieces();
    std::map<std::string, std::vector<float>> all;
    for (const auto& piece : pieces) all[piece.name].resize(static_cast<size_t>(piece.elements));
    engine_->save_state([&](size_t index, int64_t offset, std::span<const float> data) {
      std::copy(data.begin(), data.end(), all.at(pieces[index].name).begin() + offset);
    });
    return all;
  }

  Engine& engine() { return *engine_; }
  void end() { engine_.reset(); }
  DeviceContext& device() { return device_; }
  MemoryLedger& nvme() { return nvme_; }

 private:
  int64_t accumulation_;
  io::TemporaryDirectory directory_;
  comm::SelfCommunicator self_;
  comm::Communicator* communicator_;
  DeviceContext device_{DeviceContext::Options{}};
  MemoryLedger nvme_{MemoryTier::kNvme, 0};
  SwapSpace swap_;
  nn::Model model_;
  std::unique_ptr<optim::UpdateRule> rule_;
  std::unique_ptr<Engine> engine_;
};

double square_sum(const Values& values) {
  double sum = 0;
  for (const auto& [name, all] : values) sum += std::inner_product(all.begin(), all.end(), all.begin(), 0.0);
  return sum;
}

/// |a - b| <= tolerance * (largest |b| of the parameter + 1e-30).
void expect_near(const Values& a, const Values& b, double tolerance) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, expected] : b) {
    const std::vector<double>& found = a.at(name);
    ASSERT_EQ(found.size(), expected.size()) << name;
    double largest = 1e-30;
    for (const double x : expected) largest = std::max(largest, std::abs(x));
    for (size_t i = 0; i < expected.size(); ++i)
      ASSERT_NEAR(found[i], expected[i], tolerance * largest) << name << "[" << i << "]";
  }
}

class EngineOfTiers : public ::testing::TestWithParam<MemoryTier> {
 protected:
  RankOptions options(int64_t accumulation = 1, DType dtype = DType::kF32) const {
    return {.engine = {.placement = everywhere(GetParam()), .dtype = dtype, .accumulation = accumulation}};
  }
};

TEST_P(EngineOfTiers, TheNormIsThatOfAllGradientsInDouble) {
  for (const bool tied : {true, false}) {
    RankOptions two = options(2);
    two.tied = tied;
    Rank rank(two);
    rank.start();
    rank.backward(0, 1, 8);
    rank.backward(1, 2, 8);
    const GradientNorm norm = rank.engine().gradient_norm(8);
    EXPECT_NEAR(norm.norm, std::sqrt(square_sum(rank.gradients())) / 8, 1e-5 * norm.norm);
    EXPECT_EQ(norm.non_finite, 0);
    EXPECT_EQ(norm.first_non_finite, "");
  }
}

TEST_P(EngineOfTiers, AClippedUpdateIsAdamInDouble) {
  Rank rank(options());
  rank.start();
  const Values before = rank.weights();
  const LossSum loss = rank.backward(0, 1, 4);
  EXPECT_EQ(loss.tokens, 20);
  const Values gradients = rank.gradients();
  const double norm = rank.engine().gradient_norm(4).norm;
  const double scale = std::min(1.0, 0.05 / norm) / 4;
  rank.engine().update(
      {.step = 1, .learning_rate = 1e-2, .weight_decay = 0.1, .gradient_scale = static_cast<float>(scale)});
  Values expected = before;
  for (auto& [name, values] : expected) {
    const bool decays = name.find("weight") != std::string::npos && name.find("norm") == std::string::npos;
    for (size_t i = 0; i < values.size(); ++i) {
      const double g = gradients.at(name)[i] * scale;
      // First step: both bias corrections cancel the decay of the means.
      values[i] -= 1e-2 * (g / (std::abs(g) + 1e-8) + (decays ? 0.1 * values[i] : 0));
    }
  }
  const Values after = rank.weights();
  for (const auto& [name, values] : expected) {
    for (size_t i = 0; i < values.size(); ++i)
      ASSERT_NEAR(after.at(name)[i], values[i], 2e-6 + 1e-6 * std::abs(values[i])) << name << "[" << i << "]";
  }
}

TEST_P(EngineOfTiers, LossScalesOfPowersOfTwoScaleEveryGradientExactly) {
  Rank plain(options()), scaled(options());
  plain.start().backward(0, 3, 1);
  scaled.start().backward(0, 3, 4096);
  const Values small = plain.gradients(), large = scaled.gradients();
  for (const auto& [name, values] : small) {
    for (size_t i = 0; i < values.size(); ++i) ASSERT_EQ(large.at(name)[i], 4096 * values[i]) << name;
  }
  EXPECT_DOUBLE_EQ(plain.engine().gradient_norm(1).norm, scaled.engine().gradient_norm(4096).norm);
}

TEST_P(EngineOfTiers, AccumulatedGradientsAreTheMeanOfThoseOfTheMicroBatches) {
  constexpr int64_t kMicroBatches = 3;
  Values mean;
  for (uint64_t i = 0; i < kMicroBatches; ++i) {
    Rank alone(options());
    alone.start().backward(0, i);
    for (const auto& [name, values] : alone.gradients()) {
      mean[name].resize(values.size());
      for (size_t k = 0; k < values.size(); ++k) mean[name][k] += values[k] / kMicroBatches;
    }
  }
  Rank together(options(kMicroBatches));
  together.start();
  for (uint64_t i = 0; i < kMicroBatches; ++i) together.backward(static_cast<int64_t>(i), i);
  expect_near(together.gradients(), mean, 2e-5);
}

TEST_P(EngineOfTiers, ASkippedStepLeavesNoTrace) {
  Rank skipped(options(2)), plain(options(2));
  skipped.start();
  plain.start();
  const Values before = skipped.weights();
  skipped.backward(0, 7, 1e30f);
  skipped.backward(1, 8, 1e30f);
  skipped.engine().skip_update();
  EXPECT_EQ(skipped.weights(), before);
  skipped.step(0);
  plain.step(0);
  EXPECT_EQ(skipped.weights(), plain.weights());
  EXPECT_EQ(skipped.state(), plain.state());
}

TEST_P(EngineOfTiers, OverflowsOfHalfAreCountedNamedAndSkippable) {
  Rank rank(options(1, DType::kF16));
  rank.start();
  const Values before = rank.weights();
  rank.backward(0, 1, 0x1p30f);
  const GradientNorm norm = rank.engine().gradient_norm(0x1p30f);
  EXPECT_GT(norm.non_finite, 0);
  EXPECT_TRUE(before.contains(norm.first_non_finite)) << norm.first_non_finite;
  rank.engine().skip_update();
  EXPECT_EQ(rank.weights(), before);
  rank.backward(0, 1, 16);
  EXPECT_EQ(rank.engine().gradient_norm(16).non_finite, 0) << "the overflow is over";
  rank.engine().update({.step = 1, .learning_rate = 1e-2, .gradient_scale = 1.0f / 16});
  const Values after = rank.weights();
  EXPECT_NE(after, before);
  for (const auto& [name, values] : after) {
    for (const double x : values) ASSERT_TRUE(std::isfinite(x)) << name;
  }
}

TEST_P(EngineOfTiers, AnUpdateUnderWayIsDoneBeforeAnyoneLooks) {
  Rank asked(options()), plain(options());
  asked.start();
  plain.start();
  const std::vector<int32_t> ids = token_ids(2 * 11, 50);
  const MicroBatch batch{.ids = ids, .rows = 2, .seq = 11};
  for (int64_t step = 0; step < 4; ++step) {
    asked.step(step);
    plain.step(step);
    if (step == 0) (void)asked.engine().evaluate(batch);
    if (step == 1) (void)asked.weights();
    if (step == 2) (void)asked.state();
  }
  EXPECT_EQ(asked.engine().evaluate(batch).loss_sum, plain.engine().evaluate(batch).loss_sum);
  EXPECT_EQ(asked.weights(), plain.weights());
  EXPECT_EQ(asked.state(), plain.state());
}

TEST_P(EngineOfTiers, WhatIsLoadedIsNotOverwrittenByAnUpdateUnderWay) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    Rank rank(options(1, dtype));
    rank.start();
    rank.step(0);
    const auto saved = rank.state();
    const Values weights = rank.weights();
    const auto pieces = rank.engine().state_pieces();
    rank.step(1);
    rank.engine().load_state([&](size_t index, int64_t offset, std::span<float> data) {
      std::copy_n(saved.at(pieces[index].name).begin() + offset, data.size(), data.begin());
    });
    EXPECT_EQ(rank.weights(), weights);
    EXPECT_EQ(rank.state(), saved);
    Rank other(options(1, dtype));
    const Values fresh = other.start(9).weights();
    rank.step(1);
    rank.start(9);
    EXPECT_EQ(rank.weights(), fresh);
  }
}

TEST_P(EngineOfTiers, NothingGatheredForAMicroBatchToComeOutlivesItsValues) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    Rank rank(options(4, dtype)), fresh(options(4, dtype));
    rank.start().backward(0, 1);
    rank.start(9);
    const LossSum expected = fresh.start(9).backward(0, 2);
    EXPECT_EQ(rank.backward(1, 2).loss_sum, expected.loss_sum) << "after other parameters were loaded";

    const auto saved = fresh.state();
    const auto pieces = rank.engine().state_pieces();
    rank.start(7).backward(2, 1);
    rank.engine().load_state([&](size_t index, int64_t offset, std::span<float> data) {
      std::copy_n(saved.at(pieces[index].name).begin() + offset, data.size(), data.begin());
    });
    EXPECT_EQ(rank.backward(3, 2).loss_sum, expected.loss_sum) << "after a state was loaded";

    fresh.engine().update({.step = 1, .learning_rate = 1e-2});
    const LossSum updated = fresh.backward(0, 2);
    EXPECT_NE(updated.loss_sum, expected.loss_sum) << "after an update that did not wait for the rest";
    const Values weights = fresh.weights();
    rank.engine().load_parameters([&](const autograd::Parameter& p, const TensorView& values) {
      std::copy(weights.at(p.name).begin(), weights.at(p.name).end(), values.data<float>());
    });
    EXPECT_EQ(rank.backward(0, 2).loss_sum, updated.loss_sum) << "after its parameters were loaded";
  }
}

TEST_P(EngineOfTiers, ASecondUpdateOfAStepIsABug) {
  Rank rank(options());
  rank.start().step(0);
  EXPECT_THROW(rank.engine().update({.step = 1, .learning_rate = 1e-2}), InternalError);
}

TEST_P(EngineOfTiers, EvaluationChangesNothingAndGivesLogitsThatMakeItsLoss) {
  RankOptions with_dropout = options();
  with_dropout.dropout = 0.3f;
  Rank rank(with_dropout);
  rank.start();
  const Values before = rank.weights();
  const std::vector<int32_t> ids = token_ids(2 * 11, 60);
  std::vector<int32_t> targets = token_ids(2 * 11, 61);
  targets[3] = targets[20] = -100;
  Tensor logits(rank.device().memory(), {2, 11, testing::kVocabulary}, DType::kF32, MemoryTag::kActivations);
  Tensor hidden(rank.device().memory(), {2, 11, 24}, DType::kF32, MemoryTag::kActivations);
  const MicroBatch batch{.ids = ids, .targets = targets, .rows = 2, .seq = 11};
  const LossSum loss = rank.engine().evaluate(batch, {.logits = logits.view(), .last_hidden = hidden.view()});
  EXPECT_EQ(loss.tokens, 20);
  double expected = 0;
  for (size_t row = 0; row < targets.size(); ++row) {
    if (targets[row] == -100) continue;
    const float* values = logits.view().data<float>() + row * testing::kVocabulary;
    double sum = 0;
    for (int64_t v = 0; v < testing::kVocabulary; ++v) sum += std::exp(static_cast<double>(values[v]));
    expected += std::log(sum) - static_cast<double>(values[targets[row]]);
  }
  EXPECT_NEAR(loss.loss_sum, expected, 1e-4);
  EXPECT_EQ(rank.engine().evaluate(batch).loss_sum, loss.loss_sum) << "no dropout, no state";
  EXPECT_EQ(rank.weights(), before);
}

TEST_P(EngineOfTiers, ABatchWithNothingToPredictHasNoLossAndNoGradient) {
  Rank rank(options());
  rank.start();
  const std::vector<int32_t> ids = token_ids(9, 1), none(9, -100);
  const LossSum loss = rank.engine().backward({.ids = ids, .targets = none, .rows = 1, .seq = 9}, 0, 0, 1);
  EXPECT_EQ(loss.tokens, 0);
  EXPECT_EQ(loss.mean(), 0);
  EXPECT_EQ(rank.engine().gradient_norm(1).norm, 0);
  const LossSum one = rank.engine().evaluate({.ids = std::span(ids).first(1), .rows = 1, .seq = 1});
  EXPECT_EQ(one.tokens, 0) << "one token predicts nothing";
}

TEST_P(EngineOfTiers, WhatMovesIsCountedByKind) {
  Rank rank(options());
  rank.start();
  rank.step(0);
  (void)rank.weights();
  const auto stats = rank.engine().io_stats();
  for (const StateKind kind : {StateKind::kParameters, StateKind::kGradients, StateKind::kOptimizer}) {
    const HomeStats& one = stats[static_cast<size_t>(kind)];
    EXPECT_TRUE(GetParam() != MemoryTier::kNvme || one.read_bytes + one.written_bytes > 0)
        << state_kind_name(kind);
    EXPECT_GE(one.stall_seconds, 0);
  }
  const HomeStats& activations = stats[static_cast<size_t>(StateKind::kActivations)];
  EXPECT_EQ(activations.read_bytes > 0, GetParam() != MemoryTier::kDevice);
  EXPECT_EQ(activations.read_bytes, activations.written_bytes) << "what is kept comes back once";
  for (const ComputePhase phase : {ComputePhase::kForward, ComputePhase::kHead, ComputePhase::kBackward}) {
    EXPECT_GT(rank.engine().times()[static_cast<size_t>(phase)], 0) << compute_phase_name(phase);
    EXPECT_GT(rank.device().profile().of(phase, KernelKind::kMatmul).operations, 0)
        << compute_phase_name(phase);
  }
  rank.end();
  EXPECT_EQ(rank.nvme().live(), 0);
  EXPECT_EQ(rank.device().memory().ledger().live() + rank.device().host_memory().ledger().live(), 0)
      << "nothing of the engine is left in memory";
}

INSTANTIATE_TEST_SUITE_P(Tiers, EngineOfTiers, ::testing::ValuesIn(kTiers),
                         [](const auto& tier) { return std::string(memory_tier_name(tier.param)); });

TEST(EngineOptionsTest, PrefetchAndRecomputationChangeNoBit) {
  for (const float dropout : {0.0f, 0.25f}) {
    std::optional<Values> expected;
    for (const int prefetch : {0, 1, 3, 100}) {
      for (const bool recompute : {false, true}) {
        Rank rank({.engine = {.placement = everywhere(MemoryTier::kHost, prefetch, recompute), .seed = 3},
                   .dropout = dropout});
        rank.start();
        for (int64_t step = 0; step < 3; ++step) rank.step(step);
        const Values weights = rank.weights();
        if (!expected) expected = weights;
        ASSERT_EQ(weights, *expected) << "prefetch " << prefetch << " recompute " << recompute;
      }
    }
  }
}

TEST(EngineOptionsTest, TheFirstBlocksAreGatheredBeforeTheNextMicroBatchBegins) {
  const auto read = [](int prefetch, int64_t accumulation) {
    Rank rank(
        {.engine = {.placement = everywhere(MemoryTier::kHost, prefetch), .accumulation = accumulation}});
    const auto bytes = [&rank] {
      return rank.engine().io_stats()[static_cast<size_t>(StateKind::kParameters)].read_bytes;
    };
    rank.start();
    const int64_t before = bytes();
    rank.backward(0, 1);
    return bytes() - before;
  };
  EXPECT_GT(read(1, 2), read(1, 1));
  EXPECT_EQ(read(0, 2), read(0, 1)) << "nothing is gathered ahead";
}

TEST(EngineOptionsTest, PrefetchChangesNoBitOfAccumulatedSteps) {
  std::optional<Values> expected;
  for (const int prefetch : {0, 1, 3, 100}) {
    Rank rank({.engine = {.placement = everywhere(MemoryTier::kNvme, prefetch),
                          .dtype = DType::kBF16,
                          .accumulation = 3}});
    rank.start();
    for (int64_t step = 0; step < 3; ++step) rank.step(step);
    if (!expected) expected = rank.weights();
    ASSERT_EQ(rank.weights(), *expected) << "prefetch " << prefetch;
  }
}

TEST(EngineOptionsTest, DecayAllReachesNormsAndBiases) {
  const auto moved = [](bool decay_all) {
    Rank rank({.engine = {.placement = everywhere(MemoryTier::kDevice), .decay_all = decay_all}});
    rank.engine().load_parameters([](const autograd::Parameter&, const TensorView& values) {
      std::fill_n(values.data<float>(), values.elements(), 1.0f);
    });
    const std::vector<int32_t> ids = token_ids(9, 1), none(9, -100);
    rank.engine().backward({.ids = ids, .targets = none, .rows = 1, .seq = 9}, 0, 0, 1);
    rank.engine().update({.step = 1, .learning_rate = 0.5, .weight_decay = 0.5});
    return rank.weights();
  };
  for (const auto& [name, values] : moved(true)) ASSERT_NEAR(values[0], 0.75, 1e-6) << name;
  for (const auto& [name, values] : moved(false)) {
    const bool matrix = values.size() > 24 * 5 || name.find("positions") != std::string::npos;
    ASSERT_NEAR(values[0], matrix ? 0.75 : 1.0, 1e-6) << name;
  }
}

TEST(EngineOptionsTest, InitialValuesDependOnSeedAndNameAlone) {
  Rank a({.engine = {.placement = everywhere(MemoryTier::kDevice)}});
  Rank b({.engine = {.placement = everywhere(MemoryTier::kNvme)}});
  EXPECT_EQ(a.start(1).weights(), b.start(1).weights());
  EXPECT_NE(a.weights(), b.start(2).weights());
  const Values weights = a.weights();
  const std::vector<double>& tokens = weights.at("embedding.tokens.weight");
  double sum = 0, squares = 0;
  for (const double x : tokens) {
    sum += x;
    squares += x * x;
  }
  const auto n = static_cast<double>(tokens.size());
  EXPECT_NEAR(std::sqrt(squares / n), 0.02, 4 * 0.02 / std::sqrt(2 * n));
  EXPECT_NEAR(sum / n, 0, 4 * 0.02 / std::sqrt(n));
  EXPECT_EQ(weights.at("head.norm.weight"), std::vector<double>(24, 1.0));
  EXPECT_EQ(weights.at("blocks.1.mlp.up.bias"), std::vector<double>(40, 0.0));
}

/// Everything that `ranks` ranks together leave behind after three steps of `accumulation` micro-batches
/// each.
struct WorldResult {
  Values weights, gradients;
  double norm = 0;
  std::map<std::string, std::vector<float>> state;
};

WorldResult train_world(int ranks, int64_t accumulation, MemoryTier tier, DType dtype = DType::kF32,
                        int prefetch = 1) {
  ThreadGroup group(ranks);
  std::mutex mutex;
  WorldResult result;
  group.run([&](comm::Communicator& communicator) {
    Rank rank(
        {.engine = {.placement = everywhere(tier, prefetch), .dtype = dtype, .accumulation = accumulation},
         .tied = false,
         .communicator = &communicator});
    rank.start();
    for (int64_t step = 0; step < 3; ++step) {
      for (int64_t i = 0; i < accumulation; ++i) {
        // One rank with k micro-batches sees what k ranks see with one each.
        const auto batch = static_cast<uint64_t>((step * accumulation + i) * ranks + communicator.rank());
        rank.backward(i, batch, 1.0f / static_cast<float>(ranks));
      }
      const double norm = rank.engine().gradient_norm(1).norm;
      const Values gradients = rank.gradients();
      if (communicator.rank() == 0) {
        result.norm = norm;
        result.gradients = gradients;
      }
      rank.engine().update({.step = step + 1, .learning_rate = 1e-2, .weight_decay = 0.1});
    }
    const Values weights = rank.weights();
    const auto pieces = rank.engine().state_pieces();
    const std::lock_guard lock(mutex);
    if (communicator.rank() == 0) result.weights = weights;
    rank.engine().save_state([&](size_t index, int64_t offset, std::span<const float> data) {
      std::vector<float>& whole = result.state[pieces[index].name];
      const auto begin = static_cast<size_t>(pieces[index].begin + offset);
      if (whole.size() < begin + data.size()) whole.resize(begin + data.size(), NAN);
      for (size_t i = 0; i < data.size(); ++i) {
        EXPECT_TRUE(std::isnan(whole[begin + i])) << "held by two ranks";
        whole[begin + i] = data[i];
      }
    });
  });
  return result;
}

TEST(EngineWorldTest, RanksComputeWhatOneRankAccumulates) {
  for (const int ranks : {2, 3}) {
    for (const MemoryTier tier : kTiers) {
      const WorldResult together = train_world(ranks, 1, tier);
      const WorldResult alone = train_world(1, ranks, MemoryTier::kDevice);
      EXPECT_EQ(together.gradients, alone.gradients) << ranks << " ranks on " << memory_tier_name(tier);
      EXPECT_NEAR(together.norm, alone.norm, 1e-6 * alone.norm);
      EXPECT_EQ(together.weights, alone.weights);
      EXPECT_EQ(together.state, alone.state) << "the parts of all ranks are the whole";
    }
  }
}

TEST(EngineWorldTest, GatheringAheadOfMicroBatchesChangesNoBitOfAnyRank) {
  const WorldResult plain = train_world(2, 3, MemoryTier::kDevice, DType::kBF16, /*prefetch=*/0);
  for (const MemoryTier tier : kTiers) {
    for (const int prefetch : {1, 2, 100}) {
      const WorldResult ahead = train_world(2, 3, tier, DType::kBF16, prefetch);
      EXPECT_EQ(ahead.gradients, plain.gradients) << memory_tier_name(tier) << " " << prefetch;
      EXPECT_EQ(ahead.state, plain.state) << memory_tier_name(tier) << " " << prefetch;
    }
  }
}

TEST(EngineWorldTest, StateOfAnyNumberOfRanksLoadsIntoAnyOther) {
  const WorldResult three = train_world(3, 1, MemoryTier::kHost, DType::kBF16);
  for (const int ranks : {1, 2, 5}) {
    ThreadGroup group(ranks);
    group.run([&](comm::Communicator& communicator) {
      Rank rank({.engine = {.placement = everywhere(MemoryTier::kNvme), .dtype = DType::kBF16},
                 .tied = false,
                 .communicator = &communicator});
      const auto pieces = rank.engine().state_pieces();
      rank.engine().load_state([&](size_t index, int64_t offset, std::span<float> data) {
        const auto& whole = three.state.at(pieces[index].name);
        std::copy_n(whole.begin() + pieces[index].begin + offset, data.size(), data.begin());
      });
      EXPECT_EQ(rank.weights(), three.weights) << ranks;
    });
  }
}

/// A step, an evaluation and a save under a drive that fails at the nth call.
std::string run_on_failing_drive(io::Call call, int64_t nth, int error, int64_t* calls = nullptr) {
  io::FaultInjection faults;
  std::string fault = "no error";
  {
    std::unique_ptr<Rank> rank;
    fault = fault_of([&] {
      rank = std::make_unique<Rank>(RankOptions{
          .engine = {.placement = everywhere(MemoryTier::kNvme), .accumulation = 2}, .calls = &faults});
      if (nth > 0) faults.fail(call, nth, error);
      rank->start();
      rank->step(0);
      rank->step(1);
      (void)rank->engine().evaluate({.ids = token_ids(11, 1), .rows = 1, .seq = 11});
      (void)rank->state();
    });
    if (rank != nullptr) {
      rank->end();
      EXPECT_EQ(rank->nvme().live(), 0);
      EXPECT_EQ(rank->device().memory().ledger().live(), 0);
      EXPECT_EQ(rank->device().host_memory().ledger().live(), 0);
    }
  }
  if (calls != nullptr) *calls = faults.count(call);
  return fault;
}

TEST(EngineFaultsTest, AFailingDriveIsOneErrorWhereverItStrikesAndTheEngineCanGo) {
  for (const io::Call call : {io::Call::kRead, io::Call::kWrite}) {
    int64_t calls = 0;
    ASSERT_EQ(run_on_failing_drive(call, 0, 0, &calls), "no error");
    ASSERT_GT(calls, 50);
    const RandomStream random({.seed = 81});
    for (uint64_t i = 0; i < 14; ++i) {
      const auto nth = i < 4 ? static_cast<int64_t>(i) + 1
                             : static_cast<int64_t>(random.below(static_cast<uint64_t>(calls), 2 * i)) + 1;
      const int error = call == io::Call::kWrite && i % 2 == 0 ? ENOSPC : EIO;
      EXPECT_THAT(run_on_failing_drive(call, nth, error), AnyOf(HasSubstr(std::strerror(error)), "no error"))
          << nth << " of " << calls;
    }
  }
}

TEST(EngineFaultsTest, ADriveThatStaysDeadHangsNothing) {
  for (const int64_t nth : {1, 20, 100}) {
    io::FaultInjection faults;
    Rank rank({.engine = {.placement = everywhere(MemoryTier::kNvme, 3)}, .calls = &faults});
    rank.start();
    faults.fail(io::Call::kRead, nth, EIO, 1'000'000);
    faults.fail(io::Call::kWrite, nth, EIO, 1'000'000);
    EXPECT_THAT(fault_of([&] {
                  for (int64_t step = 0; step < 10; ++step) rank.step(step);
                  (void)rank.state();
                }),
                HasSubstr(std::strerror(EIO)));
    rank.end();
  }
}

}  // namespace
}  // namespace aleph::zero
