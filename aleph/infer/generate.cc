#include "aleph/infer/generate.h"

#include <algorithm>

#include "aleph/base/clock.h"
#include "aleph/base/error.h"

namespace aleph::infer {

double GenerateResult::tokens_per_second() const {
  const auto count = static_cast<double>(tokens.size());
  const double seconds = tokens.size() > 1 ? total_seconds - first_token_seconds : total_seconds;
  return seconds > 0 ? (tokens.size() > 1 ? count - 1 : count) / seconds : 0;
}

void check_context(int64_t prompt_tokens, const models::TransformerSpec& spec) {
  if (prompt_tokens > spec.max_positions)
    throw Error("prompt", fmt::format("{} tokens", prompt_tokens),
                fmt::format("at most {}, the context of the model", spec.max_positions));
}

int64_t sequence_capacity(int64_t prompt_tokens, int64_t max_tokens, const models::TransformerSpec& spec) {
  // The last token is chosen but never fed.
  const int64_t wanted = std::max<int64_t>(1, std::min(max_tokens, spec.max_positions)) - 1;
  return std::min(spec.max_positions, prompt_tokens + wanted);
}

GenerateResult generate(Model& model, std::span<const int32_t> prompt, const GenerateOptions& options,
                        const TokenCallback& on_token) {
  const Stopwatch watch;
  GenerateResult result;
  result.prompt_tokens = static_cast<int64_t>(prompt.size());
  if (prompt.empty()) throw Error("prompt", "no tokens", "at least one");
  check_context(result.prompt_tokens, model.spec());
  model.truncate(0);
  Sampler sampler(options.sampling, model.spec().head.vocab_size);
  const auto ends = [&](int32_t id) {
    return std::find(options.eos_ids.begin(), options.eos_ids.end(), id) != options.eos_ids.end();
  };
  if (options.max_tokens <= 0) return result;
  Tensor logits = model.forward(prompt);
  for (const int32_t id : prompt) sampler.observe(id);
  while (true) {
    const int32_t id = sampler.next(logits.view().span<float>());
    result.tokens.push_back(id);
    result.total_seconds = watch.seconds();
    if (result.tokens.size() == 1) result.first_token_seconds = result.total_seconds;
    result.finish = FinishReason::kStopped;
    if (on_token && !on_token(id)) return result;
    result.finish = FinishReason::kEndToken;
    if (ends(id)) return result;
    result.finish = FinishReason::kMaxTokens;
    if (static_cast<int64_t>(result.tokens.size()) >= options.max_tokens) return result;
    result.finish = FinishReason::kContext;
    if (model.length() >= model.spec().max_positions) return result;
    logits = Tensor();
    logits = model.forward(std::span(&id, 1));
  }
}

}  // namespace aleph::infer
