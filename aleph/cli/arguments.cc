#include "aleph/cli/arguments.h"

#include <limits>

#include "aleph/base/error.h"
#include "aleph/base/text_util.h"
#include "aleph/io/file.h"
#include "aleph/train/deepspeed_config.h"

namespace aleph::cli {
namespace {

using Arity = Flag::Arity;
using Values = std::vector<std::string>;
constexpr int64_t kLargestPrompt = int64_t{64} << 20;
constexpr int64_t kMostThreads = 4096;

/// What --help shows of a default: nothing where there is none; lists and numbers as they are typed.
std::string shown_default(const std::string& json) {
  if (json == "null" || json == "\"\"" || json == "[]" || json == "false") return "";
  if (json.starts_with('"')) return json.substr(1, json.size() - 2);
  std::string shown = json;
  std::erase_if(shown, [](char c) { return c == '[' || c == ']' || c == ' '; });
  return shown.ends_with(".0") ? shown.substr(0, shown.size() - 2) : shown;
}

Flag train_flag(const train::ConfigField& field, train::TrainConfig& config) {
  const bool deepspeed = field.name == "deepspeed";
  const auto set = [&config, &field, deepspeed](const Values& values, const std::string& source) {
    if (deepspeed) train::read_deepspeed_file(values.at(0), config);
    train::set_config_field(config, field, values, source);
  };
  return {
      .name = kebab(field.name),
      .group = field.group,
      .value = field.value,
      .help = field.help,
      .fallback = field.fallback.empty() ? shown_default(field.get(train::TrainConfig{})) : field.fallback,
      .arity = field.arity,
      .commas = field.commas,
      .first = deepspeed,
      .set = set};
}

std::function<void(const Values&, const std::string&)> one(
    std::function<void(const std::string&, const std::string&)> set) {
  return
      [set = std::move(set)](const Values& values, const std::string& source) { set(values.at(0), source); };
}

train::Offload parse_offload(const std::string& text, const std::string& source) {
  for (const train::Offload offload : {train::Offload::kNone, train::Offload::kCpu, train::Offload::kNvme}) {
    if (text == train::offload_name(offload)) return offload;
  }
  throw UsageError(source, "'" + printable(text) + "'", "none, cpu or nvme");
}

Flag threads_flag(const std::string& group, std::optional<int64_t>& target) {
  return {.name = "threads",
          .group = group,
          .value = "N",
          .help = "not given: all cores",
          .set = one([&target](const auto& text, const auto& source) {
            target = parse_integer(text, source, 1, kMostThreads);
          })};
}

/// Numbers of (0, most], or [0, most] where `zero` is one of them.
Flag number_flag(const std::string& name, const std::string& help, std::optional<double>& target,
                 bool zero = true, double most = std::numeric_limits<double>::max()) {
  return {.name = name,
          .group = "Sampling",
          .value = "X",
          .help = help,
          .set = one([&target, zero, most](const auto& text, const auto& source) {
            const double value = parse_number(text, source, 0, most);
            if (value == 0 && !zero)
              throw UsageError(source, "'" + printable(text) + "'", "a number above 0");
            target = value;
          })};
}

std::string parse_text(const std::string& text, const std::string& source, const char* expected) {
  if (text.empty()) throw UsageError(source, "an empty text", expected);
  return text;
}

/// A budget; none of it is no budget.
int64_t parse_budget(const std::string& text, const std::string& source) {
  const int64_t bytes = parse_size(text, source);
  if (bytes == 0) throw UsageError(source, "'" + printable(text) + "'", "a size above 0");
  return bytes;
}

Flag switch_flag(const std::string& name, const std::string& group, const std::string& help, bool& target) {
  return {.name = name,
          .group = group,
          .value = "",
          .help = help,
          .arity = Arity::kSwitch,
          .set = [&target](const Values&, const std::string&) { target = true; }};
}

std::vector<Flag> input_flags(GenerateOptions& options) {
  const auto add_prompt = [&options](const Values& values, const std::string&) {
    options.prompts.insert(options.prompts.end(), values.begin(), values.end());
  };
  return {{.name = "model",
           .group = "Input",
           .value = "DIR",
           .help = "Hugging Face directory",
           .set = one([&options](const auto& text, const auto& source) {
             options.model = parse_text(text, source, "a directory");
           })},
          {.name = "prompt",
           .group = "Input",
           .value = "TEXT",
           .help = "text to continue; several are answered in turn",
           .arity = Arity::kMany,
           .set = add_prompt},
          {.name = "prompt-file",
           .group = "Input",
           .value = "FILE",
           .help = "one prompt: the whole file",
           .set = one([&options](const auto& text, const auto&) {
             options.prompts.push_back(io::read_file(text, kLargestPrompt));
           })},
          {.name = "max-tokens",
           .group = "Input",
           .value = "N",
           .help = "tokens to generate at most",
           .fallback = "128",
           .set = one([&options](const auto& text, const auto& source) {
             options.max_tokens = parse_integer(text, source, 0);
           })},
          {.name = "stop",
           .group = "Input",
           .value = "TEXT",
           .help = "end before this text",
           .arity = Arity::kMany,
           .set = [&options](const Values& values, const std::string& source) {
             for (const std::string& value : values)
               options.stop.push_back(parse_text(value, source, "text to stop at"));
           }}};
}

std::vector<Flag> sampling_flags(GenerateOptions& options) {
  return {number_flag("temperature", "0 is greedy; not given: as generation_config.json says, else greedy",
                      options.temperature),
          {.name = "top-k",
           .group = "Sampling",
           .value = "N",
           .help = "sample among the N likeliest tokens; 0: all",
           .set = one([&options](const auto& text, const auto& source) {
             options.top_k = parse_integer(text, source);
           })},
          number_flag("top-p", "sample among the likeliest tokens that hold this share; 1: all",
                      options.top_p, false, 1),
          number_flag("min-p", "drop tokens below this share of the likeliest one", options.min_p, true, 1),
          number_flag("repetition-penalty", "above 1: tokens seen before become less likely",
                      options.repetition_penalty, false),
          {.name = "seed",
           .group = "Sampling",
           .value = "N",
           .help = "of the random draws",
           .fallback = "0",
           .set = one([&options](const auto& text, const auto& source) {
             options.seed = static_cast<uint64_t>(parse_integer(text, source));
           })}};
}

Flag nvme_flag(std::vector<std::filesystem::path>& paths) {
  return {.name = "nvme-path",
          .group = "Placement",
          .value = "DIR[,DIR]",
          .help = "no effect: weights are read from the model's own files",
          .arity = Arity::kMany,
          .commas = true,
          .set = [&paths](const Values& values, const std::string&) {
            paths.assign(values.begin(), values.end());
          }};
}

std::vector<Flag> placement_flags(GenerateOptions& options) {
  return {{.name = "dtype",
           .group = "Placement",
           .value = "fp32|bf16|fp16",
           .help = "of weights and activations; not given: that of the model",
           .set = one([&options](const auto& text, const auto& source) {
             options.dtype = parse_float_dtype(text, source);
           })},
          {.name = "device-memory",
           .group = "Placement",
           .value = "SIZE",
           .help = "hard budget, such as 300M",
           .set = one([&options](const auto& text, const auto& source) {
             options.device_memory_bytes = parse_budget(text, source);
           })},
          {.name = "offload-param",
           .group = "Placement",
           .value = "none|cpu|nvme",
           .help = "where weights wait until their block runs",
           .set = one([&options](const auto& text, const auto& source) {
             options.offload_param = parse_offload(text, source);
           })},
          nvme_flag(options.nvme_paths)};
}

}  // namespace

CommandSyntax train_syntax(train::TrainConfig& config) {
  CommandSyntax syntax{
      .name = "aleph train",
      .summary = "Train or fine-tune a language model.",
      .flags = {},
      .positional = "",
      .examples = {"aleph train --model DIR --data book.txt --output-dir tuned --steps 200 --lr 1e-4",
                   "aleph train --init config.json --tokenizer DIR --data *.txt --output-dir new \\",
                   "    --offload-param nvme --offload-optimizer nvme --nvme-path /nvme \\",
                   "    --device-memory 2G --host-memory 4G"}};
  for (const train::ConfigField& field : train::config_fields())
    syntax.flags.push_back(train_flag(field, config));
  return syntax;
}

CommandSyntax generate_syntax(GenerateOptions& options) {
  CommandSyntax syntax{
      .name = "aleph generate",
      .summary = "Continue text with a model, streamed to standard output.",
      .flags = input_flags(options),
      .positional = "",
      .examples = {"aleph generate --model DIR --prompt 'Once upon a time' --temperature 0.8 --top-p 0.95"}};
  for (const auto& more : {sampling_flags(options), placement_flags(options)}) {
    syntax.flags.insert(syntax.flags.end(), more.begin(), more.end());
  }
  syntax.flags.push_back(
      switch_flag("ids", "Output", "print token ids, one line a sequence, instead of text", options.ids));
  syntax.flags.push_back(threads_flag("Output", options.threads));
  syntax.flags.push_back(switch_flag("quiet", "Output", "no notes on standard error", options.quiet));
  return syntax;
}

CommandSyntax verify_syntax(VerifyOptions& options) {
  return {.name = "aleph verify",
          .summary = "Compare models with their reference outputs, one line per check.",
          .flags = {{.name = "dtype",
                     .group = "Flags",
                     .value = "fp32|bf16|fp16",
                     .help = "to compute in",
                     .fallback = "fp32",
                     .set = one([&options](const auto& text, const auto& source) {
                       options.dtype = parse_float_dtype(text, source);
                     })},
                    {.name = "dump",
                     .group = "Flags",
                     .value = "FILE",
                     .help = "write what was computed, as safetensors",
                     .set = one([&options](const auto& text, const auto& source) {
                       options.dump = parse_text(text, source, "a file name");
                     })},
                    switch_flag("verbose", "Flags", "every gradient, not only the worst", options.verbose),
                    threads_flag("Flags", options.threads),
                    switch_flag("quiet", "Flags", "only checks that fail, and the verdict", options.quiet)},
          .positional = "DIR...",
          .examples = {"aleph verify goldens/gpt2 goldens/llama"}};
}

train::TrainConfig parse_train_arguments(const Values& arguments) {
  train::TrainConfig config;
  parse_flags(train_syntax(config), arguments);
  train::reconcile_flags(config);
  return config;
}

GenerateOptions parse_generate_arguments(const Values& arguments) {
  GenerateOptions options;
  parse_flags(generate_syntax(options), arguments);
  if (options.model.empty()) throw UsageError("aleph generate", "no --model", "--model DIR");
  if (options.prompts.empty())
    throw UsageError("aleph generate", "no prompt", "--prompt TEXT or --prompt-file FILE");
  return options;
}

VerifyOptions parse_verify_arguments(const Values& arguments) {
  VerifyOptions options;
  for (const std::string& directory : parse_flags(verify_syntax(options), arguments)) {
    options.directories.emplace_back(directory);
  }
  if (options.directories.empty()) throw UsageError("aleph verify", "no directory", "aleph verify DIR...");
  return options;
}

}  // namespace aleph::cli
