#include "aleph/checkpoint/chunk_checksums.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <thread>

#include "aleph/checkpoint/crc32c.h"
#include "aleph/checkpoint/testing.h"

namespace aleph::checkpoint {
namespace {

using ::testing::HasSubstr;

std::vector<uint32_t> expected_sums(std::span<const std::byte> data) {
  std::vector<uint32_t> sums;
  for (size_t begin = 0; begin < data.size(); begin += kChunkBytes)
    sums.push_back(crc32c(data.subspan(begin, std::min<size_t>(kChunkBytes, data.size() - begin))));
  return sums;
}

struct Range {
  size_t begin = 0, size = 0;
};

/// Cuts [0, bytes) at random places and shuffles the parts.
std::vector<Range> shuffled_parts(size_t bytes, size_t parts, uint64_t seed) {
  const RandomStream random({.seed = seed});
  std::vector<size_t> cuts = {0, bytes};
  for (uint64_t i = 1; i < parts; ++i) cuts.push_back(random.below(bytes + 1, 2 * i));
  std::sort(cuts.begin(), cuts.end());
  std::vector<Range> ranges;
  for (size_t i = 0; i + 1 < cuts.size(); ++i) ranges.push_back({cuts[i], cuts[i + 1] - cuts[i]});
  for (size_t i = ranges.size() - 1; i > 0; --i)
    std::swap(ranges[i], ranges[random.below(i + 1, 2 * (parts + i))]);
  return ranges;
}

TEST(ChunkChecksums, PartsMayComeInAnyOrder) {
  for (const int64_t bytes :
       {int64_t{1}, int64_t{1000}, kChunkBytes - 1, kChunkBytes, kChunkBytes + 1, 3 * kChunkBytes + 4321}) {
    const auto data = random_bytes(bytes, static_cast<uint64_t>(bytes));
    for (const size_t parts : {1u, 2u, 17u}) {
      ChunkChecksums sums(bytes);
      for (const Range& range : shuffled_parts(data.size(), parts, parts))
        sums.add(static_cast<int64_t>(range.begin), std::span(data).subspan(range.begin, range.size));
      EXPECT_EQ(sums.values(), expected_sums(data)) << bytes << " bytes in " << parts;
    }
  }
}

TEST(ChunkChecksums, ThreadsMayAddAtOnce) {
  const auto data = random_bytes(2 * kChunkBytes + 77, 8);
  const std::vector<Range> ranges = shuffled_parts(data.size(), 40, 9);
  ChunkChecksums sums(static_cast<int64_t>(data.size()));
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (size_t i = t; i < ranges.size(); i += 4)
        sums.add(static_cast<int64_t>(ranges[i].begin),
                 std::span(data).subspan(ranges[i].begin, ranges[i].size));
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(sums.values(), expected_sums(data));
}

TEST(ChunkChecksums, AMissingPartShows) {
  const auto data = random_bytes(1000, 10);
  ChunkChecksums sums(1000);
  sums.add(0, std::span(data).first(600));
  EXPECT_NE(sums.values(), expected_sums(data));
  sums.add(600, std::span(data).subspan(600));
  EXPECT_EQ(sums.values(), expected_sums(data));
  EXPECT_THROW(sums.add(999, std::span(data).first(2)), InternalError);
  EXPECT_THROW(sums.add(-1, std::span(data).first(2)), InternalError);
  EXPECT_TRUE(ChunkChecksums(0).values().empty());
}

TEST(ChunkChecksums, CountsAndSizesOfChunks) {
  EXPECT_EQ(chunk_count(0), 0);
  EXPECT_EQ(chunk_count(1), 1);
  EXPECT_EQ(chunk_count(kChunkBytes), 1);
  EXPECT_EQ(chunk_count(kChunkBytes + 1), 2);
  EXPECT_EQ(chunk_size(kChunkBytes + 1, 0), kChunkBytes);
  EXPECT_EQ(chunk_size(kChunkBytes + 1, 1), 1);
}

TEST(Hex, GoesThereAndBack) {
  const std::vector<uint32_t> values = {0, 1, 0xdeadbeef, 0xffffffff, 0x00c0ffee};
  EXPECT_EQ(to_hex(values), "0000000000000001deadbeefffffffff00c0ffee");
  EXPECT_EQ(from_hex(to_hex(values), 5, "x"), values);
  EXPECT_TRUE(from_hex("", 0, "x").empty());
}

TEST(Hex, RefusesWhatItDidNotWrite) {
  for (const std::string text : {"", "0000000", "000000000", "0000000g", "DEADBEEF", "0x000000", "-0000001"})
    EXPECT_THAT(
        one_line_fault_of([&] { from_hex(text, 1, "a file"); }),
        HasSubstr("a file: found checksums '" + text + "', expected 1 of eight hexadecimal digits each"));
  EXPECT_THAT(one_line_fault_of([&] { from_hex(std::string(4000, '0'), 2, "x"); }),
              HasSubstr("expected 2 of"));
}

}  // namespace
}  // namespace aleph::checkpoint
