#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <limits>

#include "aleph/base/error.h"
#include "aleph/base/interrupt.h"
#include "aleph/base/parallel.h"
#include "aleph/base/start_threads.h"
#include "aleph/base/system_memory.h"
#include "aleph/base/text_util.h"
#include "aleph/cli/commands.h"
#include "aleph/infer/generate.h"
#include "aleph/infer/generation_config.h"
#include "aleph/infer/placement.h"
#include "aleph/infer/stop_matcher.h"
#include "aleph/models/registry.h"
#include "aleph/text/tokenizer.h"

namespace aleph::cli {
namespace {

namespace fs = std::filesystem;

infer::SamplingRequest sampling_request(const GenerateOptions& options) {
  return {.temperature = options.temperature,
          .top_p = options.top_p,
          .min_p = options.min_p,
          .repetition_penalty = options.repetition_penalty,
          .top_k = options.top_k,
          .seed = options.seed};
}

std::optional<infer::WeightHome> requested_home(const std::optional<train::Offload>& offload) {
  if (!offload) return std::nullopt;
  if (*offload == train::Offload::kNone) return infer::WeightHome::kDevice;
  return *offload == train::Offload::kCpu ? infer::WeightHome::kHost : infer::WeightHome::kNvme;
}

/// Writes to standard output at once: what is generated is seen as it comes.
void print(const std::string& text) {
  if (text.empty()) return;
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    throw Error("standard output", std::strerror(errno), "that it takes the text");
}

/// Shows the tokens of one sequence, as text or as ids, and watches for stop strings.
class Output {
 public:
  Output(const text::Tokenizer& tokenizer, const GenerateOptions& options)
      : decoder_(tokenizer.incremental_decoder(true)), matcher_(options.stop), ids_(options.ids) {}

  /// Tokens whose text is not shown: what follows is spelled as it is behind them.
  void pass_over(std::span<const int32_t> prompt) {
    for (const int32_t id : prompt) decoder_.push(id);
  }
  /// False where a stop string is complete.
  bool show(int32_t id) {
    const std::string text = matcher_.push(decoder_.push(id));
    print(ids_ ? fmt::format("{}{}", first_ ? "" : " ", id) : text);
    first_ = false;
    return !matcher_.stopped();
  }
  /// Shows what was held back and ends the line.
  void finish() {
    std::string rest = matcher_.push(decoder_.finish());
    rest += matcher_.finish();
    print((ids_ ? "" : rest) + "\n");
  }

 private:
  text::IncrementalDecoder decoder_;
  infer::StopMatcher matcher_;
  bool ids_;
  bool first_ = true;
};

/// Everything about a run that is known before weights are loaded.
struct Job {
  models::TransformerSpec spec;
  infer::GenerateOptions generation;
  std::vector<std::vector<int32_t>> prompts;
  int64_t longest_prompt = 1;
  int64_t capacity = 1;
};

std::vector<int32_t> encode_prompt(const text::Tokenizer& tokenizer, const std::string& prompt,
                                   std::optional<int64_t> bos_id) {
  std::vector<int32_t> ids = tokenizer.encode(prompt);
  if (ids.empty() && bos_id) ids.push_back(static_cast<int32_t>(*bos_id));
  if (ids.empty()) throw Error("--prompt", "an empty text", "text: this model has no start token");
  return ids;
}

Job prepare(const GenerateOptions& options, const text::Tokenizer& tokenizer, models::TransformerSpec spec) {
  Job job{.spec = std::move(spec)};
  const infer::GenerationDefaults defaults = infer::load_generation_config(options.model);
  job.generation = {.sampling = infer::resolve_sampling(sampling_request(options), defaults),
                    .max_tokens = options.max_tokens,
                    .eos_ids = defaults.eos_ids.value_or(job.spec.eos_ids)};
  infer::check_sampling(job.generation.sampling, "sampling");
  for (const std::string& prompt : options.prompts) {
    job.prompts.push_back(
        encode_prompt(tokenizer, prompt, defaults.bos_id ? defaults.bos_id : job.spec.bos_id));
    const auto tokens = static_cast<int64_t>(job.prompts.back().size());
    infer::check_context(tokens, job.spec);
    job.longest_prompt = std::max(job.longest_prompt, tokens);
    job.capacity = std::max(job.capacity, infer::sequence_capacity(tokens, options.max_tokens, job.spec));
  }
  return job;
}

infer::Placement place(const GenerateOptions& options, const Job& job, DType dtype, Console& console) {
  const infer::Placement placement =
      infer::choose_placement({.spec = &job.spec,
                               .dtype = dtype,
                               .prompt_tokens = job.longest_prompt,
                               .capacity = job.capacity,
                               .home = requested_home(options.offload_param),
                               .device_budget_bytes = options.device_memory_bytes.value_or(0),
                               .system_bytes = usable_memory_bytes()});
  if (!options.offload_param && placement.home != infer::WeightHome::kDevice)
    console.note("the weights do not fit the device whole: running with --offload-param {}",
                 infer::weight_home_flag(placement.home));
  return placement;
}

void report(const infer::GenerateResult& result, const Job& job, Console& console) {
  if (result.finish == infer::FinishReason::kContext)
    console.note("stopped at the end of the model's context of {} tokens", job.spec.max_positions);
  console.note("prompt {} tokens, generated {} tokens, {:.1f} tokens/s, first token after {:.2f} s",
               result.prompt_tokens, result.tokens.size(), result.tokens_per_second(),
               result.first_token_seconds);
}

void report_memory(DeviceContext& device, const infer::Model& model, infer::WeightHome home,
                   Console& console) {
  console.note("peak memory: device {}, host {}", format_bytes(device.memory().ledger().peak()),
               format_bytes(device.host_memory().ledger().peak()));
  if (home != infer::WeightHome::kDevice)
    console.note("weights streamed from {}, {:.2f} s spent waiting for them",
                 home == infer::WeightHome::kHost ? "host memory" : "the model's files",
                 model.stall_seconds());
}

/// Says once what was given and changes nothing.
void note_ineffective_flags(const GenerateOptions& options, const Job& job, Console& console) {
  if (job.generation.sampling.temperature == 0 && (options.top_k || options.top_p || options.min_p))
    console.note("--top-k, --top-p and --min-p have no effect without --temperature");
  if (!options.nvme_paths.empty())
    console.note("--nvme-path has no effect: weights are streamed from the model's own files");
}

bool run_prompts(const GenerateOptions& options, const text::Tokenizer& tokenizer, Job& job,
                 infer::Model& model, Console& console) {
  const InterruptGuard guard;
  for (size_t i = 0; i < job.prompts.size() && !interrupted(); ++i) {
    job.generation.sampling.stream = static_cast<uint32_t>(i);
    Output output(tokenizer, options);
    output.pass_over(job.prompts[i]);
    const auto on_token = [&](int32_t id) { return output.show(id) && !interrupted(); };
    const infer::GenerateResult result = infer::generate(model, job.prompts[i], job.generation, on_token);
    output.finish();
    report(result, job, console);
  }
  return !interrupted();
}

}  // namespace

int generate_command(const GenerateOptions& options, Console& console) {
  if (options.threads) set_num_threads(static_cast<int>(*options.threads));
  start_threads();
  models::TransformerSpec spec = models::read_directory_spec(options.model);
  const text::Tokenizer tokenizer = text::Tokenizer::load(options.model);
  Job job = prepare(options, tokenizer, std::move(spec));
  note_ineffective_flags(options, job, console);
  const models::WeightSource weights = models::WeightSource::open(options.model, job.spec);
  for (const std::string& note : weights.notes()) console.line(note);
  const DType dtype = options.dtype.value_or(weights.stored_dtype());
  const infer::Placement placement = place(options, job, dtype, console);
  DeviceContext device({.device_budget_bytes = options.device_memory_bytes.value_or(0)});
  infer::Model model(device, job.spec, &weights,
                     {.dtype = dtype, .home = placement.home, .capacity = job.capacity});
  const bool complete = run_prompts(options, tokenizer, job, model, console);
  report_memory(device, model, placement.home, console);
  return complete ? kDone : kInterrupted;
}

}  // namespace aleph::cli
