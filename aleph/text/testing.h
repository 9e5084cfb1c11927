// For tests: reference files, random texts, small tokenizers.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "aleph/base/error.h"
#include "aleph/base/json.h"
#include "aleph/base/random.h"
#include "aleph/base/testing.h"
#include "aleph/io/file.h"
#include "aleph/text/tokenizer.h"
#include "aleph/text/utf8.h"

namespace aleph::text {

using Ids = std::vector<int32_t>;

inline std::filesystem::path tokenizer_data() {
  return std::filesystem::path(ALEPH_TEST_DATA) / "tokenizers";
}

/// The directory of an environment variable, or beside the checkout.
inline std::filesystem::path beside_checkout(const char* variable, const char* name) {
  const char* value = std::getenv(variable);
  return value != nullptr ? std::filesystem::path(value)
                          : std::filesystem::path(ALEPH_TEST_DATA) / ".." / ".." / ".." / name;
}

inline std::string file_text(const std::filesystem::path& path) {
  return io::read_file(path, int64_t{1} << 28);
}

inline std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    lines.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

/// Draws one after another.
class Draw {
 public:
  explicit Draw(uint64_t seed, uint32_t stream = 0) : stream_({.seed = seed, .stream = stream}) {}

  size_t below(size_t n) { return static_cast<size_t>(stream_.below(n, next())); }
  bool once_in(size_t n) { return below(n) == 0; }
  template <typename T>
  const T& of(const std::vector<T>& choices) {
    return choices[below(choices.size())];
  }
  std::string bytes(size_t count) {
    std::string out;
    for (size_t i = 0; i < count; ++i) out.push_back(static_cast<char>(below(256)));
    return out;
  }

 private:
  uint64_t next() { return position_ += 2; }  // two words a draw

  RandomStream stream_;
  uint64_t position_ = 0;
};

/// Words, spaces, numbers and characters of many scripts; with `broken`, also bytes that are not UTF-8.
inline std::string random_text(Draw& draw, size_t parts, bool broken = false) {
  static const std::vector<std::string> kPieces = {
      " ",      "  ",     "\n",      "\r\n",    "\t",         "'s",
      "'S",     "'LL",    "'ve",     "'\u017f", "the",        " the",
      "12",     "3",      "1,234.5", "!?",      "$",          "_",
      "\u200d", "\u00a0", "\u3000",  "\ufeff",  "e\u0301",    "\u00e9",
      "\u00df", "\u0130", "\ud55c",  "\u1100",  "\u1161",     "\u65e5",
      "\u0416", "\u0663", "\u00b2",  "\u2163",  "\u0e33",     "\u0939\u093f",
      "\u2581", "\u2028", "<s>",     "</s>",    "\U0001f642", "\U0001f469\u200d\U0001f467",
      "A",      "Zz",     "'",       "re"};
  static const std::vector<std::string> kBroken = {"\x80",         "\xc3", "\xe2\x82", "\xf0\x9f\x99",
                                                   "\xed\xa0\x80", "\xff", "\xc0\xaf", std::string(1, '\0')};
  std::string out;
  for (size_t i = 0; i < parts; ++i) out += broken && draw.once_in(5) ? draw.of(kBroken) : draw.of(kPieces);
  return out;
}

/// What `call` hands to its sink, as strings.
template <typename Part, typename Call>
std::vector<std::string> collected(const Call& call) {
  std::vector<std::string> parts;
  call([&](const Part& part) { parts.emplace_back(part.text); });
  return parts;
}

}  // namespace aleph::text
