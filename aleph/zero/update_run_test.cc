#include "aleph/zero/update_run.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>

#include "aleph/io/temporary_directory.h"
#include "aleph/zero/partition.h"
#include "aleph/zero/testing.h"

namespace aleph::zero {
namespace {

constexpr int64_t kChunk = kShardAlignment;
constexpr int kUnits = 3, kChunksOfUnit = 4;

/// Three units on a drive; the update adds one to every element.
class UpdateRuns : public ::testing::Test {
 protected:
  UpdateRuns() : swap_(SwapSpace::Options{.directories = {directory_.path()}}) {
    home_ = make_home({device_, nvme_, &swap_}, MemoryTier::kNvme, StateKind::kOptimizer);
    for (int unit = 0; unit < kUnits; ++unit)
      regions_.push_back(home_->reserve(kChunksOfUnit * kChunk * dtype_bytes(DType::kF32)));
  }

  ShardStreamArgs args(std::vector<int> order) {
    std::vector<Chunk> chunks;
    for (const int unit : order) {
      for (int64_t c = 0; c < kChunksOfUnit; ++c) chunks.push_back({unit, c * kChunk, kChunk});
    }
    return {.chunks = chunks,
            .arrays =
                [this](int unit) {
                  return std::vector<ShardArray>{{home_.get(), regions_[static_cast<size_t>(unit)]}};
                },
            .body =
                [this](const Chunk& chunk, std::span<const TensorView> views) {
                  if (chunk.unit == fails_) throw Error("update", "a failure", "none");
                  for (float& x : views[0].span<float>()) x += 1;
                  ++computed_;
                }};
  }

  /// What stands at home: the same in every element.
  float value(int unit) {
    Tensor values(device_.host_memory(), {kChunksOfUnit * kChunk}, DType::kF32, MemoryTag::kIoBuffers);
    const TensorView view = values.view();
    home_->finish(
        home_->read(regions_[static_cast<size_t>(unit)], 0, {view.raw(), static_cast<size_t>(view.bytes())}));
    for (const float x : view.span<float>()) EXPECT_EQ(x, view.span<float>()[0]);
    return view.span<float>()[0];
  }

  io::TemporaryDirectory directory_;
  DeviceContext device_{DeviceContext::Options{}};
  MemoryLedger nvme_{MemoryTier::kNvme, 0};
  SwapSpace swap_;
  std::unique_ptr<Home> home_;
  std::vector<Region> regions_;
  std::atomic<int> computed_ = 0;
  int fails_ = -1;
};

TEST_F(UpdateRuns, UnitsAreUpdatedAsTheyAreReleasedAndWaitedForOneByOne) {
  Worker worker;
  UpdateRun run(device_, args({2, 0, 1}), kUnits, &worker);
  for (int unit = 0; unit < kUnits; ++unit)
    EXPECT_TRUE(run.is_settled(unit)) << "as before the update until released";
  int released = 0;
  for (const int unit : {2, 0, 1}) {
    run.release(unit);
    run.settle(unit);
    EXPECT_TRUE(run.is_settled(unit));
    EXPECT_EQ(value(unit), 1);
    EXPECT_EQ(computed_, ++released * kChunksOfUnit) << "nothing before its release";
  }
  run.finish();
  EXPECT_EQ(computed_, kUnits * kChunksOfUnit);
}

TEST_F(UpdateRuns, AReleasedUnitWaitsForThoseBeforeIt) {
  Worker worker;
  UpdateRun run(device_, args({0, 1, 2}), kUnits, &worker);
  run.release(2);
  EXPECT_FALSE(run.is_settled(2));
  run.release(0);
  run.settle(0);
  EXPECT_FALSE(run.is_settled(2));
  run.release(1);
  run.finish();
  for (int unit = 0; unit < kUnits; ++unit) EXPECT_EQ(value(unit), 1);
}

TEST_F(UpdateRuns, OneWorkerServesManyRuns) {
  Worker worker;
  for (int round = 1; round <= 5; ++round) {
    UpdateRun run(device_, args({0, 1, 2}), kUnits, &worker);
    for (int unit = 0; unit < kUnits; ++unit) run.release(unit);
    run.finish();
    EXPECT_EQ(value(round % kUnits), round);
  }
  EXPECT_EQ(device_.host_memory().ledger().live(), 0) << "buffers go with the run";
}

TEST_F(UpdateRuns, WithoutAWorkerTheFirstThatWaitsRunsItAll) {
  UpdateRun run(device_, args({0, 1, 2}), kUnits, nullptr);
  for (int unit = 0; unit < kUnits; ++unit) run.release(unit);
  EXPECT_EQ(computed_, 0);
  EXPECT_FALSE(run.is_settled(1));
  run.settle(1);
  EXPECT_EQ(computed_, kUnits * kChunksOfUnit);
  run.finish();
  EXPECT_EQ(computed_, kUnits * kChunksOfUnit) << "once";
  EXPECT_EQ(value(2), 1);
}

TEST_F(UpdateRuns, ARunThatIsGivenUpEndsWithoutItsGradients) {
  Worker worker;
  {
    UpdateRun run(device_, args({0, 1, 2}), kUnits, &worker);
    run.release(0);
    run.settle(0);
  }
  EXPECT_EQ(computed_, kChunksOfUnit);
  EXPECT_EQ(value(0), 1);
  EXPECT_EQ(value(1), 0) << "units that were not released are as they were";
  EXPECT_EQ(device_.host_memory().ledger().live(), 0);
}

TEST_F(UpdateRuns, AFailureIsToldToWhoeverWaits) {
  Worker worker;
  fails_ = 1;
  UpdateRun run(device_, args({0, 1, 2}), kUnits, &worker);
  for (int unit = 0; unit < kUnits; ++unit) run.release(unit);
  for (int again = 0; again < 2; ++again) {
    EXPECT_NE(fault_of([&] { run.settle(2); }).find("a failure"), std::string::npos);
    EXPECT_FALSE(run.is_settled(2));
    EXPECT_NE(fault_of([&] { run.finish(); }).find("a failure"), std::string::npos);
  }
}

}  // namespace
}  // namespace aleph::zero
