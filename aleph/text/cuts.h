// Where a text can be cut so that its parts, encoded one by one, give the ids of the whole.
#pragma once

#include <cstddef>
#include <string_view>

namespace aleph::text {

/// Two kinds of places, and what can be said about them: by a part of a tokenizer, or by all together.
///   space: before a space that stands between two letters       "one| two"
///   line:  after a line end that follows a visible character, before a letter   "one.\n|two"
struct Cuts {
  bool space = false;
  bool line = false;

  bool any() const { return space || line; }
  friend Cuts operator&(const Cuts& a, const Cuts& b) { return {a.space && b.space, a.line && b.line}; }
  friend Cuts operator|(const Cuts& a, const Cuts& b) { return {a.space || b.space, a.line || b.line}; }
};
inline constexpr Cuts kAllCuts{true, true}, kNoCuts{};

/// The last place of an allowed kind in `text`, or 0 where there is none.
size_t last_cut(std::string_view text, const Cuts& allowed);

/// The kinds of places that no occurrence of `token` in a text touches: where cutting leaves it as it is.
Cuts cuts_beside(std::string_view token);

}  // namespace aleph::text
