#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>

#include "aleph/base/random.h"
#include "aleph/io/temporary_directory.h"
#include "aleph/zero/engine.h"
#include "aleph/zero/partition.h"
#include "aleph/zero/planner.h"
#include "aleph/zero/shard_stream.h"

namespace aleph::zero {
namespace {

namespace fs = std::filesystem;

nn::Model::Options tiny_model(bool tied = true) {
  nn::BlockSpec block{.hidden_size = 24,
                      .intermediate_size = 40,
                      .heads = 3,
                      .kv_heads = 3,
                      .head_dim = 8,
                      .attention_scale = 0.35f};
  return {.embedding = {.vocab_size = 37, .hidden_size = 24, .learned_positions = 16},
          .blocks = {block, block, block},
          .head = {.vocab_size = 37, .hidden_size = 24, .tied = tied},
          .max_seq = 16};
}

std::vector<fs::path> drives(const fs::path& parent, size_t n) {
  std::vector<fs::path> all;
  for (size_t i = 0; i < n; ++i) all.push_back(parent / std::to_string(i));
  return all;
}

std::vector<int32_t> random_ids(int64_t n, uint64_t step) {
  const RandomStream stream({.seed = 3, .purpose = RandomPurpose::kDataOrder, .step = step});
  std::vector<int32_t> ids(static_cast<size_t>(n));
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(stream.below(37, i));
  return ids;
}

/// What a run leaves behind: losses, norms and every weight, to be compared bit for bit.
struct RunResult {
  std::vector<double> numbers;
  std::map<std::string, std::vector<std::byte>> weights;
  int64_t device_peak = 0, host_peak = 0;
  bool operator==(const RunResult& other) const {
    return numbers == other.numbers && weights == other.weights;
  }
};

struct RunOptions {
  Placement placement;
  DType dtype = DType::kF32;
  int64_t accumulation = 1;
  bool tied = true;
  size_t drives = 1;
  int steps = 3;
  bool in_backward = false;  // update in backward, without clipping
  double max_norm = 1;       // 0: no clipping
};

class TestRun {
 public:
  explicit TestRun(const RunOptions& options)
      : options_(options),
        swap_(SwapSpace::Options{.directories = drives(directory_.path(), options.drives)}),
        model_(device_, tiny_model(options.tied)),
        rule_(optim::make_adam({})),
        engine_({.device = device_, .nvme = nvme_, .communicator = self_, .swap = &swap_}, model_, *rule_,
                {.placement = options.placement,
                 .dtype = options.dtype,
                 .accumulation = options.accumulation,
                 .seed = 11,
                 .update_in_backward = options.in_backward}) {}

  void start() { engine_.load_parameters(Engine::random_initializer(device_, 5)); }

  void step(int64_t index) {
    UpdateOptions update{.step = index + 1, .learning_rate = 1e-2, .weight_decay = 0.1};
    for (int64_t micro = 0; micro < options_.accumulation; ++micro) {
      const int64_t global = index * options_.accumulation + micro;
      const std::vector<int32_t> ids = random_ids(2 * 13, static_cast<uint64_t>(global));
      if (options_.in_backward && micro + 1 == options_.accumulation) engine_.begin_update(update);
      result_.numbers.push_back(
          engine_.backward({.ids = ids, .rows = 2, .seq = 13}, micro, global, 1).mean());
    }
    const double norm = engine_.gradient_norm(1).norm;
    result_.numbers.push_back(norm);
    if (options_.in_backward) return engine_.end_update();
    if (options_.max_norm > 0 && norm > options_.max_norm)
      update.gradient_scale = static_cast<float>(options_.max_norm / norm);
    engine_.update(update);
  }

  RunResult finish() {
    engine_.for_each_parameter([&](const autograd::Parameter& parameter, const ConstTensorView& values) {
      result_.weights[parameter.name].assign(values.raw(), values.raw() + values.bytes());
    });
    result_.device_peak = device_.memory().ledger().peak();
    result_.host_peak = device_.host_memory().ledger().peak();
    return result_;
  }

  Engine& engine() { return engine_; }

 private:
  RunOptions options_;
  io::TemporaryDirectory directory_;
  DeviceContext device_{DeviceContext::Options{}};
  MemoryLedger nvme_{MemoryTier::kNvme, 0};
  comm::SelfCommunicator self_;
  SwapSpace swap_;
  nn::Model model_;
  std::unique_ptr<optim::UpdateRule> rule_;
  Engine engine_;
  RunResult result_;
};

RunResult run(const RunOptions& options) {
  TestRun training(options);
  training.start();
  for (int64_t step = 0; step < options.steps; ++step) training.step(step);
  return training.finish();
}

TEST(PartitionTest, TiedEmbeddingsAreAUnitOfTheirOwn) {
  DeviceContext device({});
  const nn::Model model(device, tiny_model());
  const UnitTable units(model, 4);
  int64_t covered = 0;
  for (const Unit& unit : units.units()) {
    EXPECT_EQ(unit.elements % (4 * kShardAlignment), 0);
    for (const UnitPiece& piece : unit.pieces) {
      EXPECT_EQ(piece.begin % 64, 0);
      EXPECT_LE(piece.range().end, unit.elements);
      covered += piece.range().size();
    }
  }
  int64_t expected = 0;
  for (const autograd::Parameter* parameter : model.parameters()) expected += parameter->shape.elements();
  EXPECT_EQ(covered, expected);
  EXPECT_EQ(units.units()[0].pieces[0].parameter->name, "embedding.tokens.weight");
  EXPECT_EQ(units.units()[0].uses, 2);
  EXPECT_EQ(units.units()[0].pieces.size(), 1u);
}

TEST(PartitionTest, ShardsCoverAUnitOnce) {
  const Unit unit{.elements = 3 * kShardAlignment};
  EXPECT_EQ(unit.shard(0, 3).begin, 0);
  EXPECT_EQ(unit.shard(1, 3).begin, unit.shard(0, 3).end);
  EXPECT_EQ(unit.shard(2, 3).end, unit.elements);
  EXPECT_EQ(intersect({0, 5}, {7, 9}).size(), 0);
}

class HomeTest : public testing::TestWithParam<std::pair<MemoryTier, size_t>> {};

TEST_P(HomeTest, KeepsWhatIsWrittenAndStartsAtZero) {
  DeviceContext device({});
  MemoryLedger nvme(MemoryTier::kNvme, 0);
  const io::TemporaryDirectory directory;
  SwapSpace swap({.directories = drives(directory.path(), GetParam().second), .block_bytes = 8192});
  const auto home = make_home({device, nvme, &swap}, GetParam().first, StateKind::kOptimizer);
  const Region first = home->reserve(100000), second = home->reserve(50000);
  Buffer data = device.memory().allocate(second.bytes, MemoryTag::kWorkspace);
  Buffer back = device.memory().allocate(second.bytes, MemoryTag::kWorkspace);
  const RandomStream random({.seed = 1});
  for (int64_t i = 0; i < second.bytes; ++i)
    data.data()[i] = static_cast<std::byte>(random.word(static_cast<uint64_t>(i)));
  home->wait(home->write(second, 0, {data.data(), static_cast<size_t>(second.bytes)}));
  home->wait(home->read(second, 4096, {back.data(), static_cast<size_t>(second.bytes - 4096)}));
  EXPECT_TRUE(std::equal(back.data(), back.data() + second.bytes - 4096, data.data() + 4096));
  home->wait(home->read(first, 0, {back.data(), 8192}));
  EXPECT_TRUE(std::all_of(back.data(), back.data() + 8192, [](std::byte b) { return b == std::byte{0}; }));
  EXPECT_EQ(home->stats().written_bytes, second.bytes);
}

INSTANTIATE_TEST_SUITE_P(Tiers, HomeTest,
                         testing::Values(std::pair(MemoryTier::kDevice, size_t{1}),
                                         std::pair(MemoryTier::kHost, size_t{1}),
                                         std::pair(MemoryTier::kNvme, size_t{1}),
                                         std::pair(MemoryTier::kNvme, size_t{3})));

TEST(SwapSpaceTest, RemovesItsFilesAndThoseOfTheDead) {
  const io::TemporaryDirectory parent;
  const fs::path directory = parent / "abandoned";
  fs::create_directories(directory / "aleph-swap-1-rank0");
  for (const char* file : {"optimizer.swap", "lock"})
    std::ofstream(directory / "aleph-swap-1-rank0" / file) << "left";
  {
    const SwapSpace swap({.directories = {directory}});
    EXPECT_FALSE(fs::exists(directory / "aleph-swap-1-rank0"));
    EXPECT_TRUE(fs::exists(swap.folders()[0]));
    const SwapSpace other({.directories = {directory}, .rank = 1});
    EXPECT_TRUE(fs::exists(swap.folders()[0])) << "a living owner's files are not touched";
    // Of the same process number and rank on another machine.
    const SwapSpace third({.directories = {directory}});
    EXPECT_NE(third.folders()[0], swap.folders()[0]);
  }
  EXPECT_TRUE(fs::is_empty(directory));
}

TEST(SwapSpaceTest, NamesAFolderThatCannotBeUsed) {
  const io::TemporaryDirectory directory;
  const fs::path file = directory / "a-file";
  std::ofstream(file) << "x";
  try {
    const SwapSpace swap({.directories = {file}});
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(file.string()), std::string::npos) << error.what();
  }
}

TEST(ShardStreamTest, EveryChunkIsReadUpdatedAndWrittenOnce) {
  DeviceContext device({});
  MemoryLedger nvme(MemoryTier::kNvme, 0);
  const io::TemporaryDirectory directory;
  SwapSpace swap({.directories = {directory.path()}});
  const HomeContext context{device, nvme, &swap};
  for (const MemoryTier tier : {MemoryTier::kHost, MemoryTier::kNvme}) {
    const auto home = make_home(context, tier, StateKind::kOptimizer);
    const Region region = home->reserve(10 * kShardAlignment * 4);
    std::vector<Chunk> chunks;
    for (int64_t c = 0; c < 5; ++c) chunks.push_back({0, c * 2 * kShardAlignment, 2 * kShardAlignment});
    const auto add_index = [&](const Chunk& chunk, std::span<const TensorView> views) {
      int64_t i = chunk.begin;
      for (float& x : views[0].span<float>()) x += static_cast<float>(i++);
    };
    const auto arrays = [&](int) { return std::vector<ShardArray>{{home.get(), region}}; };
    for (int round = 0; round < 2; ++round) stream_shards(device, {chunks, arrays, add_index});
    const auto check = [&](const Chunk& chunk, std::span<const TensorView> views) {
      int64_t i = chunk.begin;
      for (const float x : views[0].span<float>()) ASSERT_EQ(x, 2 * static_cast<float>(i++));
    };
    stream_shards(device, {chunks, arrays, check});
  }
}

TEST(EngineTest, UpdatesInBackwardNeverChangeTheNumbers) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const int64_t accumulation : {1, 3}) {
      for (const bool tied : {true, false}) {
        RunOptions options{.dtype = dtype, .accumulation = accumulation, .tied = tied, .max_norm = 0};
        const RunResult after = run(options);
        options.in_backward = true;
        for (const MemoryTier optimizer : {MemoryTier::kDevice, MemoryTier::kHost, MemoryTier::kNvme}) {
          for (const MemoryTier parameters : {MemoryTier::kDevice, MemoryTier::kNvme}) {
            options.placement = {.parameters = parameters, .optimizer = optimizer, .prefetch = 2};
            options.placement.update_chunk_elements = 2048;
            EXPECT_TRUE(run(options) == after) << static_cast<int>(optimizer) << static_cast<int>(parameters);
          }
        }
      }
    }
  }
}

TEST(EngineTest, LearnsARepeatedBatch) {
  TestRun training({});
  training.start();
  const std::vector<int32_t> ids = random_ids(2 * 13, 0);
  const MicroBatch batch{.ids = ids, .rows = 2, .seq = 13};
  const double before = training.engine().evaluate(batch).mean();
  EXPECT_NEAR(before, std::log(37.0), 0.1);
  for (int64_t step = 1; step <= 60; ++step) {
    training.engine().backward(batch, 0, step, 1);
    training.engine().update({.step = step, .learning_rate = 1e-2});
  }
  EXPECT_LT(training.engine().evaluate(batch).mean(), 0.3 * before);
}

TEST(EngineTest, PlacementNeverChangesTheNumbers) {
  const auto tiers = {MemoryTier::kDevice, MemoryTier::kHost, MemoryTier::kNvme};
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const int64_t accumulation : {1, 4}) {
      const RunResult plain = run(
          {.placement = {.prefetch = 0, .recompute = false}, .dtype = dtype, .accumulation = accumulation});
      int variant = 0;
      for (const MemoryTier parameters : tiers) {
        for (const MemoryTier optimizer : tiers) {
          for (const MemoryTier activations : tiers) {
            const Placement placement{.parameters = parameters,
                                      .optimizer = optimizer,
                                      .activations = activations,
                                      .prefetch = std::array{0, 1, 3}[static_cast<size_t>(variant % 3)],
                                      .recompute = variant % 2 == 0,
                                      .update_chunk_elements = (1 + variant % 3) * kShardAlignment};
            const RunResult moved = run({.placement = placement,
                                         .dtype = dtype,
                                         .accumulation = accumulation,
                                         .drives = 1 + static_cast<size_t>(variant % 2)});
            EXPECT_TRUE(moved == plain)
                << dtype_name(dtype) << " accumulation " << accumulation << " variant " << variant;
            ++variant;
          }
        }
      }
    }
  }
}

TEST(EngineTest, UntiedModelsTrainToo) {
  const RunResult plain = run({.tied = false});
  const RunResult moved = run({.placement = {.parameters = MemoryTier::kNvme,
                                             .optimizer = MemoryTier::kNvme,
                                             .activations = MemoryTier::kNvme,
                                             .prefetch = 2},
                               .tied = false});
  EXPECT_TRUE(plain == moved);
}

TEST(EngineTest, SavedStateContinuesBitExactly) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const RunOptions options{
        .placement = {.optimizer = MemoryTier::kNvme, .update_chunk_elements = kShardAlignment},
        .dtype = dtype,
        .steps = 4};
    const RunResult whole = run(options);
    auto first = std::make_unique<TestRun>(options);  // goes before the second one takes its swap folder
    first->start();
    first->step(0);
    first->step(1);
    std::vector<std::vector<float>> saved(first->engine().state_pieces().size());
    first->engine().save_state([&](size_t index, int64_t offset, std::span<const float> data) {
      ASSERT_EQ(static_cast<int64_t>(saved[index].size()), offset);
      saved[index].insert(saved[index].end(), data.begin(), data.end());
    });
    const auto pieces = first->engine().state_pieces();
    for (size_t i = 0; i < pieces.size(); ++i)
      ASSERT_EQ(static_cast<int64_t>(saved[i].size()), pieces[i].elements);
    first.reset();
    TestRun second({.placement = {.parameters = MemoryTier::kHost}, .dtype = dtype});
    second.engine().load_state([&](size_t index, int64_t offset, std::span<float> data) {
      std::copy_n(saved[index].begin() + offset, data.size(), data.begin());
    });
    second.step(2);
    second.step(3);
    const RunResult continued = second.finish();
    EXPECT_EQ(continued.weights, whole.weights) << dtype_name(dtype);
  }
}

TEST(EngineTest, NamesTheParameterWithANonFiniteGradient) {
  TestRun training({.placement = {.optimizer = MemoryTier::kNvme}});
  training.engine().load_parameters([](const autograd::Parameter& parameter, const TensorView& values) {
    const auto all = values.span<float>();
    std::fill(all.begin(), all.end(), parameter.name == "blocks.1.mlp.down.bias" ? INFINITY : 0.01f);
  });
  const std::vector<int32_t> ids = random_ids(13, 0);
  training.engine().backward({.ids = ids, .rows = 1, .seq = 13}, 0, 0, 1);
  const GradientNorm norm = training.engine().gradient_norm(1);
  EXPECT_GT(norm.non_finite, 0);
  EXPECT_FALSE(norm.first_non_finite.empty());
}

class PlannerTest : public testing::Test {
 protected:
  PlanRequest request(DType dtype = DType::kF32) {
    return {.model = model_,
            .rule = *rule_,
            .options = {.dtype = dtype, .accumulation = 5},
            .rows = 2,
            .seq = 13,
            .nvme = true};
  }
  nn::Model::Options model_ = tiny_model();
  std::unique_ptr<optim::UpdateRule> rule_ = optim::make_adam({});
};

TEST_F(PlannerTest, DryRunsPredictTheRealPeaks) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const MemoryTier tier : {MemoryTier::kDevice, MemoryTier::kHost, MemoryTier::kNvme}) {
      for (const int prefetch : {1, 100}) {
        for (const bool recompute : {false, true}) {
          const Placement placement{.parameters = tier,
                                    .optimizer = tier,
                                    .activations = tier,
                                    .prefetch = prefetch,
                                    .recompute = recompute};
          const Plan plan = dry_run(request(dtype), placement);
          const RunResult real = run({.placement = placement, .dtype = dtype, .accumulation = 5});
          EXPECT_EQ(real.device_peak, plan.device.total) << memory_tier_name(tier) << " " << prefetch;
          EXPECT_EQ(real.host_peak, plan.host.total) << memory_tier_name(tier) << " " << prefetch;
        }
      }
    }
  }
}

TEST_F(PlannerTest, UnlimitedMemoryKeepsEverythingOnTheDevice) {
  const Plan plan = make_plan(request());
  EXPECT_EQ(plan.placement.parameters, MemoryTier::kDevice);
  EXPECT_EQ(plan.placement.optimizer, MemoryTier::kDevice);
  EXPECT_FALSE(plan.placement.recompute);
}

TEST_F(PlannerTest, BudgetsPushStatesOutward) {
  PlanRequest tight = request();
  const Plan roomy = make_plan(tight);
  tight.device_budget = roomy.device.total * 3 / 5;
  const Plan moved = make_plan(tight);
  EXPECT_LE(moved.device.total, tight.device_budget);
  EXPECT_NE(moved.placement.optimizer, MemoryTier::kDevice);
  const Plan least = dry_run(request(), {.parameters = MemoryTier::kNvme,
                                         .optimizer = MemoryTier::kNvme,
                                         .activations = MemoryTier::kNvme,
                                         .prefetch = 0,
                                         .update_chunk_elements = 1 << 14});
  tight.device_budget = least.device.total;
  tight.host_budget = least.host.total;
  const Plan swapped = make_plan(tight);
  EXPECT_LE(swapped.device.total, tight.device_budget);
  EXPECT_LE(swapped.host.total, tight.host_budget);
}

TEST_F(PlannerTest, RefusesWithATableWhatCannotFit) {
  PlanRequest impossible = request();
  impossible.device_budget = 4096;
  try {
    make_plan(impossible);
    FAIL() << "no error";
  } catch (const PlanError& error) {
    EXPECT_NE(std::string(error.what()).find("--device-memory 4.0 KiB"), std::string::npos) << error.what();
    EXPECT_NE(error.table().find("gradients"), std::string::npos) << error.table();
  }
}

}  // namespace
}  // namespace aleph::zero
