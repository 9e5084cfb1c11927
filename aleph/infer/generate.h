// One token after another.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "aleph/infer/model.h"
#include "aleph/infer/sampler.h"

namespace aleph::infer {

enum class FinishReason : uint8_t {
  kEndToken,   ///< an end token was chosen; it is the last of the tokens
  kMaxTokens,  ///< as many as asked for
  kContext,    ///< the model has no positions left
  kStopped,    ///< the callback said so
};

struct GenerateOptions {
  SamplerOptions sampling;
  int64_t max_tokens = 128;
  std::vector<int64_t> eos_ids;
};

struct GenerateResult {
  std::vector<int32_t> tokens;  ///< without the prompt
  FinishReason finish = FinishReason::kMaxTokens;
  int64_t prompt_tokens = 0;
  double first_token_seconds = 0;  ///< from the call to the first token
  double total_seconds = 0;

  /// Of all tokens after the first, or of all where there is one only.
  double tokens_per_second() const;
};

/// Called with each token as it is chosen; false stops after it.
using TokenCallback = std::function<bool(int32_t)>;

/// Starts a new sequence with `prompt` (at least one token). Throws Error for a prompt that does not fit the
/// model's context or the model's capacity.
GenerateResult generate(Model& model, std::span<const int32_t> prompt, const GenerateOptions& options,
                        const TokenCallback& on_token = {});

/// Throws Error naming both numbers where the prompt is longer than the context.
void check_context(int64_t prompt_tokens, const models::TransformerSpec& spec);
/// Tokens a sequence can grow to: prompt and new tokens, cut at the context.
int64_t sequence_capacity(int64_t prompt_tokens, int64_t max_tokens, const models::TransformerSpec& spec);

}  // namespace aleph::infer
