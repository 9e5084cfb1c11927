#include "aleph/text/bpe_model.h"

#include <map>

#include "aleph/text/bpe_trainer.h"
#include "aleph/text/testing.h"

namespace aleph::text {
namespace {

using Entries = std::vector<std::pair<std::string, int64_t>>;
using Merges = std::vector<std::pair<std::string, std::string>>;

Entries numbered(const std::vector<std::string>& tokens) {
  Entries entries;
  for (size_t i = 0; i < tokens.size(); ++i) entries.emplace_back(tokens[i], static_cast<int64_t>(i));
  return entries;
}

BpeModel model_of(const std::vector<std::string>& tokens, const Merges& merges, BpeOptions options = {}) {
  return BpeModel(Vocabulary(numbered(tokens), "test"), BpeModel::Merges(merges.begin(), merges.end()),
                  std::move(options), "x: model");
}

Ids encoded(const BpeModel& model, std::string_view piece) {
  BpeScratch scratch;
  Ids ids;
  model.encode(piece, scratch, ids);
  return ids;
}

Ids encoded_bytes(const BpeModel& model, std::string_view piece, BpeScratch& scratch) {
  Ids ids;
  model.encode_bytes(piece, scratch, ids);
  return ids;
}

TEST(MergeTableTest, FindsWhatWasInserted) {
  MergeTable table;
  for (int32_t i = 0; i < 1000; ++i) table.insert(i, 3 * i, {static_cast<uint32_t>(i), i + 7});
  for (int32_t i = 0; i < 1000; ++i) {
    EXPECT_EQ(table.find(i, 3 * i).rank, static_cast<uint32_t>(i));
    EXPECT_EQ(table.find(i, 3 * i).id, i + 7);
    EXPECT_EQ(table.find(i, 3 * i + 1).rank, MergeTable::kNoRank);
  }
}

TEST(MergeTableTest, EmptyOneFindsNothing) {
  EXPECT_EQ(MergeTable().find(0, 0).rank, MergeTable::kNoRank);
  EXPECT_EQ(MergeTable().find(-1, -2).rank, MergeTable::kNoRank);
}

TEST(MergeTableTest, LaterRankReplacesTheFirst) {
  MergeTable table;
  table.insert(1, 2, {0, 3});
  table.insert(1, 2, {5, 4});
  EXPECT_EQ(table.find(1, 2).rank, 5u);
  EXPECT_EQ(table.find(1, 2).id, 4);
}

TEST(PieceCacheTest, RemembersShortPieces) {
  PieceCache cache;
  const Ids ids = {4, 5, 6};
  Ids out = {1};
  const std::string piece = " hello";
  EXPECT_FALSE(cache.find(piece, PieceCache::hash(piece), out));
  cache.insert(piece, PieceCache::hash(piece), ids.data(), ids.size());
  EXPECT_TRUE(cache.find(piece, PieceCache::hash(piece), out));
  EXPECT_EQ(out, (Ids{1, 4, 5, 6}));
  EXPECT_FALSE(cache.find(" hellp", PieceCache::hash(piece), out));
  EXPECT_FALSE(cache.find(" hell", PieceCache::hash(piece), out));
}

TEST(PieceCacheTest, LeavesOutWhatDoesNotFit) {
  EXPECT_TRUE(PieceCache::fits(std::string(PieceCache::kMaxBytes, 'a')));
  EXPECT_FALSE(PieceCache::fits(std::string(PieceCache::kMaxBytes + 1, 'a')));
  PieceCache cache;
  const Ids many(PieceCache::kMaxIds + 1, 3);
  Ids out;
  cache.insert("abc", PieceCache::hash("abc"), many.data(), many.size());
  EXPECT_FALSE(cache.find("abc", PieceCache::hash("abc"), out));
  cache.insert("", PieceCache::hash(""), many.data(), 1);
  cache.find("", PieceCache::hash(""), out);
  EXPECT_EQ(out, Ids{});
}

TEST(PieceCacheTest, HashesDifferForLengthAndEveryByte) {
  std::map<size_t, std::string> seen;
  for (size_t length = 0; length <= PieceCache::kMaxBytes; ++length) {
    for (size_t at = 0; at < length; ++at) {
      std::string piece(length, '\0');
      piece[at] = 'a';
      EXPECT_TRUE(seen.emplace(PieceCache::hash(piece), piece).second);
    }
    EXPECT_TRUE(seen.emplace(PieceCache::hash(std::string(length, '\0')), "").second);
  }
}

TEST(BpeModelTest, MergesByRankNotByPlace) {
  const BpeModel model = model_of({"a", "b", "c", "bc", "ab", "abc"}, {{"b", "c"}, {"a", "b"}, {"a", "bc"}});
  EXPECT_EQ(encoded(model, "abc"), Ids{5});
  EXPECT_EQ(encoded(model, "ab"), Ids{4});
  EXPECT_EQ(encoded(model, "abab"), (Ids{4, 4}));
  EXPECT_EQ(encoded(model, ""), Ids{});
}

TEST(BpeModelTest, LeftmostOfEqualRankFirst) {
  const BpeModel model = model_of({"a", "aa"}, {{"a", "a"}});
  EXPECT_EQ(encoded(model, "aaa"), (Ids{1, 0}));
}

TEST(BpeModelTest, TokensThatNoMergeMakesAreNotUsed) {
  const std::vector<std::string> tokens = {"a", "b", "ab"};
  EXPECT_EQ(encoded(model_of(tokens, {}), "ab"), (Ids{0, 1}));
  EXPECT_EQ(encoded(model_of(tokens, {}, {.ignore_merges = true}), "ab"), Ids{2});
  EXPECT_EQ(encoded(model_of(tokens, {}, {.ignore_merges = true}), "aba"), (Ids{0, 1, 0}));
}

TEST(BpeModelTest, UnknownCharactersVanishWithoutAToken) {
  EXPECT_EQ(encoded(model_of({"a"}, {}), "xa\u00e9"), Ids{0});
}

TEST(BpeModelTest, UnknownCharactersBecomeTheUnknownToken) {
  const std::vector<std::string> tokens = {"a", "<unk>"};
  EXPECT_EQ(encoded(model_of(tokens, {}, {.unk_token = "<unk>"}), "xa\u00e9\xff"), (Ids{1, 0, 1, 1}));
  EXPECT_EQ(encoded(model_of(tokens, {}, {.unk_token = "<unk>", .fuse_unk = true}), "xya\u00e9\xff"),
            (Ids{1, 0, 1}));
}

TEST(BpeModelTest, MissingUnknownTokenIsAnErrorWhereNeeded) {
  const BpeModel model = model_of({"a"}, {}, {.unk_token = "<u>"});
  EXPECT_EQ(encoded(model, "a"), Ids{0});
  EXPECT_EQ(
      fault_of([&] { encoded(model, "b"); }),
      "x: model: found text with a character outside the vocabulary and no token '<u>' for it, expected a "
      "vocabulary with its unknown token");
}

TEST(BpeModelTest, ByteFallbackSpellsUnknownCharacters) {
  const std::vector<std::string> tokens = {"a", "<unk>", "<0xC3>", "<0xA9>"};
  const BpeModel model = model_of(tokens, {}, {.unk_token = "<unk>", .byte_fallback = true});
  EXPECT_EQ(encoded(model, "a\u00e9"), (Ids{0, 2, 3}));
  EXPECT_EQ(encoded(model, "\u00e8"), Ids{1});
  EXPECT_EQ(encoded(model,
                    "\xc3"
                    "a"),
            (Ids{2, 0}));
}

TEST(BpeModelTest, PrefixAndSuffixMarkThePartsOfWords) {
  const BpeModel model = model_of({"a", "##b", "ab", "##b</w>", "ab</w>"}, {{"a", "##b"}, {"a", "##b</w>"}},
                                  {.continuing_subword_prefix = "##", .end_of_word_suffix = "</w>"});
  EXPECT_EQ(encoded(model, "ab"), Ids{4});
  EXPECT_EQ(encoded(model, "abb"), (Ids{2, 3}));
}

TEST(BpeModelTest, RefusesMergesOutsideTheVocabulary) {
  EXPECT_EQ(
      fault_of([] {
        model_of({"a", "b"}, {{"a", "b"}});
      }),
      "x: model: found merge 0 with 'ab', which is no token, expected merges of tokens in the vocabulary");
  EXPECT_EQ(
      fault_of([] {
        model_of({"a", "b", "ab"}, {{"a", "b"}, {"c", "b"}});
      }),
      "x: model: found merge 1 with 'c', which is no token, expected merges of tokens in the vocabulary");
  EXPECT_NE(fault_of([] { model_of({"a"}, {{"a", ""}}); }), "no error");
}

std::string concatenated(const std::vector<std::string>& tokens, const Ids& ids) {
  std::string out;
  for (const int32_t id : ids) out += tokens[static_cast<size_t>(id)];
  return out;
}

/// The definition, word for word: merge the leftmost pair of lowest rank until there is none.
std::vector<std::string> merged_slowly(std::vector<std::string> parts,
                                       const std::map<std::pair<std::string, std::string>, size_t>& ranks) {
  while (true) {
    size_t best = parts.size(), best_rank = SIZE_MAX;
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto found = ranks.find({parts[i], parts[i + 1]});
      if (found != ranks.end() && found->second < best_rank) {
        best = i;
        best_rank = found->second;
      }
    }
    if (best == parts.size()) return parts;
    parts[best] += parts[best + 1];
    parts.erase(parts.begin() + static_cast<ptrdiff_t>(best) + 1);
  }
}

struct RandomModel {
  std::vector<std::string> tokens = {"a", "b", "c", "d"};
  Merges merges;
  std::map<std::pair<std::string, std::string>, size_t> ranks;

  explicit RandomModel(Draw& draw) { add_merges(draw, true); }
  /// Merges that join a word to the one before, which begins with a mark, only where `across`.
  RandomModel(Draw& draw, std::vector<std::string> characters, bool across) : tokens(std::move(characters)) {
    add_merges(draw, across);
  }

 private:
  void add_merges(Draw& draw, bool across) {
    while (merges.size() < 40) {
      const std::pair<std::string, std::string> pair{draw.of(tokens), draw.of(tokens)};
      if (!across && pair.second.starts_with("\u2581") && !pair.first.ends_with("\u2581")) continue;
      if (!ranks.emplace(pair, merges.size()).second) continue;
      merges.push_back(pair);
      const std::string token = pair.first + pair.second;
      if (std::find(tokens.begin(), tokens.end(), token) == tokens.end()) tokens.push_back(token);
    }
  }
};

std::vector<std::string> spelled(const std::vector<std::string>& tokens, const Ids& ids) {
  std::vector<std::string> out;
  for (const int32_t id : ids) out.push_back(tokens[static_cast<size_t>(id)]);
  return out;
}

// Words of up to 48 symbols and longer ones take different ways.
TEST(BpeModelTest, SameAsTheDefinitionOnRandomWords) {
  Draw draw(10);
  for (int round = 0; round < 20; ++round) {
    const RandomModel random(draw);
    const BpeModel model = model_of(random.tokens, random.merges);
    for (const size_t length : std::vector<size_t>{1, 2, 3, 7, 20, 47, 48, 49, 60, 133}) {
      std::vector<std::string> parts;
      std::string word;
      for (size_t i = 0; i < length; ++i)
        word += parts.emplace_back(1, static_cast<char>('a' + draw.below(4)));
      ASSERT_EQ(spelled(random.tokens, encoded(model, word)), merged_slowly(parts, random.ranks)) << word;
    }
  }
}

/// Merge after merge through the whole word: the definition where merges only make pairs of later ones.
std::vector<std::string> merged_in_order(std::vector<std::string> parts, const Merges& merges) {
  for (const auto& [left, right] : merges) {
    size_t kept = 0;
    for (size_t i = 0; i < parts.size(); ++i, ++kept) {
      const bool here = i + 1 < parts.size() && parts[i] == left && parts[i + 1] == right;
      parts[kept] = here ? parts[i] + parts[i + 1] : parts[i];
      i += here;
    }
    parts.resize(kept);
  }
  return parts;
}

// Words of many windows, periodic ones too.
TEST(BpeModelTest, VeryLongWordsAreMergedAsInOnePiece) {
  Draw draw(27);
  for (const size_t letters : {1, 2, 3, 4}) {
    std::string word;
    std::vector<std::string> parts;
    const size_t period = draw.once_in(2) ? 7 + draw.below(50) : 60'000;
    for (size_t i = 0; i < 60'000 + draw.below(3000); ++i)
      word += parts.emplace_back(i < period ? std::string(1, static_cast<char>('a' + draw.below(letters)))
                                            : parts[i - period]);
    const std::string_view texts[] = {word};
    const TrainedBpe trained = train_bpe(texts, {.vocab_size = 420, .special_tokens = {}});
    Merges merges;
    for (const auto& [left, right] : trained.merges)
      merges.emplace_back(trained.tokens[static_cast<size_t>(left)],
                          trained.tokens[static_cast<size_t>(right)]);
    const BpeModel model = model_of(trained.tokens, merges, {});
    EXPECT_TRUE(spelled(trained.tokens, encoded(model, word)) == merged_in_order(parts, merges)) << letters;
  }
}

// SentencePiece's words may be merged one by one only where no merge joins two; either way it is the
// definition.
TEST(BpeModelTest, MarkedWordsAreMergedAsInOnePiece) {
  const std::string mark = "\u2581";
  Draw draw(25);
  for (int round = 0; round < 60; ++round) {
    RandomModel random(draw, {"a", "b", mark}, draw.once_in(3));
    const auto unknown = static_cast<size_t>(random.tokens.size());
    random.tokens.emplace_back("<unk>");
    const BpeModel model = model_of(random.tokens, random.merges, {.unk_token = "<unk>", .fuse_unk = true});
    std::vector<std::string> parts;
    std::string text;
    for (size_t i = 0; i < 70; ++i) text += parts.emplace_back(random.tokens[draw.below(3)]);
    EXPECT_EQ(spelled(random.tokens, encoded(model, text)), merged_slowly(parts, random.ranks)) << text;
    const Ids left = encoded(model, text), right = encoded(model, mark + "b");
    Ids both = left;
    both.push_back(static_cast<int32_t>(unknown));
    both.insert(both.end(), right.begin(), right.end());
    EXPECT_EQ(encoded(model, text + "xy" + mark + "b"), both) << text;
  }
}

TEST(BpeModelTest, VanishingCharactersJoinTheirNeighbours) {
  const std::string mark = "\u2581";
  const BpeModel model = model_of({"a", mark, mark + mark}, {{mark, mark}});
  EXPECT_EQ(encoded(model, mark + "x" + mark), Ids{2});
}

TEST(BpeModelTest, VeryLongWordsTakeNoQuadraticTime) {
  std::vector<std::string> tokens = {"a", "b"};
  Merges merges;
  for (int i = 0; i < 12; ++i) {
    const std::string last = i == 0 ? "a" : tokens.back();
    merges.emplace_back(last, last);
    tokens.push_back(last + last);
  }
  const BpeModel model = model_of(tokens, merges);
  const std::string word(1'000'001, 'a');
  const Ids ids = encoded(model, word);
  EXPECT_EQ(concatenated(tokens, ids), word);
  EXPECT_EQ(ids.size(), 1'000'001u / 4096 + 3);
}

std::vector<std::string> byte_tokens() {
  std::vector<std::string> tokens;
  for (int b = 0; b < 256; ++b)
    tokens.emplace_back(ByteAlphabet::instance().spelled(static_cast<uint8_t>(b)));
  return tokens;
}

TEST(BpeModelTest, BytesAndTheirSpellingGiveTheSameIds) {
  std::vector<std::string> tokens = byte_tokens();
  for (const char* token : {"th", "the", "\u0120the", "\u00c3\u00a9"}) tokens.emplace_back(token);
  const Merges merges = {{"t", "h"}, {"th", "e"}, {"\u0120", "the"}, {"\u00c3", "\u00a9"}};
  Draw draw(11);
  for (const bool ignore : {false, true}) {
    const BpeModel model = model_of(tokens, merges, {.ignore_merges = ignore});
    BpeScratch scratch;
    for (int i = 0; i < 300; ++i) {
      const std::string piece = random_text(draw, draw.below(9), true);
      const Ids ids = encoded(model, ByteAlphabet::instance().spell(piece));
      EXPECT_EQ(encoded_bytes(model, piece, scratch), ids);
      EXPECT_EQ(encoded_bytes(model, piece, scratch), ids) << "from the cache";
    }
  }
}

TEST(BpeModelTest, BytesWithoutTokensAreUnknown) {
  BpeScratch scratch;
  const BpeModel model = model_of({"a", "<unk>", "\u0120"}, {}, {.unk_token = "<unk>"});
  EXPECT_EQ(encoded_bytes(model, " ab", scratch), (Ids{2, 0, 1}));
  EXPECT_EQ(encoded_bytes(model, "", scratch), Ids{});
}

}  // namespace
}  // namespace aleph::text
