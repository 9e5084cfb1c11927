// UTF-8 that may be broken: characters, bytes that are none, and the alphabet that spells bytes as
// characters.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace aleph::text {

/// One character, or one byte that begins no valid character (`code` -1, `length` 1).
struct Utf8Char {
  int32_t code;
  int32_t length;  ///< bytes
};

/// The character at `position` < text.size(). Surrogates, overlong forms and codes over U+10FFFF are invalid.
Utf8Char utf8_at(std::string_view text, size_t position);
/// The last character of a text that is not empty; -1 as above.
int32_t last_utf8(std::string_view text);

void append_utf8(std::string& out, int32_t code);

/// The number of bytes from `position` that are valid UTF-8.
size_t valid_utf8_length(std::string_view text, size_t position = 0);

/// Appends `bytes` to `out` with every maximal part that is not UTF-8 replaced by U+FFFD (the Unicode
/// Standard's "substitution of maximal subparts"). Returns how many bytes at the end are the beginning of a
/// character that more bytes could complete; they are not appended.
size_t append_lossy(std::string& out, std::string_view bytes);

/// U+FFFD.
inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

/// Unicode White_Space.
bool is_space(int32_t code);

/// GPT-2's alphabet: every byte as a printable character, so that tokens can be written as text.
class ByteAlphabet {
 public:
  static const ByteAlphabet& instance();

  std::string_view spelled(uint8_t byte) const { return spelled_[byte]; }
  /// The byte a character stands for, or -1.
  int32_t byte(int32_t code) const;
  /// Bytes as characters of the alphabet.
  std::string spell(std::string_view bytes) const;
  /// Appends the bytes that `token` spells, or `token` itself where a character is not of the alphabet.
  void append_bytes(std::string& out, std::string_view token) const;

 private:
  ByteAlphabet();

  static constexpr int32_t kEnd = 0x144;  // one past the largest character
  std::array<std::string, 256> spelled_;
  std::array<int16_t, kEnd> byte_;
};

}  // namespace aleph::text
