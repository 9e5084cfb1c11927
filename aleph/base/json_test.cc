#include "aleph/base/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "aleph/base/error.h"

namespace aleph {
namespace {

using testing::HasSubstr;

std::string message_of(const std::string& text) {
  try {
    parse_json(text, "doc");
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(ParseJsonTest, EveryFaultIsAnErrorOfTheWorld) {
  for (const char* bad : {"", " ", "{", "[1,", "{\"a\"}", "nul", "1e999", "-1e999", "\"\xff\"", "\"\\ud800\"",
                          "{} {}", "[1] 2", "NaN", "// c\n1", "\"a\nb\""})
    EXPECT_THAT(message_of(bad), HasSubstr("doc: ")) << bad;
}

TEST(ParseJsonTest, NamesTheLineAndTheKey) {
  EXPECT_THAT(message_of("{\n\"a\": 1,\n\"b\": }"), HasSubstr("line 3"));
  EXPECT_THAT(message_of(R"({"x": {"twice": 1, "twice": 2}})"), HasSubstr("'twice'"));
  EXPECT_EQ(message_of(R"({"x": {"a": 1}, "y": {"a": 2}, "z": [{"a": 3}, {"a": 4}]})"), "");
}

TEST(ParseJsonTest, DepthHasALimitThatRealFilesNeverSee) {
  const auto nested = [](size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_EQ(message_of(nested(150)), "");
  EXPECT_THAT(message_of(nested(250)), HasSubstr("nested deeper"));
  EXPECT_THAT(message_of(nested(2000000)), HasSubstr("nested deeper"));
}

TEST(JsonGetTest, ChecksTheType) {
  const Json json = parse_json(
      R"({"b": true, "i": -3, "whole": 2e3, "x": 0.25, "s": "t", "null": null, "huge": 18446744073709551615})",
      "f");
  EXPECT_EQ(json_get<bool>(json, "b", "f"), true);
  EXPECT_EQ(json_get<int64_t>(json, "i", "f"), -3);
  EXPECT_EQ(json_get<int64_t>(json, "whole", "f"), 2000);
  EXPECT_EQ(json_get<double>(json, "i", "f"), -3.0);
  EXPECT_EQ(json_get<double>(json, "x", "f"), 0.25);
  EXPECT_EQ(json_get<std::string>(json, "s", "f"), "t");
  EXPECT_THROW(json_get<bool>(json, "i", "f"), Error);
  EXPECT_THROW(json_get<int64_t>(json, "b", "f"), Error);
  EXPECT_THROW(json_get<int64_t>(json, "huge", "f"), Error);  // would wrap to -1
  EXPECT_THROW(json_get<double>(json, "s", "f"), Error);
  EXPECT_THROW(json_get<std::string>(json, "null", "f"), Error);
  EXPECT_THROW(json_get<bool>(parse_json("[1]", "f"), "b", "f"), Error);
}

TEST(JsonGetTest, FallsBackOnlyWhereNothingStands) {
  const Json json = parse_json(R"({"null": null, "s": "t"})", "f");
  EXPECT_EQ(json_get_or<double>(json, "missing", 1.5, "f"), 1.5);
  EXPECT_EQ(json_get_or<double>(json, "null", 1.5, "f"), 1.5);
  EXPECT_THROW(json_get_or<double>(json, "s", 1.5, "f"), Error);
}

TEST(JsonGetTest, ErrorsNameObjectAndKey) {
  try {
    json_get<int64_t>(parse_json(R"({"hidden_size": "big"})", "config.json"), "hidden_size", "config.json");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("config.json: hidden_size"));
    EXPECT_THAT(error.what(), HasSubstr("\"big\""));
    EXPECT_THAT(error.what(), HasSubstr("an integer"));
  }
}

TEST(JsonShownTest, IsOneShortLine) {
  EXPECT_EQ(json_shown(Json::parse(R"({"b": [1, 2.5, null], "a": "x\ny"})")),
            R"({"a":"x\ny","b":[1,2.5,null]})");
  EXPECT_LT(json_shown(Json(std::string(10'000, 'x'))).size(), 100u);
  EXPECT_EQ(json_shown(Json("\xff")).find('\xff'), std::string::npos);
}

}  // namespace
}  // namespace aleph
