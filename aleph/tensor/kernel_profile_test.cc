#include "aleph/tensor/kernel_profile.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <thread>
#include <vector>

namespace aleph {
namespace {

TEST(KernelProfileTest, CallsAreSummedByPhaseAndKind) {
  KernelProfile profile;
  profile.add(KernelKind::kNorm, {.calls = 1, .seconds = 1, .bytes = 8});
  profile.enter(ComputePhase::kBackward);
  for (int i = 0; i < 2; ++i)
    profile.add(KernelKind::kNorm, {.calls = 1, .seconds = 2, .operations = 3, .bytes = 4});
  const KernelTotals before = profile.of(ComputePhase::kOther, KernelKind::kNorm);
  EXPECT_EQ(before.calls, 1);
  EXPECT_EQ(before.bytes, 8);
  const KernelTotals after = profile.of(ComputePhase::kBackward, KernelKind::kNorm);
  EXPECT_EQ(after.calls, 2);
  EXPECT_EQ(after.seconds, 4);
  EXPECT_EQ(after.operations, 6);
  EXPECT_EQ(after.bytes, 8);
  EXPECT_EQ(profile.of(ComputePhase::kBackward, KernelKind::kMatmul).calls, 0);
}

TEST(KernelProfileTest, KindsAreSummedOverThePhasesOfSteps) {
  KernelProfile profile;
  for (const ComputePhase phase : {ComputePhase::kForward, ComputePhase::kHead, ComputePhase::kOther}) {
    profile.enter(phase);
    profile.add(KernelKind::kNorm, {.calls = 1, .bytes = 8});
  }
  EXPECT_EQ(profile.of(KernelKind::kNorm).calls, 2);
  EXPECT_EQ(profile.of(KernelKind::kNorm).bytes, 16);
}

TEST(KernelProfileTest, UpdatesCountAsUpdateWhateverRunsBeside) {
  KernelProfile profile;
  profile.enter(ComputePhase::kForward);
  profile.add(KernelKind::kUpdate, {.calls = 1});
  EXPECT_EQ(profile.of(ComputePhase::kUpdate, KernelKind::kUpdate).calls, 1);
  EXPECT_EQ(profile.of(ComputePhase::kForward, KernelKind::kUpdate).calls, 0);
}

TEST(KernelProfileTest, TimersOfManyThreadsAreCounted) {
  KernelProfile profile;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) const KernelTimer timer(profile, KernelKind::kMatmul, 2, 1);
    });
  }
  for (std::thread& thread : threads) thread.join();
  const KernelTotals total = profile.of(ComputePhase::kOther, KernelKind::kMatmul);
  EXPECT_EQ(total.calls, 4000);
  EXPECT_EQ(total.operations, 8000);
  EXPECT_GT(total.seconds, 0);
}

TEST(KernelProfileTest, EveryPhaseAndKindHasItsName) {
  std::set<std::string> names;
  for (size_t i = 0; i < kKernelKinds; ++i) names.insert(kernel_kind_name(static_cast<KernelKind>(i)));
  EXPECT_EQ(names.size(), kKernelKinds);
  names.clear();
  for (size_t i = 0; i < kComputePhases; ++i) names.insert(compute_phase_name(static_cast<ComputePhase>(i)));
  EXPECT_EQ(names.size(), kComputePhases);
}

}  // namespace
}  // namespace aleph
