// Tokens that are found in the text before anything else happens to it: special ones and those that were
// added to a trained vocabulary.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "aleph/text/cuts.h"
#include "aleph/text/function_ref.h"
#include "aleph/text/normalizer.h"
#include "aleph/text/vocabulary.h"

namespace aleph::text {

struct AddedToken {
  std::string content;
  bool special = false;
  bool single_word = false;  ///< only where no word character is beside it
  bool lstrip = false;       ///< takes the white space before it
  bool rstrip = false;       ///< and after it
  bool normalized = false;   ///< is looked for in the normalized text, in its normalized form
};

/// A set of strings, found leftmost first and longest first.
class TokenSet {
 public:
  TokenSet() = default;
  /// Of equal strings the first counts; empty ones are never found.
  explicit TokenSet(std::vector<std::pair<std::string, int32_t>> tokens);
  bool empty() const { return tokens_.empty(); }
  struct Match {
    size_t begin;
    size_t end;
    int32_t id;
  };
  /// The first match in `text` from `from` on.
  std::optional<Match> find(std::string_view text, size_t from) const;

 private:
  std::optional<Match> longest_at(std::string_view text, size_t begin) const;

  std::vector<std::pair<std::string, int32_t>> tokens_;  // sorted by bytes
  std::array<uint32_t, 257> first_{};                    // index of the first token with that first byte
};

class AddedTokens {
 public:
  /// A part of the text, or where `id` is set a token in it.
  struct Part {
    std::string_view text;
    size_t begin;  ///< offset in what was searched
    std::optional<int32_t> id;
  };
  using PartSink = FunctionRef<void(const Part&)>;

  AddedTokens() = default;
  /// Tokens that the vocabulary lacks get the ids behind it, in order, whatever ids the file gives them.
  /// `normalizer` may be nullptr. Throws Error for a token of more than 512 bytes.
  AddedTokens(const std::vector<AddedToken>& tokens, const Vocabulary& vocabulary,
              const Normalizer* normalizer);

  /// Calls `sink` for the parts of `text`, in order. With `normalized`, looks for the normalized tokens, else
  /// for the others; without `parse_special`, special tokens count as text.
  void split(std::string_view text, bool normalized, bool parse_special, const PartSink& sink) const;

  /// Where no occurrence of a token is cut in two or robbed of what it looks at.
  const Cuts& cuts() const { return cuts_; }
  bool has_normalized() const { return !normalized_.empty(); }
  std::optional<int32_t> id(std::string_view content) const;
  /// The token of `id`, or nullptr.
  const AddedToken* token(int64_t id) const;
  /// True where `content` is that of a special token.
  bool is_special(std::string_view content) const;
  /// 1 + the largest id, or 0.
  int64_t end() const { return by_id_.empty() ? 0 : by_id_.rbegin()->first + 1; }

 private:
  std::map<std::string, int32_t, std::less<>> ids_;
  std::map<std::string, bool, std::less<>> special_;
  std::map<int64_t, AddedToken> by_id_;
  TokenSet plain_;
  TokenSet normalized_;
  Cuts cuts_ = kAllCuts;
};

}  // namespace aleph::text
