#include "aleph/text/splitter.h"

#include <unicode/uchar.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "aleph/text/utf8.h"

namespace aleph::text {
namespace {

constexpr std::string_view kGpt2Regex =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

enum class Class : uint8_t { kLetter, kNumber, kSpace, kOther, kInvalid, kEnd };

Class class_of(int32_t code) {
  if (code < 0) return Class::kInvalid;
  const uint32_t category = U_GET_GC_MASK(code);
  if (category & U_GC_L_MASK) return Class::kLetter;
  if (category & U_GC_N_MASK) return Class::kNumber;
  return is_space(code) ? Class::kSpace : Class::kOther;
}

const std::array<Class, 128>& ascii_classes() {
  static const std::array<Class, 128> classes = [] {
    std::array<Class, 128> table{};
    for (size_t i = 0; i < table.size(); ++i) table[i] = class_of(static_cast<int32_t>(i));
    return table;
  }();
  return classes;
}

struct Char {
  Class kind;
  int32_t code;
  size_t end;
};

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text), ascii_(ascii_classes().data()) {}

  Char at(size_t i) const {
    if (i >= text_.size()) return {Class::kEnd, -1, i};
    const auto byte = static_cast<uint8_t>(text_[i]);
    if (byte < 0x80) return {ascii_[byte], byte, i + 1};
    const Utf8Char c = utf8_at(text_, i);
    return {class_of(c.code), c.code, i + static_cast<size_t>(c.length)};
  }

  /// Past all characters of `kind` from `i` on.
  size_t skip(size_t i, Class kind) const {
    while (true) {
      while (i < text_.size() && static_cast<uint8_t>(text_[i]) < 0x80) {
        if (ascii_[static_cast<uint8_t>(text_[i])] != kind) return i;
        ++i;
      }
      const Char c = at(i);
      if (c.kind != kind) return i;
      i = c.end;
    }
  }

  size_t skip_newlines(size_t i) const {
    while (i < text_.size() && is_newline(static_cast<uint8_t>(text_[i]))) ++i;
    return i;
  }

  static bool is_newline(int32_t code) { return code == '\r' || code == '\n'; }

 private:
  std::string_view text_;
  const Class* ascii_;
};

// 's 't 're 've 'm 'll 'd at `i`, which holds an apostrophe: its end, or `i`.
size_t contraction_end(std::string_view text, size_t i) {
  const std::string_view rest = text.substr(i + 1, 2);
  if (rest.empty()) return i;
  if (std::string_view("stmd").find(rest[0]) != std::string_view::npos) return i + 2;
  return rest == "re" || rest == "ve" || rest == "ll" ? i + 3 : i;
}

// The same in any case. U+017F is a small s too.
size_t caseless_contraction_end(std::string_view text, size_t i) {
  if (text.substr(i + 1, 2) == "\xC5\xBF") return i + 3;
  std::array<char, 3> lower{'\'', 0, 0};
  const size_t length = std::min<size_t>(3, text.size() - i);
  for (size_t k = 1; k < length; ++k) {
    const char c = text[i + k];
    lower[k] = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  }
  return i + contraction_end({lower.data(), length}, 0);
}

// \s+(?!\S)|\s+ from `begin` on, where there is white space: a run leaves its last character to what follows.
size_t white_end(const Scanner& scan, size_t begin) {
  size_t last = begin;
  size_t end = begin;
  for (Char c = scan.at(begin); c.kind == Class::kSpace; c = scan.at(end)) {
    last = end;
    end = c.end;
  }
  const Class next = scan.at(end).kind;
  const bool bounded = next == Class::kEnd || next == Class::kInvalid;
  return bounded || last == begin ? end : last;
}

size_t gpt2_end(std::string_view text, size_t begin) {
  const Scanner scan(text);
  const Char first = scan.at(begin);
  if (first.code == '\'') {
    const size_t end = contraction_end(text, begin);
    if (end != begin) return end;
  }
  const Char head = first.code == ' ' ? scan.at(first.end) : first;
  if (head.kind <= Class::kNumber || head.kind == Class::kOther) return scan.skip(head.end, head.kind);
  if (first.kind == Class::kInvalid) return scan.skip(begin, Class::kInvalid);
  return white_end(scan, begin);
}

// \s*[\r\n]+|\s+(?!\S)|\s+ : up to the last newline of the run, where there is one.
size_t white_or_newline_end(const Scanner& scan, size_t begin) {
  size_t after_newline = begin;
  size_t end = begin;
  for (Char c = scan.at(begin); c.kind == Class::kSpace; c = scan.at(end)) {
    end = c.end;
    if (Scanner::is_newline(c.code)) after_newline = end;
  }
  return after_newline != begin ? after_newline : white_end(scan, begin);
}

size_t digits_end(const Scanner& scan, size_t begin, int most) {
  size_t end = begin;
  for (int i = 0; i < most; ++i) {
    const Char c = scan.at(end);
    if (c.kind != Class::kNumber) break;
    end = c.end;
  }
  return end;
}

size_t qwen2_end(std::string_view text, size_t begin, int most_digits) {
  const Scanner scan(text);
  const Char first = scan.at(begin);
  if (first.code == '\'') {
    const size_t end = caseless_contraction_end(text, begin);
    if (end != begin) return end;
  }
  if (first.kind == Class::kLetter) return scan.skip(first.end, Class::kLetter);
  if (first.kind == Class::kNumber) return digits_end(scan, begin, most_digits);
  if (first.kind == Class::kInvalid) return scan.skip(begin, Class::kInvalid);
  const Char second = scan.at(first.end);
  if (second.kind == Class::kLetter && !Scanner::is_newline(first.code))
    return scan.skip(second.end, Class::kLetter);
  const Char head = first.code == ' ' ? second : first;
  if (head.kind == Class::kOther) return scan.skip_newlines(scan.skip(head.end, Class::kOther));
  return white_or_newline_end(scan, begin);
}

}  // namespace

std::string_view regex_of(KnownPattern pattern) {
  if (pattern == KnownPattern::kGpt2) return kGpt2Regex;
  return pattern == KnownPattern::kQwen2 ? kQwen2Regex : kLlama3Regex;
}

std::optional<KnownPattern> known_pattern(std::string_view regex) {
  for (const KnownPattern pattern : {KnownPattern::kGpt2, KnownPattern::kQwen2, KnownPattern::kLlama3})
    if (regex == regex_of(pattern)) return pattern;
  return std::nullopt;
}

size_t piece_end(KnownPattern pattern, std::string_view text, size_t begin) {
  if (pattern == KnownPattern::kGpt2) return gpt2_end(text, begin);
  return qwen2_end(text, begin, pattern == KnownPattern::kQwen2 ? 1 : 3);
}

}  // namespace aleph::text
