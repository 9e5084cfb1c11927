#include "aleph/checkpoint/crc32c.h"

#include <array>
#include <cstring>
#include <utility>

namespace aleph::checkpoint {
namespace {

constexpr uint32_t kPolynomial = 0x82f63b78u;  // reflected: bit 31 is the coefficient of x^0

constexpr std::array<uint32_t, 256> make_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t value = byte;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1u) != 0 ? kPolynomial : 0u);
    table[byte] = value;
  }
  return table;
}
constexpr auto kTable = make_table();

/// a(x) * b(x) modulo the polynomial.
constexpr uint32_t multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (uint32_t bit = 1u << 31; bit != 0; bit >>= 1) {
    if ((a & bit) != 0) product ^= b;
    b = (b >> 1) ^ ((b & 1u) != 0 ? kPolynomial : 0u);
  }
  return product;
}

/// x^(8 * bytes) modulo the polynomial: what appending that many bytes multiplies a checksum by.
uint32_t shift_factor(int64_t bytes) {
  uint32_t factor = 1u << 31;
  uint32_t power = 1u << 23;  // x^8
  for (auto rest = static_cast<uint64_t>(bytes); rest != 0; rest >>= 1) {
    if ((rest & 1u) != 0) factor = multiply(factor, power);
    power = multiply(power, power);
  }
  return factor;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t crc32c_sse42(std::span<const std::byte> data, uint32_t seed) {
  uint64_t state = ~seed;
  size_t i = 0;
  for (; i + 8 <= data.size(); i += 8) {
    uint64_t word = 0;
    std::memcpy(&word, data.data() + i, sizeof(word));
    state = __builtin_ia32_crc32di(state, word);
  }
  auto tail = static_cast<uint32_t>(state);
  for (; i < data.size(); ++i) tail = __builtin_ia32_crc32qi(tail, static_cast<unsigned char>(data[i]));
  return ~tail;
}
#endif

}  // namespace

uint32_t crc32c_portable(std::span<const std::byte> data, uint32_t seed) {
  uint32_t state = ~seed;
  for (const std::byte byte : data)
    state = (state >> 8) ^ kTable[(state ^ static_cast<uint32_t>(byte)) & 0xffu];
  return ~state;
}

uint32_t crc32c(std::span<const std::byte> data, uint32_t seed) {
#if defined(__x86_64__)
  static const bool hardware = __builtin_cpu_supports("sse4.2") != 0;
  if (hardware) return crc32c_sse42(data, seed);
#endif
  return crc32c_portable(data, seed);
}

uint32_t crc32c_combine(uint32_t a, uint32_t b, int64_t b_bytes) {
  return multiply(a, shift_factor(b_bytes)) ^ b;
}

}  // namespace aleph::checkpoint
