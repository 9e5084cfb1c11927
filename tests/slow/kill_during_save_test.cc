// A run that is killed again and again, at any instant, and resumed each time, ends as if nothing had
// happened.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>

#include "aleph/base/random.h"
#include "aleph/checkpoint/training_checkpoint.h"
#include "tests/support/program.h"
#include "tests/support/tiny_run.h"

namespace aleph::tests {
namespace {

constexpr int64_t kSteps = 120;
constexpr int kKills = 40;

std::vector<std::string> arguments_of(const TinyWorld& world, const std::string& output) {
  std::vector<std::string> arguments = world.arguments(output);
  *std::next(std::find(arguments.begin(), arguments.end(), "--steps")) = std::to_string(kSteps);
  for (const char* more : {"--save-steps", "1", "--save-total-limit", "3", "--resume"})
    arguments.push_back(more);
  return arguments;
}

int64_t newest_step(const std::filesystem::path& output) {
  const auto all = checkpoint::list_checkpoints(output);
  for (const auto& one : all) checkpoint::CheckpointReader(one.path).verify();
  return all.empty() ? 0 : all.back().step;
}

TEST(KillDuringSave, EveryKillLeavesAGoodCheckpoint) {
  const TinyWorld world;
  const RandomStream random({.seed = 3, .purpose = RandomPurpose::kSampling});
  int64_t reached = 0;
  int kills = 0;
  for (uint64_t i = 0; i < kKills; ++i) {
    Program program(arguments_of(world, "killed"));
    ::usleep(static_cast<useconds_t>(20000 + random.below(60000, 2 * i)));
    kills += program.running() ? 1 : 0;
    program.signal(SIGKILL);
    program.wait();
    const int64_t step = newest_step(world / "killed");
    ASSERT_GE(step, reached) << "a kill lost a complete checkpoint";
    reached = step;
  }
  EXPECT_GT(kills, 3);
  EXPECT_GT(reached, 0);
  ASSERT_EQ(run_program(arguments_of(world, "killed")).status, 0);
  ASSERT_EQ(run_program(arguments_of(world, "whole")).status, 0);
  const RunResult killed = read_result(world.config("killed")), whole = read_result(world.config("whole"));
  EXPECT_EQ(killed.losses, whole.losses);
  EXPECT_TRUE(killed.weights == whole.weights);
  EXPECT_TRUE(killed.state == whole.state);
}

}  // namespace
}  // namespace aleph::tests
