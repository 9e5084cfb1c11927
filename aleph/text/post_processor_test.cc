#include "aleph/text/post_processor.h"

#include "aleph/text/testing.h"

namespace aleph::text {
namespace {

Ids applied(const char* json, const Ids& ids) {
  return PostProcessor(Json::parse(json), "x: post_processor").apply(ids);
}

std::string refusal(const std::string& json) {
  return fault_of([&] { PostProcessor(Json::parse(json), "x: post_processor"); });
}

constexpr const char* kTemplate = R"({"type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
               {"SpecialToken": {"id": "</s>", "type_id": 0}}],
    "special_tokens": {"<s>": {"ids": [1]}, "</s>": {"ids": [2, 3]}}})";

TEST(PostProcessorTest, NoneChangesNothing) {
  EXPECT_EQ(PostProcessor().apply({7, 8}), (Ids{7, 8}));
  EXPECT_EQ(applied("null", {7}), Ids{7});
  EXPECT_EQ(applied(R"({"type": "ByteLevel", "trim_offsets": false})", {7}), Ids{7});
  EXPECT_EQ(applied(R"({"type": "Sequence", "processors": []})", {7}), Ids{7});
}

TEST(PostProcessorTest, TemplateSurroundsTheText) {
  EXPECT_EQ(applied(kTemplate, {7, 8}), (Ids{1, 7, 8, 2, 3}));
  EXPECT_EQ(applied(kTemplate, {}), (Ids{1, 2, 3}));
}

TEST(PostProcessorTest, TemplateMayRepeatOrLeaveOutTheText) {
  EXPECT_EQ(
      applied(
          R"({"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A"}}, {"Sequence": {"id": "A"}}]})",
          {7, 8}),
      (Ids{7, 8, 7, 8}));
  EXPECT_EQ(applied(R"({"type": "TemplateProcessing", "single": []})", {7, 8}), Ids{});
}

TEST(PostProcessorTest, RobertaAndBertSurroundTheText) {
  for (const char* type : {"RobertaProcessing", "BertProcessing"})
    EXPECT_EQ(
        applied(fmt::format(R"({{"type": "{}", "sep": ["</s>", 2], "cls": ["<s>", 0]}})", type).c_str(), {7}),
        (Ids{0, 7, 2}));
}

TEST(PostProcessorTest, SequenceMayHaveOneThatAddsTokens) {
  const std::string one =
      std::string(R"({"type": "Sequence", "processors": [{"type": "ByteLevel"}, )") + kTemplate;
  EXPECT_EQ(applied((one + "]}").c_str(), {7}), (Ids{1, 7, 2, 3}));
  EXPECT_EQ(refusal(one + ", " + kTemplate + "]}"),
            "x: post_processor: found two processors that add tokens, expected one");
}

TEST(PostProcessorTest, PrefixPutsAnIdBefore) {
  EXPECT_EQ(PostProcessor::prefix(5).apply({7, 8}), (Ids{5, 7, 8}));
}

TEST(PostProcessorTest, RefusesBrokenTemplates) {
  EXPECT_EQ(refusal(R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}]})"),
            "x: post_processor: found a template with '<s>', which 'special_tokens' does not have, expected "
            "all its "
            "tokens in 'special_tokens'");
  EXPECT_EQ(refusal(R"({"type": "TemplateProcessing", "single": [{"Sequence": {"id": "B"}}]})"),
            "x: post_processor: found a template for one text with a second one, expected sequence A only");
  EXPECT_EQ(refusal(R"({"type": "TemplateProcessing", "single": ["$A"]})"),
            "x: post_processor: found part \"$A\" of a template, expected SpecialToken or Sequence");
}

TEST(PostProcessorTest, RefusesIdsThatAreNone) {
  for (const char* id : {"-1", "1.5", "\"1\"", "null", "2147483648", "18446744073709551615", "[1]"}) {
    const std::string pair =
        fmt::format(R"({{"type": "BertProcessing", "sep": ["</s>", {}], "cls": ["<s>", 0]}})", id);
    EXPECT_NE(refusal(pair).find("a token id that is"), std::string::npos) << id;
    const std::string part =
        fmt::format(R"({{"type": "TemplateProcessing", "single": [{{"SpecialToken": {{"id": "x"}}}}],
                                              "special_tokens": {{"x": {{"ids": [{}]}}}}}})",
                    id);
    EXPECT_NE(refusal(part).find("a token id that is"), std::string::npos) << id;
  }
}

TEST(PostProcessorTest, RefusesWhatItDoesNotKnow) {
  EXPECT_NE(refusal(R"({"type": "Other"})").find("found type 'Other', which is not supported"),
            std::string::npos);
  for (const char* text :
       {"[]", "1", "{}", R"({"type": "TemplateProcessing"})", R"({"type": "BertProcessing"})",
        R"({"type": "BertProcessing", "sep": ["a"], "cls": ["b", 1]})", R"({"type": "Sequence"})",
        R"({"type": "Sequence", "processors": [1]})"})
    EXPECT_EQ(refusal(text).find("x: post_processor"), 0u) << text;
}

}  // namespace
}  // namespace aleph::text
