// A signal at any moment of a run: it stops with what it has saved, goes on from there, and ends as if
// nothing had happened. ALEPH_TEST_SIGNALS says at how many (12).
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "aleph/base/clock.h"
#include "aleph/base/random.h"
#include "aleph/io/file.h"
#include "tests/support/arguments.h"
#include "tests/support/tiny_run.h"

namespace aleph::tests {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

constexpr int64_t kSteps = 24;  // of a run that is stopped

int64_t moments() { return number_from_environment("ALEPH_TEST_SIGNALS", 12); }

/// Whether the process waits for signals by now: before, nothing of a run has begun.
bool catches_signals(pid_t pid) {
  std::ifstream status(fmt::format("/proc/{}/status", pid));
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("SigCgt:")) return (std::stoull(line.substr(7), nullptr, 16) >> (SIGTERM - 1)) & 1;
  return false;
}

void await_handlers(Program& program) {
  while (program.running() && !catches_signals(program.pid())) ::usleep(200);
}

/// Steps in a log that is being written.
int64_t steps_in(const fs::path& log) {
  std::ifstream in(log);
  int64_t steps = 0;
  for (std::string line; std::getline(in, line) && !in.eof();)
    steps += line.find("\"learning_rate\"") != std::string::npos ? 1 : 0;
  return steps;
}

void write_much_text(const TinyWorld& world) {
  const std::string text = read_bytes(world / "text.txt");
  std::string much;
  for (int i = 0; i < 200; ++i) much += text;
  io::write_file_atomically(world / "text.txt", much);
}

class Signals : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override { write_much_text(world_); }

  Arguments arguments_of(const std::string& output, int64_t steps) const {
    return with(with_states_on(GetParam() ? "nvme" : "none", world_.arguments(output)), "--steps",
                std::to_string(steps));
  }
  /// Start-up with much text, steps, evaluations, checkpoints, final evaluation, saving of the model.
  Arguments many_steps(const std::string& output) const {
    return arguments_of(output, kSteps) + Arguments{"--save-steps", "7",     "--save-total-limit", "2",
                                                    "--eval-split", "0.004", "--eval-steps",       "5",
                                                    "--resume"};
  }
  /// Some tenths of a second for each step, and no checkpoint unless a signal asks for one.
  Arguments long_steps(const std::string& output) const {
    return with(arguments_of(output, 2), "--grad-accumulation", "1000") + Arguments{"--resume"};
  }
  /// How long an undisturbed run takes, in seconds. Leaves its results in "whole".
  static double run_whole(const Arguments& arguments) {
    const Stopwatch watch;
    EXPECT_EQ(run_program(arguments).status, 0);
    return watch.seconds();
  }
  void expect_swap_is_gone() const { EXPECT_TRUE(fs::is_empty(world_ / "swap")); }
  double draw(int64_t number) const { return random_.uniform(static_cast<uint64_t>(number)); }
  static void sleep(double seconds) { ::usleep(static_cast<useconds_t>(1e6 * seconds)); }
  bool finished() const { return fs::exists(world_ / "cut" / "training_run.json"); }
  void start_again() const {
    io::remove_all(world_ / "cut");
    io::remove_all(world_ / "cut.jsonl");
  }

  TinyWorld world_;
  RandomStream random_{{.seed = static_cast<uint64_t>(number_from_environment("ALEPH_TEST_SEED", 5))}};
};

TEST_P(Signals, OneSavesAndStopsWithinAStep) {
  const double whole = run_whole(many_steps("whole"));
  int64_t stopped = 0, starts = 0;
  for (int64_t i = 0; i < moments(); ++i) {
    if (finished()) start_again();
    const int64_t before = newest_step(world_ / "cut");
    Program program(many_steps("cut"));
    await_handlers(program);
    sleep(draw(i) * (i % 3 == 0 ? whole / 8 : whole));  // every third while it starts
    program.signal(i % 2 == 0 ? SIGINT : SIGTERM);
    const int64_t made = steps_in(world_ / "cut.jsonl");
    const ProgramResult result = program.wait();
    expect_swap_is_gone();
    if (result.status == 0) {
      EXPECT_TRUE(finished()) << "0 means that all is done";
      continue;
    }
    ASSERT_EQ(result.status, 130) << result.err;
    EXPECT_THAT(result.err, HasSubstr("interrupted"));
    ++stopped;
    const int64_t step = newest_step(world_ / "cut");
    if (result.err.find("interrupted: saved step") == std::string::npos) {
      ++starts;
      EXPECT_EQ(step, before) << "the run had not made a step";
    } else {
      EXPECT_GE(step, std::min(before + 1, kSteps)) << "after the last step there is an evaluation";
      EXPECT_LE(step, made + 2) << "the step under way, and one that ended before the log was read";
      EXPECT_EQ(step, steps_in(world_ / "cut.jsonl")) << "the last step that was made is saved";
    }
  }
  fmt::print("{} moments: stopped {} times, {} of them before the first step\n", moments(), stopped, starts);
  EXPECT_GT(stopped, 0);
  ASSERT_EQ(run_program(many_steps("cut")).status, 0);
  const RunResult cut = read_result(world_.config("cut")), uncut = read_result(world_.config("whole"));
  EXPECT_EQ(cut.losses, uncut.losses);
  EXPECT_TRUE(cut.weights == uncut.weights);
}

/// Between the last write and the end of the process.
TEST_P(Signals, OneAfterTheEndChangesNothing) {
  for (int64_t i = 0; i < moments(); ++i) {
    start_again();
    Program program(arguments_of("cut", 1));
    while (program.running() && !finished()) ::usleep(100);
    sleep(0.01 * draw(i));
    program.signal(i % 2 == 0 ? SIGINT : SIGTERM);
    const ProgramResult result = program.wait();
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_THAT(result.err, HasSubstr("saved the model"));
  }
}

/// Every third time while it starts, else early in the first of long steps: the first signal alone would wait
/// for its end and save it. Where the start took longer than that, the first one has ended the run.
TEST_P(Signals, ASecondOneEndsItAtOnce) {
  run_whole(long_steps("whole"));
  const std::vector<double> seconds = log_values(world_ / "whole.jsonl", "step_seconds");
  const double step = *std::min_element(seconds.begin(), seconds.end());
  int64_t within_a_step = 0;
  for (int64_t i = 0; i < moments() / 2; ++i) {
    start_again();
    Program program(long_steps("cut"));
    await_handlers(program);
    sleep(step * (i % 3 == 0 ? 0.02 * draw(2 * i) : 0.05 + 0.15 * draw(2 * i)));
    program.signal(SIGTERM);
    sleep(0.05 * step * draw(2 * i + 1));
    program.signal(SIGINT);
    const Stopwatch watch;
    const ProgramResult result = program.wait();
    EXPECT_LT(watch.seconds(), step / 2);
    EXPECT_EQ(result.status, 130) << result.err;
    EXPECT_EQ(result.err.find("interrupted: saved"), std::string::npos) << result.err;
    within_a_step += result.err.find("interrupted") == std::string::npos ? 1 : 0;
    EXPECT_EQ(steps_in(world_ / "cut.jsonl"), 0) << "the step was not waited for";
    EXPECT_EQ(newest_step(world_ / "cut"), 0) << "nothing is saved";
  }
  EXPECT_GT(within_a_step, 0);
  ASSERT_EQ(run_program(long_steps("cut")).status, 0);
  expect_swap_is_gone();
  EXPECT_TRUE(read_result(world_.config("cut")).weights == read_result(world_.config("whole")).weights);
}

INSTANTIATE_TEST_SUITE_P(Slow, Signals, ::testing::Bool(),
                         [](const auto& case_info) { return case_info.param ? "Nvme" : "Memory"; });

}  // namespace
}  // namespace aleph::tests
