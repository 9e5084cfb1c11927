#include "aleph/train/config_fields.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "aleph/base/error.h"
#include "aleph/base/json.h"
#include "aleph/base/text_util.h"

namespace aleph::train {
namespace {

using Values = std::vector<std::string>;
using Arity = ConfigField::Arity;
namespace fs = std::filesystem;
constexpr double kDefaultEvalSplit = 0.02;

std::string quoted(const std::string& text) { return "'" + printable(text) + "'"; }

// Reading one value.

template <typename T>
T parse_number(const std::string& text, const std::string& flag, const char* expected) {
  T number{};
  const char* end = text.data() + text.size();
  const auto [rest, status] = std::from_chars(text.data(), end, number);
  if (status == std::errc::result_out_of_range) throw UsageError(flag, quoted(text), "a smaller number");
  if (status != std::errc() || rest != end || text.empty()) throw UsageError(flag, quoted(text), expected);
  return number;
}

void parse(const std::string& text, const std::string& flag, int64_t& out) {
  out = parse_number<int64_t>(text, flag, "an integer");
}
void parse(const std::string& text, const std::string& flag, uint64_t& out) {
  out = parse_number<uint64_t>(text, flag, "an integer of at least 0");
}
void parse(const std::string& text, const std::string& flag, double& out) {
  out = parse_number<double>(text, flag, "a number");
  if (!std::isfinite(out)) throw UsageError(flag, quoted(text), "a finite number");
}
void parse(const std::string& text, const std::string& flag, DType& out) {
  out = parse_float_dtype(text, flag);
}
void parse(const std::string& text, const std::string& flag, fs::path& out) {
  if (text.empty()) throw UsageError(flag, "an empty path", "a path");
  out = text;
}
void parse(const std::string& text, const std::string& flag, bool& out) {
  const bool on = text == "on" || text == "true" || text == "1";
  if (!on && text != "off" && text != "false" && text != "0")
    throw UsageError(flag, quoted(text), "on or off");
  out = on;
}

template <typename E, size_t N>
E choose(const std::string& text, const std::string& flag, const std::pair<const char*, E> (&choices)[N]) {
  std::string names;
  for (size_t i = 0; i < N; ++i) {
    if (text == choices[i].first) return choices[i].second;
    names += (i == 0 ? "" : i + 1 == N ? " or " : ", ") + std::string(choices[i].first);
  }
  throw UsageError(flag, quoted(text), names);
}

void parse(const std::string& text, const std::string& flag, Offload& out) {
  out = choose<Offload>(text, flag,
                        {{"none", Offload::kNone}, {"cpu", Offload::kCpu}, {"nvme", Offload::kNvme}});
}
void parse(const std::string& text, const std::string& flag, DataOrder& out) {
  out = choose<DataOrder>(text, flag,
                          {{"shuffled", DataOrder::kShuffled}, {"sequential", DataOrder::kSequential}});
}
void parse(const std::string& text, const std::string& flag, OptimizerKind& out) {
  out = choose<OptimizerKind>(text, flag, {{"adam", OptimizerKind::kAdam}, {"sgd", OptimizerKind::kSgd}});
}
template <typename T>
void parse(const std::string& text, const std::string& flag, std::optional<T>& out) {
  T value{};
  parse(text, flag, value);
  out = value;
}

void assign(const Values& values, const std::string& flag, std::vector<fs::path>& out) {
  out.clear();
  out.reserve(values.size());
  for (const std::string& value : values) parse(value, flag, out.emplace_back());
}
template <typename T>
void assign(const Values& values, const std::string& flag, T& out) {
  if (values.size() != 1) throw UsageError(flag, fmt::format("{} values", values.size()), "one value");
  parse(values[0], flag, out);
}

// Writing one value as JSON.

std::string to_text(int64_t value) { return fmt::format("{}", value); }
std::string to_text(uint64_t value) { return fmt::format("{}", value); }
std::string to_text(double value) { return Json(value).dump(); }
std::string to_text(bool value) { return value ? "true" : "false"; }
std::string to_text(const std::string& value) {
  return Json(value).dump(-1, ' ', false, Json::error_handler_t::replace);
}
std::string to_text(const fs::path& value) { return value.empty() ? "null" : to_text(value.string()); }
std::string to_text(DType value) { return to_text(std::string(dtype_name(value))); }
std::string to_text(Offload value) { return to_text(std::string(offload_name(value))); }
std::string to_text(DataOrder value) { return to_text(std::string(data_order_name(value))); }
std::string to_text(OptimizerKind value) { return value == OptimizerKind::kAdam ? "\"adam\"" : "\"sgd\""; }
template <typename T>
std::string to_text(const std::optional<T>& value) {
  return value ? to_text(*value) : "null";
}
std::string to_text(const std::vector<fs::path>& values) {
  std::string text = "[";
  for (const fs::path& value : values) text += (text.size() == 1 ? "" : ", ") + to_text(value);
  return text + "]";
}

/// A field stored in one member; `member` maps a configuration to a reference to it.
template <typename Member>
ConfigField member_field(std::string name, std::string value, std::string help, Member member) {
  ConfigField field{.name = std::move(name), .value = std::move(value), .help = std::move(help)};
  using T = std::remove_cvref_t<decltype(member(std::declval<TrainConfig&>()))>;
  if constexpr (std::is_same_v<T, std::vector<fs::path>>) field.arity = Arity::kMany;
  if constexpr (std::is_same_v<T, bool>)
    if (field.value.empty()) field.arity = Arity::kSwitch;
  field.set = [member, arity = field.arity](TrainConfig& config, const Values& values,
                                            const std::string& flag) {
    assign(arity == Arity::kSwitch && values.empty() ? Values{"true"} : values, flag, member(config));
  };
  field.get = [member](const TrainConfig& config) { return to_text(member(config)); };
  return field;
}

#define ALEPH_MEMBER(expression) \
  [](auto& c) -> auto& { return c.expression; }

ConfigField size_field(std::string name, std::string help, std::optional<int64_t> PlacementConfig::*member) {
  ConfigField field{.name = std::move(name), .value = "SIZE", .help = std::move(help)};
  field.set = [member](TrainConfig& config, const Values& values, const std::string& flag) {
    std::string text;
    if (values.size() == 1) text = values[0];
    config.placement.*member = parse_size(text, flag);
  };
  field.get = [member](const TrainConfig& config) { return to_text(config.placement.*member); };
  return field;
}

ConfigField resume_field() {
  ConfigField field{.name = "resume",
                    .value = "DIR",
                    .help = "go on from the newest complete checkpoint of the output, or from DIR",
                    .arity = Arity::kOptional};
  field.set = [](TrainConfig& config, const Values& values, const std::string&) {
    config.save.resume = true;
    config.save.resume_from = values.empty() || values[0] == "true" ? fs::path() : fs::path(values[0]);
  };
  field.get = [](const TrainConfig& config) {
    return config.save.resume_from.empty() ? to_text(config.save.resume) : to_text(config.save.resume_from);
  };
  return field;
}

ConfigField betas_field() {
  ConfigField field{.name = "adam_betas",
                    .value = "B1,B2",
                    .help = "decay rates of the two running means",
                    .arity = Arity::kMany,
                    .commas = true};
  field.set = [](TrainConfig& config, const Values& values, const std::string& flag) {
    if (values.size() != 2)
      throw UsageError(flag, values.size() == 1 ? "one value" : fmt::format("{} values", values.size()),
                       "two values");
    parse(values[0], flag, config.optimizer.adam.betas.beta1);
    parse(values[1], flag, config.optimizer.adam.betas.beta2);
  };
  field.get = [](const TrainConfig& config) {
    const optim::Betas& betas = config.optimizer.adam.betas;
    return fmt::format("[{}, {}]", to_text(betas.beta1), to_text(betas.beta2));
  };
  return field;
}

ConfigField schedule_field() {
  using Kind = optim::HfSchedule::Kind;
  ConfigField field{.name = "lr_schedule",
                    .value = "constant|linear|cosine",
                    .help = "after the warm-up: stay, fall to 0 in a line or in half a cosine"};
  field.set = [](TrainConfig& config, const Values& values, const std::string& flag) {
    if (values.size() != 1) throw UsageError(flag, fmt::format("{} values", values.size()), "one value");
    const Kind kind =
        choose<Kind>(values[0], flag,
                     {{"constant", Kind::kConstant}, {"linear", Kind::kLinear}, {"cosine", Kind::kCosine}});
    const auto* before = std::get_if<optim::HfSchedule>(&config.schedule);
    config.schedule = optim::HfSchedule{.kind = kind, .warmup = before == nullptr ? 0 : before->warmup};
  };
  field.get = [](const TrainConfig& config) { return to_text(optim::schedule_name(config.schedule)); };
  return field;
}

// Warm-up steps of any schedule that has them.
struct SetWarmup {
  double warmup;
  const std::string& flag;

  void operator()(optim::HfSchedule& schedule) const { schedule.warmup = warmup; }
  template <typename T>
  void operator()(T& schedule) const {
    if constexpr (requires { schedule.warmup_num_steps; }) {
      if (warmup != std::floor(warmup) || warmup < 1)
        throw UsageError(flag, fmt::format("{}", warmup), "whole steps with DeepSpeed's schedules");
      schedule.warmup_num_steps = static_cast<int64_t>(warmup);
    } else {
      throw UsageError(flag, "a schedule without warm-up, " + optim::schedule_name(schedule),
                       "no warm-up, or another schedule");
    }
  }
};

ConfigField warmup_field() {
  ConfigField field{.name = "warmup",
                    .value = "N",
                    .help = "steps in which the rate rises from 0; below 1: a fraction of all steps"};
  field.set = [](TrainConfig& config, const Values& values, const std::string& flag) {
    double warmup = 0;
    assign(values, flag, warmup);
    if (warmup < 0) throw UsageError(flag, quoted(values[0]), "steps, or a fraction below 1");
    std::visit(SetWarmup{warmup, flag}, config.schedule);
  };
  field.get = [](const TrainConfig& config) {
    return std::visit(
        [](const auto& schedule) -> std::string {
          if constexpr (requires { schedule.warmup_num_steps; }) return to_text(schedule.warmup_num_steps);
          if constexpr (requires { schedule.warmup; }) return to_text(schedule.warmup);
          return "null";
        },
        config.schedule);
  };
  return field;
}

ConfigField decay_on_field() {
  ConfigField field{.name = "weight_decay_on",
                    .value = "matrices|all",
                    .help = "whether biases, norms and other vectors decay, too"};
  field.set = [](TrainConfig& config, const Values& values, const std::string& flag) {
    const std::string text = values.size() == 1 ? values[0] : "";
    config.optimizer.decay_all = choose<bool>(text, flag, {{"matrices", false}, {"all", true}});
  };
  field.get = [](const TrainConfig& config) {
    return to_text(std::string(config.optimizer.decay_all ? "all" : "matrices"));
  };
  return field;
}

ConfigField with_default(std::string shown, ConfigField field) {
  field.fallback = std::move(shown);
  return field;
}

ConfigField comma_field(ConfigField field) {
  field.commas = true;
  return field;
}

using Fields = std::vector<ConfigField>;

void add_group(Fields& all, const std::string& group, Fields fields) {
  for (ConfigField& field : fields) {
    field.group = group;
    all.push_back(std::move(field));
  }
}

Fields model_fields() {
  return {
      member_field("model", "DIR", "start from this Hugging Face directory", ALEPH_MEMBER(model)),
      member_field("init", "CONFIG.json", "or from random weights of this shape", ALEPH_MEMBER(init_config)),
      member_field("dtype", "fp32|bf16|fp16", "parameters and activations; the rest stays fp32",
                   ALEPH_MEMBER(dtype)),
  };
}

Fields data_fields() {
  return {
      member_field("data", "FILE", ".txt is one stream, .jsonl has a document a line in \"text\"",
                   ALEPH_MEMBER(data.files)),
      member_field("tokenizer", "DIR", "where tokenizer.json is; by default the model's",
                   ALEPH_MEMBER(data.tokenizer)),
      member_field("data_order", "shuffled|sequential", "rows in random order, or as they stand",
                   ALEPH_MEMBER(data.order)),
      member_field("seq_len", "N", "tokens in a row", ALEPH_MEMBER(data.seq_len)),
      member_field("eval_data", "FILE", "text for evaluation", ALEPH_MEMBER(data.eval_files)),
      member_field("eval_split", "FRACTION", "or this last part of the data; --eval-steps alone takes 0.02",
                   ALEPH_MEMBER(data.eval_split)),
      member_field("eval_steps", "N", "evaluate every N steps; 0: at the end", ALEPH_MEMBER(data.eval_steps)),
  };
}

Fields output_fields() {
  return {
      member_field("output_dir", "DIR", "the final model; checkpoints are DIR/checkpoint-STEP",
                   ALEPH_MEMBER(save.output_dir)),
      member_field("save_steps", "N", "a checkpoint every N steps; 0: none", ALEPH_MEMBER(save.save_steps)),
      member_field("save_total_limit", "N", "keep the last N checkpoints; 0: all",
                   ALEPH_MEMBER(save.save_total_limit)),
      resume_field(),
      member_field("overwrite", "", "replace what the output holds", ALEPH_MEMBER(save.overwrite)),
  };
}

Fields batch_fields() {
  return {
      with_default(
          "8", member_field("batch_size", "N", "rows per rank and micro-step", ALEPH_MEMBER(micro_batch))),
      with_default("1", member_field("grad_accumulation", "N", "micro-steps per step",
                                     ALEPH_MEMBER(gradient_accumulation))),
      member_field("steps", "N", "optimizer steps", ALEPH_MEMBER(steps)),
      member_field("epochs", "N", "or passes over the data", ALEPH_MEMBER(epochs)),
      member_field("seed", "N", "of weights and data order", ALEPH_MEMBER(seed)),
  };
}

Fields optimizer_fields() {
  return {
      member_field("optimizer", "adam|sgd", "update rule; adam is AdamW", ALEPH_MEMBER(optimizer.kind)),
      member_field("lr", "RATE", "highest learning rate", ALEPH_MEMBER(optimizer.learning_rate)),
      schedule_field(),
      warmup_field(),
      member_field("weight_decay", "RATE", "decoupled from the gradient",
                   ALEPH_MEMBER(optimizer.weight_decay)),
      decay_on_field(),
      betas_field(),
      member_field("adam_eps", "EPS", "added to the root of the second mean",
                   ALEPH_MEMBER(optimizer.adam.epsilon)),
      member_field("sgd_momentum", "RATE", "of --optimizer sgd", ALEPH_MEMBER(optimizer.sgd.momentum)),
      member_field("grad_clip", "NORM", "largest gradient norm; 0: no clipping", ALEPH_MEMBER(grad_clip)),
      member_field("loss_scale", "SCALE", "of fp16; 0: found as training goes",
                   ALEPH_MEMBER(loss_scale.loss_scale)),
  };
}

Fields placement_fields() {
  return {
      with_default("3", member_field("zero_stage", "0|1|2|3",
                                     "what ranks split: nothing, optimizer, gradients, parameters",
                                     ALEPH_MEMBER(placement.zero_stage))),
      member_field("offload_param", "none|cpu|nvme", "home of parameters",
                   ALEPH_MEMBER(placement.offload_param)),
      member_field("offload_optimizer", "none|cpu|nvme", "home of master weights and moments",
                   ALEPH_MEMBER(placement.offload_optimizer)),
      member_field("offload_activations", "none|cpu|nvme", "home of what backward needs",
                   ALEPH_MEMBER(placement.offload_activations)),
      comma_field(member_field("nvme_path", "DIR[,DIR]", "where nvme is; several are striped",
                               ALEPH_MEMBER(placement.nvme_paths))),
      member_field("prefetch", "N", "blocks fetched ahead", ALEPH_MEMBER(placement.prefetch)),
      member_field("recompute", "on|off", "compute activations again in backward",
                   ALEPH_MEMBER(placement.recompute)),
      size_field("device_memory", "never use more device memory", &PlacementConfig::device_memory_bytes),
      size_field("host_memory", "never use more host memory", &PlacementConfig::host_memory_bytes),
      member_field("deepspeed", "FILE.json", "DeepSpeed configuration; flags beside it win",
                   ALEPH_MEMBER(deepspeed)),
  };
}

Fields run_fields() {
  return {
      member_field("threads", "N", "threads of this rank; by default all cores", ALEPH_MEMBER(threads)),
      with_default("1", member_field("ranks", "N", "this version trains with one", ALEPH_MEMBER(ranks))),
      member_field("log_file", "FILE.jsonl", "a JSON object per step", ALEPH_MEMBER(log.file)),
      member_field("logging_steps", "N", "a line every N steps", ALEPH_MEMBER(log.steps)),
      member_field("print_config", "", "print the effective options and their sources, and stop",
                   ALEPH_MEMBER(print_config)),
      member_field("profile", "", "print at the end where the time of a step went",
                   ALEPH_MEMBER(log.profile)),
      member_field("quiet", "", "no progress, no notes", ALEPH_MEMBER(log.quiet)),
  };
}

#undef ALEPH_MEMBER

Fields all_fields() {
  Fields all;
  add_group(all, "Model", model_fields());
  add_group(all, "Data", data_fields());
  add_group(all, "Output", output_fields());
  add_group(all, "Length and batch", batch_fields());
  add_group(all, "Optimizer", optimizer_fields());
  add_group(all, "Memory and placement (not given: planned from the budgets)", placement_fields());
  add_group(all, "Run", run_fields());
  return all;
}

bool from_deepspeed(const TrainConfig& config, const std::string& name) {
  const auto found = config.sources.find(name);
  return found != config.sources.end() && found->second.find("deepspeed ") == 0;
}

bool given_beside(const TrainConfig& config, const std::string& name) {
  return config.sources.count(name) != 0 && !from_deepspeed(config, name);
}

std::string key_of(const std::string& source) { return source.substr(source.find(' ') + 1); }

void reconcile_rate(TrainConfig& config) {
  if (!given_beside(config, "lr") || !from_deepspeed(config, "lr_schedule")) return;
  const std::string flag = config.sources.at("lr");
  const double rate = config.optimizer.learning_rate;
  const auto replace = [&](std::optional<double>& highest) {
    if (highest && *highest != rate)
      config.notes.push_back(
          fmt::format("{} {} overrides scheduler.params.warmup_max_lr {}", flag, rate, *highest));
    highest = rate;
  };
  if (auto* warmup = std::get_if<optim::WarmupLr>(&config.schedule)) replace(warmup->warmup_max_lr);
  if (auto* decay = std::get_if<optim::WarmupDecayLr>(&config.schedule)) replace(decay->warmup_max_lr);
  if (std::holds_alternative<optim::OneCycle>(config.schedule) ||
      std::holds_alternative<optim::LrRangeTest>(config.schedule))
    config.notes.push_back(fmt::format("{} has no effect: scheduler {} of the DeepSpeed file gives the rates",
                                       flag, optim::schedule_name(config.schedule)));
}

// Who asks for evaluation every so many steps gets some text to evaluate on.
void reconcile_evaluation(TrainConfig& config) {
  DataConfig& data = config.data;
  if (data.eval_steps == 0 || !data.eval_files.empty() || config.sources.count("eval_split") != 0) return;
  data.eval_split = kDefaultEvalSplit;
  config.sources["eval_split"] = "as " + config.sources["eval_steps"] + " is given";
}

// A total batch from a file yields to micro-batch and accumulation given as flags.
void reconcile_batch(TrainConfig& config) {
  const bool given = given_beside(config, "batch_size") || given_beside(config, "grad_accumulation");
  if (!given || !config.train_batch || !from_deepspeed(config, "train_batch_size")) return;
  if (!config.micro_batch || !config.gradient_accumulation) return;  // the third follows from the other two
  const std::string flag =
      config.sources.at(given_beside(config, "batch_size") ? "batch_size" : "grad_accumulation");
  config.notes.push_back(fmt::format("{} overrides train_batch_size {}", flag, *config.train_batch));
  config.train_batch.reset();
  config.sources.erase("train_batch_size");
}

// Files made for many ranks are used as they are; who types the flag expects something of it.
void note_stage(TrainConfig& config) {
  if (given_beside(config, "zero_stage") && config.placement.zero_stage.value_or(0) > 0)
    config.notes.push_back(fmt::format("{} {} changes nothing: one rank has nothing to split",
                                       config.sources.at("zero_stage"), *config.placement.zero_stage));
}

}  // namespace

std::span<const ConfigField> config_fields() {
  static const Fields fields = all_fields();
  return fields;
}

const ConfigField* find_config_field(const std::string& name) {
  const auto fields = config_fields();
  const auto found =
      std::find_if(fields.begin(), fields.end(), [&](const auto& f) { return f.name == name; });
  return found == fields.end() ? nullptr : &*found;
}

void set_config_field(TrainConfig& config, const ConfigField& field, const std::vector<std::string>& values,
                      const std::string& source) {
  std::vector<std::string> parts;
  for (const std::string& value : values) {
    if (!field.commas) {
      parts.push_back(value);
      continue;
    }
    for (size_t begin = 0, end = 0; end != std::string::npos; begin = end + 1) {
      end = value.find(',', begin);
      parts.push_back(value.substr(begin, end == std::string::npos ? end : end - begin));
    }
  }
  const std::string before = field.get(config);
  field.set(config, parts, source);
  const std::string after = field.get(config);
  if (from_deepspeed(config, field.name) && before != after)
    config.notes.push_back(
        fmt::format("{} {} overrides {} {}", source, after, key_of(config.sources.at(field.name)), before));
  config.sources[field.name] = source;
}

void reconcile_flags(TrainConfig& config) {
  reconcile_evaluation(config);
  reconcile_rate(config);
  reconcile_batch(config);
  note_stage(config);
}

}  // namespace aleph::train
