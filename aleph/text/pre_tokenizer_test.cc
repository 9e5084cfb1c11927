#include "aleph/text/pre_tokenizer.h"

#include "aleph/text/splitter.h"
#include "aleph/text/testing.h"

namespace aleph::text {
namespace {

using Strings = std::vector<std::string>;

Strings pieces(const Json& json, std::string_view text, bool at_start = true) {
  const PreTokenizer splitter(json, "x: pre_tokenizer");
  return collected<Piece>([&](const auto& sink) { splitter.split({text, at_start}, sink); });
}

std::string refusal(const Json& json) {
  return fault_of([&] { PreTokenizer(json, "x: pre_tokenizer"); });
}

Json split_on(const Json& pattern, const char* behavior, bool invert = false) {
  return {{"type", "Split"}, {"pattern", pattern}, {"behavior", behavior}, {"invert", invert}};
}

Json byte_level(bool prefix, bool regex = true) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", prefix}, {"use_regex", regex}};
}

Json chain(const Json& parts) { return {{"type", "Sequence"}, {"pretokenizers", parts}}; }

TEST(PreTokenizerTest, NoneLeavesOnePiece) {
  EXPECT_EQ(pieces(Json(), "a b"), Strings{"a b"});
  EXPECT_EQ(pieces(chain(Json::array()), "a b"), Strings{"a b"});
  EXPECT_FALSE(PreTokenizer().yields_bytes());
}

TEST(PreTokenizerTest, ByteLevelYieldsRawBytes) {
  const PreTokenizer splitter(byte_level(false), "x");
  EXPECT_TRUE(splitter.yields_bytes());
  EXPECT_EQ(pieces(byte_level(false), "I'm \u00e9\xff"), (Strings{"I", "'m", " \u00e9", "\xff"}));
  EXPECT_EQ(pieces(byte_level(false, false), "I'm ok"), Strings{"I'm ok"});
}

TEST(PreTokenizerTest, ByteLevelPutsASpaceBeforeText) {
  EXPECT_EQ(pieces(byte_level(true), "a b"), (Strings{" a", " b"}));
  EXPECT_EQ(pieces(byte_level(true), " a"), Strings{" a"});
  EXPECT_EQ(pieces(byte_level(true), "\na"), (Strings{" ", "\n", "a"}));
  EXPECT_EQ(pieces(byte_level(true), ""), Strings{});
}

TEST(PreTokenizerTest, ByteLevelBeforeOtherStepsSpells) {
  const Json json = chain({byte_level(false), {{"type", "Digits"}, {"individual_digits", true}}});
  EXPECT_FALSE(PreTokenizer(json, "x").yields_bytes());
  EXPECT_EQ(pieces(json, "a 12"), (Strings{"a", "\u0120", "1", "2"}));
}

TEST(PreTokenizerTest, SplitBehaviours) {
  const Json dash = {{"String", "-"}};
  const std::string text = "the-final--countdown";
  EXPECT_EQ(pieces(split_on(dash, "Removed"), text), (Strings{"the", "final", "countdown"}));
  EXPECT_EQ(pieces(split_on(dash, "Isolated"), text), (Strings{"the", "-", "final", "-", "-", "countdown"}));
  EXPECT_EQ(pieces(split_on(dash, "MergedWithPrevious"), text),
            (Strings{"the-", "final-", "-", "countdown"}));
  EXPECT_EQ(pieces(split_on(dash, "MergedWithNext"), text), (Strings{"the", "-final", "-", "-countdown"}));
  EXPECT_EQ(pieces(split_on(dash, "Contiguous"), text), (Strings{"the", "-", "final", "--", "countdown"}));
}

TEST(PreTokenizerTest, SplitInverted) {
  const Json word = {{"Regex", "[a-z]+"}};
  EXPECT_EQ(pieces(split_on(word, "Removed", true), "ab  cd."), (Strings{"ab", "cd"}));
  EXPECT_EQ(pieces(split_on(word, "Isolated", true), "ab  cd."), (Strings{"ab", "  ", "cd", "."}));
  EXPECT_EQ(pieces(split_on(word, "MergedWithPrevious", true), "ab  cd."), (Strings{"ab  ", "cd."}));
}

TEST(PreTokenizerTest, KnownPatternsAreTheSameByHandAndByRegex) {
  Draw draw(7);
  for (const KnownPattern pattern : {KnownPattern::kGpt2, KnownPattern::kQwen2, KnownPattern::kLlama3}) {
    const std::string regex(regex_of(pattern));
    for (const bool invert : {false, true}) {
      const char* behavior = invert ? "Removed" : "Isolated";
      const PreTokenizer by_hand(split_on({{"Regex", regex}}, behavior, invert), "x");
      const PreTokenizer by_regex(split_on({{"Regex", "(?:" + regex + ")"}}, behavior, invert), "x");
      for (int i = 0; i < 200; ++i) {
        const std::string text = random_text(draw, draw.below(9));
        const auto of = [&](const PreTokenizer& splitter) {
          return collected<Piece>([&](const auto& sink) { splitter.split({text, true}, sink); });
        };
        ASSERT_EQ(of(by_hand), of(by_regex)) << text;
      }
    }
  }
}

TEST(PreTokenizerTest, Digits) {
  const auto digits = [](bool single) { return Json{{"type", "Digits"}, {"individual_digits", single}}; };
  EXPECT_EQ(pieces(digits(true), "a12\u0663b"), (Strings{"a", "1", "2", "\u0663", "b"}));
  EXPECT_EQ(pieces(digits(false), "a12\u0663b"), (Strings{"a", "12\u0663", "b"}));
}

TEST(PreTokenizerTest, WhitespaceKindsAndPunctuation) {
  EXPECT_EQ(pieces({{"type", "Whitespace"}}, "Hey, you_2!? \u200d"),
            (Strings{"Hey", ",", "you_2", "!?", "\u200d"}));
  EXPECT_EQ(pieces({{"type", "WhitespaceSplit"}}, "Hey,\u3000 you!\n"), (Strings{"Hey,", "you!"}));
  EXPECT_EQ(pieces({{"type", "Punctuation"}}, "a,$b\u3002"), (Strings{"a", ",", "$", "b", "\u3002"}));
  EXPECT_EQ(pieces({{"type", "Punctuation"}, {"behavior", "Removed"}}, "a,b"), (Strings{"a", "b"}));
  EXPECT_EQ(pieces({{"type", "CharDelimiterSplit"}, {"delimiter", "\u00e9"}},
                   "a\u00e9"
                   "b"),
            (Strings{"a", "b"}));
}

TEST(PreTokenizerTest, Metaspace) {
  const auto metaspace = [](const char* scheme, bool cut) {
    return Json{{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", scheme}, {"split", cut}};
  };
  EXPECT_EQ(pieces(metaspace("always", true), "a  b", false), (Strings{"_a", "_", "_b"}));
  EXPECT_EQ(pieces(metaspace("always", false), "a  b", false), Strings{"_a__b"});
  EXPECT_EQ(pieces(metaspace("first", true), "a b", true), (Strings{"_a", "_b"}));
  EXPECT_EQ(pieces(metaspace("first", true), "a b", false), (Strings{"a", "_b"}));
  EXPECT_EQ(pieces(metaspace("never", true), "a b", true), (Strings{"a", "_b"}));
  EXPECT_EQ(pieces(metaspace("always", true), " a"), Strings{"_a"});
  EXPECT_EQ(pieces(metaspace("always", true), ""), Strings{});
  EXPECT_EQ(pieces({{"type", "Metaspace"}, {"replacement", "_"}, {"add_prefix_space", false}}, "a b"),
            (Strings{"a", "_b"}));
}

TEST(PreTokenizerTest, StartIsKnownToTheFirstPieceOnly) {
  const PreTokenizer splitter({{"type", "WhitespaceSplit"}}, "x");
  std::vector<bool> starts;
  splitter.split({"a b", true}, [&](const Piece& piece) { starts.push_back(piece.at_start); });
  splitter.split({"c", false}, [&](const Piece& piece) { starts.push_back(piece.at_start); });
  EXPECT_EQ(starts, (std::vector<bool>{true, false, false}));
}

TEST(PreTokenizerTest, StepsWorkOnThePiecesOfTheOneBefore) {
  const Json json =
      chain({{{"type", "WhitespaceSplit"}}, chain({{{"type", "Punctuation"}}}), byte_level(true, false)});
  EXPECT_EQ(pieces(json, "Hi, you"), (Strings{" Hi", " ,", " you"}));
}

TEST(PreTokenizerTest, PiecesAreNeverEmptyAndKeepEveryByte) {
  Draw draw(8);
  for (const Json& json : {split_on({{"Regex", "[a-m]*"}}, "Isolated"),
                           split_on({{"String", " "}}, "MergedWithNext"), Json{{"type", "Punctuation"}},
                           Json{{"type", "Digits"}, {"individual_digits", false}}, byte_level(false)}) {
    for (int i = 0; i < 200; ++i) {
      const std::string text = random_text(draw, draw.below(12), true);
      std::string joined;
      for (const std::string& piece : pieces(json, text)) {
        EXPECT_FALSE(piece.empty());
        joined += piece;
      }
      EXPECT_EQ(joined, text) << json;
    }
  }
}

TEST(PreTokenizerTest, RefusesWhatItDoesNotKnow) {
  EXPECT_NE(refusal({{"type", "BertPreTokenizer"}}).find("x: pre_tokenizer: found type 'BertPreTokenizer'"),
            std::string::npos);
  EXPECT_EQ(refusal(split_on({{"String", "a"}}, "Merged")),
            "x: pre_tokenizer: behavior: found 'Merged', expected Removed, Isolated, MergedWithPrevious, "
            "MergedWithNext or Contiguous");
  for (const char* text : {R"({"type": "ByteLevel"})", R"({"type": "Split"})", R"({"type": "Digits"})",
                           R"({"type": "Metaspace"})", R"({"type": "Metaspace", "replacement": "ab"})",
                           R"({"type": "Metaspace", "replacement": "_", "prepend_scheme": "last"})",
                           R"({"type": "CharDelimiterSplit", "delimiter": ""})", R"({"type": "Sequence"})",
                           R"({"type": "Split", "pattern": {"Regex": "["}})", "[]", "7"})
    EXPECT_EQ(refusal(Json::parse(text)).find("x: pre_tokenizer"), 0u) << text;
}

}  // namespace
}  // namespace aleph::text
