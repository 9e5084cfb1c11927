#include "aleph/infer/sampler.h"

#include <algorithm>
#include <cmath>

#include "aleph/base/error.h"

namespace aleph::infer {
namespace {

int32_t largest(std::span<const float> logits) {
  const auto at = std::max_element(logits.begin(), logits.end());
  const bool any_nan = std::any_of(logits.begin(), logits.end(), [](float x) { return std::isnan(x); });
  if (any_nan || !std::isfinite(*at)) throw Error("logits", "values that are not finite", "finite numbers");
  return static_cast<int32_t>(at - logits.begin());
}

}  // namespace

void check_sampling(const SamplerOptions& options, const std::string& object) {
  const auto check = [&](const char* name, double value, bool good, const char* expected) {
    if (!good) throw Error(object + ": " + name, fmt::format("{}", value), expected);
  };
  const auto finite = [](double value) { return std::isfinite(value); };
  check("temperature", options.temperature, finite(options.temperature) && options.temperature >= 0,
        "a number from 0 on");
  check("top_k", static_cast<double>(options.top_k), options.top_k >= 0, "a whole number from 0 on");
  check("top_p", options.top_p, options.top_p > 0 && options.top_p <= 1, "a number above 0, at most 1");
  check("min_p", options.min_p, options.min_p >= 0 && options.min_p <= 1, "a number from 0 to 1");
  check("repetition_penalty", options.repetition_penalty,
        finite(options.repetition_penalty) && options.repetition_penalty > 0, "a number above 0");
}

Sampler::Sampler(const SamplerOptions& options, int64_t vocab_size)
    : options_(options),
      random_({.seed = options.seed, .purpose = RandomPurpose::kSampling, .stream = options.stream}),
      seen_(static_cast<size_t>(vocab_size)) {}

void Sampler::observe(int32_t id) { seen_.at(static_cast<size_t>(id)) = true; }

void Sampler::penalize(std::span<float> logits) const {
  if (options_.repetition_penalty == 1) return;
  const auto penalty = static_cast<float>(options_.repetition_penalty);
  for (size_t i = 0; i < logits.size(); ++i)
    if (seen_[i]) logits[i] = logits[i] < 0 ? logits[i] * penalty : logits[i] / penalty;
}

std::vector<Sampler::Candidate> Sampler::candidates(std::span<const float> logits) const {
  std::vector<Candidate> all;
  all.reserve(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) all.push_back({logits[i], static_cast<int32_t>(i)});
  // By logit, equal ones by id: the order, and with it the draw, is unique.
  const auto before = [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  };
  const auto k = static_cast<size_t>(options_.top_k);
  if (k > 0 && k < all.size()) {
    std::nth_element(all.begin(), all.begin() + static_cast<ptrdiff_t>(k - 1), all.end(), before);
    const float kth = all[k - 1].logit;
    std::erase_if(all, [&](const Candidate& candidate) { return candidate.logit < kth; });
  }
  std::sort(all.begin(), all.end(), before);
  return all;
}

double Sampler::uniform() {
  const auto words = random_.words(drawn_++);
  return static_cast<double>((uint64_t{words[0]} << 21) ^ (words[1] >> 11)) * 0x1p-53;
}

int32_t Sampler::next(std::span<float> logits) {
  ALEPH_CHECK(logits.size() == seen_.size());
  penalize(logits);
  const int32_t best = largest(logits);
  if (options_.temperature == 0) {
    observe(best);
    return best;
  }
  const std::vector<Candidate> sorted = candidates(logits);
  std::vector<double> weights;  // relative to the most probable
  double total = 0;
  for (const Candidate& candidate : sorted) {
    const double distance = static_cast<double>(candidate.logit) - static_cast<double>(sorted.front().logit);
    weights.push_back(std::exp(distance / options_.temperature));
    total += weights.back();
  }
  double kept = 0;
  size_t count = 0;
  while (count < weights.size() &&
         (count == 0 || (kept < options_.top_p * total && weights[count] >= options_.min_p)))
    kept += weights[count++];
  double draw = uniform() * kept;
  size_t chosen = 0;
  while (chosen + 1 < count && draw >= weights[chosen]) draw -= weights[chosen++];
  observe(sorted[chosen].id);
  return sorted[chosen].id;
}

}  // namespace aleph::infer
