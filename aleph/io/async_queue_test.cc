#include "aleph/io/async_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "aleph/base/error.h"
#include "aleph/base/random.h"
#include "aleph/io/fault_injection.h"
#include "aleph/io/temporary_directory.h"

namespace aleph::io {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;
using BackendKind = AsyncQueue::BackendKind;

/// Memory aligned for direct I/O.
class Memory {
 public:
  explicit Memory(size_t bytes)
      : size_(bytes), data_(static_cast<std::byte*>(std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096))) {
    std::memset(data_.get(), 0, bytes);
  }
  Memory(size_t bytes, uint64_t seed) : Memory(bytes) { fill(seed); }
  void fill(uint64_t seed) {
    const RandomStream random({.seed = seed});
    for (size_t i = 0; i < size_; i += 4) {
      const uint32_t word = random.word(i / 4);
      std::memcpy(data_.get() + i, &word, std::min<size_t>(4, size_ - i));
    }
  }
  std::span<std::byte> all() const { return {data_.get(), size_}; }
  std::span<std::byte> part(size_t begin, size_t size) const { return all().subspan(begin, size); }
  bool operator==(const Memory& other) const {
    return size_ == other.size_ && std::memcmp(data_.get(), other.data_.get(), size_) == 0;
  }

 private:
  struct Free {
    void operator()(std::byte* data) const { std::free(data); }
  };
  size_t size_;
  std::unique_ptr<std::byte, Free> data_;
};

bool io_uring_works() {
  try {
    const AsyncQueue queue({.backend = BackendKind::kIoUring});
    return true;
  } catch (const Error&) {
    return false;
  }
}

/// Every test runs on both backends, with faults at hand.
class AsyncQueueTest : public testing::TestWithParam<BackendKind> {
 protected:
  void SetUp() override {
    if (GetParam() == BackendKind::kIoUring && !io_uring_works()) GTEST_SKIP() << "no io_uring here";
  }
  AsyncQueue::Options options(int depth = 4, int64_t block_bytes = 8192) {
    return {.depth = depth, .block_bytes = block_bytes, .backend = GetParam(), .calls = &faults_};
  }
  File open(const std::string& name, Direct direct = Direct::kNo) {
    return File::open_read_write(dir_ / name, direct, &faults_);
  }

  TemporaryDirectory dir_{"."};
  FaultInjection faults_;
};

INSTANTIATE_TEST_SUITE_P(Backends, AsyncQueueTest,
                         testing::Values(BackendKind::kIoUring, BackendKind::kThreads), [](const auto& test) {
                           return test.param == BackendKind::kIoUring ? "IoUring" : "Threads";
                         });

TEST_P(AsyncQueueTest, NamesItsBackend) {
  const AsyncQueue queue(options());
  EXPECT_EQ(queue.backend(), GetParam() == BackendKind::kIoUring ? "io_uring" : "threads");
}

TEST_P(AsyncQueueTest, RandomReadsAndWritesMatchMemory) {
  for (const Direct direct : {Direct::kNo, Direct::kTry}) {
    AsyncQueue queue(options());
    const File file = open("a", direct);
    constexpr size_t kSize = 200'000, kSlots = 8, kSlot = kSize / kSlots;
    Memory model(kSize, 1);
    file.write_at(0, model.all());
    std::vector<Memory> buffers;
    for (size_t i = 0; i < kSlots; ++i) buffers.emplace_back(kSlot);
    const RandomStream random({.seed = direct == Direct::kTry ? 21u : 20u});
    for (uint64_t round = 0; round < 25; ++round) {
      // In each round, each slot is either written or read: one request must not touch the other's range.
      std::vector<Ticket> tickets(kSlots);
      std::vector<std::pair<size_t, size_t>> ranges(kSlots);
      for (size_t i = 0; i < kSlots; ++i) {
        const uint64_t draw = 8 * (round * kSlots + i);
        const size_t size = random.below(kSlot + 1, draw);
        const size_t begin = i * kSlot + random.below(kSlot - size + 1, draw + 2);
        ranges[i] = {begin, size};
        if (random.below(2, draw + 4) == 0) {
          buffers[i].fill(1000 + round);
          std::memcpy(model.all().data() + begin, buffers[i].all().data(), size);
          tickets[i] = queue.write(file, static_cast<int64_t>(begin), buffers[i].part(0, size));
        } else {
          tickets[i] = queue.read(file, static_cast<int64_t>(begin), buffers[i].part(0, size));
        }
      }
      for (size_t i = kSlots; i-- > 0;) {
        queue.wait(tickets[i]);
        EXPECT_TRUE(queue.done(tickets[i]));
        const auto [begin, size] = ranges[i];
        ASSERT_EQ(std::memcmp(buffers[i].all().data(), model.all().data() + begin, size), 0)
            << round << " " << i;
      }
    }
    Memory back(kSize);
    queue.wait(queue.read(file, 0, back.all()));
    EXPECT_EQ(back, model);
  }
}

TEST_P(AsyncQueueTest, AlignedRequestsOfAnyLengthOnDirectFiles) {
  AsyncQueue queue(options(3, 4096));
  const File file = open("a", Direct::kTry);
  for (const size_t size : {1u, 4095u, 4096u, 4097u, 40'960u, 50'001u}) {
    const Memory data(size, size);
    const Memory back(size);
    queue.wait(queue.write(file, 4096 * 5, data.all()));
    queue.wait(queue.read(file, 4096 * 5, back.all()));
    EXPECT_EQ(back, data) << size;
  }
}

TEST_P(AsyncQueueTest, ShortTransfersAreContinued) {
  AsyncQueue queue(options());
  const File file = open("a");
  const Memory data(30'000, 5), back(30'000);
  faults_.limit_transfers(999);
  queue.wait(queue.write(file, 77, data.all()));
  queue.wait(queue.read(file, 77, back.all()));
  EXPECT_EQ(back, data);
  EXPECT_GE(faults_.count(Call::kRead), 31);
}

TEST_P(AsyncQueueTest, InterruptedCallsAreMadeAgain) {
  AsyncQueue queue(options());
  const File file = open("a");
  const Memory data(30'000, 6), back(30'000);
  faults_.fail(Call::kWrite, 2, EINTR, 3);
  faults_.fail(Call::kRead, 1, EAGAIN, 5);
  queue.wait(queue.write(file, 0, data.all()));
  queue.wait(queue.read(file, 0, back.all()));
  EXPECT_EQ(back, data);
  EXPECT_EQ(faults_.count(Call::kWrite), 4 + 3);
  EXPECT_EQ(faults_.count(Call::kRead), 4 + 5);
}

TEST_P(AsyncQueueTest, EndlessRetriesBecomeAnError) {
  AsyncQueue queue(options());
  const File file = open("a");
  const Memory data(100, 6);
  faults_.fail(Call::kWrite, 1, EAGAIN, 1'000'000);
  EXPECT_THROW(queue.wait(queue.write(file, 0, data.all())), Error);
}

TEST_P(AsyncQueueTest, DirectCallThatTheFileSystemRefusesIsMadeBuffered) {
  AsyncQueue queue(options());
  const File file = open("a", Direct::kTry);
  if (!file.direct()) GTEST_SKIP() << "no direct I/O here";
  const Memory data(8192, 6), back(8192);
  faults_.fail(Call::kWrite, 1, EINVAL);
  queue.wait(queue.write(file, 0, data.all()));
  queue.wait(queue.read(file, 0, back.all()));
  EXPECT_EQ(back, data);
  EXPECT_EQ(faults_.count(Call::kWrite), 2);
}

TEST_P(AsyncQueueTest, FullDiskFailsTheRequestAndOnlyThat) {
  AsyncQueue queue(options(1));  // depth 1: the order of the blocks is known
  const File file = open("a");
  const Memory data(40'000, 7), other(5000, 8), back(5000);
  faults_.fail(Call::kWrite, 3, ENOSPC);
  const Ticket failing = queue.write(file, 0, data.all());
  const Ticket fine = queue.write(file, 100'000, other.all());
  const auto message = AllOf(HasSubstr("/a: "), HasSubstr("No space left"), HasSubstr("0 of 8192 bytes"),
                             HasSubstr("offset 16384"));
  EXPECT_THAT([&] { queue.wait(failing); }, ThrowsMessage<Error>(message));
  EXPECT_THAT([&] { queue.wait(failing); }, ThrowsMessage<Error>(message));  // again for whoever asks
  EXPECT_TRUE(queue.done(failing));
  EXPECT_NO_THROW(queue.wait(fine));
  EXPECT_NO_THROW(queue.drain());  // has been thrown
  queue.wait(queue.read(file, 100'000, back.all()));
  EXPECT_EQ(back, other);
  EXPECT_EQ(queue.stats().writes, 1);
}

TEST_P(AsyncQueueTest, DrainThrowsWhatNobodyWaitedForOnce) {
  AsyncQueue queue(options());
  const File file = open("a");
  const Memory data(100, 9);
  faults_.fail(Call::kWrite, 2, EIO);
  for (int i = 0; i < 4; ++i) queue.write(file, 100 * i, data.all());
  EXPECT_THAT([&] { queue.drain(); }, ThrowsMessage<Error>(HasSubstr("Input/output error")));
  EXPECT_NO_THROW(queue.drain());
}

TEST_P(AsyncQueueTest, EveryBlockCanFail) {
  const File file = open("a");
  const Memory data(70'000, 10);
  for (int64_t block = 1; block <= 9; ++block) {
    AsyncQueue queue(options());
    faults_.fail(Call::kWrite, block, EIO, block % 3 + 1);
    EXPECT_THROW(queue.wait(queue.write(file, 0, data.all())), Error) << block;
    faults_.fail(Call::kWrite, 0, 0, 0);
    EXPECT_NO_THROW(queue.wait(queue.write(file, 0, data.all())));
  }
}

/// Calls of which one ends with an exception.
class ThrowingCalls : public SystemCalls {
 public:
  explicit ThrowingCalls(int nth) : left_(nth) {}
  int64_t pwrite(int fd, std::span<const std::byte> data, int64_t offset) override {
    strike();
    return SystemCalls::pwrite(fd, data, offset);
  }
  Verdict before_transfer(const Transfer& transfer) override {
    strike();
    return SystemCalls::before_transfer(transfer);
  }

 private:
  void strike() {
    if (--left_ == 0) throw std::bad_alloc();
  }
  std::atomic<int> left_;
};

TEST_P(AsyncQueueTest, WhatIsThrownOnItsThreadsArrivesWhereItIsWaitedFor) {
  const File file = open("a");
  const Memory data(100'000, 26);
  for (const int nth : {1, 2, 30}) {
    ThrowingCalls calls(nth);
    AsyncQueue::Options options = this->options();
    options.calls = &calls;
    AsyncQueue queue(options);
    std::vector<Ticket> tickets;
    for (int i = 0; i < 6; ++i) tickets.push_back(queue.write(file, 100'000 * i, data.all()));
    int failed = 0;
    for (const Ticket& ticket : tickets) {
      try {
        queue.wait(ticket);
      } catch (const std::bad_alloc&) {
        ++failed;
      }
    }
    EXPECT_GE(failed, 1);
    EXPECT_NO_THROW(queue.drain()) << "all was told";
    EXPECT_EQ(queue.stats().writes, 6 - failed);
    queue.write(file, 0, data.all());  // ends, in whatever way, before the queue does
  }
}

TEST_P(AsyncQueueTest, ReadBeyondTheEndIsAnError) {
  AsyncQueue queue(options());
  const File file = open("a");
  const Memory data(10'000, 11), back(20'000);
  file.write_at(0, data.all());
  EXPECT_THAT([&] { queue.wait(queue.read(file, 0, back.all())); },
              ThrowsMessage<Error>(HasSubstr("the end of the file after")));
  EXPECT_THROW(queue.wait(queue.read(file, 1 << 20, back.all())), Error);
}

TEST_P(AsyncQueueTest, DestructionFinishesWhatWasAsked) {
  const File file = open("a");
  const Memory data(500'000, 12), back(500'000);
  {
    AsyncQueue queue(options());
    queue.write(file, 0, data.all());
  }
  file.read_at(0, back.all());
  EXPECT_EQ(back, data);
  faults_.fail(Call::kWrite, 1, EIO);
  AsyncQueue queue(options());
  queue.write(file, 0, data.all());  // its error is dropped
}

TEST_P(AsyncQueueTest, TicketsOutliveTheQueueAndCopiesAreTheSame) {
  const File file = open("a");
  const Memory data(100, 13);
  Ticket ticket;
  {
    AsyncQueue queue(options());
    EXPECT_TRUE(queue.done(ticket));
    queue.wait(ticket);
    ticket = queue.write(file, 0, data.all());
    const Ticket copy = ticket;
    queue.wait(copy);
    EXPECT_TRUE(queue.done(ticket));
    EXPECT_TRUE(queue.done(queue.read(file, 0, {})));
  }
}

TEST_P(AsyncQueueTest, CountsBytesAndRequests) {
  AsyncQueue queue(options());
  const File file = open("a");
  const Memory data(50'000, 14);
  queue.wait(queue.write(file, 0, data.all()));
  queue.wait(queue.read(file, 5, data.part(0, 20'000)));
  queue.wait(queue.read(file, 5, data.part(0, 1)));
  const AsyncQueue::Stats stats = queue.stats();
  EXPECT_EQ(stats.writes, 1);
  EXPECT_EQ(stats.reads, 2);
  EXPECT_EQ(stats.bytes_written, 50'000);
  EXPECT_EQ(stats.bytes_read, 20'001);
  EXPECT_GE(stats.wait_seconds, 0.0);
}

TEST_P(AsyncQueueTest, SeveralCallersAtOnce) {
  AsyncQueue queue(options(3));
  const File file = open("a", Direct::kTry);
  constexpr size_t kCallers = 4, kBytes = 60'000;
  std::vector<std::thread> callers;
  std::vector<int> wrong(kCallers, 0);
  for (size_t caller = 0; caller < kCallers; ++caller) {
    callers.emplace_back([&, caller] {
      const auto base = static_cast<int64_t>(caller * kBytes);
      const Memory back(kBytes);
      for (uint64_t round = 0; round < 12; ++round) {
        const Memory data(kBytes, 100 * caller + round);
        const size_t cut = 997 * round;
        const Ticket first = queue.write(file, base, data.part(0, cut));
        const Ticket second =
            queue.write(file, base + static_cast<int64_t>(cut), data.part(cut, kBytes - cut));
        queue.wait(second);
        queue.wait(first);
        queue.wait(queue.read(file, base, back.all()));
        if (!(back == data)) ++wrong[caller];
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(wrong, std::vector<int>(kCallers, 0));
}

TEST_P(AsyncQueueTest, ThreadsThatEndDoNotTakeTheirRequestsAlong) {
  AsyncQueue queue(options());
  const File file = open("a", Direct::kTry);
  const Memory data(4 << 20, 15), back(4 << 20);
  Ticket ticket;
  std::thread([&] { ticket = queue.write(file, 0, data.all()); }).join();
  queue.wait(ticket);
  std::thread([&] { ticket = queue.read(file, 0, back.all()); }).join();
  queue.wait(ticket);
  EXPECT_EQ(back, data);
}

TEST_P(AsyncQueueTest, ManyMoreRequestsThanDepth) {
  AsyncQueue queue(options(2, 4096));
  const File file = open("a");
  const Memory data(100'000, 16), back(100'000);
  for (size_t i = 0; i < 1000; ++i) queue.write(file, static_cast<int64_t>(100 * i), data.part(100 * i, 100));
  queue.drain();
  file.read_at(0, back.all());
  EXPECT_EQ(back, data);
}

TEST_P(AsyncQueueTest, RefusesWrongUse) {
  AsyncQueue queue(options());
  const File file = open("a");
  const Memory data(10);
  EXPECT_THROW(queue.read(File(), 0, data.all()), InternalError);
  EXPECT_THROW(queue.read(file, -1, data.all()), InternalError);
  EXPECT_THROW(AsyncQueue(options(0)), InternalError);
  EXPECT_THROW(AsyncQueue(options(4, 1000)), InternalError);
}

}  // namespace
}  // namespace aleph::io
