// Byte-pair encoding of one piece (Sennrich et al., "Neural machine translation of rare words with subword
// units", ACL 2016): starting from its characters, the neighbouring pair of lowest rank is merged until no
// pair is in the table.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "aleph/text/vocabulary.h"

namespace aleph::text {

/// Pair of ids → rank and merged id. Open addressing; at most half full, immutable once built.
class MergeTable {
 public:
  struct Merge {
    uint32_t rank;
    int32_t id;
  };
  static constexpr uint32_t kNoRank = 0xffffffff;

  MergeTable() { grow(2); }
  /// A pair that is there already gets the new rank.
  void insert(int32_t left, int32_t right, const Merge& merge);
  /// Rank kNoRank where the pair is not in the table.
  Merge find(int32_t left, int32_t right) const {
    const uint64_t key = key_of(left, right);
    for (size_t i = slot_of(key);; i = (i + 1) & mask_) {
      if (slots_[i].key == key) return slots_[i].merge;
      if (slots_[i].key == kEmpty) return {kNoRank, -1};
    }
  }

 private:
  struct Slot {
    uint64_t key;
    Merge merge;
  };
  static constexpr uint64_t kEmpty = ~uint64_t{0};

  static uint64_t key_of(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  void grow(size_t slots);
  /// The slot of the key, or the empty one where it belongs.
  size_t free_or_own(uint64_t key) const;
  size_t slot_of(uint64_t key) const { return (key * 0x9e3779b97f4a7c15ull) >> shift_; }

  std::vector<Slot> slots_;
  size_t count_ = 0;
  size_t mask_ = 0;
  int shift_ = 0;
};

/// Short pieces and their ids, so that frequent words are merged once. Belongs to one thread at a time.
class PieceCache {
 public:
  static constexpr size_t kMaxBytes = 30;
  static constexpr size_t kMaxIds = 8;

  PieceCache() : entries_(kEntries) {}
  /// Appends the ids of `piece` to `out`; false where it is not there.
  bool find(std::string_view piece, size_t hash, std::vector<int32_t>& out) const;
  /// Takes the place of another piece.
  void insert(std::string_view piece, size_t hash, const int32_t* ids, size_t count);
  static bool fits(std::string_view piece) { return piece.size() <= kMaxBytes; }
  static size_t hash(std::string_view piece);

 private:
  struct Entry {
    uint8_t bytes = 0;
    uint8_t count = 0;
    std::array<char, kMaxBytes> text;
    std::array<int32_t, kMaxIds> ids;
  };
  static constexpr size_t kEntries = 1 << 15;

  std::vector<Entry> entries_;
};

/// What encoding needs besides the model; reused from call to call. Belongs to one thread at a time, and to
/// pieces of one kind: of bytes or of text.
struct BpeScratch {
  struct Symbol {
    int32_t id;  // -1: merged into its left neighbour
    int32_t previous;
    int32_t next;
  };
  /// A token and the symbols it was merged from.
  struct Part {
    int32_t id;
    size_t begin, end;
  };

  PieceCache cache;
  std::vector<int32_t> ids;
  std::vector<uint32_t> ranks;
  std::vector<Symbol> symbols;
  std::vector<uint64_t> queue;  // rank << 32 | position, a heap with the smallest on top
  std::vector<Part> parts;
};

struct BpeOptions {
  std::optional<std::string> unk_token;
  std::string continuing_subword_prefix;
  std::string end_of_word_suffix;
  bool fuse_unk = false;
  bool byte_fallback = false;
  bool ignore_merges = false;
};

/// Immutable; used by any number of threads, each with its scratch.
class BpeModel {
 public:
  /// Looks into the file they are from.
  using Merges = std::vector<std::pair<std::string_view, std::string_view>>;

  /// Throws Error naming `object` for merges of or to tokens that the vocabulary does not have.
  BpeModel(Vocabulary vocabulary, const Merges& merges, BpeOptions options, const std::string& object);

  /// Appends the ids of a piece of text.
  void encode(std::string_view piece, BpeScratch& scratch, std::vector<int32_t>& out) const;
  /// Appends the ids of a piece whose bytes are to be spelled in GPT-2's alphabet.
  void encode_bytes(std::string_view piece, BpeScratch& scratch, std::vector<int32_t>& out) const;

  /// Whether encode(a + b) = encode(a), encode(b) where b begins with U+2581 and a ends with another
  /// character.
  bool cuts_at_marks() const { return cut_at_marks_; }
  const Vocabulary& vocabulary() const { return vocabulary_; }
  const BpeOptions& options() const { return options_; }

 private:
  void build_byte_ids();
  bool words_stand_alone(const Merges& merges) const;
  template <typename Encode>
  void encode_cached(std::string_view word, BpeScratch& scratch, std::vector<int32_t>& out,
                     const Encode& encode) const;
  void encode_word(std::string_view word, BpeScratch& scratch, std::vector<int32_t>& out) const;
  void characters(std::string_view piece, std::vector<int32_t>& ids) const;
  void merge(BpeScratch& scratch, std::vector<int32_t>& out) const;
  void merge_short(BpeScratch& scratch, std::vector<int32_t>& out) const;
  bool merge_windows(BpeScratch& scratch, std::vector<int32_t>& out) const;
  /// Symbols [begin, end) of scratch.ids.
  void merge_long(BpeScratch& scratch, size_t begin, size_t end, std::vector<BpeScratch::Part>& parts) const;

  Vocabulary vocabulary_;
  MergeTable merges_;
  BpeOptions options_;
  std::string object_;
  bool direct_bytes_ = false;  // every byte is a token: no characters needed
  bool cut_at_marks_ = false;  // words that begin with U+2581 can be merged one by one
  bool cut_anywhere_ = false;  // long words can be merged window by window
  std::array<int32_t, 256> byte_ids_{};
  std::array<int32_t, 256> fallback_ids_{};  // of "<0xAB>", or -1
};

}  // namespace aleph::text
