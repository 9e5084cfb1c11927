#include "aleph/zero/shard_stream.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>

#include "aleph/kernels/elementwise/elementwise.h"
#include "aleph/zero/partition.h"
#include "aleph/zero/testing.h"

namespace aleph::zero {
namespace {

using testing::LateHome;

constexpr int64_t kChunk = kShardAlignment;

float& element(LateHome& home, const Region& region, int64_t i) {
  return reinterpret_cast<float*>(home.data(region).data())[i];
}

/// Units of different sizes, each with one fp32 array at home and its chunks.
class Shards {
 public:
  Shards(Home& home, const std::vector<int64_t>& chunks_of_unit) : home_(home) {
    for (size_t unit = 0; unit < chunks_of_unit.size(); ++unit) {
      regions_.push_back(home.reserve(chunks_of_unit[unit] * kChunk * 4));
      for (int64_t c = 0; c < chunks_of_unit[unit]; ++c)
        chunks_.push_back({static_cast<int>(unit), c * kChunk, kChunk});
    }
  }

  const std::vector<Chunk>& chunks() const { return chunks_; }
  const Region& region(int unit) const { return regions_[static_cast<size_t>(unit)]; }
  auto arrays(Access access = Access::kReadWrite) {
    return [this, access](int unit) {
      return std::vector<ShardArray>{{.home = &home_, .region = region(unit), .access = access}};
    };
  }

 private:
  Home& home_;
  std::vector<Region> regions_;
  std::vector<Chunk> chunks_;
};

/// x = 2 x + unit + i, and notes which chunks it saw.
auto doubling(std::vector<Chunk>& seen) {
  return [&seen](const Chunk& chunk, std::span<const TensorView> views) {
    seen.push_back(chunk);
    ASSERT_EQ(views.size(), 1u);
    ASSERT_EQ(views[0].shape(), Shape({chunk.elements}));
    int64_t i = chunk.begin;
    for (float& x : views[0].span<float>()) x = 2 * x + static_cast<float>(chunk.unit + i++ % 97);
  };
}

class ShardStreams : public ::testing::Test {
 protected:
  DeviceContext device_{DeviceContext::Options{}};
  LateHome home_;
};

TEST_F(ShardStreams, EveryElementGoesThroughTheBodyOnceWhateverTheUnits) {
  for (const std::vector<int64_t>& sizes :
       std::vector<std::vector<int64_t>>{{1}, {7}, {8}, {9}, {30}, {1, 1, 1}, {3, 1, 12, 2}, {9, 9}}) {
    LateHome home;
    Shards shards(home, sizes);
    for (const Chunk& chunk : shards.chunks()) {
      for (int64_t i = 0; i < chunk.elements; ++i)
        element(home, shards.region(chunk.unit), chunk.begin + i) = static_cast<float>(chunk.begin + i);
    }
    std::vector<Chunk> seen;
    stream_shards(device_, {shards.chunks(), shards.arrays(), doubling(seen)});
    EXPECT_EQ(seen.size(), shards.chunks().size());
    EXPECT_EQ(home.open(), 0u) << "finish waits for everything";
    for (const Chunk& chunk : shards.chunks()) {
      for (int64_t i = chunk.begin; i < chunk.begin + chunk.elements; ++i)
        ASSERT_EQ(element(home, shards.region(chunk.unit), i),
                  static_cast<float>(2 * i + chunk.unit + i % 97));
    }
    EXPECT_EQ(device_.host_memory().ledger().live(), 0) << "buffers go with the stream";
  }
}

/// Opens a unit when it is asked to wait for it; keeps what it is told.
class OneByOne final : public StreamGate {
 public:
  explicit OneByOne(std::function<void(int unit)> before_opening) : before_(std::move(before_opening)) {}
  bool complete(int unit) override { return unit < open_; }
  void await(int unit) override {
    EXPECT_EQ(unit, open_);
    before_(open_++);
  }
  void settled(int unit) override { settled_.push_back(unit); }
  const std::vector<int>& settled_units() const { return settled_; }

 private:
  std::function<void(int unit)> before_;
  int open_ = 0;
  std::vector<int> settled_;
};

TEST_F(ShardStreams, LateArraysAreReadWhenTheGateOpensAndUnitsAreReported) {
  Shards early(home_, {3, 11, 1, 4}), late(home_, {3, 11, 1, 4});
  size_t computed = 0;
  OneByOne gate([&](int unit) {
    for (int64_t i = 0; i < late.region(unit).bytes / 4; ++i)
      element(home_, late.region(unit), i) = static_cast<float>(unit + 5);
  });
  const auto arrays = [&](int unit) {
    return std::vector<ShardArray>{{&home_, early.region(unit), DType::kF32, Access::kReadWrite},
                                   {&home_, late.region(unit), DType::kF32, Access::kReadLate}};
  };
  stream_shards(device_, {.chunks = early.chunks(),
                          .arrays = arrays,
                          .body =
                              [&](const Chunk& chunk, std::span<const TensorView> views) {
                                ++computed;
                                for (const float x : views[1].span<float>())
                                  ASSERT_EQ(x, static_cast<float>(chunk.unit + 5));
                              },
                          .gate = &gate});
  EXPECT_EQ(computed, early.chunks().size());
  EXPECT_EQ(gate.settled_units(), (std::vector<int>{0, 1, 2, 3}));
  EXPECT_EQ(home_.open(), 0u);
}

TEST_F(ShardStreams, ReadsAheadAndNeverFurtherThanItsBuffers) {
  Shards shards(home_, {40});
  std::vector<Chunk> seen;
  size_t first_reads = 0;
  const auto body = [&](const Chunk& chunk, std::span<const TensorView> views) {
    if (seen.empty()) first_reads = home_.diary().size();
    doubling(seen)(chunk, views);
  };
  stream_shards(device_, {shards.chunks(), shards.arrays(), body});
  EXPECT_GE(first_reads, 2u) << "more than the chunk that is computed first";
  EXPECT_LE(home_.most_open(), 8u) << "a buffer holds one move at a time";
  EXPECT_EQ(home_.stats().read_bytes, 40 * kChunk * 4);
  EXPECT_EQ(home_.stats().written_bytes, 40 * kChunk * 4);
  EXPECT_EQ(device_.host_memory().ledger().peak(MemoryTag::kIoBuffers), 8 * kChunk * 4);
}

TEST_F(ShardStreams, AccessSaysWhatIsMoved) {
  for (const auto& [access, reads, writes] : std::vector<std::tuple<Access, bool, bool>>{
           {Access::kRead, true, false}, {Access::kWrite, false, true}, {Access::kReadWrite, true, true}}) {
    LateHome home;
    Shards shards(home, {2, 10});
    stream_shards(device_, {shards.chunks(), shards.arrays(access),
                            [](const Chunk&, std::span<const TensorView> views) {
                              std::memset(views[0].raw(), 7, static_cast<size_t>(views[0].bytes()));
                            }});
    EXPECT_EQ(home.stats().read_bytes, reads ? 12 * kChunk * 4 : 0);
    EXPECT_EQ(home.stats().written_bytes, writes ? 12 * kChunk * 4 : 0);
    EXPECT_EQ(home.data(shards.region(1)).back(), writes ? std::byte{7} : std::byte{0});
  }
}

TEST_F(ShardStreams, ArraysOfSeveralTypesAndHomesTravelTogether) {
  MemoryLedger nvme(MemoryTier::kNvme, 0);
  const auto memory = make_home({.device = device_, .nvme = nvme}, MemoryTier::kHost, StateKind::kOptimizer);
  constexpr int64_t kElements = 11 * kChunk;
  const Region wide = home_.reserve(kElements * 4), narrow = home_.reserve(kElements * 2);
  const Region in_place = memory->reserve(kElements * 4);
  auto* direct = reinterpret_cast<float*>(memory->address(in_place));
  for (int64_t i = 0; i < kElements; ++i) {
    direct[i] = static_cast<float>(i % 251);
    element(home_, wide, i) = static_cast<float>(i % 13);
  }
  std::vector<Chunk> chunks;
  for (int64_t begin = 0; begin < kElements; begin += 2 * kChunk)
    chunks.push_back({0, begin, std::min(2 * kChunk, kElements - begin)});
  const auto arrays = [&](int) {
    return std::vector<ShardArray>{{&home_, wide, DType::kF32, Access::kRead},
                                   {memory.get(), in_place, DType::kF32, Access::kReadWrite},
                                   {&home_, narrow, DType::kBF16, Access::kWrite}};
  };
  stream_shards(device_, {chunks, arrays, [&](const Chunk&, std::span<const TensorView> views) {
                            const auto a = views[0].span<float>(), b = views[1].span<float>();
                            for (size_t i = 0; i < a.size(); ++i) b[i] += a[i];
                            kernels::convert(device_, views[1], views[2]);
                          }});
  const auto* stored = reinterpret_cast<const BF16*>(home_.data(narrow).data());
  for (int64_t i = 0; i < kElements; ++i) {
    ASSERT_EQ(direct[i], static_cast<float>(i % 251 + i % 13)) << i;
    ASSERT_EQ(to_float(stored[i]), to_float(from_float<BF16>(direct[i]))) << i;
  }
}

TEST_F(ShardStreams, WithoutChunksNothingHappens) {
  std::vector<Chunk> seen;
  stream_shards(device_, {{}, [](int) { return std::vector<ShardArray>(); }, doubling(seen)});
  EXPECT_TRUE(seen.empty());
}

TEST_F(ShardStreams, FailedMovesAndBodiesSurfaceAndTheStreamCanGo) {
  for (size_t nth = 1; nth <= 24; ++nth) {
    LateHome home;
    Shards shards(home, {12});
    std::vector<Chunk> seen;
    home.fail(nth);
    EXPECT_NE(fault_of([&] {
                stream_shards(device_, {shards.chunks(), shards.arrays(), doubling(seen)});
              }).find("late home"),
              std::string::npos)
        << nth;
  }
  Shards shards(home_, {12});
  int calls = 0;
  EXPECT_THROW(stream_shards(device_, {shards.chunks(), shards.arrays(),
                                       [&](const Chunk&, std::span<const TensorView>) {
                                         if (++calls == 5) throw Error("update", "a failure", "none");
                                       }}),
               Error);
  EXPECT_EQ(calls, 5);
  EXPECT_EQ(device_.host_memory().ledger().live(), 0);
}

TEST_F(ShardStreams, BuffersThatDoNotFitAreRefusedBeforeAnythingMoves) {
  DeviceContext tight({.host_budget_bytes = 8 * kChunk * 4 - 1});
  Shards shards(home_, {12});
  std::vector<Chunk> seen;
  EXPECT_NE(fault_of([&] {
              stream_shards(tight, {shards.chunks(), shards.arrays(), doubling(seen)});
            }).find("io_buffers"),
            std::string::npos);
  EXPECT_TRUE(home_.diary().empty() && seen.empty());
}

}  // namespace
}  // namespace aleph::zero
