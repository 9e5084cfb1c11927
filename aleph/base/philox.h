// Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11), for loops that draw
// many words at once; RandomStream names what is drawn.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace aleph {

/// words[0 .. 3][i]: what `key` gives at the counter whose lower half is blocks[i] and whose upper half is
/// `high`. Each round is one loop over all blocks, a vector loop of the instructions its caller has.
template <size_t N>
[[gnu::always_inline]] inline void philox(const std::array<uint32_t, 2>& key, uint64_t high,
                                          const uint64_t (&blocks)[N], uint32_t (&words)[4][N]) {
  for (size_t i = 0; i < N; ++i) {
    words[0][i] = static_cast<uint32_t>(blocks[i]);
    words[1][i] = static_cast<uint32_t>(blocks[i] >> 32);
    words[2][i] = static_cast<uint32_t>(high);
    words[3][i] = static_cast<uint32_t>(high >> 32);
  }
  uint32_t key0 = key[0], key1 = key[1];
  for (int round = 0; round < 10; ++round, key0 += 0x9E3779B9u, key1 += 0xBB67AE85u) {
#pragma omp simd
    for (size_t i = 0; i < N; ++i) {
      const uint64_t p0 = uint64_t{0xD2511F53u} * words[0][i], p1 = uint64_t{0xCD9E8D57u} * words[2][i];
      words[0][i] = static_cast<uint32_t>(p1 >> 32) ^ words[1][i] ^ key0;
      words[1][i] = static_cast<uint32_t>(p1);
      words[2][i] = static_cast<uint32_t>(p0 >> 32) ^ words[3][i] ^ key1;
      words[3][i] = static_cast<uint32_t>(p0);
    }
  }
}

}  // namespace aleph
