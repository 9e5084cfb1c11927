// A signal at any moment of a run: it stops with what it has saved, goes on from there, and ends as if
// nothing had happened.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "aleph/base/random.h"
#include "aleph/checkpoint/training_checkpoint.h"
#include "aleph/io/file.h"
#include "tests/support/program.h"
#include "tests/support/tiny_run.h"

namespace aleph::tests {
namespace {

using ::testing::HasSubstr;

constexpr int kSteps = 24;

/// Moments per case; ALEPH_SIGNALS asks for more.
int moments() {
  const char* asked = std::getenv("ALEPH_SIGNALS");
  return asked == nullptr ? 12 : std::atoi(asked);
}

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

/// Start-up with much text, steps, evaluations, checkpoints, final evaluation, saving of the model.
std::vector<std::string> arguments_of(const TinyWorld& world, const std::string& output, bool nvme) {
  std::vector<std::string> arguments = world.arguments(output);
  *std::next(std::find(arguments.begin(), arguments.end(), "--steps")) = std::to_string(kSteps);
  if (nvme) {
    for (const char* what : {"--offload-param", "--offload-optimizer", "--offload-activations"})
      *std::next(std::find(arguments.begin(), arguments.end(), what)) = "nvme";
  }
  for (const char* more : {"--save-steps", "7", "--save-total-limit", "2", "--eval-split", "0.004",
                           "--eval-steps", "5", "--resume"})
    arguments.push_back(more);
  return arguments;
}

void write_much_text(const TinyWorld& world) {
  const std::string text = read_bytes(world / "text.txt");
  std::string much;
  for (int i = 0; i < 200; ++i) much += text;
  io::write_file_atomically(world / "text.txt", much);
}

int64_t newest_step(const std::filesystem::path& output) {
  const auto all = checkpoint::list_checkpoints(output);
  return all.empty() ? 0 : all.back().step;
}

class Signals : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override { write_much_text(world_); }

  /// How long an undisturbed run takes, in microseconds. Leaves its results in "whole".
  uint64_t run_whole() const {
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(run_program(arguments_of(world_, "whole", GetParam())).status, 0);
    return static_cast<uint64_t>((std::chrono::steady_clock::now() - start) / std::chrono::microseconds(1));
  }
  void expect_swap_is_gone() const { EXPECT_TRUE(std::filesystem::is_empty(world_ / "swap")); }
  /// A random time in a run that takes `whole` microseconds; every third time while it starts.
  useconds_t moment(int number, uint64_t whole) const {
    const uint64_t range = number % 3 == 0 ? whole / 8 : whole;
    return static_cast<useconds_t>(random_.below(range, 2 * static_cast<uint64_t>(number)));
  }
  bool finished() const { return std::filesystem::exists(world_ / "cut" / "training_run.json"); }

  TinyWorld world_;
  RandomStream random_{{.seed = 5, .purpose = RandomPurpose::kSampling}};
};

TEST_P(Signals, OneSavesAndStopsWithinAStep) {
  const uint64_t whole = run_whole();
  int stopped = 0, starts = 0;
  for (int i = 0; i < moments(); ++i) {
    if (finished()) io::remove_all(world_ / "cut");
    const int64_t before = newest_step(world_ / "cut");
    Program program(arguments_of(world_, "cut", GetParam()));
    await_handlers(program);
    ::usleep(moment(i, whole));
    program.signal(i % 2 == 0 ? SIGINT : SIGTERM);
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
    ASSERT_GE(step, before);
    const auto logged = static_cast<int64_t>(log_values(world_ / "cut.jsonl", "loss").size());
    if (result.err.find("interrupted: saved step") == std::string::npos) {
      ++starts;
      EXPECT_EQ(step, before) << "the run had not made a step";
    } else {
      EXPECT_EQ(step, logged) << "the last step that was made is saved";
    }
  }
  std::printf("%d moments: stopped %d times, %d of them before the first step\n", moments(), stopped, starts);
  EXPECT_GT(stopped, 0);
  ASSERT_EQ(run_program(arguments_of(world_, "cut", GetParam())).status, 0);
  const RunResult cut = read_result(world_.config("cut")), uncut = read_result(world_.config("whole"));
  EXPECT_EQ(cut.losses, uncut.losses);
  EXPECT_TRUE(cut.weights == uncut.weights);
}

TEST_P(Signals, ASecondOneEndsItAtOnce) {
  const uint64_t whole = run_whole();
  for (int i = 0; i < moments() / 2; ++i) {
    if (finished()) io::remove_all(world_ / "cut");
    const int64_t before = newest_step(world_ / "cut");
    Program program(arguments_of(world_, "cut", GetParam()));
    await_handlers(program);
    ::usleep(moment(i, whole));
    program.signal(SIGTERM);
    ::usleep(static_cast<useconds_t>(random_.below(3000, 1000 + 2 * static_cast<uint64_t>(i))));
    program.signal(SIGINT);
    const int status = program.wait().status;
    EXPECT_TRUE(status == 130 || (status == 0 && finished())) << status;
    EXPECT_GE(newest_step(world_ / "cut"), before);
  }
  ASSERT_EQ(run_program(arguments_of(world_, "cut", GetParam())).status, 0);
  expect_swap_is_gone();
  EXPECT_TRUE(read_result(world_.config("cut")).weights == read_result(world_.config("whole")).weights);
}

INSTANTIATE_TEST_SUITE_P(Slow, Signals, ::testing::Bool(),
                         [](const auto& case_info) { return case_info.param ? "Nvme" : "Memory"; });

}  // namespace
}  // namespace aleph::tests
