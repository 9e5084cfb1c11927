// Checksums of the chunks of a tensor whose pieces come in any order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace aleph::checkpoint {

/// Data is checked in chunks of this size, so that a part can be verified without reading the rest.
inline constexpr int64_t kChunkBytes = 1 << 20;

inline int64_t chunk_count(int64_t bytes) { return (bytes + kChunkBytes - 1) / kChunkBytes; }
/// Size of chunk `index` of `bytes` in all.
inline int64_t chunk_size(int64_t bytes, int64_t index) {
  return std::min(kChunkBytes, bytes - index * kChunkBytes);
}

/// The CRC-32C of `bytes` in all from those of their chunks.
uint32_t combine_chunks(std::span<const uint32_t> sums, int64_t bytes);

/// Collects the CRC-32C of each chunk. CRCs are linear: a part of a chunk counts as the chunk with zeros
/// elsewhere, and the parts are added up. Thread-safe.
class ChunkChecksums {
 public:
  explicit ChunkChecksums(int64_t bytes);
  /// Bytes [offset, offset + data.size()), each byte once.
  void add(int64_t offset, std::span<const std::byte> data);
  /// The checksums once all bytes were added.
  std::vector<uint32_t> values() const;
  /// That of all bytes together.
  uint32_t whole() const { return combine_chunks(values(), bytes_); }

 private:
  void add_to_chunk(int64_t chunk, int64_t begin, std::span<const std::byte> data);

  int64_t bytes_;
  mutable std::mutex mutex_;
  std::vector<uint32_t> sums_;  // guarded by mutex_
};

/// Eight hexadecimal digits for each value, one after the other.
std::string to_hex(std::span<const uint32_t> values);
/// Throws Error naming `object` when the text is not `count` values.
std::vector<uint32_t> from_hex(std::string_view text, int64_t count, const std::string& object);

}  // namespace aleph::checkpoint
