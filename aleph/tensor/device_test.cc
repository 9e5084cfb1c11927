#include "aleph/tensor/device.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "aleph/base/error.h"

namespace aleph {
namespace {

/// A gate that work stands at until the test opens it.
class Gate {
 public:
  void open() { open_.store(true); }
  void pass() const {
    while (!open_.load()) std::this_thread::sleep_for(std::chrono::microseconds(50));
  }

 private:
  std::atomic<bool> open_ = false;
};

TEST(StreamOrderTest, AThousandTasksRunInTheOrderGiven) {
  for (const auto mode : {Stream::Mode::kInline, Stream::Mode::kThread}) {
    std::vector<int> order;
    Stream stream(mode);
    Event last;
    for (int i = 0; i < 1000; ++i) last = stream.run([&order, i] { order.push_back(i); });
    last.wait();
    EXPECT_TRUE(last.done());
    ASSERT_EQ(order.size(), 1000u);
    for (int i = 0; i < 1000; ++i) ASSERT_EQ(order[static_cast<size_t>(i)], i);
  }
}

TEST(StreamOrderTest, RunReturnsBeforeTheWorkIsDone) {
  Gate gate;
  Stream stream(Stream::Mode::kThread);
  const Event first = stream.run([&] { gate.pass(); });
  const Event second = stream.run([] {});
  const Event copy = first;
  EXPECT_FALSE(first.done() || second.done() || copy.done());
  gate.open();
  second.wait();
  EXPECT_TRUE(first.done() && second.done() && copy.done()) << "an event stands for all before it";
}

TEST(StreamOrderTest, AnEmptyEventIsDone) {
  const Event none;
  EXPECT_TRUE(none.done());
  EXPECT_NO_THROW(none.wait());
  Stream stream(Stream::Mode::kThread);
  EXPECT_NO_THROW(stream.wait(none));
  EXPECT_NO_THROW(stream.synchronize());
}

TEST(StreamOrderTest, AStreamWaitsForAnEventOfAnother) {
  Gate gate;
  std::atomic<int> value = 0;
  Stream producer(Stream::Mode::kThread), consumer(Stream::Mode::kThread);
  int seen = -1;
  const Event produced = producer.run([&] {
    gate.pass();
    value = 7;
  });
  consumer.wait(produced);
  const Event consumed = consumer.run([&] { seen = value; });
  EXPECT_FALSE(consumed.done()) << "the host is not blocked by the wait of a stream";
  gate.open();
  consumed.wait();
  EXPECT_EQ(seen, 7);
}

TEST(StreamFailureTest, EveryWaitFromThenOnRethrowsTheFirstAndLaterWorkIsSkipped) {
  Stream stream(Stream::Mode::kThread);
  bool ran = false;
  const Event failed = stream.run([] { throw Error("drive", "nothing", "data"); });
  const Event later = stream.run([&] { ran = true; });
  for (int i = 0; i < 2; ++i) {
    for (const Event& event : {failed, later}) {
      try {
        event.wait();
        FAIL() << "no error";
      } catch (const Error& error) {
        EXPECT_STREQ(error.what(), "drive: found nothing, expected data");
      }
    }
  }
  EXPECT_THROW(stream.synchronize(), Error);
  EXPECT_TRUE(later.done()) << "a skipped task does not hang";
  EXPECT_FALSE(ran);
}

TEST(StreamFailureTest, AFailurePassesOnToTheStreamThatWaits) {
  Gate gate;
  Stream producer(Stream::Mode::kThread), consumer(Stream::Mode::kThread);
  bool consumed = false;
  const Event failed = producer.run([&] {
    gate.pass();
    throw Error("read", "EIO", "bytes");
  });
  consumer.wait(failed);
  const Event after = consumer.run([&] { consumed = true; });
  gate.open();
  EXPECT_THROW(after.wait(), Error);
  EXPECT_FALSE(consumed) << "nobody computes on what was never read";
}

TEST(StreamFailureTest, InlineWorkThrowsInTheCall) {
  Stream stream(Stream::Mode::kInline);
  EXPECT_THROW(stream.run([] { throw Error("a", "b", "c"); }), Error);
  bool ran = false;
  EXPECT_TRUE(stream.run([&] { ran = true; }).done()) << "an inline stream goes on";
  EXPECT_TRUE(ran);
  EXPECT_NO_THROW(stream.synchronize());
}

TEST(StreamFailureTest, AStreamCanGoWithAFailureNobodySaw) {
  std::atomic<int> runs = 0;
  {
    Stream stream(Stream::Mode::kThread);
    stream.run([&] { ++runs; });
    stream.run([&] {
      ++runs;
      throw Error("a", "b", "c");
    });
    stream.run([&] { ++runs; });
  }
  EXPECT_EQ(runs, 2) << "what was queued ran before the stream went";
}

TEST(DeviceContextTest, BudgetsAreThoseOfThePools) {
  DeviceContext device({.device_budget_bytes = 8192, .host_budget_bytes = 4096});
  EXPECT_FALSE(device.meta());
  EXPECT_EQ(device.kind(), DeviceKind::kCpu);
  EXPECT_EQ(device.memory().ledger().budget(), 8192);
  EXPECT_EQ(device.memory().ledger().tier(), MemoryTier::kDevice);
  EXPECT_EQ(device.host_memory().ledger().budget(), 4096);
  EXPECT_EQ(device.host_memory().ledger().tier(), MemoryTier::kHost);
  EXPECT_THROW(device.host_memory().allocate(8192, MemoryTag::kWorkspace), Error);
  EXPECT_NO_THROW(device.memory().allocate(8192, MemoryTag::kWorkspace));
}

TEST(DeviceContextTest, CopiesRunBesideTheCaller) {
  DeviceContext device({});
  Gate gate;
  const Event copy = device.copy().run([&] { gate.pass(); });
  EXPECT_FALSE(copy.done());
  gate.open();
  copy.wait();
}

TEST(DeviceContextTest, AMetaDeviceBooksWithinItsBudgetAndRunsNoThread) {
  DeviceContext device({.kind = DeviceKind::kMeta, .device_budget_bytes = 4096});
  EXPECT_TRUE(device.meta() && device.memory().meta() && device.host_memory().meta());
  EXPECT_TRUE(device.copy().run([] {}).done());
  EXPECT_THROW(device.memory().allocate(8192, MemoryTag::kWorkspace), Error);
}

}  // namespace
}  // namespace aleph
