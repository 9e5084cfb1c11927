#include "aleph/text/vocabulary.h"

#include "aleph/text/testing.h"

namespace aleph::text {
namespace {

using Entries = std::vector<std::pair<std::string, int64_t>>;

std::string fault_of_entries(const Entries& entries) {
  return fault_of([&] { Vocabulary(entries, "vocab.json"); });
}

TEST(VocabularyTest, FindsTokensAndIdsWithHolesBetween) {
  const Vocabulary vocabulary({{"a", 0}, {"the", 7}, {"", 3}}, "test");
  EXPECT_EQ(vocabulary.id("the"), 7);
  EXPECT_EQ(vocabulary.id("th"), std::nullopt);
  EXPECT_EQ(vocabulary.id(""), 3);
  EXPECT_EQ(*vocabulary.token(7), "the");
  EXPECT_EQ(vocabulary.token(1), nullptr);
  EXPECT_EQ(*vocabulary.token(3), "");
  EXPECT_EQ(vocabulary.count(), 3);
  EXPECT_EQ(vocabulary.end(), 8);
}

TEST(VocabularyTest, IdsOutsideHaveNoToken) {
  const Vocabulary vocabulary({{"a", 0}}, "test");
  for (const int64_t id : std::vector<int64_t>{-1, 1, int64_t{1} << 40, INT64_MIN, INT64_MAX})
    EXPECT_EQ(vocabulary.token(id), nullptr);
}

TEST(VocabularyTest, EmptyOneHasNothing) {
  for (const Vocabulary& vocabulary : {Vocabulary(), Vocabulary({}, "test")}) {
    EXPECT_EQ(vocabulary.count(), 0);
    EXPECT_EQ(vocabulary.end(), 0);
    EXPECT_EQ(vocabulary.id("a"), std::nullopt);
    EXPECT_EQ(vocabulary.token(0), nullptr);
  }
}

TEST(VocabularyTest, FindsTokensAfterAMove) {
  Vocabulary first({{"short", 0}, {"a token too long for a small string", 1}}, "test");
  const Vocabulary second = std::move(first);
  EXPECT_EQ(second.id("short"), 0);
  EXPECT_EQ(second.id("a token too long for a small string"), 1);
}

TEST(VocabularyTest, RefusesIdsGivenTwice) {
  EXPECT_EQ(fault_of_entries({{"a", 1}, {"b", 1}}),
            "vocab.json: found id 1 for both 'a' and 'b', expected an id of its own for each token");
}

TEST(VocabularyTest, RefusesTokensGivenTwice) {
  EXPECT_EQ(fault_of_entries({{"a\n", 1}, {"a\n", 2}}),
            "vocab.json: found token 'a\\x0a' twice, expected each token once");
}

TEST(VocabularyTest, RefusesNegativeIds) {
  EXPECT_EQ(fault_of_entries({{"a", -1}}),
            "vocab.json: found id -1 for token 'a', expected an id in [0, 65552)");
}

TEST(VocabularyTest, RefusesIdsFarAboveTheCountInsteadOfAllocating) {
  EXPECT_EQ(fault_of_entries({{"a", 0}, {"b", int64_t{1} << 50}}),
            "vocab.json: found id 1125899906842624 for token 'b', expected an id in [0, 65568)");
  EXPECT_EQ(Vocabulary({{"a", 65'551}}, "test").end(), 65'552);
}

}  // namespace
}  // namespace aleph::text
