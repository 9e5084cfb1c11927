#include "aleph/text/json_parts.h"

#include "aleph/text/testing.h"

namespace aleph::text {
namespace {

TEST(JsonPartsTest, TypeIsAString) {
  EXPECT_EQ(part_type({{"type", "NFC"}}, "x"), "NFC");
  for (const Json& json :
       {Json(), Json("NFC"), Json::array(), Json::object(), Json({{"type", 3}}), Json({{"type", nullptr}})})
    EXPECT_NE(fault_of([&] { part_type(json, "x: normalizer"); }).find("x: normalizer"), std::string::npos)
        << json;
}

TEST(JsonPartsTest, ArrayIsFoundOrNamed) {
  EXPECT_EQ(json_array({{"parts", {1, 2}}}, "parts", "x").size(), 2u);
  for (const Json& json : {Json(), Json({{"parts", 1}}), Json({{"others", Json::array()}}), Json::array()})
    EXPECT_EQ(fault_of([&] { json_array(json, "parts", "x"); }),
              "x: found no array 'parts', expected an array");
}

Json nested(int depth) {
  Json json = {{"type", "leaf"}};
  for (int i = 0; i < depth; ++i) json = {{"parts", Json::array({json})}};
  return json;
}

int leaves(const Json& json, const std::string& object, int depth) {
  if (json.contains("type")) return 1;
  int sum = 0;
  for (const int count : make_sequence(json, "parts", object, depth, leaves)) sum += count;
  return sum;
}

TEST(JsonPartsTest, SequencesNestSixteenDeepAndNoDeeper) {
  EXPECT_EQ(leaves(nested(16), "x", 0), 1);
  EXPECT_EQ(fault_of([] { leaves(nested(17), "x", 0); }),
            "x: found sequences nested deeper than 16 levels, expected fewer");
}

TEST(JsonPartsTest, SequencesHaveManyPartsAndNoMore) {
  Json half = {{"parts", Json::array()}};
  for (int i = 0; i < 127; ++i) half["parts"].push_back({{"type", "leaf"}});
  Json whole = {{"parts", {half, half}}};
  EXPECT_EQ(leaves(whole, "x", 0), 254);
  whole["parts"].push_back({{"type", "leaf"}});
  EXPECT_EQ(fault_of([&] { leaves(whole, "x", 0); }),
            "x: found a sequence of more than 256 parts, expected fewer");
}

std::vector<size_t> match_ends(const Regex& regex, std::string_view text) {
  std::vector<size_t> ends;
  regex.segments(text, [&](const Segment& segment) {
    if (segment.is_match) ends.push_back(segment.end);
  });
  return ends;
}

TEST(JsonPartsTest, PatternIsLiteralOrRegex) {
  const Json text = {{"pattern", {{"String", "a.c"}}}};
  const Json regex = {{"pattern", {{"Regex", "a.c"}}}};
  EXPECT_EQ(match_ends(json_pattern(text, "x"), "abc a.c"), std::vector<size_t>{7});
  EXPECT_EQ(match_ends(json_pattern(regex, "x"), "abc a.c"), (std::vector<size_t>{3, 7}));
}

TEST(JsonPartsTest, OtherPatternsAreRefused) {
  for (const char* text :
       {"null", "{}", R"({"pattern": "a"})", R"({"pattern": {"Glob": "a"}})", R"({"pattern": null})"})
    EXPECT_EQ(fault_of([&] { json_pattern(Json::parse(text), "x"); }),
              R"(x: found no usable 'pattern', expected {"String": ...} or {"Regex": ...})")
        << text;
  EXPECT_NE(fault_of([] { json_pattern({{"pattern", {{"Regex", 1}}}}, "x"); }), "no error");
}

TEST(JsonPartsTest, CharacterIsExactlyOne) {
  EXPECT_EQ(json_char({{"c", "\u2581"}}, "c", "x"), 0x2581);
  EXPECT_EQ(json_char({{"c", " "}}, "c", "x"), ' ');
  for (const char* text : {"", "ab", "e\u0301", "\u2581\u2581"})
    EXPECT_NE(fault_of([&] { json_char({{"c", text}}, "c", "x"); }).find("x: c: found '"), std::string::npos);
  EXPECT_NE(fault_of([] { json_char({{"c", 3}}, "c", "x"); }), "no error");
}

TEST(JsonPartsTest, CountIsInRange) {
  EXPECT_EQ(json_count({{"n", 0}}, "n", 5, "x"), 0);
  EXPECT_EQ(json_count({{"n", 5}}, "n", 5, "x"), 5);
  EXPECT_EQ(fault_of([] {
              json_count({{"n", 6}}, "n", 5, "x");
            }),
            "x: n: found 6, expected an integer in [0, 5]");
  EXPECT_EQ(fault_of([] {
              json_count({{"n", -1}}, "n", 5, "x");
            }),
            "x: n: found -1, expected an integer in [0, 5]");
  for (const Json& n : {Json(1.5), Json("1"), Json(), Json(UINT64_MAX)})
    EXPECT_NE(fault_of([&] { json_count({{"n", n}}, "n", 5, "x"); }), "no error") << n;
}

TEST(JsonPartsTest, UnsupportedTypeIsPrintable) {
  EXPECT_EQ(fault_of([] { throw_unsupported("x", "a\nb", "c"); }),
            "x: found type 'a\\x0ab', which is not supported, expected c");
}

}  // namespace
}  // namespace aleph::text
