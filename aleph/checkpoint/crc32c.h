// CRC-32C (Castagnoli, RFC 3720), the checksum of checkpoints: computed in hardware where there is SSE 4.2.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace aleph::checkpoint {

/// The checksum of `data`; `seed` is the checksum of what comes before it.
uint32_t crc32c(std::span<const std::byte> data, uint32_t seed = 0);

/// The checksum of A followed by B from theirs alone.
uint32_t crc32c_combine(uint32_t a, uint32_t b, int64_t b_bytes);

/// As crc32c in portable code: what runs where there is no hardware for it, and the reference of its test.
uint32_t crc32c_portable(std::span<const std::byte> data, uint32_t seed = 0);

}  // namespace aleph::checkpoint
