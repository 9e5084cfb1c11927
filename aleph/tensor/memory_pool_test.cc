#include "aleph/tensor/memory_pool.h"

#include <gmock/gmock.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <thread>

#include "aleph/base/error.h"
#include "aleph/base/random.h"

namespace aleph {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int64_t kMiB = int64_t{1} << 20;

int64_t booked(int64_t bytes) {
  return bytes >= 4096 ? (bytes + 4095) / 4096 * 4096 : (bytes + 63) / 64 * 64;
}

std::string refusal(MemoryPool& pool, int64_t bytes, MemoryTag tag) {
  try {
    pool.allocate(bytes, tag);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

/// Books kept by hand beside those of the pool.
struct Books {
  int64_t live = 0, peak = 0;
  std::array<int64_t, kMemoryTags> live_of{}, peak_of{};

  void add(int64_t bytes, size_t tag) {
    live += bytes;
    live_of[tag] += bytes;
    peak = std::max(peak, live);
    peak_of[tag] = std::max(peak_of[tag], live_of[tag]);
  }
};

void expect_books(const MemoryLedger& ledger, const Books& books) {
  ASSERT_EQ(ledger.live(), books.live);
  ASSERT_EQ(ledger.peak(), books.peak);
  for (size_t tag = 0; tag < kMemoryTags; ++tag) {
    ASSERT_EQ(ledger.live(static_cast<MemoryTag>(tag)), books.live_of[tag]);
    ASSERT_EQ(ledger.peak(static_cast<MemoryTag>(tag)), books.peak_of[tag]);
  }
}

TEST(PoolBooksTest, RandomUseIsBookedByTagAndBlocksNeverOverlap) {
  const RandomStream random({.seed = 51});
  MemoryPool pool(MemoryTier::kHost, 0);
  struct Held {
    Buffer buffer;
    size_t tag;
    std::byte mark;
  };
  std::vector<Held> held;
  Books books;
  for (uint64_t i = 0; i < 2000; ++i) {
    if (held.size() < 40 && random.below(5, 8 * i) < 3) {
      const auto bytes =
          static_cast<int64_t>(random.below(random.below(2, 8 * i + 2) == 0 ? 300 : 30000, 8 * i + 4)) + 1;
      const size_t tag = random.below(kMemoryTags, 8 * i + 6);
      Buffer buffer = pool.allocate(bytes, static_cast<MemoryTag>(tag));
      ASSERT_EQ(buffer.bytes(), bytes);
      ASSERT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % (bytes >= 4096 ? 4096 : 64), 0u);
      std::memset(buffer.data(), static_cast<int>(i % 251), static_cast<size_t>(bytes));
      books.add(booked(bytes), tag);
      held.push_back({std::move(buffer), tag, static_cast<std::byte>(i % 251)});
    } else if (!held.empty()) {
      std::swap(held[random.below(held.size(), 8 * i + 2)], held.back());
      const Held& last = held.back();
      ASSERT_TRUE(std::all_of(last.buffer.data(), last.buffer.data() + last.buffer.bytes(), [&](std::byte b) {
        return b == last.mark;
      })) << "somebody else wrote into this block";
      books.live -= booked(last.buffer.bytes());
      books.live_of[last.tag] -= booked(last.buffer.bytes());
      held.pop_back();
    }
    expect_books(pool.ledger(), books);
  }
  held.clear();
  EXPECT_EQ(pool.ledger().live(), 0);
  EXPECT_EQ(pool.ledger().peak(), books.peak);
}

TEST(PoolBooksTest, AMetaPoolBooksWhatARealOneWould) {
  const RandomStream random({.seed = 52});
  MemoryPool real(MemoryTier::kDevice, 0), meta(MemoryTier::kDevice, 0, MemoryPool::Backing::kMeta);
  std::vector<std::pair<Buffer, Buffer>> held;
  for (uint64_t i = 0; i < 300; ++i) {
    const auto bytes = static_cast<int64_t>(random.below(20000, 4 * i));
    const auto tag = static_cast<MemoryTag>(random.below(kMemoryTags, 4 * i + 2));
    held.emplace_back(real.allocate(bytes, tag), meta.allocate(bytes, tag));
    EXPECT_EQ(static_cast<bool>(held.back().first), static_cast<bool>(held.back().second));
    if (i % 3 == 0) held.erase(held.begin() + static_cast<ptrdiff_t>(held.size() / 2));
  }
  EXPECT_EQ(real.ledger().live(), meta.ledger().live());
  EXPECT_EQ(real.ledger().peak(), meta.ledger().peak());
  EXPECT_TRUE(meta.meta() && !real.meta());
}

TEST(PoolBudgetTest, TheLastByteFitsAndTheNextDoesNot) {
  for (const auto backing : {MemoryPool::Backing::kReal, MemoryPool::Backing::kMeta}) {
    MemoryPool pool(MemoryTier::kDevice, 3 * 4096 + 64, backing);
    const Buffer pages = pool.allocate(3 * 4096 - 17, MemoryTag::kGradients);
    const Buffer line = pool.allocate(1, MemoryTag::kKvCache);
    EXPECT_EQ(pool.ledger().live(), pool.ledger().budget());
    EXPECT_THAT(refusal(pool, 1, MemoryTag::kIoBuffers),
                AllOf(HasSubstr("device memory: found a request for 64 B of io_buffers with 12.1 KiB in use "
                                "(gradients 12.0 KiB, kv_cache 64 B)"),
                      HasSubstr("at most the budget of 12.1 KiB (--device-memory)")));
    EXPECT_EQ(pool.ledger().live(), pool.ledger().budget()) << "nothing is booked for a refused request";
    EXPECT_EQ(pool.ledger().peak(MemoryTag::kIoBuffers), 0);
  }
}

TEST(PoolBudgetTest, AnEmptyTierSaysThatNothingIsInUse) {
  MemoryPool pool(MemoryTier::kHost, 4096);
  EXPECT_THAT(refusal(pool, 4097, MemoryTag::kOptimizer), HasSubstr("with 0 B in use (nothing)"));
  EXPECT_EQ(pool.ledger().peak(), 0);
}

/// Resident memory of this process.
int64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  int64_t total = 0, resident = 0;
  statm >> total >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

TEST(PoolBudgetTest, BlocksInUseAndKeptOnesStayWithinTheBudgetTogether) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "the sanitizer's own memory counts as resident";
#endif
  MemoryPool pool(MemoryTier::kHost, 48 * kMiB);
  const int64_t before = resident_bytes();
  for (const int64_t size : {20, 25, 30, 22, 11, 40, 7, 47}) {  // all of different sizes: none is used again
    const Buffer buffer = pool.allocate(size * kMiB, MemoryTag::kWorkspace);
    std::memset(buffer.data(), 1, static_cast<size_t>(buffer.bytes()));
    ASSERT_LE(resident_bytes() - before, (48 + 4) * kMiB) << size;
  }
  pool.trim();
  EXPECT_LE(resident_bytes() - before, 4 * kMiB);
  EXPECT_EQ(pool.allocate(kMiB, MemoryTag::kWorkspace).bytes(), kMiB);
}

TEST(PoolBudgetTest, SmallBlocksComeFromOneMappingThatIsNotHeldBeforeItIsUsed) {
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the sanitizer's own memory counts as resident";
#endif
  constexpr int64_t kBlock = 100 * 4096;
  MemoryPool pool(MemoryTier::kHost, 0);
  const int64_t before = resident_bytes();
  std::vector<Buffer> blocks;
  for (int i = 0; i < 40; ++i) {
    blocks.push_back(pool.allocate(kBlock, MemoryTag::kParameters));
    std::memset(blocks.back().data(), 1, kBlock);
    if (i > 0) {
      EXPECT_EQ(blocks[i].data(), blocks[i - 1].data() + kBlock) << i;
    }
  }
  EXPECT_LE(resident_bytes() - before, 40 * kBlock + 4 * kMiB);
}

TEST(PoolTest, WhatTheSystemRefusesIsAnErrorAndNotBooked) {
  MemoryPool pool(MemoryTier::kHost, 0);
  EXPECT_THAT(refusal(pool, int64_t{1} << 60, MemoryTag::kParameters),
              AllOf(HasSubstr("host memory: found the system refusing"), HasSubstr("of parameters")));
  EXPECT_EQ(pool.ledger().live(), 0);
  EXPECT_NO_THROW(pool.allocate(100, MemoryTag::kParameters));
}

TEST(PoolTest, NoBytesAreAnEmptyBufferAndFewerABug) {
  MemoryPool pool(MemoryTier::kHost, 64);
  const Buffer none = pool.allocate(0, MemoryTag::kWorkspace);
  EXPECT_FALSE(none);
  EXPECT_EQ(none.data(), nullptr);
  EXPECT_EQ(pool.ledger().live(), 0);
  EXPECT_THROW(pool.allocate(-1, MemoryTag::kWorkspace), InternalError);
}

TEST(PoolTest, BuffersMoveAndGiveBackExactlyOnce) {
  MemoryPool pool(MemoryTier::kHost, 0);
  Buffer a = pool.allocate(5000, MemoryTag::kOptimizer), b = pool.allocate(64, MemoryTag::kGradients);
  std::byte* data = a.data();
  Buffer c = std::move(a);
  EXPECT_EQ(c.data(), data);
  EXPECT_EQ(pool.ledger().live(), 8192 + 64);
  b = std::move(c);
  EXPECT_EQ(b.data(), data);
  EXPECT_EQ(pool.ledger().live(MemoryTag::kGradients), 0) << "what stood in b is given back";
  EXPECT_EQ(pool.ledger().live(MemoryTag::kOptimizer), 8192);
  b = Buffer();
  EXPECT_EQ(pool.ledger().live(), 0);
}

TEST(PoolTest, ThreadsShareOneBudget) {
  constexpr int64_t kBudget = 256 * 1024;
  MemoryPool pool(MemoryTier::kDevice, kBudget);
  std::vector<std::thread> threads;
  std::atomic<int64_t> given = 0, refused = 0;
  for (uint32_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const RandomStream random({.seed = 53, .stream = t});
      std::vector<Buffer> held;
      for (uint64_t i = 0; i < 1500; ++i) {
        if (held.size() > 8) held.erase(held.begin());
        try {
          held.push_back(
              pool.allocate(static_cast<int64_t>(random.below(16384, 2 * i)) + 1, MemoryTag::kWorkspace));
          std::memset(held.back().data(), static_cast<int>(t), static_cast<size_t>(held.back().bytes()));
          ++given;
        } catch (const Error&) {
          held.clear();
          ++refused;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(pool.ledger().live(), 0);
  EXPECT_LE(pool.ledger().peak(), kBudget);
  EXPECT_EQ(given + refused, 6000);
  EXPECT_NO_THROW(pool.allocate(kBudget, MemoryTag::kWorkspace)) << "kept blocks make room";
}

TEST(LedgerTest, KeepsTheBooksOfATierWithoutMemory) {
  MemoryLedger ledger(MemoryTier::kNvme, 1000);
  ledger.add(600, MemoryTag::kOptimizer);
  EXPECT_THROW(ledger.add(401, MemoryTag::kOptimizer), Error);
  ledger.add(400, MemoryTag::kActivations);
  ledger.remove(600, MemoryTag::kOptimizer);
  EXPECT_EQ(ledger.live(), 400);
  EXPECT_EQ(ledger.peak(), 1000);
  EXPECT_EQ(ledger.peak(MemoryTag::kOptimizer), 600);
  EXPECT_STREQ(memory_tier_name(ledger.tier()), "nvme");
  EXPECT_STREQ(memory_tier_name(MemoryTier::kDevice), "device");
  EXPECT_STREQ(memory_tag_name(MemoryTag::kParameters), "parameters");
  EXPECT_STREQ(memory_tag_name(MemoryTag::kKvCache), "kv_cache");
}

/// A mapping of `pages` pages, given to KeptPages piece by piece.
std::byte* map(int64_t pages) {
  void* data = ::mmap(nullptr, static_cast<size_t>(pages * 4096), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT_NE(data, MAP_FAILED);
  return static_cast<std::byte*>(data);
}

TEST(KeptPagesTest, NeighboursServeALargerRequestAndLargerRangesAreCut) {
  KeptPages kept;
  std::byte* const base = map(10);
  for (const int64_t page : {0, 4, 2}) kept.put(base + page * 4096, 2 * 4096);  // 2 joins both
  EXPECT_EQ(kept.bytes(), 6 * 4096);
  EXPECT_EQ(kept.take(7 * 4096), nullptr);
  EXPECT_EQ(kept.take(5 * 4096), base);
  EXPECT_EQ(kept.take(4096), base + 5 * 4096);
  EXPECT_EQ(kept.bytes(), 0);
  kept.put(base, 10 * 4096);
  kept.shrink(0);
}

TEST(KeptPagesTest, TheSmallestRangeThatFitsIsTakenAndSmallOnesGoFirst) {
  KeptPages kept;
  std::byte* const base = map(20);
  kept.put(base, 8 * 4096);
  kept.put(base + 10 * 4096, 3 * 4096);
  kept.put(base + 15 * 4096, 2 * 4096);
  EXPECT_EQ(kept.take(3 * 4096), base + 10 * 4096);
  kept.shrink(9 * 4096);  // one page of the range of two
  EXPECT_EQ(kept.bytes(), 9 * 4096);
  EXPECT_EQ(kept.take(2 * 4096), base) << "what is left of the range of two is too small";
  kept.shrink(0);
  EXPECT_EQ(kept.bytes(), 0);
  EXPECT_EQ(kept.take(4096), nullptr);
  for (const auto& [begin, pages] : {std::pair{0, 2}, {8, 5}, {13, 2}, {17, 3}})
    ::munmap(base + begin * 4096, static_cast<size_t>(pages) * 4096);
}

}  // namespace
}  // namespace aleph
