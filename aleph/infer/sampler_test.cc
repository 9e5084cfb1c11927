#include "aleph/infer/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
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

/// Hugging Face's processors one after another, in double: the probability of every token.
std::vector<double> distribution(const SamplerOptions& options, std::vector<float> logits,
                                 const std::set<int32_t>& seen) {
  const auto penalty = static_cast<float>(options.repetition_penalty);
  for (const int32_t id : seen) {
    float& logit = logits[static_cast<size_t>(id)];
    logit = logit < 0 ? logit * penalty : logit / penalty;
  }
  std::vector<float> sorted = logits;
  std::sort(sorted.rbegin(), sorted.rend());
  const size_t k =
      options.top_k == 0 ? sorted.size() : std::min(sorted.size(), static_cast<size_t>(options.top_k));
  std::vector<double> p(logits.size(), 0.0);
  for (size_t i = 0; i < p.size(); ++i) {
    if (logits[i] >= sorted[k - 1])
      p[i] =
          std::exp((static_cast<double>(logits[i]) - static_cast<double>(sorted[0])) / options.temperature);
  }
  const auto normalize = [&] {
    const double total = std::accumulate(p.begin(), p.end(), 0.0);
    for (double& x : p) x /= total;
  };
  normalize();
  std::vector<size_t> order(p.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return logits[a] > logits[b]; });
  const double best = p[order[0]];
  double before = 0;
  for (const size_t i : order) {
    const double own = p[i];
    if (before >= options.top_p || own < options.min_p * best) p[i] = 0;
    before += own;
  }
  normalize();
  return p;
}

TEST(SamplerTest, RandomOptionsDrawFromTheDistributionOfTheDefinition) {
  const RandomStream random({.seed = 77});
  constexpr int kDraws = 6000;
  for (uint64_t trial = 0; trial < 40; ++trial) {
    const auto uniform = [&](uint64_t i) { return static_cast<double>(random.uniform(1000 * trial + i)); };
    const auto n = static_cast<size_t>(2 + 30 * uniform(0));
    std::vector<float> logits;
    for (size_t i = 0; i < n; ++i) logits.push_back(2 * random.normal(1000 * trial + 100 + i));
    if (trial % 3 == 0) logits[n / 2] = logits[0];
    SamplerOptions options{.temperature = 0.3 + 1.5 * uniform(1), .seed = trial};
    if (uniform(2) < 0.5) options.top_k = 1 + static_cast<int64_t>(10 * uniform(3));
    if (uniform(4) < 0.5) options.top_p = 0.05 + 0.9 * uniform(5);
    if (uniform(6) < 0.5) options.min_p = 0.3 * uniform(7);
    if (uniform(8) < 0.5) options.repetition_penalty = 0.5 + uniform(9);
    const std::vector<double> expected = distribution(options, logits, {0, 1});
    std::vector<int> counts(n, 0);
    for (int draw = 0; draw < kDraws; ++draw) {
      options.stream = static_cast<uint32_t>(draw);
      Sampler sampler(options, static_cast<int64_t>(n));
      sampler.observe(0);
      sampler.observe(1);
      std::vector<float> copy = logits;
      ++counts[static_cast<size_t>(sampler.next(copy))];
    }
    for (size_t i = 0; i < n; ++i) {
      const double sigma = std::sqrt(expected[i] * (1 - expected[i]) / kDraws);
      ASSERT_NEAR(static_cast<double>(counts[i]) / kDraws, expected[i], 5.5 * sigma)
          << "trial " << trial << " id " << i;
      if (expected[i] == 0) {
        ASSERT_EQ(counts[i], 0) << "trial " << trial << " id " << i;
      }
    }
  }
}

TEST(SamplerTest, ANanAnywhereIsRefusedAndMinusInfinityNeverChosen) {
  for (const double temperature : {0.0, 0.8}) {
    for (const size_t at : {size_t{0}, size_t{1}, size_t{20}, size_t{39}}) {
      std::vector<float> logits(40, 1.0f);
      logits[at] = std::numeric_limits<float>::quiet_NaN();
      EXPECT_THROW(Sampler({.temperature = temperature}, 40).next(logits), Error) << at;
      logits.assign(40, -std::numeric_limits<float>::infinity());
      EXPECT_THROW(Sampler({.temperature = temperature}, 40).next(logits), Error);
      logits[at] = 0;
      EXPECT_EQ(Sampler({.temperature = temperature}, 40).next(logits), static_cast<int32_t>(at));
      logits[at] = std::numeric_limits<float>::infinity();
      EXPECT_THROW(Sampler({.temperature = temperature}, 40).next(logits), Error);
    }
  }
}

TEST(SamplerTest, OneTokenIsAllThereIs) {
  for (const SamplerOptions& options :
       {SamplerOptions{}, SamplerOptions{.temperature = 2, .top_k = 5, .top_p = 0.01, .min_p = 1}}) {
    std::vector<float> logits = {-3};
    EXPECT_EQ(Sampler(options, 1).next(logits), 0);
  }
  std::vector<float> logits = {1, 2};
  EXPECT_THROW(Sampler({}, 3).next(logits), InternalError);
}

}  // namespace
}  // namespace aleph::infer
