// The splitting patterns of GPT-2, Qwen2 and Llama 3 by hand: same pieces as the regular expressions, many
// times faster.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace aleph::text {

enum class KnownPattern {
  kGpt2,   ///< contractions, " letters", " numbers", " others", white space
  kQwen2,  ///< contractions of any case, letters with what precedes them, single digits, others with newlines
  kLlama3,  ///< as Qwen2, with up to three digits
};

/// The regular expression as tokenizer.json has it.
std::string_view regex_of(KnownPattern pattern);
/// The pattern that `regex` is, letter for letter.
std::optional<KnownPattern> known_pattern(std::string_view regex);

/// The end of the piece that begins at `begin` < text.size(), where `begin` is 0 or the end of another piece.
/// A run of bytes that are not UTF-8 is a piece, and bounds its neighbours as the ends of the text do.
size_t piece_end(KnownPattern pattern, std::string_view text, size_t begin);

}  // namespace aleph::text
