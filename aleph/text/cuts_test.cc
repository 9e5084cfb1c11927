#include "aleph/text/cuts.h"

#include <gtest/gtest.h>

#include <string>

namespace aleph::text {
namespace {

constexpr Cuts kSpace{true, false}, kLine{false, true};

TEST(Cuts, TheLastPlaceOfAnAllowedKindIsTaken) {
  const std::string text = "one two.\nThree \n four\n\nfive 6 7 \xc3\xa4 \xed\x95\x9c\n\xe6\x97\xa5 ";
  EXPECT_EQ(text.substr(last_cut(text, kAllCuts)), "\xe6\x97\xa5 ");
  EXPECT_EQ(text.substr(last_cut(text, kSpace)), " \xed\x95\x9c\n\xe6\x97\xa5 ");
  EXPECT_EQ(text.substr(last_cut(text, kLine)), "\xe6\x97\xa5 ");
  EXPECT_EQ(last_cut(text, kNoCuts), 0u);
  EXPECT_EQ(last_cut("one two.\nThree", kAllCuts), 9u);
  EXPECT_EQ(last_cut("one two.\nThree", kSpace), 3u);
}

TEST(Cuts, NothingElseIsAPlace) {
  for (const char* text : {"", " ", "a", "a ", " a", "a  b", "a 1", "1 a", "a\tb", "a\n", "\na", " \na",
                           "\n\na", "a\n b", "a\n1", "a\r\n\r\nb \xc3", "\n", "a \xe6\x97"})
    EXPECT_EQ(last_cut(text, kAllCuts), 0u) << text;
}

TEST(Cuts, TokensBesideAPlaceForbidIt) {
  const auto check = [](const char* token, bool space, bool line) {
    EXPECT_EQ(cuts_beside(token).space, space) << token;
    EXPECT_EQ(cuts_beside(token).line, line) << token;
  };
  check("<s>", true, true);
  check("<|im_start|>", true, true);
  check("  ", true, true);
  check("\n\n", true, true);
  check("\t\t", true, true);
  check("12", true, true);
  check("word", false, false);
  check("word>", true, false);
  check("<word", false, true);
  check(" ", false, true);
  check(" <", true, true);
  check(">a b<", false, true);
  check("\n", true, false);
  check("<b\n", true, false);
  check("<a\nb>", true, false);
  check("< \nb>", true, true);
}

}  // namespace
}  // namespace aleph::text
