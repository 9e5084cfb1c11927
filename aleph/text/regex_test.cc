#include "aleph/text/regex.h"

#include "aleph/text/testing.h"

namespace aleph::text {
namespace {

/// Matches in brackets, the rest as it is.
std::string marked(const Regex& regex, std::string_view text) {
  std::string out;
  regex.segments(text, [&](const Segment& segment) {
    const std::string part(text.substr(segment.begin, segment.end - segment.begin));
    out += segment.is_match ? "[" + part + "]" : part;
  });
  return out;
}

std::string marked(const std::string& pattern, std::string_view text) {
  return marked(Regex(pattern, "x"), text);
}

std::string refusal(const std::string& pattern) {
  return fault_of([&] { Regex(pattern, "x: pattern"); });
}

TEST(RegexTest, SegmentsCoverTheText) {
  EXPECT_EQ(marked("b+", "abbcb"), "a[bb]c[b]");
  EXPECT_EQ(marked("z", "abc"), "abc");
  EXPECT_EQ(marked(".*", "abc"), "[abc]");
}

TEST(RegexTest, EmptyTextIsOneSegment) {
  int segments = 0;
  Regex("b", "x").segments("", [&](const Segment& segment) {
    EXPECT_EQ(segment.begin, 0u);
    EXPECT_EQ(segment.end, 0u);
    EXPECT_FALSE(segment.is_match);
    ++segments;
  });
  EXPECT_EQ(segments, 1);
}

TEST(RegexTest, EmptyMatchesAdvanceByOneCharacter) {
  EXPECT_EQ(marked("(?=b)", "abéb"), "a[]bé[]b");
  EXPECT_EQ(marked("x*", "aéx"), "[]a[]é[x]");
}

TEST(RegexTest, LiteralHasNoSpecialCharacters) {
  EXPECT_EQ(marked(Regex::literal("a.*("), "a.*(b a.b("), "[a.*(]b a.b(");
  EXPECT_EQ(Regex::literal("\u2581").replace("a\u2581b\u2581", " "), "a b ");
}

TEST(RegexTest, LiteralIsFoundAsItsEscapedPatternIs) {
  Draw draw(26);
  for (const char* text : {"a", "aa", "\u2581", "e\u0301", " the", "\u00e9"}) {
    const Regex literal = Regex::literal(text);
    const Regex escaped("(?:" + std::string(text) + ")", "x");
    for (int i = 0; i < 200; ++i) {
      std::string input = random_text(draw, draw.below(9), true);
      for (size_t k = 0; k < draw.below(4); ++k) input.insert(draw.below(input.size() + 1), text);
      EXPECT_EQ(marked(literal, input), marked(escaped, input)) << ::testing::PrintToString(input);
    }
  }
  EXPECT_EQ(marked(Regex::literal(""), "ab"), "[]a[]b[]");
}

TEST(RegexTest, InvalidBytesMatchNothingAndBoundTheText) {
  EXPECT_EQ(marked(".+",
                   "ab\xff\xfe"
                   "cd"),
            "[ab]\xff\xfe[cd]");
  EXPECT_EQ(marked("^c",
                   "ab\xff"
                   "cd"),
            "ab\xff[c]d");
  EXPECT_EQ(marked("b$",
                   "ab\xff"
                   "cd"),
            "a[b]\xff"
            "cd");
  EXPECT_EQ(marked("[^a]", "\xc3\xa9\xc3"), "[\xc3\xa9]\xc3");
}

TEST(RegexTest, ReplaceKeepsTheRest) {
  EXPECT_EQ(Regex("[0-9]+", "x").replace("a12b3", "#"), "a#b#");
  EXPECT_EQ(Regex("[0-9]+", "x").replace("12", ""), "");
  EXPECT_EQ(Regex("[0-9]", "x")
                .replace("\xff"
                         "1\xff",
                         "$0\\1"),
            "\xff$0\\1\xff");
  EXPECT_EQ(Regex("a", "x").replace("", "b"), "");
}

TEST(RegexTest, ClassesAreThoseOfOniguruma) {
  EXPECT_EQ(marked("\\s", "a\u00a0b\u0085c\u200bd"), "a[\u00a0]b[\u0085]c\u200bd");
  EXPECT_EQ(marked("\\S+", "a b"), "[a] [b]");
  EXPECT_EQ(marked("\\w", "a\u0301\u00b2\u24b6."), "[a][\u0301][\u00b2][\u24b6].");
  EXPECT_EQ(marked("[\\w]", "a\u0301\u00b2"), "[a][\u0301]\u00b2");
  EXPECT_EQ(marked("\\W", "a\u00b2\u2460"), "a\u00b2[\u2460]");
  EXPECT_EQ(marked("\\h+", "fg09z"), "[f]g[09]z");
  EXPECT_EQ(marked("[\\hz]+", "fg09z"), "[f]g[09z]");
  EXPECT_EQ(marked("\\H", "fg"), "f[g]");
  EXPECT_EQ(marked("\\u00e9", "e\u00e9"), "e[\u00e9]");
}

TEST(RegexTest, WordBoundariesKnowMarksAndScripts) {
  EXPECT_EQ(marked("\\b", "e\u0301a b"), "[]e\u0301a[] []b[]");
  EXPECT_EQ(marked("\\B", "ab."), "a[]b.[]");
}

TEST(RegexTest, PropertiesMayHaveLongNames) {
  EXPECT_EQ(marked("\\p{Lowercase_Letter}", "aB"), "[a]B");
  EXPECT_EQ(marked("\\p{Letter}+", "ab1"), "[ab]1");
  EXPECT_EQ(marked("\\p{Han}", "\u65e5\u3001"), "[\u65e5]\u3001");
  EXPECT_EQ(marked("\\p{^L}", "a1"), "a[1]");
  EXPECT_EQ(marked("\\P{L}", "a1"), "a[1]");
  EXPECT_EQ(marked("\\pL", "a1"), "[a]1");
}

TEST(RegexTest, NamedAndNestedClasses) {
  EXPECT_EQ(marked("[[:punct:]]+", "a$,b"), "a[$,]b");
  EXPECT_EQ(marked("[[:alpha:]_]+", "\u00e9_1"), "[\u00e9_]1");
  EXPECT_EQ(marked("[a[bc]d]+", "xabcdx"), "x[abcd]x");
  EXPECT_EQ(marked("[^(\\s|[.,!])]+", "ab.c d"), "[ab].[c] [d]");
  EXPECT_EQ(marked("[a-[b]]+", "a-b"), "[a-b]");
  EXPECT_EQ(marked("[]a]+", "a]b"), "[a]]b");
}

TEST(RegexTest, FlagsMeanWhatTheyDoThere) {
  EXPECT_EQ(marked("(?i:THE)x", "thex theX"), "[thex] theX");
  EXPECT_EQ(marked("a.b", "a\nb"), "a\nb");
  EXPECT_EQ(marked("(?m)a.b", "a\nb"), "[a\nb]");
  EXPECT_EQ(marked("^b$", "a\nb\nc"), "a\n[b]\nc");
}

TEST(RegexTest, GroupsAndLookAroundArePassedOn) {
  EXPECT_EQ(marked("(?<=a)b(?!c)", "abc ab"), "abc a[b]");
  EXPECT_EQ(marked("(?<name>a)b", "ab"), "[ab]");
  EXPECT_EQ(marked("\\s+(?!\\S)|\\s+", "a  b "), "a[ ][ ]b[ ]");
  EXPECT_EQ(marked("(?:ab){1,2}", "ababab"), "[abab][ab]");
  EXPECT_EQ(marked("a{1,2}+", "aaab"), "[aaa]b");
}

TEST(RegexTest, WhatHasNoCounterpartIsNamed) {
  EXPECT_EQ(refusal("[a&&b]"),
            "x: pattern: found pattern '[a&&b]' with an intersection of character classes, "
            "expected a pattern without it");
  for (const char* pattern : {"[a[^b]]", "[\\W]", "[\\H]", "a{2,3}+", "\\u12", "[[:nope:]]"})
    EXPECT_NE(refusal(pattern).find("expected a pattern without it"), std::string::npos) << pattern;
  EXPECT_NE(refusal(std::string(20, '[') + "a" + std::string(20, ']')).find("nested deeper"),
            std::string::npos);
}

TEST(RegexTest, BrokenPatternsAreRefusedInOneLine) {
  for (const std::string& pattern :
       std::vector<std::string>{"(", "[", "a**(", "*", "(?", "\\", "[b-a]", "\\p{", "\\p{Nope}", "(?<",
                                "\xff", "[\xc3]", "[[:", "[[", "\\u", "(?P<", "a{99999999}"}) {
    const std::string fault = refusal(pattern);
    EXPECT_NE(fault.find("expected"), std::string::npos) << pattern;
    EXPECT_EQ(fault.find('\n'), std::string::npos) << pattern;
  }
}

TEST(RegexTest, VeryLongPatternsAreRefused) {
  std::string words;
  for (int i = 0; i < 100; ++i) words += "\\b";
  for (const std::string& pattern : {std::string(70'000, 'a'), words})
    EXPECT_NE(refusal(pattern).find("more than 8 KiB once written out"), std::string::npos);
}

TEST(RegexTest, ExponentialMatchIsStopped) {
  const Regex regex("(?:a|aa|a)+$b", "x");
  const std::string fault = fault_of([&] { marked(regex, std::string(40, 'a') + "c"); });
  EXPECT_TRUE(fault == "no error" ||
              fault.find("expected a pattern that matches in fewer steps") != std::string::npos)
      << fault;
}

TEST(RegexTest, LongTextNeedsNoStack) {
  const std::string text(3'000'000, 'a');
  EXPECT_EQ(marked("[ab]+", text).size(), text.size() + 2);
  const std::string fault = fault_of([&] { marked("(?:a|b)+", text); });
  EXPECT_TRUE(fault == "no error" || fault.find("stopped by") != std::string::npos) << fault;
}

TEST(RegexTest, WorksAfterAMove) {
  Regex first("a", "x");
  const Regex second = std::move(first);
  EXPECT_EQ(marked(second, "ba"), "b[a]");
}

// Whatever the pattern, it is refused or matches; the segments cover the text.
TEST(RegexTest, RandomPatternsNeverBreakTheCover) {
  static const std::vector<std::string> kParts = {
      "a",   "b",  ".",   "[",   "]",         "^",      "-",    "(",   ")",  "|",   "*",    "+",   "?", "{",
      "1,}", "\\", "\\w", "\\s", "[:alpha:]", "\\p{L}", "(?i)", "\\b", "&&", "(?=", "(?<!", "\\K", "é", "$"};
  Draw draw(3);
  int usable = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string pattern;
    for (size_t k = 0; k <= draw.below(7); ++k) pattern += draw.of(kParts);
    try {
      const Regex regex(pattern, "x");
      const std::string text = random_text(draw, draw.below(8), true);
      size_t done = 0;
      regex.segments(text, [&](const Segment& segment) {
        ASSERT_EQ(segment.begin, done) << pattern;
        ASSERT_GE(segment.end, segment.begin) << pattern;
        done = segment.end;
      });
      ASSERT_EQ(done, text.size()) << pattern;
      ++usable;
    } catch (const Error& error) {
      ASSERT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    }
  }
  EXPECT_GT(usable, 500);
}

}  // namespace
}  // namespace aleph::text
