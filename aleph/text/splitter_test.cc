#include "aleph/text/splitter.h"

#include <unicode/uchar.h>

#include "aleph/text/regex.h"
#include "aleph/text/testing.h"

namespace aleph::text {
namespace {

using Strings = std::vector<std::string>;
constexpr KnownPattern kAll[] = {KnownPattern::kGpt2, KnownPattern::kQwen2, KnownPattern::kLlama3};

Strings pieces(KnownPattern pattern, std::string_view text) {
  Strings out;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = piece_end(pattern, text, begin);
    if (end <= begin || end > text.size()) {
      ADD_FAILURE() << "piece from " << begin << " to " << end;
      break;
    }
    out.emplace_back(text.substr(begin, end - begin));
    begin = end;
  }
  return out;
}

Strings pieces_of_regex(const Regex& regex, std::string_view text) {
  Strings out;
  regex.segments(text, [&](const Segment& segment) {
    if (segment.begin != segment.end)
      out.emplace_back(text.substr(segment.begin, segment.end - segment.begin));
  });
  return out;
}

TEST(SplitterTest, Gpt2SplitsWordsWithTheirSpace) {
  EXPECT_EQ(pieces(KnownPattern::kGpt2, "Hello, world! It's 3.14\n\n  ok"),
            (Strings{"Hello", ",", " world", "!", " It", "'s", " 3", ".", "14", "\n\n ", " ok"}));
}

TEST(SplitterTest, Qwen2SplitsDigitsAndKeepsNewlinesWithPunctuation) {
  EXPECT_EQ(pieces(KnownPattern::kQwen2, "(Hello) world 1234!\n\n  ok'LL"),
            (Strings{"(Hello", ")", " world", " ", "1", "2", "3", "4", "!\n\n", " ", " ok", "'LL"}));
}

TEST(SplitterTest, Llama3KeepsThreeDigitsTogether) {
  EXPECT_EQ(pieces(KnownPattern::kLlama3, "1234567"), (Strings{"123", "456", "7"}));
}

TEST(SplitterTest, RegexesAreFoundLetterForLetter) {
  for (const KnownPattern pattern : kAll) {
    EXPECT_EQ(known_pattern(regex_of(pattern)), pattern);
    EXPECT_EQ(known_pattern(std::string(regex_of(pattern)) + " "), std::nullopt);
  }
  EXPECT_EQ(known_pattern(""), std::nullopt);
}

TEST(SplitterTest, InvalidBytesAreAPieceAndBoundTheirNeighbours) {
  for (const KnownPattern pattern : kAll) {
    EXPECT_EQ(pieces(pattern, "ab \xff\xfe cd"), (Strings{"ab", " ", "\xff\xfe", " cd"}));
    EXPECT_EQ(pieces(pattern, "\xe2\x82"), (Strings{"\xe2\x82"}));
  }
}

TEST(SplitterTest, SameAsTheRegexOnRandomText) {
  for (const KnownPattern pattern : kAll) {
    const Regex regex(regex_of(pattern), "pattern");
    Draw draw(4, static_cast<uint32_t>(pattern));
    for (int i = 0; i < 3000; ++i) {
      const std::string text = random_text(draw, 1 + draw.below(12));
      ASSERT_EQ(pieces(pattern, text), pieces_of_regex(regex, text)) << text;
    }
  }
}

TEST(SplitterTest, SameAsTheRegexBetweenInvalidBytes) {
  for (const KnownPattern pattern : kAll) {
    const Regex regex(regex_of(pattern), "pattern");
    Draw draw(5, static_cast<uint32_t>(pattern));
    for (int i = 0; i < 2000; ++i) {
      const std::string text = random_text(draw, 1 + draw.below(12), true);
      ASSERT_EQ(pieces(pattern, text), pieces_of_regex(regex, text)) << ::testing::PrintToString(text);
    }
  }
}

TEST(SplitterTest, SameAsTheRegexForEveryCharacterBetweenOthers) {
  for (const KnownPattern pattern : kAll) {
    const Regex regex(regex_of(pattern), "pattern");
    for (int32_t code = 1; code < 0x3200; ++code) {
      std::string c;
      append_utf8(c, code);
      const std::string text = "a" + c + "b " + c + c + "1" + c + " \n" + c + "'" + c;
      ASSERT_EQ(pieces(pattern, text), pieces_of_regex(regex, text)) << code;
    }
  }
}

TEST(SplitterTest, SameAsTheRegexOnManyScripts) {
  const std::string text = file_text(tokenizer_data() / "texts" / "udhr.txt");
  for (const KnownPattern pattern : kAll)
    EXPECT_EQ(pieces(pattern, text), pieces_of_regex(Regex(regex_of(pattern), "pattern"), text));
}

TEST(SplitterTest, VeryLongRunsAreOnePieceEach) {
  const size_t length = 1'000'000;
  for (const KnownPattern pattern : kAll) {
    EXPECT_EQ(pieces(pattern, std::string(length, 'a')).size(), 1u);
    EXPECT_EQ(pieces(pattern, std::string(length, '.')).size(), 1u);
    EXPECT_EQ(pieces(pattern, std::string(length, '\xff')).size(), 1u);
    EXPECT_EQ(pieces(pattern, std::string(length, ' ')).size(), 1u);
    EXPECT_EQ(pieces(pattern, std::string(length, ' ') + "a").size(), 2u);
  }
}

}  // namespace
}  // namespace aleph::text
