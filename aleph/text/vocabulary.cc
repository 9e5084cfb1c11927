#include "aleph/text/vocabulary.h"

#include <algorithm>

#include "aleph/base/error.h"
#include "aleph/base/text_util.h"

namespace aleph::text {

Vocabulary::Vocabulary(Entries entries, const std::string& object) : entries_(std::move(entries)) {
  const int64_t limit = 65'536 + 16 * count();
  for (const auto& [token, id] : entries_)
    if (id < 0 || id >= limit)
      throw Error(object, fmt::format("id {} for token '{}'", id, printable(token)),
                  fmt::format("an id in [0, {})", limit));
  std::stable_sort(entries_.begin(), entries_.end(),
                   [](const auto& a, const auto& b) { return a.second < b.second; });
  ids_.reserve(entries_.size());
  for (size_t i = 0; i < entries_.size(); ++i) {
    const auto& [token, id] = entries_[i];
    if (i > 0 && entries_[i - 1].second == id)
      throw Error(
          object,
          fmt::format("id {} for both '{}' and '{}'", id, printable(entries_[i - 1].first), printable(token)),
          "an id of its own for each token");
    if (!ids_.emplace(token, static_cast<int32_t>(id)).second)
      throw Error(object, fmt::format("token '{}' twice", printable(token)), "each token once");
  }
}

std::optional<int32_t> Vocabulary::id(std::string_view token) const {
  const auto found = ids_.find(token);
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

const std::string* Vocabulary::token(int64_t id) const {
  // Without holes before it, the entry of an id stands at that index; with holes, before it.
  const int64_t most = std::min(id, count() - 1);
  if (most < 0) return nullptr;
  const auto last = entries_.begin() + most;
  if (last->second == id) return &last->first;
  const auto found = std::lower_bound(
      entries_.begin(), last, id, [](const auto& entry, int64_t wanted) { return entry.second < wanted; });
  return found != last && found->second == id ? &found->first : nullptr;
}

}  // namespace aleph::text
