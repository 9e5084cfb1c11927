#include "aleph/text/cuts.h"

#include <unicode/uchar.h>

#include "aleph/text/utf8.h"

namespace aleph::text {
namespace {

bool is_letter(int32_t code) { return code >= 0 && (U_GET_GC_MASK(code) & U_GC_L_MASK) != 0; }
bool is_letter_or_mark(int32_t code) {
  return code >= 0 && (U_GET_GC_MASK(code) & (U_GC_L_MASK | U_GC_M_MASK)) != 0;
}
bool is_visible(int32_t code) { return code >= 0 && !is_space(code); }

int32_t before(std::string_view text, size_t at) { return at == 0 ? -1 : last_utf8(text.substr(0, at)); }
int32_t after(std::string_view text, size_t at) { return at < text.size() ? utf8_at(text, at).code : -1; }

bool is_cut(std::string_view text, size_t at, const Cuts& allowed) {
  if (allowed.space && text[at] == ' ') return is_letter(before(text, at)) && is_letter(after(text, at + 1));
  return allowed.line && at >= 2 && text[at - 1] == '\n' && is_letter(after(text, at)) &&
         is_visible(before(text, at - 1));
}

/// Whether an occurrence of `token` may begin or end at a space between letters, or hold one. Marks count as
/// letters here: a normalizer may have taken letters apart.
bool touches_space(std::string_view token) {
  if (is_letter_or_mark(before(token, token.size()))) return true;
  for (size_t i = token.find(' '); i != std::string_view::npos; i = token.find(' ', i + 1)) {
    const bool left = i == 0 || is_letter_or_mark(before(token, i));
    const bool right = i + 1 == token.size() || is_letter_or_mark(after(token, i + 1));
    if (left && right) return true;
  }
  return false;
}

/// The same for the line end before a letter.
bool touches_line(std::string_view token) {
  if (is_letter_or_mark(after(token, 0))) return true;
  for (size_t i = token.find('\n'); i != std::string_view::npos; i = token.find('\n', i + 1)) {
    const bool left = i == 0 || is_visible(before(token, i));
    const bool right = i + 1 == token.size() || is_letter_or_mark(after(token, i + 1));
    if (left && right) return true;
  }
  return false;
}

}  // namespace

size_t last_cut(std::string_view text, const Cuts& allowed) {
  for (size_t at = text.size(); allowed.any() && at-- > 1;)
    if (is_cut(text, at, allowed)) return at;
  return 0;
}

Cuts cuts_beside(std::string_view token) { return {!touches_space(token), !touches_line(token)}; }

}  // namespace aleph::text
