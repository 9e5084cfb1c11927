#include "aleph/base/parallel.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "aleph/base/clock.h"
#include "aleph/base/error.h"
#include "aleph/base/start_threads.h"
#include "aleph/base/worker.h"

namespace aleph {
namespace {

class ParallelForTest : public testing::TestWithParam<int> {
 protected:
  void SetUp() override { set_num_threads(GetParam()); }
  void TearDown() override { set_num_threads(before_); }

  const int before_ = num_threads();
};

TEST_P(ParallelForTest, RangesAreDisjointWholeAndMultiplesOfTheGrain) {
  for (const int64_t n : {0, 1, 15, 16, 17, 100, 1003})
    for (const int64_t grain : {1, 7, 16, 2000}) {
      std::mutex mutex;
      std::vector<std::pair<int64_t, int64_t>> ranges;
      parallel_for(n, grain, [&](int64_t begin, int64_t end) {
        std::lock_guard lock(mutex);
        ranges.emplace_back(begin, end);
      });
      std::sort(ranges.begin(), ranges.end());
      int64_t next = 0;
      for (const auto& [begin, end] : ranges) {
        EXPECT_EQ(begin, next);
        EXPECT_LT(begin, end);
        EXPECT_EQ(begin % grain, 0);
        next = end;
      }
      EXPECT_EQ(next, n);
      EXPECT_LE(static_cast<int>(ranges.size()), GetParam());
    }
}

TEST_P(ParallelForTest, OneFailureIsRethrownAfterAllAreDone) {
  std::atomic<int> running = 0;
  const auto body = [&](int64_t, int64_t) {
    ++running;
    --running;
    throw Error("part", "a failure", "none");
  };
  EXPECT_THROW(parallel_for(64, 1, body), Error);
  EXPECT_EQ(running, 0);
}

TEST_P(ParallelForTest, NestedLoopsRunInTheirThread) {
  std::vector<std::atomic<int>> hits(64);
  parallel_for(8, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      parallel_for(8, 1, [&](int64_t inner_begin, int64_t inner_end) {
        for (int64_t k = inner_begin; k < inner_end; ++k) ++hits[static_cast<size_t>(8 * i + k)];
      });
  });
  for (const auto& hit : hits) EXPECT_EQ(hit, 1);
}

INSTANTIATE_TEST_SUITE_P(Threads, ParallelForTest, testing::Values(1, 2, 5));

TEST(WorkerTest, RunsInTheOrderOfSubmission) {
  std::vector<int> order;
  {
    Worker worker;
    for (int i = 0; i < 100; ++i) worker.submit([&order, i] { order.push_back(i); });
  }  // runs what is queued
  ASSERT_EQ(order.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
}

TEST(WorkerTest, ManyThreadsSubmitAndWait) {
  Worker worker;
  std::atomic<int> done = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        const int64_t number = worker.submit([&] { ++done; });
        worker.wait(number);
        EXPECT_TRUE(worker.done(number));
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(done, 200);
}

TEST(WorkerTest, EveryWaitAfterAFailureRethrowsIt) {
  Worker worker;
  worker.submit([] { throw Error("disk", "no space", "some"); });
  const int64_t last = worker.submit([] { throw Error("second", "is", "dropped"); });
  for (int i = 0; i < 2; ++i) {
    try {
      worker.wait(last);
      FAIL() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).find("disk: "), 0u) << error.what();
    }
  }
}

TEST(StopwatchTest, NeverGoesBackAndRestarts) {
  Stopwatch watch;
  const double first = watch.seconds();
  EXPECT_GE(first, 0);
  const double total = watch.restart();
  EXPECT_GE(total, first);
  EXPECT_GE(watch.seconds(), 0);
}

TEST(StartThreads, AreThereAsManyAsWereAskedFor) {
  const int before = num_threads();
  for (const int threads : {1, 3}) {
    set_num_threads(threads);
    start_threads();
    std::atomic<int> bodies = 0;
    parallel_for(threads, 1, [&](int64_t, int64_t) { ++bodies; });
    EXPECT_EQ(bodies, threads);
  }
  set_num_threads(before);
}

void start_threads_without_room() {
  rlim_t pages = 0;  // of the address space now
  std::ifstream("/proc/self/statm") >> pages;
  const rlim_t limit = pages * static_cast<rlim_t>(::sysconf(_SC_PAGESIZE)) + (rlim_t{4} << 20);
  const rlimit little{.rlim_cur = limit, .rlim_max = limit};
  ::setrlimit(RLIMIT_AS, &little);  // room for small things, for no stack
  set_num_threads(40);
  try {
    start_threads();
  } catch (const Error&) {
    std::_Exit(3);
  }
  std::_Exit(0);
}

TEST(StartThreads, SayWhereTheSystemRefusesThem) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers need address space of their own";
#endif
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(start_threads_without_room(), ::testing::ExitedWithCode(3), "");
}

}  // namespace
}  // namespace aleph
