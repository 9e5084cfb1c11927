#include "aleph/text/vocabulary.h"

#include <algorithm>

#include "aleph/base/error.h"
#include "aleph/base/text_util.h"

namespace aleph::text {

Vocabulary::Vocabulary(std::vector<std::pair<std::string, int64_t>> entries, const std::string& object) {
  const int64_t limit = 65'536 + 16 * static_cast<int64_t>(entries.size());
  int64_t end = 0;
  for (const auto& [token, id] : entries) {
    if (id < 0 || id >= limit)
      throw Error(object, fmt::format("id {} for token '{}'", id, printable(token)),
                  fmt::format("an id in [0, {})", limit));
    end = std::max(end, id + 1);
  }
  tokens_.resize(static_cast<size_t>(end));
  present_.resize(static_cast<size_t>(end));
  ids_.reserve(entries.size());
  for (auto& [token, id] : entries) {
    const auto slot = static_cast<size_t>(id);
    if (present_[slot])
      throw Error(object,
                  fmt::format("id {} for both '{}' and '{}'", id, printable(tokens_[slot]), printable(token)),
                  "an id of its own for each token");
    present_[slot] = true;
    tokens_[slot] = std::move(token);
    if (!ids_.emplace(tokens_[slot], static_cast<int32_t>(id)).second)
      throw Error(object, fmt::format("token '{}' twice", printable(tokens_[slot])), "each token once");
  }
}

std::optional<int32_t> Vocabulary::id(std::string_view token) const {
  const auto found = ids_.find(token);
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

const std::string* Vocabulary::token(int64_t id) const {
  return id >= 0 && id < end() && present_[static_cast<size_t>(id)] ? &tokens_[static_cast<size_t>(id)]
                                                                    : nullptr;
}

}  // namespace aleph::text
