#include "aleph/checkpoint/chunk_checksums.h"

#include <array>

#include "aleph/base/error.h"
#include "aleph/base/text_util.h"
#include "aleph/checkpoint/crc32c.h"

namespace aleph::checkpoint {
namespace {

constexpr size_t kDigits = 8;

/// The checksum of that many zeros: what the empty parts of a chunk contribute.
uint32_t crc32c_of_zeros(int64_t bytes) {
  static constexpr std::array<std::byte, 1> kZero{};
  uint32_t sum = 0;  // of no bytes
  uint32_t power = crc32c(kZero);
  int64_t power_bytes = 1;
  for (int64_t rest = bytes; rest != 0; rest >>= 1) {
    if ((rest & 1) != 0) sum = crc32c_combine(sum, power, power_bytes);
    power = crc32c_combine(power, power, power_bytes);
    power_bytes *= 2;
  }
  return sum;
}

}  // namespace

uint32_t combine_chunks(std::span<const uint32_t> sums, int64_t bytes) {
  uint32_t whole = 0;  // of no bytes
  for (size_t i = 0; i < sums.size(); ++i)
    whole = crc32c_combine(whole, sums[i], chunk_size(bytes, static_cast<int64_t>(i)));
  return whole;
}

ChunkChecksums::ChunkChecksums(int64_t bytes)
    : bytes_(bytes), sums_(static_cast<size_t>(chunk_count(bytes))) {}

void ChunkChecksums::add(int64_t offset, std::span<const std::byte> data) {
  const auto end = offset + static_cast<int64_t>(data.size());
  ALEPH_CHECK(offset >= 0 && end <= bytes_, "bytes {} to {} of {}", offset, end, bytes_);
  for (int64_t begin = offset; begin < end;) {
    const int64_t chunk = begin / kChunkBytes;
    const int64_t stop = std::min(end, (chunk + 1) * kChunkBytes);
    add_to_chunk(chunk, begin - chunk * kChunkBytes,
                 data.subspan(static_cast<size_t>(begin - offset), static_cast<size_t>(stop - begin)));
    begin = stop;
  }
}

void ChunkChecksums::add_to_chunk(int64_t chunk, int64_t begin, std::span<const std::byte> data) {
  const auto part = static_cast<int64_t>(data.size());
  const int64_t after = chunk_size(bytes_, chunk) - begin - part;
  // crc(A) ^ crc(B) = crc(A ^ B) ^ crc(0): relative to zeros of the same length, checksums add up.
  const uint32_t relative = crc32c(data) ^ crc32c_of_zeros(part);
  const uint32_t shifted = crc32c_combine(relative, 0, after);
  std::lock_guard lock(mutex_);
  sums_[static_cast<size_t>(chunk)] ^= shifted;
}

std::vector<uint32_t> ChunkChecksums::values() const {
  std::lock_guard lock(mutex_);
  std::vector<uint32_t> values = sums_;
  const uint32_t full = crc32c_of_zeros(kChunkBytes);
  for (size_t i = 0; i < values.size(); ++i) {
    const int64_t size = chunk_size(bytes_, static_cast<int64_t>(i));
    values[i] ^= size == kChunkBytes ? full : crc32c_of_zeros(size);
  }
  return values;
}

std::string to_hex(std::span<const uint32_t> values) {
  std::string text;
  text.reserve(values.size() * kDigits);
  for (const uint32_t value : values) text += fmt::format("{:08x}", value);
  return text;
}

std::vector<uint32_t> from_hex(std::string_view text, int64_t count, const std::string& object) {
  const auto digit = [](char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
  };
  const bool valid = text.size() == static_cast<size_t>(count) * kDigits &&
                     std::all_of(text.begin(), text.end(), [&](char c) { return digit(c) >= 0; });
  if (!valid)
    throw Error(object, "checksums '" + printable(text) + "'",
                fmt::format("{} of eight hexadecimal digits each", count));
  std::vector<uint32_t> values(static_cast<size_t>(count));
  for (size_t i = 0; i < text.size(); ++i)
    values[i / kDigits] = values[i / kDigits] << 4 | static_cast<uint32_t>(digit(text[i]));
  return values;
}

}  // namespace aleph::checkpoint
