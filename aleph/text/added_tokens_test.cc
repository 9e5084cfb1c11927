#include "aleph/text/added_tokens.h"

#include "aleph/text/testing.h"

namespace aleph::text {
namespace {

Vocabulary letters() { return Vocabulary({{"a", 0}, {"b", 1}, {"<s>", 2}}, "test"); }

/// Text as it is, tokens as {id:text}.
std::string split(const AddedTokens& added, std::string_view text, bool normalized = false,
                  bool parse_special = true) {
  std::string out;
  added.split(text, normalized, parse_special, [&](const AddedTokens::Part& part) {
    EXPECT_EQ(text.substr(part.begin, part.text.size()), part.text);
    out += part.id ? fmt::format("{{{}:{}}}", *part.id, part.text) : "(" + std::string(part.text) + ")";
  });
  return out;
}

std::string split_by(const AddedToken& token, std::string_view text) {
  return split(AddedTokens({token}, letters(), nullptr), text, token.normalized);
}

TEST(TokenSetTest, FindsLeftmostThenLongest) {
  EXPECT_TRUE(TokenSet().empty());
  EXPECT_FALSE(TokenSet().find("abc", 0));
  const TokenSet tokens({{"bc", 1}, {"abcd", 2}, {"ab", 3}});
  EXPECT_FALSE(tokens.empty());
  const auto first = tokens.find("xabce", 0);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->begin, 1u);
  EXPECT_EQ(first->end, 3u);
  EXPECT_EQ(first->id, 3);
  EXPECT_EQ(tokens.find("xabcd", 0)->id, 2);
  EXPECT_EQ(tokens.find("xabcd", 2)->id, 1);
  EXPECT_FALSE(tokens.find("xabcd", 3));
  EXPECT_FALSE(tokens.find("", 0));
}

TEST(TokenSetTest, EmptyStringIsNeverFound) {
  EXPECT_TRUE(TokenSet({{"", 1}}).empty());
  EXPECT_FALSE(TokenSet({{"", 1}, {"d", 2}}).find("abc", 0));
}

TEST(TokenSetTest, SameTextKeepsItsFirstId) {
  EXPECT_EQ(TokenSet({{"ab", 5}, {"b", 1}, {"ab", 6}}).find("ab", 0)->id, 5);
}

TEST(TokenSetTest, FindsWhatLookingForEachTokenFinds) {
  Draw draw(31);
  for (int round = 0; round < 300; ++round) {
    std::vector<std::pair<std::string, int32_t>> tokens;
    for (size_t i = draw.below(12); i > 0; --i) {
      std::string token;
      for (size_t k = draw.below(5); k > 0; --k)
        token.push_back(draw.once_in(4) ? '\xff' : draw.once_in(2) ? 'a' : 'b');
      tokens.emplace_back(token, static_cast<int32_t>(i));
    }
    std::string text;
    for (size_t k = draw.below(20); k > 0; --k)
      text.push_back(draw.once_in(4) ? '\xff' : draw.once_in(2) ? 'a' : 'b');
    std::optional<TokenSet::Match> expected;
    for (size_t begin = 0; begin < text.size() && !expected; ++begin)
      for (const auto& [token, id] : tokens)
        if (!token.empty() && std::string_view(text).substr(begin).starts_with(token) &&
            (!expected || token.size() > expected->end - begin))
          expected = TokenSet::Match{begin, begin + token.size(), id};
    const auto found = TokenSet(tokens).find(text, 0);
    ASSERT_EQ(found.has_value(), expected.has_value()) << text;
    if (!found) continue;
    EXPECT_EQ(std::tuple(found->begin, found->end, found->id),
              std::tuple(expected->begin, expected->end, expected->id))
        << text;
  }
}

TEST(AddedTokensTest, NoneLeavesTheTextWhole) {
  EXPECT_EQ(split(AddedTokens(), "a <s> b"), "(a <s> b)");
  EXPECT_EQ(split(AddedTokens(), ""), "");
  EXPECT_EQ(AddedTokens().end(), 0);
  EXPECT_FALSE(AddedTokens().has_normalized());
}

TEST(AddedTokensTest, TakesIdsOfTheVocabularyOrBehindIt) {
  const AddedTokens added(
      {{.content = "new"}, {.content = "<s>", .special = true}, {.content = "newer"}, {.content = ""}},
      letters(), nullptr);
  EXPECT_EQ(added.id("new"), 3);
  EXPECT_EQ(added.id("<s>"), 2);
  EXPECT_EQ(added.id("newer"), 4);
  EXPECT_EQ(added.id("a"), std::nullopt);
  EXPECT_EQ(added.id(""), std::nullopt);
  EXPECT_EQ(added.token(4)->content, "newer");
  EXPECT_EQ(added.token(0), nullptr);
  EXPECT_EQ(added.end(), 5);
  EXPECT_TRUE(added.is_special("<s>"));
  EXPECT_FALSE(added.is_special("new"));
  EXPECT_FALSE(added.is_special("a"));
}

TEST(AddedTokensTest, SplitsAtEveryToken) {
  const AddedTokens added({{.content = "<s>", .special = true}, {.content = "[X]"}}, letters(), nullptr);
  EXPECT_EQ(split(added, "a<s>b[X]"), "(a){2:<s>}(b){3:[X]}");
  EXPECT_EQ(split(added, "<s><s>"), "{2:<s>}{2:<s>}");
  EXPECT_EQ(split(added, "<s"), "(<s)");
}

TEST(AddedTokensTest, SpecialTokensCanBePlainText) {
  const AddedTokens added({{.content = "<s>", .special = true}, {.content = "[X]"}}, letters(), nullptr);
  EXPECT_EQ(split(added, "a<s>b[X]", false, false), "(a<s>b){3:[X]}");
}

TEST(AddedTokensTest, SingleWordStandsAlone) {
  const AddedToken token{.content = "ing", .single_word = true};
  EXPECT_EQ(split_by(token, "ing sing ing. ing_ (ing)"), "{3:ing}( sing ){3:ing}(. ing_ (){3:ing}())");
  EXPECT_EQ(split_by(token, "\u00e9ing ing\u0301 \u3001ing"), "(\u00e9ing ing\u0301 \u3001){3:ing}");
  EXPECT_EQ(split_by(token, "\xffing\xff"), "(\xff){3:ing}(\xff)");
}

TEST(AddedTokensTest, StripTakesWhiteSpaceBeside) {
  EXPECT_EQ(split_by({.content = "X", .lstrip = true}, "a \u3000\tX b"), "(a){3: \u3000\tX}( b)");
  EXPECT_EQ(split_by({.content = "X", .rstrip = true}, "a X\u00a0\n b"), "(a ){3:X\u00a0\n }(b)");
  EXPECT_EQ(split_by({.content = "X", .lstrip = true, .rstrip = true}, " X "), "{3: X }");
  EXPECT_EQ(split_by({.content = "X", .lstrip = true, .rstrip = true}, "X \xff X"), "{3:X }(\xff){3: X}");
}

TEST(AddedTokensTest, SpaceBetweenTwoIsTakenOnce) {
  EXPECT_EQ(split_by({.content = "X", .lstrip = true, .rstrip = true}, "X  X"), "{3:X  }{3:X}");
}

// As in the reference: what a token took may be found again as part of the next one.
TEST(AddedTokensTest, TokenMayBeginInSpaceTakenBefore) {
  const AddedTokens added({{.content = "X", .rstrip = true}, {.content = " y"}}, letters(), nullptr);
  EXPECT_EQ(split(added, "X yz"), "{3:X }{4: y}(z)");
}

TEST(AddedTokensTest, TokenOfSpacesAfterSpaceTakenBefore) {
  const AddedTokens added({{.content = "X", .rstrip = true}, {.content = "  ", .lstrip = true}}, letters(),
                          nullptr);
  std::string joined;
  added.split("X     a", false, true, [&](const AddedTokens::Part& part) { joined += part.text; });
  EXPECT_TRUE(joined.ends_with("a")) << joined;
}

TEST(AddedTokensTest, NormalizedOnesAreFoundInNormalizedText) {
  const auto lower = make_normalizer({{"type", "Lowercase"}}, "x");
  const AddedTokens added({{.content = "FOO", .normalized = true}, {.content = "BAR"}}, letters(),
                          lower.get());
  EXPECT_TRUE(added.has_normalized());
  EXPECT_EQ(split(added, "FOO foo BAR bar", false), "(FOO foo ){4:BAR}( bar)");
  EXPECT_EQ(split(added, "foo FOO bar", true), "{3:foo}( FOO bar)");
  EXPECT_EQ(added.token(3)->content, "FOO");
}

TEST(AddedTokensTest, ContentThatNormalizesToNothingIsNeverFound) {
  const auto strip = make_normalizer({{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}}, "x");
  const AddedTokens added({{.content = "  ", .normalized = true}}, letters(), strip.get());
  EXPECT_EQ(split(added, "a  b", true), "(a  b)");
}

TEST(AddedTokensTest, BytesThatAreNotUtf8CanBeTokens) {
  EXPECT_EQ(split_by({.content = "\xff\xfe"}, "a\xff\xfe\xff"), "(a){3:\xff\xfe}(\xff)");
}

TEST(AddedTokensTest, PartsCoverTheTextWhereNoSpaceIsTaken) {
  const AddedTokens added(
      {{.content = "<s>"}, {.content = "</s>"}, {.content = " the", .single_word = true}, {.content = "12"}},
      letters(), nullptr);
  Draw draw(9);
  for (int i = 0; i < 500; ++i) {
    const std::string text = random_text(draw, draw.below(20), true);
    std::string joined;
    added.split(text, false, true, [&](const AddedTokens::Part& part) { joined += part.text; });
    EXPECT_EQ(joined, text);
  }
}

TEST(AddedTokensTest, ManyTokensInALongTextTakeLinearTime) {
  const AddedTokens added({{.content = "X", .lstrip = true, .rstrip = true}, {.content = "<s>"}}, letters(),
                          nullptr);
  std::string text;
  for (int i = 0; i < 200'000; ++i) text += "ab<s> X ";
  int64_t tokens = 0;
  added.split(text, false, true, [&](const AddedTokens::Part& part) { tokens += part.id.has_value(); });
  EXPECT_EQ(tokens, 400'000);
}

}  // namespace
}  // namespace aleph::text
