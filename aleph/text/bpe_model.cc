#include "aleph/text/bpe_model.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>
#include <limits>
#include <unordered_map>
#include <utility>

#include "aleph/base/error.h"
#include "aleph/base/text_util.h"
#include "aleph/text/utf8.h"

namespace aleph::text {
namespace {

constexpr size_t kShortPiece = 48;            // symbols; up to here looking at all ranks beats a heap
constexpr size_t kWindow = 8192;              // symbols that are merged at a time where words are longer
constexpr size_t kOverlap = 512;              // of them the next window sees again
constexpr size_t kKeptScratch = 1 << 20;      // entries; larger ones go back after use
constexpr std::string_view kMark = "\u2581";  // SentencePiece's space

// Where the next word begins: before a mark that follows something else.
size_t next_word(std::string_view text, size_t begin) {
  size_t at = text.find(kMark, begin + 1);
  while (at != std::string_view::npos && text.substr(0, at).ends_with(kMark)) at = text.find(kMark, at + 1);
  return std::min(at, text.size());
}

struct MergeIds {
  int32_t left, right, merged;
};

// True where merges only make pairs that come later in the list, as those of every trained vocabulary do.
bool merges_ascend(const std::vector<MergeIds>& merges) {
  std::unordered_map<int32_t, size_t> made;  // by id: the last merge that makes it
  for (size_t rank = 0; rank < merges.size(); ++rank) made[merges[rank].merged] = rank;
  const auto is_made_from = [&](int32_t id, size_t rank) {
    const auto last = made.find(id);
    return last != made.end() && last->second >= rank;
  };
  for (size_t rank = 0; rank < merges.size(); ++rank)
    if (is_made_from(merges[rank].left, rank) || is_made_from(merges[rank].right, rank)) return false;
  return true;
}

}  // namespace

void MergeTable::grow(size_t slots) {
  const std::vector<Slot> before =
      std::exchange(slots_, std::vector<Slot>(slots, Slot{kEmpty, {kNoRank, -1}}));
  mask_ = slots - 1;
  shift_ = 64 - std::countr_zero(slots);
  for (const Slot& slot : before)
    if (slot.key != kEmpty) slots_[free_or_own(slot.key)] = slot;
}

size_t MergeTable::free_or_own(uint64_t key) const {
  size_t i = slot_of(key);
  while (slots_[i].key != kEmpty && slots_[i].key != key) i = (i + 1) & mask_;
  return i;
}

void MergeTable::insert(int32_t left, int32_t right, const Merge& merge) {
  const uint64_t key = key_of(left, right);
  size_t i = free_or_own(key);
  if (slots_[i].key == kEmpty) {
    if (2 * ++count_ > slots_.size()) {
      grow(2 * slots_.size());
      i = free_or_own(key);
    }
  }
  slots_[i] = {key, merge};
}

size_t PieceCache::hash(std::string_view piece) {
  uint64_t h = piece.size();
  size_t i = 0;
  for (; i + 8 <= piece.size(); i += 8) {
    uint64_t word = 0;
    std::memcpy(&word, piece.data() + i, 8);
    h = (h ^ word) * 0x9e3779b97f4a7c15ull;
    h ^= h >> 29;
  }
  uint64_t rest = 0;
  std::memcpy(&rest, piece.data() + i, piece.size() - i);
  h = (h ^ rest) * 0xbf58476d1ce4e5b9ull;
  return h ^ (h >> 32);
}

bool PieceCache::find(std::string_view piece, size_t hash, std::vector<int32_t>& out) const {
  const Entry& entry = entries_[hash % kEntries];
  if (entry.bytes != piece.size() || std::memcmp(entry.text.data(), piece.data(), piece.size()) != 0)
    return false;
  out.insert(out.end(), entry.ids.begin(), entry.ids.begin() + entry.count);
  return true;
}

void PieceCache::insert(std::string_view piece, size_t hash, const int32_t* ids, size_t count) {
  if (count > kMaxIds || piece.empty()) return;
  Entry& entry = entries_[hash % kEntries];
  entry.bytes = static_cast<uint8_t>(piece.size());
  entry.count = static_cast<uint8_t>(count);
  std::copy(piece.begin(), piece.end(), entry.text.begin());
  std::copy_n(ids, count, entry.ids.begin());
}

BpeModel::BpeModel(Vocabulary vocabulary, const Merges& merges, BpeOptions options, const std::string& object)
    : vocabulary_(std::move(vocabulary)), options_(std::move(options)), object_(object) {
  const size_t prefix = options_.continuing_subword_prefix.size();
  const auto id_of = [&](std::string_view token, size_t rank) {
    const auto id = vocabulary_.id(token);
    if (!id)
      throw Error(object, fmt::format("merge {} with '{}', which is no token", rank, printable(token)),
                  "merges of tokens in the vocabulary");
    return *id;
  };
  std::vector<MergeIds> ids;
  ids.reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    const int32_t left_id = id_of(left, rank);
    const int32_t right_id = id_of(right, rank);
    std::string merged(left);
    merged += right.size() < prefix ? right : right.substr(prefix);
    ids.push_back({left_id, right_id, id_of(merged, rank)});
    merges_.insert(left_id, right_id, {static_cast<uint32_t>(rank), ids.back().merged});
  }
  build_byte_ids();
  cut_at_marks_ = words_stand_alone(merges);
  cut_anywhere_ = merges_ascend(ids);
}

// True where no merge joins the end of a word with a mark and no character vanishes, which would join words.
bool BpeModel::words_stand_alone(const Merges& merges) const {
  const bool nothing_vanishes = options_.unk_token && vocabulary_.id(*options_.unk_token);
  return nothing_vanishes && vocabulary_.id(kMark) && !options_.ignore_merges &&
         options_.continuing_subword_prefix.empty() && options_.end_of_word_suffix.empty() &&
         std::none_of(merges.begin(), merges.end(), [](const auto& merge) {
           return merge.second.starts_with(kMark) && !merge.first.ends_with(kMark);
         });
}

void BpeModel::build_byte_ids() {
  const ByteAlphabet& alphabet = ByteAlphabet::instance();
  direct_bytes_ = options_.continuing_subword_prefix.empty() && options_.end_of_word_suffix.empty();
  for (size_t b = 0; b < 256; ++b) {
    byte_ids_[b] = vocabulary_.id(alphabet.spelled(static_cast<uint8_t>(b))).value_or(-1);
    fallback_ids_[b] = vocabulary_.id(fmt::format("<0x{:02X}>", b)).value_or(-1);
    if (byte_ids_[b] < 0) direct_bytes_ = false;
  }
}

template <typename Encode>
void BpeModel::encode_cached(std::string_view word, BpeScratch& scratch, std::vector<int32_t>& out,
                             const Encode& encode) const {
  if (!PieceCache::fits(word)) return encode();
  const size_t hash = PieceCache::hash(word);
  if (scratch.cache.find(word, hash, out)) return;
  const size_t before = out.size();
  encode();
  scratch.cache.insert(word, hash, out.data() + before, out.size() - before);
}

void BpeModel::encode_bytes(std::string_view piece, BpeScratch& scratch, std::vector<int32_t>& out) const {
  encode_cached(piece, scratch, out, [&] {
    if (!direct_bytes_ || options_.ignore_merges)
      return encode_word(ByteAlphabet::instance().spell(piece), scratch, out);
    scratch.ids.resize(piece.size());
    for (size_t i = 0; i < piece.size(); ++i) scratch.ids[i] = byte_ids_[static_cast<uint8_t>(piece[i])];
    merge(scratch, out);
  });
}

void BpeModel::encode(std::string_view piece, BpeScratch& scratch, std::vector<int32_t>& out) const {
  if (!cut_at_marks_) return encode_word(piece, scratch, out);
  for (size_t begin = 0; begin < piece.size();) {
    const size_t end = next_word(piece, begin);
    const std::string_view word = piece.substr(begin, end - begin);
    encode_cached(word, scratch, out, [&] { encode_word(word, scratch, out); });
    begin = end;
  }
}

void BpeModel::encode_word(std::string_view word, BpeScratch& scratch, std::vector<int32_t>& out) const {
  if (options_.ignore_merges) {
    if (const auto id = vocabulary_.id(word)) return out.push_back(*id);
  }
  characters(word, scratch.ids);
  merge(scratch, out);
}

void BpeModel::characters(std::string_view piece, std::vector<int32_t>& ids) const {
  ids.clear();
  bool unknown =
      false;  // an unknown token waits; where bytes follow it comes after them, as in the reference
  const auto flush = [&] {
    if (unknown) ids.push_back(vocabulary_.id(*options_.unk_token).value());
    unknown = false;
  };
  const auto all_bytes_known = [&](std::string_view bytes) {
    return std::all_of(bytes.begin(), bytes.end(),
                       [&](char b) { return fallback_ids_[static_cast<uint8_t>(b)] >= 0; });
  };
  std::string symbol;
  for (size_t i = 0; i < piece.size();) {
    const auto length = static_cast<size_t>(utf8_at(piece, i).length);
    symbol.clear();
    if (i > 0) symbol += options_.continuing_subword_prefix;
    symbol += piece.substr(i, length);
    i += length;
    if (i == piece.size()) symbol += options_.end_of_word_suffix;
    if (const auto id = vocabulary_.id(symbol)) {
      flush();
      ids.push_back(*id);
    } else if (options_.byte_fallback && all_bytes_known(symbol)) {
      for (const char b : symbol) ids.push_back(fallback_ids_[static_cast<uint8_t>(b)]);
    } else if (options_.unk_token) {
      if (!vocabulary_.id(*options_.unk_token))
        throw Error(object_,
                    "text with a character outside the vocabulary and no token '" +
                        printable(*options_.unk_token) + "' for it",
                    "a vocabulary with its unknown token");
      if (!options_.fuse_unk) flush();
      unknown = true;
    }
  }
  flush();
}

void BpeModel::merge(BpeScratch& scratch, std::vector<int32_t>& out) const {
  if (scratch.ids.size() <= kShortPiece) return merge_short(scratch, out);
  if (!cut_anywhere_ || scratch.ids.size() <= kWindow || !merge_windows(scratch, out)) {
    merge_long(scratch, 0, scratch.ids.size(), scratch.parts);
    for (const BpeScratch::Part& part : scratch.parts) out.push_back(part.id);
  }
  if (scratch.parts.capacity() > kKeptScratch) std::vector<BpeScratch::Part>().swap(scratch.parts);
}

// Window after window, each begun at a token of the one before. Where merges ascend, merging goes merge by
// merge through the word from left to right; then what stands left of a token that two overlapping windows
// share can be taken from the one and what stands right of it from the other: inside of the token both did
// the same, and over its ends neither merged. False, with `out` as it was, where two windows share none.
bool BpeModel::merge_windows(BpeScratch& scratch, std::vector<int32_t>& out) const {
  const size_t count = scratch.ids.size(), before = out.size();
  std::vector<BpeScratch::Part> parts, next;
  size_t end = kWindow;
  merge_long(scratch, 0, end, parts);
  const auto position = [](const BpeScratch::Part& part, size_t at) { return part.begin < at; };
  while (end < count) {
    auto here = std::lower_bound(parts.begin(), parts.end(), end - kOverlap, position);
    if (here == parts.end()) --here;
    const size_t next_end = std::min(count, here->begin + kWindow);
    merge_long(scratch, here->begin, next_end, next);
    auto there = next.begin();
    while (here != parts.end() && there != next.end() &&
           (here->begin != there->begin || here->end != there->end)) {
      const bool behind = here->end <= there->end;
      if (there->end <= here->end) ++there;
      if (behind) ++here;
    }
    if (here == parts.end() || there == next.end() || next_end <= end) {
      out.resize(before);
      return false;
    }
    for (auto part = parts.begin(); part != here; ++part) out.push_back(part->id);
    parts.assign(there, next.end());
    end = next_end;
  }
  for (const BpeScratch::Part& part : parts) out.push_back(part.id);
  return true;
}

void BpeModel::merge_short(BpeScratch& scratch, std::vector<int32_t>& out) const {
  std::vector<int32_t>& ids = scratch.ids;
  std::vector<uint32_t>& ranks = scratch.ranks;  // ranks[i]: of ids[i] with ids[i + 1]
  size_t count = ids.size();
  const auto rank_at = [&](size_t i) {
    return i + 1 < count ? merges_.find(ids[i], ids[i + 1]).rank : MergeTable::kNoRank;
  };
  ranks.resize(count);
  for (size_t i = 0; i < count; ++i) ranks[i] = rank_at(i);
  while (count > 1) {
    const size_t best = static_cast<size_t>(
        std::min_element(ranks.begin(), ranks.begin() + static_cast<ptrdiff_t>(count)) - ranks.begin());
    if (ranks[best] == MergeTable::kNoRank) break;
    ids[best] = merges_.find(ids[best], ids[best + 1]).id;
    for (size_t i = best + 1; i + 1 < count; ++i) {
      ids[i] = ids[i + 1];
      ranks[i] = ranks[i + 1];
    }
    --count;
    ranks[best] = rank_at(best);
    if (best > 0) ranks[best - 1] = rank_at(best - 1);
  }
  out.insert(out.end(), ids.begin(), ids.begin() + static_cast<ptrdiff_t>(count));
}

void BpeModel::merge_long(BpeScratch& scratch, size_t begin, size_t end,
                          std::vector<BpeScratch::Part>& parts) const {
  if (end - begin > std::numeric_limits<int32_t>::max())
    throw Error(object_, fmt::format("a word of {} symbols", end - begin), "less than 2 GiB");
  const auto count = static_cast<int32_t>(end - begin);
  auto& symbols = scratch.symbols;
  auto& queue = scratch.queue;
  const auto later = std::greater<uint64_t>();
  const auto entry = [&](int32_t i) {
    const int32_t next = symbols[static_cast<size_t>(i)].next;
    const auto merge =
        merges_.find(symbols[static_cast<size_t>(i)].id, symbols[static_cast<size_t>(next)].id);
    return static_cast<uint64_t>(merge.rank) << 32 | static_cast<uint32_t>(i);
  };
  const auto is_merge = [](uint64_t item) { return item >> 32 != MergeTable::kNoRank; };
  const auto push = [&](int32_t i) {
    const uint64_t item = entry(i);
    if (!is_merge(item)) return;
    queue.push_back(item);
    std::push_heap(queue.begin(), queue.end(), later);
  };
  symbols.resize(end - begin);
  for (int32_t i = 0; i < count; ++i)
    symbols[static_cast<size_t>(i)] = {scratch.ids[begin + static_cast<size_t>(i)], i - 1,
                                       i + 1 < count ? i + 1 : -1};
  queue.clear();
  for (int32_t i = 0; i + 1 < count; ++i)
    if (const uint64_t item = entry(i); is_merge(item)) queue.push_back(item);
  std::make_heap(queue.begin(), queue.end(), later);
  while (!queue.empty()) {
    const uint64_t item = queue.front();
    std::pop_heap(queue.begin(), queue.end(), later);
    queue.pop_back();
    const auto i = static_cast<int32_t>(item & 0xffffffff);
    auto& left = symbols[static_cast<size_t>(i)];
    if (left.id < 0 || left.next < 0 || entry(i) != item) continue;  // changed meanwhile
    auto& right = symbols[static_cast<size_t>(left.next)];
    left.id = merges_.find(left.id, right.id).id;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = i;
    if (left.previous >= 0) push(left.previous);
    if (left.next >= 0) push(i);
  }
  parts.clear();
  for (int32_t i = count > 0 ? 0 : -1; i >= 0; i = symbols[static_cast<size_t>(i)].next) {
    const BpeScratch::Symbol& symbol = symbols[static_cast<size_t>(i)];
    const size_t after = symbol.next >= 0 ? begin + static_cast<size_t>(symbol.next) : end;
    parts.push_back({symbol.id, begin + static_cast<size_t>(i), after});
  }
  if (queue.capacity() > kKeptScratch) std::vector<uint64_t>().swap(queue);
  if (symbols.capacity() > kKeptScratch) std::vector<BpeScratch::Symbol>().swap(symbols);
}

}  // namespace aleph::text
