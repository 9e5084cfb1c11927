#include "aleph/text/bpe_trainer.h"

#include <algorithm>
#include <map>
#include <set>

#include "aleph/io/json_file.h"
#include "aleph/io/temporary_directory.h"
#include "aleph/text/testing.h"

namespace aleph::text {
namespace {

namespace fs = std::filesystem;

std::string small_text() { return file_text(tokenizer_data() / "texts" / "shakespeare.txt"); }

TrainedBpe trained_on(std::string_view text, const BpeTrainerOptions& options = {}) {
  const std::string_view texts[] = {text};
  return train_bpe(texts, options);
}

std::vector<std::string> spelled_merges(const TrainedBpe& bpe) {
  std::vector<std::string> merges;
  for (const auto& [left, right] : bpe.merges)
    merges.push_back(bpe.tokens.at(static_cast<size_t>(left)) + " " +
                     bpe.tokens.at(static_cast<size_t>(right)));
  return merges;
}

TEST(BpeTrainerTest, TokensAndMergesAreThoseOfHuggingFace) {
  for (const Json& entry : io::parse_json_file(tokenizer_data() / "trained.json")) {
    SCOPED_TRACE(fmt::format("{} of {}", entry.at("vocab_size").get<int>(), entry.at("texts").dump()));
    BpeTrainer trainer({.vocab_size = entry.at("vocab_size"),
                        .special_tokens = entry.at("special_tokens"),
                        .min_frequency = entry.at("min_frequency")});
    for (const auto& name : entry.at("texts").get<std::vector<std::string>>())
      trainer.add_text(file_text(tokenizer_data() / "texts" / name));
    const TrainedBpe bpe = trainer.train();
    EXPECT_EQ(bpe.tokens, entry.at("tokens").get<std::vector<std::string>>());
    EXPECT_EQ(spelled_merges(bpe), entry.at("merges").get<std::vector<std::string>>());
  }
}

TEST(BpeTrainerTest, SameTextGivesTheSameTokens) {
  const TrainedBpe first = trained_on(small_text(), {.vocab_size = 700});
  const TrainedBpe second = trained_on(small_text(), {.vocab_size = 700});
  EXPECT_EQ(first.tokens, second.tokens);
  EXPECT_EQ(first.merges, second.merges);
  EXPECT_EQ(first.tokens.size(), 700u);
}

// Only the counts of words matter: not their order, not how they are cut into texts at line ends.
TEST(BpeTrainerTest, OrderOfTextsDoesNotMatter) {
  std::vector<std::string> lines = lines_of(small_text());
  BpeTrainer forward({.vocab_size = 500}), backward({.vocab_size = 500});
  for (const std::string& line : lines) forward.add_text(line);
  std::reverse(lines.begin(), lines.end());
  for (const std::string& line : lines) backward.add_text(line);
  EXPECT_EQ(forward.train().tokens, backward.train().tokens);
}

TEST(BpeTrainerTest, SpecialTokensHaveTextsOfTheirOwn) {
  EXPECT_THROW(BpeTrainer({.vocab_size = 300, .special_tokens = {"<a>", "<b>", "<a>"}}), Error);
  EXPECT_THROW(BpeTrainer({.vocab_size = 300, .special_tokens = {""}}), Error);
}

// "ab" is in three words, "cd" in two; of equal counts the pair of smaller ids, and the space has a high one.
TEST(BpeTrainerTest, MostFrequentPairFirstThenSmallerIds) {
  const TrainedBpe bpe = trained_on("ab ab ab cd cd ef", {.vocab_size = 261, .special_tokens = {}});
  EXPECT_EQ(spelled_merges(bpe), (std::vector<std::string>{"a b", "c d", "\u0120 ab", "\u0120 cd", "e f"}));
}

TEST(BpeTrainerTest, MergesOverlappingPairsFromTheLeft) {
  const TrainedBpe bpe = trained_on("aaaaa", {.vocab_size = 300, .special_tokens = {}});
  EXPECT_EQ(spelled_merges(bpe), (std::vector<std::string>{"a a", "aa a", "aa aaa"}));
}

TEST(BpeTrainerTest, StopsWhereNoPairIsLeft) {
  EXPECT_EQ(trained_on("", {.vocab_size = 1000}).tokens.size(), 257u);
  EXPECT_EQ(trained_on("a b c", {.vocab_size = 1000, .special_tokens = {}}).merges.size(), 2u);
}

TEST(BpeTrainerTest, RarePairsAreNotMerged) {
  const TrainedBpe bpe =
      trained_on("abab abab cd", {.vocab_size = 1000, .special_tokens = {}, .min_frequency = 2});
  for (const std::string& merge : spelled_merges(bpe)) EXPECT_EQ(merge.find('c'), std::string::npos) << merge;
  EXPECT_FALSE(bpe.merges.empty());
}

TEST(BpeTrainerTest, SpecialTokensComeFirst) {
  const TrainedBpe bpe = trained_on("<s> <s>", {.vocab_size = 300, .special_tokens = {"<pad>", "<s>"}});
  EXPECT_EQ(bpe.tokens.at(0), "<pad>");
  EXPECT_EQ(bpe.tokens.at(1), "<s>");
  EXPECT_EQ(bpe.tokens.at(2), "!");
  EXPECT_EQ(std::set<std::string>(bpe.tokens.begin(), bpe.tokens.end()).size(), bpe.tokens.size());
}

TEST(BpeTrainerTest, RefusesVocabulariesWithoutRoomForBytes) {
  EXPECT_EQ(fault_of([] { BpeTrainer({.vocab_size = 256}); }),
            "vocabulary size: found 256, expected at least 257 (256 bytes and 1 special tokens)");
  EXPECT_EQ(trained_on("abc", {.vocab_size = 257}).merges.size(), 0u);
}

TEST(BpeTrainerTest, AnyBytesCanBeLearnt) {
  Draw draw(13);
  std::string text;
  for (int i = 0; i < 200; ++i) text += "\xff\xfe" + random_text(draw, 3, true);
  const io::TemporaryDirectory directory;
  trained_on(text, {.vocab_size = 400}).save(directory / "t");
  const Tokenizer tokenizer = Tokenizer::load(directory / "t");
  EXPECT_EQ(tokenizer.decode_bytes(tokenizer.encode(text, {.parse_special = false})), text);
  EXPECT_LT(tokenizer.encode(text).size(), text.size() * 3 / 4);
}

TEST(BpeTrainerTest, LongWordsAndManyRepeatsAreFine) {
  const TrainedBpe bpe = trained_on(std::string(100'000, 'a'), {.vocab_size = 300});
  EXPECT_EQ(bpe.tokens.back().size() > 10'000, true);
}

/// The merges of one word by their definition: count all neighbours, merge the most frequent pair from left
/// to right, and count again.
std::vector<std::string> merges_by_definition(std::vector<std::string> symbols, const TrainedBpe& ids) {
  std::map<std::string, int32_t> id_of;
  for (size_t id = ids.tokens.size(); id-- > 0;) id_of[ids.tokens[id]] = static_cast<int32_t>(id);
  std::vector<std::string> merges;
  while (merges.size() < ids.merges.size()) {
    std::map<std::pair<int32_t, int32_t>, int64_t> counts;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) ++counts[{id_of[symbols[i]], id_of[symbols[i + 1]]}];
    const auto best = std::max_element(counts.begin(), counts.end(),
                                       [](const auto& a, const auto& b) { return a.second < b.second; });
    if (best == counts.end()) break;
    const std::string left = ids.tokens[static_cast<size_t>(best->first.first)];
    const std::string right = ids.tokens[static_cast<size_t>(best->first.second)];
    merges.push_back(left + " " + right);
    std::vector<std::string> merged;
    for (size_t i = 0; i < symbols.size(); ++i) {
      const bool here = i + 1 < symbols.size() && symbols[i] == left && symbols[i + 1] == right;
      merged.push_back(here ? left + right : symbols[i]);
      i += here;
    }
    symbols = std::move(merged);
  }
  return merges;
}

TEST(BpeTrainerTest, OneLongWordIsMergedAsDefined) {
  Draw draw(29);
  for (const uint64_t letters : {1, 2, 3, 26}) {
    std::string word;
    std::vector<std::string> symbols;
    for (int i = 0; i < 1500; ++i) {
      symbols.emplace_back(1, static_cast<char>('a' + draw.below(letters)));
      word += symbols.back();
    }
    const TrainedBpe bpe = trained_on(word, {.vocab_size = 420});
    EXPECT_EQ(spelled_merges(bpe), merges_by_definition(symbols, bpe)) << letters;
  }
}

// Every merge goes through what it changes alone: with the whole word each time this takes minutes.
TEST(BpeTrainerTest, AWordOfMegabytesIsNoWork) {
  Draw draw(31);
  std::string word;
  for (int i = 0; i < 500'000; ++i) word += static_cast<char>('a' + draw.below(26));
  EXPECT_EQ(trained_on(word, {.vocab_size = 2048}).tokens.size(), 2048u);
}

class SavedTokenizerTest : public ::testing::Test {
 protected:
  SavedTokenizerTest() {
    trained_on(small_text(),
               {.vocab_size = 600, .special_tokens = {"<|endoftext|>", "<|user|>"}, .model_max_length = 77})
        .save(path());
  }
  fs::path path() const { return directory_ / "new" / "tokenizer"; }

 private:
  io::TemporaryDirectory directory_;
};

TEST_F(SavedTokenizerTest, WritesTheFourFiles) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(path())) names.insert(entry.path().filename());
  EXPECT_EQ(names,
            (std::set<std::string>{"merges.txt", "tokenizer.json", "tokenizer_config.json", "vocab.json"}));
  EXPECT_EQ(io::parse_json_file(path() / "tokenizer_config.json").at("model_max_length"), 77);
}

TEST_F(SavedTokenizerTest, JsonAndTheTwoOldFilesAreTheSameTokenizer) {
  const Tokenizer json = Tokenizer::load(path());
  fs::remove(path() / "tokenizer.json");
  const Tokenizer files = Tokenizer::load(path());
  const std::string text = small_text() + "<|endoftext|> \u00e9 \U0001f642";
  EXPECT_EQ(json.encode(text), files.encode(text));
  EXPECT_EQ(json.vocab_size(), files.vocab_size());
  for (const Tokenizer* tokenizer : {&json, &files})
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
}

TEST_F(SavedTokenizerTest, SpecialTokensHaveTheirRoles) {
  const Tokenizer tokenizer = Tokenizer::load(path());
  EXPECT_EQ(tokenizer.vocab_size(), 600);
  EXPECT_EQ(tokenizer.eos_id(), 0);
  EXPECT_EQ(tokenizer.bos_id(), 0);
  EXPECT_EQ(tokenizer.unk_id(), 0);
  EXPECT_EQ(tokenizer.pad_id(), std::nullopt);
  EXPECT_EQ(tokenizer.encode("<|user|>").size(), 1u);
  EXPECT_TRUE(tokenizer.is_special(1));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("<|user|>hi<|endoftext|>"), true), "hi");
}

TEST_F(SavedTokenizerTest, TextShrinks) {
  EXPECT_LT(Tokenizer::load(path()).encode(small_text()).size(), small_text().size() / 2);
}

}  // namespace
}  // namespace aleph::text
