// Runs that are killed again and again, at any instant from start to end, and resumed each time, end as if
// nothing had happened. ALEPH_TEST_KILLS says how often (20).
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <map>

#include "aleph/base/clock.h"
#include "aleph/base/random.h"
#include "aleph/checkpoint/training_checkpoint.h"
#include "tests/support/arguments.h"
#include "tests/support/tiny_run.h"

namespace aleph::tests {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kSteps = 40;

/// Saves every step; odd runs have all states on NVMe.
Arguments arguments_of(const TinyWorld& world, const std::string& output, bool nvme) {
  return with(with_states_on(nvme ? "nvme" : "none", world.arguments(output)), "--steps",
              std::to_string(kSteps)) +
         Arguments{"--save-steps", "1", "--save-total-limit", "3", "--resume"};
}

void expect_whole_checkpoints(const fs::path& output) {
  for (const auto& one : checkpoint::find_checkpoints(output)) {
    EXPECT_EQ(one.fault, "");
    checkpoint::CheckpointReader(one.path).verify();
  }
}

/// What a kill has met.
std::string phase_of(const fs::path& output, int64_t step) {
  if (fs::exists(output / "training_run.json")) return "after the end";
  if (step == kSteps) return "while the model was saved";
  for (const auto& entry : fs::directory_iterator(output))
    if (entry.path().extension() == ".tmp") return "while a checkpoint was saved or removed";
  return step == 0 ? "before the first checkpoint" : "between saves";
}

class Kills : public ::testing::Test {
 protected:
  void SetUp() override {
    const Stopwatch watch;
    ASSERT_EQ(run_program(arguments_of(world_, "whole", false)).status, 0);
    seconds_ = watch.seconds();
    whole_ = read_result(world_.config("whole"));
  }

  /// Starts or goes on with the run, kills it after a part of the time that a whole run takes, and returns
  /// whether it was still there.
  bool kill_once(uint64_t number, bool nvme) {
    Program program(arguments_of(world_, "killed", nvme));
    const double part = random_.uniform(number) * random_.uniform(number + (1u << 20));
    ::usleep(static_cast<useconds_t>(1e6 * seconds_ * part));
    const bool running = program.running();
    program.signal(SIGKILL);
    const ProgramResult result = program.wait();
    EXPECT_TRUE(result.status == 0 || result.status == 128 + SIGKILL) << result.err;
    return running;
  }
  /// One run to its end; returns the kills.
  int64_t run_under_fire(uint64_t number, int64_t limit) {
    const fs::path output = world_ / "killed";
    fs::remove_all(output);
    fs::remove(world_ / "killed.jsonl");
    int64_t reached = 0, kills = 0;
    while (kills < limit && !fs::exists(output / "training_run.json")) {
      const bool nvme = (number + static_cast<uint64_t>(kills)) % 3 == 1;
      if (!kill_once((number << 10) + static_cast<uint64_t>(kills), nvme)) continue;
      ++kills;
      expect_whole_checkpoints(output);
      const int64_t step = newest_step(output);
      EXPECT_GE(step, reached) << "a kill lost a complete checkpoint";
      reached = step;
      if (fs::exists(output)) ++phases_[phase_of(output, step)];
    }
    const ProgramResult end = run_program(arguments_of(world_, "killed", false));
    EXPECT_EQ(end.status, 0) << end.err;
    const RunResult killed = read_result(world_.config("killed"));
    EXPECT_EQ(killed.losses, whole_.losses);
    EXPECT_TRUE(killed.weights == whole_.weights);
    EXPECT_TRUE(killed.state == whole_.state);
    return kills;
  }

  TinyWorld world_;
  double seconds_ = 0;
  RunResult whole_;
  const RandomStream random_{{.seed = static_cast<uint64_t>(number_from_environment("ALEPH_TEST_SEED", 3))}};
  std::map<std::string, int64_t> phases_;
};

TEST_F(Kills, AtAnyInstantTheRunGoesOnAndEndsTheSame) {
  const int64_t wanted = number_from_environment("ALEPH_TEST_KILLS", 20);
  int64_t kills = 0;
  uint64_t runs = 0;
  while (kills < wanted && !HasFailure()) kills += run_under_fire(++runs, wanted - kills);
  fmt::print("{} kills of {} runs\n", kills, runs);
  for (const auto& [phase, count] : phases_) fmt::print("  {} {}\n", count, phase);
}

}  // namespace
}  // namespace aleph::tests
