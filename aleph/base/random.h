// Counter-based random numbers (aleph/base/philox.h): a draw depends only on its key and position, so results
// do not change with ranks, threads, tiers or recomputation.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace aleph {

enum class RandomPurpose : uint32_t { kInit = 1, kDropout = 2, kDataOrder = 3, kSampling = 4 };

/// Names one stream of random numbers.
struct RandomKey {
  uint64_t seed = 0;
  RandomPurpose purpose = RandomPurpose::kInit;
  uint32_t stream = 0;  ///< which parameter, block or request: stable across runs
  uint64_t step = 0;    ///< optimizer step, micro-batch or epoch
};

/// Random numbers at any position of a key's stream. Immutable; safe to share between threads.
class RandomStream {
 public:
  explicit RandomStream(const RandomKey& key);

  /// Words 4 * block ... 4 * block + 3.
  std::array<uint32_t, 4> words(uint64_t block) const;
  uint32_t word(uint64_t position) const { return words(position / 4)[position % 4]; }
  /// Uniform in [0, 1), 24 bits.
  float uniform(uint64_t position) const;
  /// Standard normal (Box-Muller on the words of one block).
  float normal(uint64_t position) const;
  /// Uniform integer in [0, n), n > 0, from 64 bits at `position` (bias below 2^-32 for n < 2^32).
  uint64_t below(uint64_t n, uint64_t position) const;

  /// The Philox key and the upper half of its counter, for loops that call philox themselves.
  std::array<uint32_t, 2> key() const { return key_; }
  uint64_t high() const { return high_; }

 private:
  std::array<uint32_t, 2> key_;
  uint64_t high_;  // upper half of the counter
};

/// Stable 32-bit hash of a name (FNV-1a), for RandomKey::stream.
uint32_t stable_hash(std::string_view name);

}  // namespace aleph
