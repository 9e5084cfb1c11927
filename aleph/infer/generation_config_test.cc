#include "aleph/infer/generation_config.h"

#include <gtest/gtest.h>

#include "aleph/base/error.h"
#include "aleph/base/json.h"

namespace aleph::infer {
namespace {

GenerationDefaults read(const char* text) { return read_generation_config(parse_json(text, "g"), "g"); }

TEST(GenerationConfigTest, EndTokensAreOneOrMany) {
  EXPECT_EQ(read(R"({"eos_token_id": 2})").eos_ids, (std::vector<int64_t>{2}));
  EXPECT_EQ(read(R"({"eos_token_id": [2, 7]})").eos_ids, (std::vector<int64_t>{2, 7}));
  EXPECT_EQ(read(R"({"eos_token_id": null})").eos_ids, std::nullopt);
  EXPECT_EQ(read(R"({"bos_token_id": 1})").bos_id, 1);
  EXPECT_THROW(read(R"({"eos_token_id": "x"})"), Error);
  EXPECT_THROW(read("[]"), Error);
}

TEST(GenerationConfigTest, GreedyUnlessTheModelOrTheUserSamples) {
  EXPECT_EQ(resolve_sampling({}, {}), SamplerOptions{});
  EXPECT_EQ(resolve_sampling({}, read(R"({"temperature": 0.6, "top_p": 0.9})")), SamplerOptions{});
  EXPECT_EQ(resolve_sampling({}, read(R"({"do_sample": true, "temperature": 0.6, "top_p": 0.9})")),
            (SamplerOptions{.temperature = 0.6, .top_k = 50, .top_p = 0.9}));
  EXPECT_EQ(resolve_sampling({.temperature = 0.3, .seed = 4}, {}),
            (SamplerOptions{.temperature = 0.3, .seed = 4}));
}

TEST(GenerationConfigTest, FlagsWin) {
  const GenerationDefaults model = read(
      R"({"do_sample": true, "temperature": 0.6, "top_k": 20, "min_p": 0.1, "repetition_penalty": 1.2})");
  EXPECT_EQ(resolve_sampling({.temperature = 0, .repetition_penalty = 1, .top_k = 0}, model),
            (SamplerOptions{.min_p = 0.1}));
  EXPECT_EQ(resolve_sampling({.top_p = 0.5, .min_p = 0}, model),
            (SamplerOptions{.temperature = 0.6, .top_k = 20, .top_p = 0.5, .repetition_penalty = 1.2}));
}

TEST(GenerationConfigTest, ValuesOutsideTheirRangeNameTheFile) {
  EXPECT_THROW(read(R"({"do_sample": true, "temperature": -1})"), Error);
  EXPECT_THROW(read(R"({"do_sample": true, "top_p": 2})"), Error);
  EXPECT_THROW(read(R"({"do_sample": 1})"), Error);
  EXPECT_THROW(read(R"({"top_k": 1.5})"), Error);
}

TEST(GenerationConfigTest, AbsentFilesSetNothing) {
  const GenerationDefaults defaults = load_generation_config(std::string(ALEPH_TEST_DATA) + "/goldens");
  EXPECT_FALSE(defaults.eos_ids || defaults.do_sample || defaults.temperature);
  EXPECT_EQ(load_generation_config(std::string(ALEPH_TEST_DATA) + "/goldens/llama").eos_ids,
            (std::vector<int64_t>{2}));
}

}  // namespace
}  // namespace aleph::infer
