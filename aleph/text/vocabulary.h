// Tokens and their ids.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace aleph::text {

/// Each token has one id and each id at most one token; there may be holes. Moves only.
class Vocabulary {
 public:
  using Entries = std::vector<std::pair<std::string, int64_t>>;

  Vocabulary() = default;
  /// Throws Error naming `object` for an id that is negative, given twice, or far larger than the number of
  /// tokens (more than 16 times, over 65,536).
  Vocabulary(Entries entries, const std::string& object);
  Vocabulary(Vocabulary&&) noexcept = default;
  Vocabulary& operator=(Vocabulary&&) noexcept = default;

  std::optional<int32_t> id(std::string_view token) const;
  /// The token of `id`, or nullptr.
  const std::string* token(int64_t id) const;
  /// Number of tokens.
  int64_t count() const { return static_cast<int64_t>(entries_.size()); }
  /// 1 + the largest id.
  int64_t end() const { return entries_.empty() ? 0 : entries_.back().second + 1; }

 private:
  Entries entries_;  // by id; never changes once ids_ refers to it
  std::unordered_map<std::string_view, int32_t> ids_;
};

}  // namespace aleph::text
