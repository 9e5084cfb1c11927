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

std::string list_of(size_t count, const std::string& value) {
  std::string text = "[" + value;
  for (size_t i = 1; i < count; ++i) text += "," + value;
  return text + "]";
}

TEST(ParseJsonTest, ManyValuesNeedTheirBytes) {
  // 2048 values may take up 64 KiB, however few bytes they are.
  EXPECT_EQ(message_of(list_of(2047, "0")), "");
  EXPECT_THAT(message_of(list_of(2048, "0")), HasSubstr("at least 2049 values in 4097 bytes"));
  for (const char* small : {"0", "[]", "{}", "\"\"", "10"})
    EXPECT_THAT(message_of(list_of(5000, small)), HasSubstr("doc: found at least")) << small;
  EXPECT_THAT(message_of("{\"a\": " + list_of(5000, "[0]") + "}"), HasSubstr("at least"));
  // Commas in strings are no values.
  EXPECT_EQ(message_of("\"" + list_of(100'000, "0") + "\""), "");
}

TEST(ParseJsonTest, RealListsAreNeverTooMany) {
  // Token ids, merges, vocabularies and indices in the most compact form.
  EXPECT_EQ(message_of(list_of(100'000, "123")), "");
  EXPECT_EQ(message_of(list_of(100'000, "\"a b\"")), "");
  EXPECT_EQ(message_of(list_of(100'000, R"(["a","b"])")), "");
  std::string vocabulary = "{\"x\":0", index = "{\"x\":\"b\"";
  for (int id = 0; id < 100'000; ++id) {
    vocabulary += fmt::format(",\"{:x}\":{}", id, id);
    index += fmt::format(",\"{:x}\":\"b\"", id);
  }
  EXPECT_EQ(message_of(vocabulary + "}"), "");
  EXPECT_EQ(message_of(index + "}"), "");
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

TEST(JsonGetTest, OptionalIsNothingOnlyWhereNothingStands) {
  const Json json = parse_json(R"({"null": null, "s": "t", "i": 4})", "f");
  EXPECT_EQ(json_optional<double>(json, "missing", "f"), std::nullopt);
  EXPECT_EQ(json_optional<double>(json, "null", "f"), std::nullopt);
  EXPECT_EQ(json_optional<int64_t>(json, "i", "f"), 4);
  EXPECT_THROW(json_optional<double>(json, "s", "f"), Error);
  EXPECT_EQ(json_optional<double>(Json::array(), "s", "f"), std::nullopt);
}

TEST(JsonGetTest, ObjectsAreEmptyOnlyWhereNothingStands) {
  const Json json = parse_json(R"({"null": null, "s": "t", "o": {"a": 1}, "list": []})", "f");
  EXPECT_EQ(json_object(json, "o", "f"), Json({{"a", 1}}));
  for (const char* key : {"missing", "null"}) EXPECT_EQ(json_object(json, key, "f"), Json::object());
  EXPECT_EQ(json_object("no object", "o", "f"), Json::object());
  for (const char* key : {"s", "list"}) EXPECT_THROW(json_object(json, key, "f"), Error);
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
