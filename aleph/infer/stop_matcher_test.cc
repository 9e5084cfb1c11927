#include "aleph/infer/stop_matcher.h"

#include <gtest/gtest.h>

#include "aleph/base/random.h"

namespace aleph::infer {
namespace {

TEST(StopMatcherTest, WithoutStopsEverythingPasses) {
  StopMatcher matcher({"", ""});
  EXPECT_EQ(matcher.push("abc"), "abc");
  EXPECT_EQ(matcher.finish(), "");
  EXPECT_FALSE(matcher.stopped());
}

TEST(StopMatcherTest, StopsAcrossPieces) {
  StopMatcher matcher({"\n\nUser:"});
  EXPECT_EQ(matcher.push("Hello\n"), "Hello");
  EXPECT_EQ(matcher.push("\nUs"), "");
  EXPECT_EQ(matcher.push("er: more"), "");
  EXPECT_TRUE(matcher.stopped());
  EXPECT_EQ(matcher.push("later"), "");
  EXPECT_EQ(matcher.finish(), "");
}

TEST(StopMatcherTest, WhatOnlyLookedLikeAStopIsShown) {
  StopMatcher matcher({"abcd"});
  EXPECT_EQ(matcher.push("xabc"), "x");
  EXPECT_EQ(matcher.push("abc"), "abc");
  EXPECT_EQ(matcher.finish(), "abc");
}

TEST(StopMatcherTest, TheEarliestStopCounts) {
  StopMatcher matcher({"cd", "b"});
  EXPECT_EQ(matcher.push("abcd"), "a");
  EXPECT_TRUE(matcher.stopped());
}

TEST(StopMatcherTest, AnyCutGivesTheSameText) {
  const RandomStream random({.seed = 21});
  uint64_t at = 0;
  for (int trial = 0; trial < 500; ++trial) {
    std::string text, shown;
    for (int i = 0; i < 40; ++i) text += static_cast<char>('a' + random.below(2, at++));
    const std::vector<std::string> stops = {"aabba", "babab"};
    StopMatcher matcher(stops);
    for (size_t begin = 0; begin < text.size();) {
      const size_t count = 1 + random.below(4, at++);
      shown += matcher.push(std::string_view(text).substr(begin, count));
      begin += count;
    }
    shown += matcher.finish();
    size_t end = text.size();
    for (const std::string& stop : stops) end = std::min(end, text.find(stop));
    EXPECT_EQ(shown, text.substr(0, end)) << text;
  }
}

}  // namespace
}  // namespace aleph::infer
