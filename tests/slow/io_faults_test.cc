// One call to the disk fails, or moves too little: every call of a training run with all states on NVMe that
// resumes, saves and finishes, one after the other. ALEPH_TEST_FAULTS=0 strikes them all; N (30) strikes
// about N of each run, at equal distances from a random start.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <thread>

#include "aleph/base/testing.h"
#include "aleph/checkpoint/training_checkpoint.h"
#include "aleph/io/fault_injection.h"
#include "tests/support/tiny_run.h"

namespace aleph::tests {
namespace {

namespace fs = std::filesystem;
using io::AsyncQueue;
using io::Call;
using ::testing::AnyOf;
using ::testing::HasSubstr;

constexpr int64_t kSteps = 3;

/// Ends the test program when something takes longer than any disk or debugger explains: it hangs.
class Deadline {
 public:
  explicit Deadline(std::string what)
      : watch_([this, what = std::move(what)] {
          std::unique_lock lock(mutex_);
          if (changed_.wait_for(lock, std::chrono::minutes(5), [&] { return met_; })) return;
          fmt::print(stderr, "{} hangs\n", what);
          std::_Exit(EXIT_FAILURE);
        }) {}
  ~Deadline() {
    {
      std::lock_guard lock(mutex_);
      met_ = true;
    }
    changed_.notify_all();
    watch_.join();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool met_ = false;
  std::thread watch_;  // last: uses the others
};

struct Case {
  AsyncQueue::BackendKind queue;
  int error;  // 0: a short read or write

  std::string name() const {
    const std::string what = error == 0 ? "Short" : error == EIO ? "Error" : "FullDisk";
    return what + (queue == AsyncQueue::BackendKind::kThreads ? "_threads" : "_io_uring");
  }
};

/// A run that goes on from its first step.
class IoFaults : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    train::TrainConfig first = config("first");
    first.steps = 1;
    train_quietly(first);
    train::TrainConfig whole = config("whole");
    whole.save.resume = false;
    whole_ = run(whole);
  }

  train::TrainConfig config(const std::string& output) const {
    train::TrainConfig config = world_.config(output);
    config.steps = kSteps;
    config.save.save_steps = 1;
    config.save.save_total_limit = 2;
    config.save.resume = output != "whole";
    config.placement.offload_param = train::Offload::kNvme;
    config.placement.offload_optimizer = train::Offload::kNvme;
    config.placement.offload_activations = train::Offload::kNvme;
    return config;
  }
  /// The run under a disk with faults; what it says.
  std::string run_with(io::FaultInjection& faults) {
    fs::remove_all(world_ / "struck");
    fs::remove(world_ / "struck.jsonl");
    fs::copy(world_ / "first", world_ / "struck", fs::copy_options::recursive);
    return fault_of([&] { train_quietly(config("struck"), {&faults, GetParam().queue}); });
  }
  void expect_finished(const std::string& when) {
    const RunResult result = read_result(config("struck"));
    EXPECT_TRUE(result.weights == whole_.weights) << when;
    EXPECT_TRUE(result.state == whole_.state) << when;
  }
  /// One line with path, cause, and how many bytes where some were to be moved.
  void expect_clear(const std::string& fault, const io::FaultInjection::Struck& struck) {
    EXPECT_EQ(fault.find('\n'), std::string::npos) << fault;
    const fs::path path = struck.path;  // for a lock or a folder that is not there yet its folder will do
    EXPECT_THAT(fault,
                AnyOf(HasSubstr(path.filename().string()), HasSubstr(path.parent_path().string() + ":")));
    EXPECT_THAT(fault, HasSubstr(std::strerror(GetParam().error)));
    EXPECT_THAT(fault, HasSubstr(struck.bytes > 0 ? fmt::format("{} bytes", struck.bytes) : ""));
  }
  void expect_intact_and_resumable() {
    const auto checkpoints = checkpoint::list_checkpoints(world_ / "struck");
    ASSERT_FALSE(checkpoints.empty());
    for (const auto& one : checkpoints) checkpoint::CheckpointReader(one.path).verify();
    io::FaultInjection no_sync(false);  // fast
    train_quietly(config("struck"), {&no_sync, GetParam().queue});
    expect_finished("resumed");
  }
  void strike(int64_t call) {
    const Deadline deadline(fmt::format("the run whose call {} fails", call));
    io::FaultInjection faults(false);
    faults.fail_any(call, GetParam().error);
    const std::string fault = run_with(faults);
    const auto struck = faults.struck();
    ASSERT_TRUE(struck.has_value()) << "the run has fewer calls";
    SCOPED_TRACE(fmt::format("call {} ({}) of {}, {} bytes: {}", call, static_cast<int>(struck->call),
                             struck->path, struck->bytes, fault));
    // What may stay is a swap folder whose own removal has failed; the next run removes it.
    EXPECT_TRUE(struck->call == Call::kRemove || fs::is_empty(world_ / "swap"));
    ++outcomes_[fault == "no error"];
    if (fault == "no error") return expect_finished("recovered");
    expect_clear(fault, *struck);
    expect_intact_and_resumable();
  }

  TinyWorld world_;
  RunResult whole_;
  std::array<int64_t, 2> outcomes_{};  // errors, recoveries
};

TEST_P(IoFaults, AnyCallThatFailsIsAnErrorOrDoesNotMatter) {
  io::FaultInjection counting(false);
  ASSERT_EQ(run_with(counting), "no error");
  expect_finished("without faults");
  ASSERT_EQ(counting.count(Call::kTruncate), 0);
  const int64_t calls = counting.calls();
  const std::vector<int64_t> chosen = spread(calls, number_from_environment("ALEPH_TEST_FAULTS", 30));
  for (const int64_t call : chosen) strike(call);
  fmt::print("{} calls, {} struck: {} errors, {} recoveries\n", calls, chosen.size(), outcomes_[0],
             outcomes_[1]);
  if (GetParam().error == 0) {
    EXPECT_EQ(outcomes_[0], 0) << "short reads and writes are continued";
  } else {
    EXPECT_GT(outcomes_[0], outcomes_[1]);
  }
}

INSTANTIATE_TEST_SUITE_P(Slow, IoFaults,
                         ::testing::Values(Case{AsyncQueue::BackendKind::kAuto, EIO},
                                           Case{AsyncQueue::BackendKind::kAuto, ENOSPC},
                                           Case{AsyncQueue::BackendKind::kAuto, 0},
                                           Case{AsyncQueue::BackendKind::kThreads, EIO},
                                           Case{AsyncQueue::BackendKind::kThreads, ENOSPC},
                                           Case{AsyncQueue::BackendKind::kThreads, 0}),
                         [](const auto& case_info) { return case_info.param.name(); });

}  // namespace
}  // namespace aleph::tests
