#include "aleph/text/added_tokens.h"

#include <unicode/uchar.h>

#include <algorithm>
#include <numeric>

#include "aleph/base/error.h"
#include "aleph/base/text_util.h"
#include "aleph/text/utf8.h"

namespace aleph::text {
namespace {

constexpr size_t kMostBytes = 512;  // of a token, which a normalizer may make longer

bool is_word(int32_t code) {
  if (code < 0) return false;
  return u_hasBinaryProperty(code, UCHAR_ALPHABETIC) || u_hasBinaryProperty(code, UCHAR_JOIN_CONTROL) ||
         (U_GET_GC_MASK(code) & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) != 0;
}

bool stands_alone(std::string_view text, const TokenSet::Match& match) {
  const bool word_before = match.begin > 0 && is_word(last_utf8(text.substr(0, match.begin)));
  return !word_before && (match.end == text.size() || !is_word(utf8_at(text, match.end).code));
}

size_t space_begin(std::string_view text, size_t end) {
  while (end > 0 && is_space(last_utf8(text.substr(0, end)))) {
    --end;
    while ((static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  }
  return end;
}

size_t space_end(std::string_view text, size_t begin) {
  while (begin < text.size() && is_space(utf8_at(text, begin).code))
    begin += static_cast<size_t>(utf8_at(text, begin).length);
  return begin;
}

/// Normalizers of SentencePiece's kind write spaces as U+2581.
std::string with_spaces(std::string text) {
  constexpr std::string_view kMark = "\u2581";
  for (size_t at = text.find(kMark); at != std::string::npos; at = text.find(kMark, at))
    text.replace(at, kMark.size(), " ");
  return text;
}

}  // namespace

TokenSet::TokenSet(std::vector<std::pair<std::string, int32_t>> tokens) : tokens_(std::move(tokens)) {
  std::erase_if(tokens_, [](const auto& token) { return token.first.empty(); });
  std::stable_sort(tokens_.begin(), tokens_.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  tokens_.erase(std::unique(tokens_.begin(), tokens_.end(),
                            [](const auto& a, const auto& b) { return a.first == b.first; }),
                tokens_.end());
  for (const auto& [text, id] : tokens_) ++first_[static_cast<uint8_t>(text[0]) + size_t{1}];
  std::partial_sum(first_.begin(), first_.end(), first_.begin());
}

std::optional<TokenSet::Match> TokenSet::longest_at(std::string_view text, size_t begin) const {
  // The tokens that begin with text[begin, begin + length): a range that gets smaller byte by byte.
  const auto byte = static_cast<uint8_t>(text[begin]);
  auto low = tokens_.begin() + first_[byte], high = tokens_.begin() + first_[byte + size_t{1}];
  std::optional<Match> longest;
  for (size_t length = 1; low != high; ++length) {
    if (low->first.size() == length) longest = Match{begin, begin + length, (low++)->second};
    if (begin + length == text.size()) break;
    const auto next = static_cast<uint8_t>(text[begin + length]);
    const auto byte_of = [&](const auto& token) { return static_cast<uint8_t>(token.first[length]); };
    low = std::partition_point(low, high, [&](const auto& token) { return byte_of(token) < next; });
    high = std::partition_point(low, high, [&](const auto& token) { return byte_of(token) <= next; });
  }
  return longest;
}

std::optional<TokenSet::Match> TokenSet::find(std::string_view text, size_t from) const {
  for (size_t begin = from; begin < text.size(); ++begin)
    if (const auto match = longest_at(text, begin)) return match;
  return std::nullopt;
}

AddedTokens::AddedTokens(const std::vector<AddedToken>& tokens, const Vocabulary& vocabulary,
                         const Normalizer* normalizer) {
  int64_t next = vocabulary.count();
  for (const AddedToken& token : tokens) {
    if (token.content.empty()) continue;
    if (token.content.size() > kMostBytes)
      throw Error("added token '" + printable(token.content) + "'",
                  fmt::format("{} bytes", token.content.size()), fmt::format("at most {}", kMostBytes));
    std::optional<int32_t> known = id(token.content);
    if (!known) known = vocabulary.id(token.content);
    const auto assigned = known ? *known : static_cast<int32_t>(next);
    if (assigned >= next) next = assigned + 1;
    ids_[token.content] = assigned;
    special_[token.content] = special_[token.content] || token.special;
    by_id_[assigned] = token;
  }
  std::vector<std::pair<std::string, int32_t>> plain, normalized;
  for (const auto& [token_id, token] : by_id_) {
    const bool changes = token.normalized && normalizer != nullptr;
    const std::string content = changes ? normalizer->apply(token.content) : token.content;
    cuts_ = cuts_ & cuts_beside(content) & cuts_beside(with_spaces(content));
    (token.normalized ? normalized : plain).emplace_back(content, token_id);
  }
  plain_ = TokenSet(std::move(plain));
  normalized_ = TokenSet(std::move(normalized));
}

void AddedTokens::split(std::string_view text, bool normalized, bool parse_special,
                        const PartSink& sink) const {
  const TokenSet& tokens = normalized ? normalized_ : plain_;
  size_t done = 0;
  const auto emit_until = [&](size_t end) {
    if (done < end) sink({text.substr(done, end - done), done, std::nullopt});
  };
  size_t from = 0;
  while (!tokens.empty()) {
    const auto match = tokens.find(text, from);
    if (!match) break;
    from = match->end;
    const AddedToken& token = by_id_.at(match->id);
    if (!parse_special && is_special(token.content)) continue;
    if (token.single_word && !stands_alone(text, *match)) continue;
    // The white space that the last token took may be part of this one as well.
    const size_t begin =
        token.lstrip ? std::min(std::max(space_begin(text, match->begin), done), match->end) : match->begin;
    const size_t end = token.rstrip ? space_end(text, match->end) : match->end;
    emit_until(begin);
    sink({text.substr(begin, end - begin), begin, match->id});
    done = end;
  }
  emit_until(text.size());
}

std::optional<int32_t> AddedTokens::id(std::string_view content) const {
  const auto found = ids_.find(content);
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

const AddedToken* AddedTokens::token(int64_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &found->second;
}

bool AddedTokens::is_special(std::string_view content) const {
  const auto found = special_.find(content);
  return found != special_.end() && found->second;
}

}  // namespace aleph::text
