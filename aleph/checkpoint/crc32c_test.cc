#include "aleph/checkpoint/crc32c.h"

#include "aleph/checkpoint/testing.h"

namespace aleph::checkpoint {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

TEST(Crc32c, GivesTheValuesOfRfc3720) {
  std::vector<std::byte> ascending(32), descending(32);
  for (size_t i = 0; i < 32; ++i) {
    ascending[i] = static_cast<std::byte>(i);
    descending[i] = static_cast<std::byte>(31 - i);
  }
  const std::vector<std::byte> zeros(32), ones(32, std::byte{0xff});
  for (const auto sum : {&crc32c, &crc32c_portable}) {
    EXPECT_EQ(sum(zeros, 0), 0x8a9136aau);
    EXPECT_EQ(sum(ones, 0), 0x62a8ab43u);
    EXPECT_EQ(sum(ascending, 0), 0x46dd794eu);
    EXPECT_EQ(sum(descending, 0), 0x113fdb5cu);
    EXPECT_EQ(sum(bytes_of("123456789"), 0), 0xe3069283u);
    EXPECT_EQ(sum({}, 0), 0u);
  }
}

TEST(Crc32c, HardwareAgreesWithPortableCodeAtEveryAlignment) {
  const auto data = random_bytes(4099, 1);
  const RandomStream random({.seed = 2});
  for (uint64_t i = 0; i < 300; ++i) {
    const size_t begin = random.below(64, 6 * i), size = random.below(i < 200 ? 40 : 4000, 6 * i + 2);
    const auto part = std::span(data).subspan(begin, size);
    const uint32_t seed = random.word(6 * i + 4);
    ASSERT_EQ(crc32c(part, seed), crc32c_portable(part, seed)) << begin << " " << size;
  }
}

TEST(Crc32c, ASeedContinuesAndCombineJoins) {
  const auto data = random_bytes(5000, 3);
  const uint32_t whole = crc32c(data);
  const RandomStream random({.seed = 4});
  for (uint64_t i = 0; i < 50; ++i) {
    const size_t cut = i == 0 ? 0 : i == 1 ? data.size() : random.below(data.size(), 2 * i);
    const auto a = std::span(data).first(cut), b = std::span(data).subspan(cut);
    EXPECT_EQ(crc32c(b, crc32c(a)), whole) << cut;
    EXPECT_EQ(crc32c_combine(crc32c(a), crc32c(b), static_cast<int64_t>(b.size())), whole) << cut;
  }
}

TEST(Crc32c, EveryFlippedBitChangesIt) {
  auto data = random_bytes(97, 5);
  const uint32_t before = crc32c(data);
  for (size_t bit = 0; bit < data.size() * 8; ++bit) {
    const auto mask = static_cast<std::byte>(1u << bit % 8);
    data[bit / 8] ^= mask;
    EXPECT_NE(crc32c(data), before) << bit;
    data[bit / 8] ^= mask;
  }
}

}  // namespace
}  // namespace aleph::checkpoint
