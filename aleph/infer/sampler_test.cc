#include "aleph/infer/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "aleph/base/error.h"

namespace aleph::infer {
namespace {

/// How often each token comes up in `draws` independent draws of the same logits.
std::map<int32_t, int> frequencies(const SamplerOptions& options, const std::vector<float>& logits,
                                   int draws) {
  Sampler sampler(options, static_cast<int64_t>(logits.size()));
  std::map<int32_t, int> counts;
  for (int i = 0; i < draws; ++i) {
    std::vector<float> copy = logits;
    ++counts[sampler.next(copy)];
  }
  return counts;
}

std::set<int32_t> support(const SamplerOptions& options, const std::vector<float>& logits) {
  std::set<int32_t> ids;
  for (const auto& [id, count] : frequencies(options, logits, 4000)) ids.insert(id);
  return ids;
}

TEST(SamplerTest, GreedyTakesTheFirstLargest) {
  std::vector<float> logits = {0, 3, -1, 3};
  EXPECT_EQ(Sampler({}, 4).next(logits), 1);
}

TEST(SamplerTest, DrawsFollowTheSoftmax) {
  const std::vector<float> logits = {0.5f, 2, -1, 1};
  const double temperature = 0.7;
  const int draws = 40000;
  const auto counts = frequencies({.temperature = temperature, .seed = 3}, logits, draws);
  double total = 0;
  for (const float logit : logits) total += std::exp(logit / temperature);
  for (size_t i = 0; i < logits.size(); ++i) {
    const double p = std::exp(logits[i] / temperature) / total;
    const double sigma = std::sqrt(p * (1 - p) / draws);
    EXPECT_NEAR(counts.at(static_cast<int32_t>(i)) / static_cast<double>(draws), p, 5 * sigma) << i;
  }
}

TEST(SamplerTest, TopKKeepsTies) {
  EXPECT_EQ(support({.temperature = 1, .top_k = 2}, {1, 2, 1, 0, 1}), (std::set<int32_t>{0, 1, 2, 4}));
  EXPECT_EQ(support({.temperature = 1, .top_k = 1}, {1, 2, 1}), (std::set<int32_t>{1}));
  EXPECT_EQ(support({.temperature = 1, .top_k = 99}, {1, 2, 1}).size(), 3u);
}

TEST(SamplerTest, TopPKeepsTheSmallestSetThatReachesP) {
  const std::vector<float> logits = {std::log(0.5f), std::log(0.3f), std::log(0.15f), std::log(0.05f)};
  EXPECT_EQ(support({.temperature = 1, .top_p = 0.4}, logits), (std::set<int32_t>{0}));
  EXPECT_EQ(support({.temperature = 1, .top_p = 0.6}, logits), (std::set<int32_t>{0, 1}));
  EXPECT_EQ(support({.temperature = 1, .top_p = 0.9}, logits), (std::set<int32_t>{0, 1, 2}));
  // After top-k the sum starts again from what is left: 0.5 / 0.8 is above 0.6.
  EXPECT_EQ(support({.temperature = 1, .top_k = 2, .top_p = 0.6}, logits), (std::set<int32_t>{0}));
}

TEST(SamplerTest, MinPIsRelativeToTheBest) {
  const std::vector<float> logits = {std::log(0.5f), std::log(0.3f), std::log(0.15f), std::log(0.05f)};
  EXPECT_EQ(support({.temperature = 1, .min_p = 0.2}, logits), (std::set<int32_t>{0, 1, 2}));
  EXPECT_EQ(support({.temperature = 1, .min_p = 0.5}, logits), (std::set<int32_t>{0, 1}));
  EXPECT_EQ(support({.temperature = 1, .min_p = 1}, logits), (std::set<int32_t>{0}));
}

TEST(SamplerTest, SeenTokensArePenalized) {
  Sampler sampler({.repetition_penalty = 2}, 3);
  sampler.observe(0);
  std::vector<float> logits = {3, 2, -1};
  EXPECT_EQ(sampler.next(logits), 1);
  EXPECT_EQ(logits, (std::vector<float>{1.5f, 2, -1}));
  logits = {-1, 5, -1.5f};  // 0 and 1 have been seen by now
  EXPECT_EQ(sampler.next(logits), 1);
  EXPECT_EQ(logits, (std::vector<float>{-2, 2.5f, -1.5f}));
}

TEST(SamplerTest, SeedAndStreamDecideTheDraws) {
  const std::vector<float> logits(50, 0.0f);
  const auto sequence = [&](const SamplerOptions& options) {
    Sampler sampler(options, 50);
    std::vector<int32_t> ids;
    for (int i = 0; i < 20; ++i) {
      std::vector<float> copy = logits;
      ids.push_back(sampler.next(copy));
    }
    return ids;
  };
  const auto first = sequence({.temperature = 1, .seed = 5});
  EXPECT_EQ(first, sequence({.temperature = 1, .seed = 5}));
  EXPECT_NE(first, sequence({.temperature = 1, .seed = 6}));
  EXPECT_NE(first, sequence({.temperature = 1, .seed = 5, .stream = 1}));
}

TEST(SamplerTest, ValuesOutsideTheirRangeAreRefused) {
  const double infinity = std::numeric_limits<double>::infinity();
  for (const SamplerOptions& bad :
       {SamplerOptions{.temperature = -1}, SamplerOptions{.temperature = infinity},
        SamplerOptions{.top_k = -1}, SamplerOptions{.top_p = 0}, SamplerOptions{.top_p = 1.5},
        SamplerOptions{.min_p = -0.1}, SamplerOptions{.repetition_penalty = 0}})
    EXPECT_THROW(check_sampling(bad, "test"), Error);
  EXPECT_NO_THROW(check_sampling({}, "test"));
  std::vector<float> broken = {std::numeric_limits<float>::quiet_NaN()};
  EXPECT_THROW(Sampler({}, 1).next(broken), Error);
}

}  // namespace
}  // namespace aleph::infer
