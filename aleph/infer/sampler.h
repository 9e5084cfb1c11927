// From logits to a token, with the meaning and order of Hugging Face's generation: repetition penalty,
// temperature, top-k, top-p, min-p, draw.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "aleph/base/random.h"

namespace aleph::infer {

struct SamplerOptions {
  double temperature = 0;  ///< 0: the token with the largest logit
  int64_t top_k = 0;       ///< only the k most probable, ties with the last included; 0: off
  double top_p = 1;        ///< the most probable until their sum reaches p; 1: off
  double min_p = 0;        ///< only what is at least this part of the most probable; 0: off
  /// Logits of tokens seen before are divided by it where positive, multiplied where negative; 1: off
  double repetition_penalty = 1;
  uint64_t seed = 0;
  uint32_t stream = 0;  ///< which sequence of a run
  bool operator==(const SamplerOptions&) const = default;
};

/// Throws Error naming `object` for values outside their range.
void check_sampling(const SamplerOptions& options, const std::string& object);

/// Chooses the tokens of one sequence. The draw of token n depends on seed, stream and n alone.
class Sampler {
 public:
  Sampler(const SamplerOptions& options, int64_t vocab_size);

  /// Counts a token of the prompt as seen.
  void observe(int32_t id);
  /// Chooses the next token and counts it as seen. Changes `logits` [vocabulary]. Throws Error where they are
  /// not finite.
  int32_t next(std::span<float> logits);

 private:
  struct Candidate {
    float logit;
    int32_t id;
  };
  void penalize(std::span<float> logits) const;
  std::vector<Candidate> candidates(std::span<const float> logits) const;
  double uniform();

  SamplerOptions options_;
  RandomStream random_;
  std::vector<bool> seen_;
  uint64_t drawn_ = 0;
};

}  // namespace aleph::infer
