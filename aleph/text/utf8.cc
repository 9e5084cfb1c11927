#include "aleph/text/utf8.h"

#include <unicode/uchar.h>

#include <algorithm>

namespace aleph::text {
namespace {

uint8_t byte_at(std::string_view text, size_t i) { return static_cast<uint8_t>(text[i]); }

bool continues(std::string_view text, size_t i, uint8_t low = 0x80, uint8_t high = 0xbf) {
  return i < text.size() && byte_at(text, i) >= low && byte_at(text, i) <= high;
}

struct Lead {
  int32_t length;      // 0: no lead byte
  uint8_t low = 0x80;  // range of the second byte
  uint8_t high = 0xbf;
};

Lead lead_of(uint8_t byte) {
  if (byte < 0x80) return {1};
  if (byte < 0xc2) return {0};
  if (byte < 0xe0) return {2};
  if (byte < 0xf0)
    return {3, static_cast<uint8_t>(byte == 0xe0 ? 0xa0 : 0x80),
            static_cast<uint8_t>(byte == 0xed ? 0x9f : 0xbf)};
  if (byte < 0xf5)
    return {4, static_cast<uint8_t>(byte == 0xf0 ? 0x90 : 0x80),
            static_cast<uint8_t>(byte == 0xf4 ? 0x8f : 0xbf)};
  return {0};
}

// Length of the longest beginning of a character at `i`; `whole` tells whether it is complete.
size_t subpart(std::string_view text, size_t i, bool& whole) {
  const Lead lead = lead_of(byte_at(text, i));
  whole = lead.length == 1;
  if (lead.length <= 1 || !continues(text, i + 1, lead.low, lead.high)) return 1;
  size_t length = 2;
  while (length < static_cast<size_t>(lead.length) && continues(text, i + length)) ++length;
  whole = length == static_cast<size_t>(lead.length);
  return length;
}

}  // namespace

Utf8Char utf8_at(std::string_view text, size_t position) {
  const uint8_t first = byte_at(text, position);
  if (first < 0x80) return {first, 1};
  bool whole = false;
  const size_t length = subpart(text, position, whole);
  if (!whole) return {-1, 1};
  int32_t code = first & (0x7f >> length);
  for (size_t i = 1; i < length; ++i) code = code << 6 | (byte_at(text, position + i) & 0x3f);
  return {code, static_cast<int32_t>(length)};
}

int32_t last_utf8(std::string_view text) {
  for (size_t back = 1; back <= std::min<size_t>(4, text.size()); ++back) {
    const Utf8Char c = utf8_at(text, text.size() - back);
    if (c.code >= 0) return static_cast<size_t>(c.length) == back ? c.code : -1;
  }
  return -1;
}

void append_utf8(std::string& out, int32_t code) {
  const auto put = [&](int32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code < 0x80) return put(code);
  if (code < 0x800) {
    put(0xc0 | code >> 6);
  } else {
    if (code < 0x10000) {
      put(0xe0 | code >> 12);
    } else {
      put(0xf0 | code >> 18);
      put(0x80 | (code >> 12 & 0x3f));
    }
    put(0x80 | (code >> 6 & 0x3f));
  }
  put(0x80 | (code & 0x3f));
}

size_t valid_utf8_length(std::string_view text, size_t position) {
  size_t i = position;
  while (i < text.size()) {
    if (byte_at(text, i) < 0x80) {
      ++i;
      continue;
    }
    bool whole = false;
    const size_t length = subpart(text, i, whole);
    if (!whole) break;
    i += length;
  }
  return i - position;
}

size_t append_lossy(std::string& out, std::string_view bytes) {
  size_t i = 0;
  while (i < bytes.size()) {
    const size_t valid = valid_utf8_length(bytes, i);
    out.append(bytes.substr(i, valid));
    i += valid;
    if (i == bytes.size()) return 0;
    bool whole = false;
    const size_t length = subpart(bytes, i, whole);
    if (i + length == bytes.size() && lead_of(byte_at(bytes, i)).length > 1) return length;
    out += kReplacement;
    i += length;
  }
  return 0;
}

bool is_space(int32_t code) {
  if (code < 0x80) return code == ' ' || (code >= '\t' && code <= '\r');
  return u_isUWhiteSpace(code) != 0;
}

ByteAlphabet::ByteAlphabet() {
  byte_.fill(-1);
  int32_t next = 256;
  for (int32_t b = 0; b < 256; ++b) {
    const bool printable = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
    const int32_t code = printable ? b : next++;
    append_utf8(spelled_[static_cast<size_t>(b)], code);
    byte_[static_cast<size_t>(code)] = static_cast<int16_t>(b);
  }
}

const ByteAlphabet& ByteAlphabet::instance() {
  static const ByteAlphabet alphabet;
  return alphabet;
}

int32_t ByteAlphabet::byte(int32_t code) const {
  return code < 0 || code >= kEnd ? -1 : byte_[static_cast<size_t>(code)];
}

std::string ByteAlphabet::spell(std::string_view bytes) const {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char b : bytes) out += spelled_[static_cast<uint8_t>(b)];
  return out;
}

void ByteAlphabet::append_bytes(std::string& out, std::string_view token) const {
  const size_t before = out.size();
  for (size_t i = 0; i < token.size();) {
    const Utf8Char c = utf8_at(token, i);
    const int32_t b = byte(c.code);
    if (b < 0) {
      out.resize(before);
      out += token;
      return;
    }
    out.push_back(static_cast<char>(b));
    i += static_cast<size_t>(c.length);
  }
}

}  // namespace aleph::text
