// Regular expressions in the dialect of tokenizer.json (Oniguruma), run by PCRE2.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "aleph/text/function_ref.h"

namespace aleph::text {

/// A part of a text: a match of a pattern, or what lies between two.
struct Segment {
  size_t begin;
  size_t end;
  bool is_match;
};
using SegmentSink = FunctionRef<void(const Segment&)>;

/// Compiled once, used by any number of threads. Moves only.
class Regex {
 public:
  /// Throws Error naming `object` for a pattern that is invalid or uses what has no counterpart in PCRE2.
  Regex(std::string_view pattern, const std::string& object);
  /// Matches `text` and nothing else.
  static Regex literal(std::string_view text);

  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  /// Calls `sink` for consecutive segments that cover `text`. Bytes that are not UTF-8 match nothing and
  /// bound the text for what is beside them. Throws Error when a match takes too many steps.
  void segments(std::string_view text, const SegmentSink& sink) const;
  /// `text` with every match replaced by `content`. Throws Error where that gives more than `most` bytes.
  std::string replace(std::string_view text, std::string_view content, size_t most = std::string::npos) const;

 private:
  struct Program;
  explicit Regex(std::unique_ptr<const Program> program);

  std::unique_ptr<const Program> program_;
};

/// The pattern in PCRE2's syntax; see regex.cc for the differences. Throws Error naming `object`, also where
/// it would be longer than 8 KiB.
std::string to_pcre2(std::string_view pattern, const std::string& object);

}  // namespace aleph::text
