// For tests of files: random bytes, files as text, damage.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "aleph/base/error.h"
#include "aleph/base/random.h"
#include "aleph/base/testing.h"
#include "aleph/io/file.h"

namespace aleph::checkpoint {

inline std::vector<std::byte> random_bytes(int64_t size, uint64_t seed) {
  const RandomStream random({.seed = seed});
  std::vector<std::byte> bytes(static_cast<size_t>(size));
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(random.word(i));
  return bytes;
}

inline std::string text_of(const std::filesystem::path& path) {
  return io::read_file(path, int64_t{1} << 30);
}

inline void put(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

/// Flips one bit of a file.
inline void flip(const std::filesystem::path& path, int64_t byte, int bit = 0) {
  std::string text = text_of(path);
  text.at(static_cast<size_t>(byte)) = static_cast<char>(text[static_cast<size_t>(byte)] ^ (1 << bit));
  put(path, text);
}

/// What an Error of `run` says, in one line; "no error" without one.
template <typename Run>
std::string one_line_fault_of(const Run& run) {
  const std::string fault = fault_of(run);
  EXPECT_EQ(fault.find('\n'), std::string::npos) << fault;
  return fault;
}

}  // namespace aleph::checkpoint
