#include "aleph/base/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <vector>

#include "aleph/base/philox.h"

namespace aleph {
namespace {

using Words = std::array<uint32_t, 4>;

// Philox 4x32-10 straight from the paper's definition, checked below against its authors' known answers.
Words reference_philox(Words counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t left = uint64_t{0xD2511F53} * counter[0], right = uint64_t{0xCD9E8D57} * counter[2];
    const auto high = [](uint64_t x) { return static_cast<uint32_t>(x >> 32); };
    counter = {high(right) ^ counter[1] ^ key[0], static_cast<uint32_t>(right),
               high(left) ^ counter[3] ^ key[1], static_cast<uint32_t>(left)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

TEST(PhiloxTest, GivesTheKnownAnswersOfRandom123) {
  EXPECT_EQ(reference_philox({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const uint32_t ones = 0xffffffff;
  EXPECT_EQ(reference_philox({ones, ones, ones, ones}, {ones, ones}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(reference_philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(PhiloxTest, DrawsManyBlocksAtOnce) {
  constexpr size_t kBlocks = 37;
  const std::array<uint32_t, 2> key = {0xa4093822, 0x299f31d0};
  const uint64_t high = 0x0370734413198a2e;
  uint64_t blocks[kBlocks];
  for (size_t i = 0; i < kBlocks; ++i) blocks[i] = uint64_t{0x85a308d3243f6a88} * (i + 1);
  uint32_t words[4][kBlocks];
  philox(key, high, blocks, words);
  for (size_t i = 0; i < kBlocks; ++i) {
    const Words counter = {static_cast<uint32_t>(blocks[i]), static_cast<uint32_t>(blocks[i] >> 32),
                           static_cast<uint32_t>(high), static_cast<uint32_t>(high >> 32)};
    EXPECT_EQ((Words{words[0][i], words[1][i], words[2][i], words[3][i]}), reference_philox(counter, key));
  }
}

TEST(RandomStreamTest, IsPhiloxOfItsKeyAndCounter) {
  for (uint64_t i = 0; i < 50; ++i) {
    const RandomStream stream({.seed = i * 77, .stream = static_cast<uint32_t>(i), .step = i << 33 | i});
    const uint64_t block = i << 31 | i;
    const Words counter = {static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32),
                           static_cast<uint32_t>(stream.high()), static_cast<uint32_t>(stream.high() >> 32)};
    EXPECT_EQ(stream.words(block), reference_philox(counter, stream.key()));
    for (uint64_t k = 0; k < 4; ++k) EXPECT_EQ(stream.word(4 * block + k), stream.words(block)[k]);
  }
}

TEST(RandomStreamTest, EveryPartOfTheKeyCounts) {
  std::set<uint32_t> firsts;
  const RandomKey base = {.seed = 1, .purpose = RandomPurpose::kInit, .stream = 1, .step = 1};
  for (uint32_t change = 1; change <= 20; ++change) {
    RandomKey seed = base, stream = base, step = base;
    seed.seed += change;
    stream.stream += change;
    step.step += change;
    for (const RandomKey& key : {seed, stream, step}) firsts.insert(RandomStream(key).word(0));
  }
  for (const RandomPurpose purpose :
       {RandomPurpose::kInit, RandomPurpose::kDropout, RandomPurpose::kDataOrder, RandomPurpose::kSampling})
    firsts.insert(RandomStream({.seed = 1, .purpose = purpose, .stream = 1, .step = 1}).word(0));
  EXPECT_EQ(firsts.size(), 64u);
}

TEST(RandomStreamTest, UniformFillsTheUnitInterval) {
  const RandomStream stream({.seed = 4});
  std::array<int, 16> bins{};
  constexpr int kDraws = 64000;
  for (uint64_t i = 0; i < kDraws; ++i) {
    const float x = stream.uniform(i);
    ASSERT_GE(x, 0.0f);
    ASSERT_LT(x, 1.0f);
    ++bins[static_cast<size_t>(x * 16)];
  }
  double chi_squared = 0;
  for (const int count : bins) chi_squared += std::pow(count - kDraws / 16.0, 2) / (kDraws / 16.0);
  EXPECT_LT(chi_squared, 50.0);  // 15 degrees of freedom: above 50 once in 80 000 seeds
}

TEST(RandomStreamTest, NormalHasTheRightTails) {
  const RandomStream stream({.seed = 9});
  constexpr int kDraws = 100000;
  int beyond_one = 0, beyond_three = 0;
  double fourth = 0, lag = 0;
  for (uint64_t i = 0; i < kDraws; ++i) {
    const double x = stream.normal(i);
    beyond_one += std::abs(x) > 1;
    beyond_three += std::abs(x) > 3;
    fourth += x * x * x * x;
    lag += x * static_cast<double>(stream.normal(i + 1));
  }
  EXPECT_NEAR(beyond_one, 0.3173 * kDraws, 5 * std::sqrt(0.3173 * 0.6827 * kDraws));
  EXPECT_NEAR(beyond_three, 0.0027 * kDraws, 5 * std::sqrt(0.0027 * kDraws));
  EXPECT_NEAR(fourth / kDraws, 3.0, 5 * std::sqrt(96.0 / kDraws));
  EXPECT_NEAR(lag / kDraws, 0.0, 5 / std::sqrt(kDraws));
}

TEST(RandomStreamTest, BelowReachesEveryValueEvenly) {
  const RandomStream stream({.seed = 2});
  std::vector<int> hits(7);
  constexpr int kDraws = 14000;
  for (uint64_t i = 0; i < kDraws; ++i) ++hits[stream.below(7, i)];
  for (const int count : hits) EXPECT_NEAR(count, kDraws / 7.0, 5 * std::sqrt(kDraws / 7.0));
  EXPECT_EQ(stream.below(1, 123), 0u);
  EXPECT_LT(stream.below(uint64_t{1} << 63, 5), uint64_t{1} << 63);
}

TEST(StableHashTest, IsFnv1a) {
  EXPECT_EQ(stable_hash(""), 0x811c9dc5u);
  EXPECT_EQ(stable_hash("a"), 0xe40c292cu);
  EXPECT_EQ(stable_hash("foobar"), 0xbf9cf968u);
}

}  // namespace
}  // namespace aleph
