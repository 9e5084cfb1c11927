#include "aleph/infer/generate.h"

#include <gtest/gtest.h>

#include <fstream>

#include "aleph/base/error.h"
#include "aleph/infer/golden_testing.h"

namespace aleph::infer {
namespace {

class GoldenGenerateTest : public testing::TestWithParam<const char*> {};

TEST_P(GoldenGenerateTest, GreedyTokensAreThoseOfTransformers) {
  const Golden golden(GetParam());
  const Json greedy = golden.expected().at("greedy");
  const auto prompt = greedy.at("prompt").get<std::vector<int32_t>>();
  const auto tokens = greedy.at("tokens").get<std::vector<int32_t>>();
  for (const WeightHome home : {WeightHome::kDevice, WeightHome::kHost, WeightHome::kNvme}) {
    DeviceContext device({});
    Model model(device, golden.spec, &golden.weights, {.home = home, .capacity = 40});
    EXPECT_EQ(generate(model, prompt, {.max_tokens = 24}).tokens, tokens) << weight_home_flag(home);
  }
}

INSTANTIATE_TEST_SUITE_P(Goldens, GoldenGenerateTest, testing::ValuesIn(kGoldenNames));

/// "position token log-probability" a line.
std::vector<int32_t> reference_path(const std::filesystem::path& path) {
  std::ifstream in(path);
  std::vector<int32_t> tokens;
  int64_t position = 0;
  int32_t token = 0;
  double log_probability = 0;
  while (in >> position >> token >> log_probability) tokens.push_back(token);
  return tokens;
}

TEST(GenerateTest, StoriesFollowTheReferencePath) {
  const Golden golden("stories260K-hf");
  const std::vector<int32_t> expected = reference_path(golden.directory / "reference_greedy_tokens.txt");
  ASSERT_EQ(expected.size(), 256u);
  DeviceContext device({});
  Model model(device, golden.spec, &golden.weights, {.capacity = 256});
  const std::vector<int32_t> begin = {1};
  EXPECT_EQ(generate(model, begin, {.max_tokens = 256}).tokens, expected);

  std::vector<float> logits(8 * 512);
  std::ifstream in(golden.directory / "reference_logits_first8_f32.bin", std::ios::binary);
  in.read(reinterpret_cast<char*>(logits.data()),
          static_cast<std::streamsize>(logits.size() * sizeof(float)));
  std::vector<int32_t> path = {1};
  path.insert(path.end(), expected.begin(), expected.begin() + 7);
  const Tensor found = model.forward_logits(path);
  for (size_t i = 0; i < logits.size(); ++i) ASSERT_NEAR(found.view().span<float>()[i], logits[i], 1e-4) << i;
}

struct Fixture {
  Golden golden{"llama"};
  DeviceContext device{{}};
  Model model{device, golden.spec, &golden.weights, {.capacity = 64}};
  std::vector<int32_t> prompt = {5, 6, 7};
};

TEST(GenerateTest, EndTokensEndAndAreIncluded) {
  Fixture f;
  const std::vector<int32_t> free = generate(f.model, f.prompt, {.max_tokens = 10}).tokens;
  const GenerateResult ended = generate(f.model, f.prompt, {.max_tokens = 10, .eos_ids = {999, free[3]}});
  const auto first = std::find(free.begin(), free.end(), free[3]);
  EXPECT_EQ(ended.tokens, std::vector<int32_t>(free.begin(), first + 1));
  EXPECT_EQ(ended.finish, FinishReason::kEndToken);
}

TEST(GenerateTest, TheCallbackSeesEveryTokenAndMayStop) {
  Fixture f;
  std::vector<int32_t> seen;
  const GenerateResult result = generate(f.model, f.prompt, {.max_tokens = 10}, [&](int32_t id) {
    seen.push_back(id);
    return seen.size() < 4;
  });
  EXPECT_EQ(seen.size(), 4u);
  EXPECT_EQ(result.tokens, seen);
  EXPECT_EQ(result.finish, FinishReason::kStopped);
  EXPECT_EQ(result.prompt_tokens, 3);
  EXPECT_GT(result.tokens_per_second(), 0);
  EXPECT_GE(result.total_seconds, result.first_token_seconds);
}

TEST(GenerateTest, StopsAtTheEndOfTheContext) {
  Fixture f;
  const GenerateResult result = generate(f.model, f.prompt, {.max_tokens = 1000});
  EXPECT_EQ(result.finish, FinishReason::kContext);
  EXPECT_EQ(result.tokens.size(), 64u - 3 + 1);  // the last one needs no position
  const std::vector<int32_t> full(64, 3);
  EXPECT_EQ(generate(f.model, full, {.max_tokens = 5}).tokens.size(), 1u);
}

TEST(GenerateTest, PromptsThatDoNotFitAreRefusedWithBothNumbers) {
  Fixture f;
  const std::vector<int32_t> prompt(65, 3);
  try {
    generate(f.model, prompt, {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("65"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("64"), std::string::npos);
  }
  EXPECT_THROW(generate(f.model, std::span<const int32_t>(), {}), Error);
  EXPECT_TRUE(generate(f.model, f.prompt, {.max_tokens = 0}).tokens.empty());
}

TEST(GenerateTest, SamplingRepeatsWithItsSeed) {
  Fixture f;
  const auto run = [&](uint64_t seed) {
    return generate(f.model, f.prompt, {.sampling = {.temperature = 1.5, .seed = seed}, .max_tokens = 20})
        .tokens;
  };
  EXPECT_EQ(run(1), run(1));
  EXPECT_NE(run(1), run(2));
}

TEST(GenerateTest, CapacityIsWhatWillBeFed) {
  const models::TransformerSpec spec{.max_positions = 64};
  EXPECT_EQ(sequence_capacity(10, 5, spec), 14);
  EXPECT_EQ(sequence_capacity(10, 500, spec), 64);
  EXPECT_EQ(sequence_capacity(10, 0, spec), 10);
  EXPECT_EQ(sequence_capacity(10, std::numeric_limits<int64_t>::max(), spec), 64);
}

}  // namespace
}  // namespace aleph::infer
