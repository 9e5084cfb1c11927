#include "aleph/base/random.h"

#include <cmath>
#include <numbers>

#include "aleph/base/philox.h"

namespace aleph {
namespace {

uint64_t mix(uint64_t x) {  // finalizer of SplitMix64
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

float to_unit(uint32_t word) { return static_cast<float>(word >> 8) * 0x1.0p-24f; }

}  // namespace

RandomStream::RandomStream(const RandomKey& key) {
  const uint64_t names = (static_cast<uint64_t>(key.purpose) << 32) | key.stream;
  const uint64_t mixed = mix(mix(key.seed + 0x9e3779b97f4a7c15ull) ^ names);
  key_ = {static_cast<uint32_t>(mixed), static_cast<uint32_t>(mixed >> 32)};
  high_ = key.step;
}

std::array<uint32_t, 4> RandomStream::words(uint64_t block) const {
  uint32_t words[4][1];
  philox(key_, high_, {block}, words);
  return {words[0][0], words[1][0], words[2][0], words[3][0]};
}

float RandomStream::uniform(uint64_t position) const { return to_unit(word(position)); }

float RandomStream::normal(uint64_t position) const {
  const std::array<uint32_t, 4> w = words(position / 4);
  const size_t pair = position % 4 / 2 * 2;
  const double radius = std::sqrt(-2.0 * std::log((static_cast<double>(w[pair]) + 0.5) * 0x1.0p-32));
  const double angle = 2.0 * std::numbers::pi * static_cast<double>(w[pair + 1]) * 0x1.0p-32;
  return static_cast<float>(radius * (position % 2 == 0 ? std::cos(angle) : std::sin(angle)));
}

uint64_t RandomStream::below(uint64_t n, uint64_t position) const {
  const std::array<uint32_t, 4> w = words(position);
  const uint64_t bits = (static_cast<uint64_t>(w[0]) << 32) | w[1];
  return static_cast<uint64_t>((static_cast<unsigned __int128>(bits) * n) >> 64);
}

uint32_t stable_hash(std::string_view name) {
  uint32_t hash = 2166136261u;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  return hash;
}

}  // namespace aleph
