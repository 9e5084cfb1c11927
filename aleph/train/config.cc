#include "aleph/train/config.h"

#include <cmath>

#include "aleph/base/error.h"
#include "aleph/base/json.h"
#include "aleph/base/text_util.h"
#include "aleph/train/config_fields.h"

namespace aleph::train {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kDefaultMicroBatch = 8;
constexpr int64_t kDefaultStage = 3;
constexpr int64_t kMaxCount = int64_t{1} << 50;
constexpr int64_t kMaxBatch = int64_t{1} << 20;  // so that products of three do not overflow

// "--batch-size", or the key of the file that gave the value.
std::string origin(const TrainConfig& config, const std::string& name) {
  const auto found = config.sources.find(name);
  if (found != config.sources.end()) return found->second;
  std::string flag = "--" + name;
  for (char& c : flag)
    if (c == '_') c = '-';
  return flag;
}

template <typename T>
void require_range(const TrainConfig& config, const char* name, T value, T low, T high) {
  if (value >= low && value <= high) return;
  const std::string expected = value < low || std::isnan(static_cast<double>(value))
                                   ? fmt::format("a value of at least {}", low)
                                   : fmt::format("a value of at most {}", high);
  throw UsageError(origin(config, name), fmt::format("{}", value), expected);
}

void require_count(const TrainConfig& config, const char* name, const std::optional<int64_t>& value,
                   int64_t low, int64_t high = kMaxCount) {
  if (value) require_range(config, name, *value, low, high);
}

/// Of a running mean: in [0, 1).
void require_rate(const TrainConfig& config, const char* name, double value) {
  if (!(value >= 0 && value < 1))
    throw UsageError(origin(config, name), fmt::format("{}", value), "a value of at least 0 and below 1");
}

void require_exists(const TrainConfig& config, const char* name, const fs::path& path, bool directory) {
  if (path.empty()) return;
  std::error_code ignored;
  const bool good = directory ? fs::is_directory(path, ignored) : fs::is_regular_file(path, ignored);
  if (good) return;
  const char* found = fs::exists(path, ignored) ? "something else" : "nothing there";
  throw Error(origin(config, name) + " " + path.string(), found, directory ? "a directory" : "a file");
}

void validate_model(const TrainConfig& config) {
  if (config.model.empty() == config.init_config.empty())
    throw UsageError("--model and --init", config.model.empty() ? "neither" : "both", "one of them");
  require_exists(config, "model", config.model, true);
  require_exists(config, "init", config.init_config, false);
  if (config.model.empty() && config.data.tokenizer.empty())
    throw UsageError("--tokenizer", "nothing", "a directory with tokenizer.json, beside --init");
}

void validate_data(const TrainConfig& config) {
  const DataConfig& data = config.data;
  if (data.files.empty()) throw UsageError("--data", "nothing", "files to train on");
  for (const fs::path& file : data.files) require_exists(config, "data", file, false);
  for (const fs::path& file : data.eval_files) require_exists(config, "eval_data", file, false);
  require_exists(config, "tokenizer", data.tokenizer, true);
  require_range<int64_t>(config, "seq_len", data.seq_len, 2, 1 << 24);
  require_range(config, "eval_split", data.eval_split, 0.0, 0.9);
  require_count(config, "eval_steps", data.eval_steps, 0);
  if (data.eval_split > 0 && !data.eval_files.empty())
    throw UsageError("--eval-split", "--eval-data as well", "one of them");
}

void validate_batch(const TrainConfig& config) {
  require_count(config, "batch_size", config.micro_batch, 1, kMaxBatch);
  require_count(config, "grad_accumulation", config.gradient_accumulation, 1, kMaxBatch);
  require_count(config, "train_batch_size", config.train_batch, 1, kMaxBatch);
}

void validate_length(const TrainConfig& config) {
  if (config.steps && config.sources.count("epochs") != 0)
    throw UsageError("--steps and --epochs", "both", "one of them");
  require_count(config, "steps", config.steps, 1);
  require_range(config, "epochs", config.epochs, 1e-9, 1e9);
  validate_batch(config);
  require_count(config, "save_steps", config.save.save_steps, 0);
  require_count(config, "save_total_limit", config.save.save_total_limit, 0);
  require_count(config, "logging_steps", config.log.steps, 1);
  if (config.save.resume && config.save.overwrite)
    throw UsageError("--resume and --overwrite", "both", "one of them");
  if (config.save.output_dir.empty())
    throw UsageError("--output-dir", "nothing", "a directory for the trained model");
  if (!config.save.resume_from.empty()) require_exists(config, "resume", config.save.resume_from, true);
}

void validate_optimizer(const TrainConfig& config) {
  constexpr double kHuge = 1e30;
  require_range(config, "lr", config.optimizer.learning_rate, 0.0, kHuge);
  require_range(config, "weight_decay", config.optimizer.weight_decay, 0.0, kHuge);
  require_range(config, "grad_clip", config.grad_clip, 0.0, kHuge);
  const optim::AdamOptions& adam = config.optimizer.adam;
  require_rate(config, "adam_betas", adam.betas.beta1);
  require_rate(config, "adam_betas", adam.betas.beta2);
  if (!(adam.epsilon > 0))
    throw UsageError(origin(config, "adam_eps"), fmt::format("{}", adam.epsilon), "a value above 0");
  require_rate(config, "sgd_momentum", config.optimizer.sgd.momentum);
  require_range(config, "loss_scale", config.loss_scale.loss_scale, 0.0, kHuge);
  make_update_rule(config);
  make_schedule(config, config.steps.value_or(1));
  optim::LossScaler{config.loss_scale};
}

void validate_placement(const TrainConfig& config) {
  const PlacementConfig& placement = config.placement;
  if (placement.zero_stage) require_range<int64_t>(config, "zero_stage", *placement.zero_stage, 0, 3);
  require_count(config, "prefetch", placement.prefetch, 0, 1 << 20);
  require_count(config, "threads", config.threads, 1, 4096);
  require_count(config, "ranks", config.ranks, 1, 4096);
  require_count(config, "device_memory", placement.device_memory_bytes, 1 << 20);
  require_count(config, "host_memory", placement.host_memory_bytes, 1 << 20);
  for (const fs::path& path : placement.nvme_paths) require_exists(config, "nvme_path", path, true);
  if (!placement.nvme_paths.empty()) return;
  const std::pair<const char*, const std::optional<Offload>&> offloads[] = {
      {"offload_param", placement.offload_param},
      {"offload_optimizer", placement.offload_optimizer},
      {"offload_activations", placement.offload_activations}};
  for (const auto& [name, offload] : offloads)
    if (offload == Offload::kNvme)
      throw UsageError("--nvme-path", "nothing", "a directory, as " + origin(config, name) + " is nvme");
}

/// Only what a stage splits can be offloaded, as DeepSpeed documents it.
void validate_stage(const TrainConfig& config) {
  const PlacementConfig& placement = config.placement;
  if (!placement.zero_stage) return;
  const auto require_stage = [&](const char* name, const std::optional<Offload>& offload, int64_t least) {
    if (offload.value_or(Offload::kNone) == Offload::kNone || *placement.zero_stage >= least) return;
    throw UsageError(origin(config, name), offload_name(*offload),
                     fmt::format("none, as {} is {}: this needs stage {}", origin(config, "zero_stage"),
                                 *placement.zero_stage, least == 3 ? "3" : "1, 2 or 3"));
  };
  require_stage("offload_param", placement.offload_param, 3);
  require_stage("offload_optimizer", placement.offload_optimizer, 1);
}

int64_t divide_batch(int64_t total, int64_t parts, const char* what) {
  if (total % parts != 0)
    throw Error("train_batch_size", fmt::format("{}", total),
                fmt::format("a multiple of {} ({})", parts, what));
  return total / parts;
}

}  // namespace

const char* offload_name(Offload offload) {
  constexpr const char* kNames[] = {"none", "cpu", "nvme"};
  return kNames[static_cast<size_t>(offload)];
}

const char* data_order_name(DataOrder order) {
  return order == DataOrder::kShuffled ? "shuffled" : "sequential";
}

BatchShape resolve_batch(const TrainConfig& config, int64_t world_size) {
  ALEPH_CHECK(world_size >= 1);
  std::optional<int64_t> micro = config.micro_batch, steps = config.gradient_accumulation;
  if (!config.train_batch) {
    const int64_t rows = micro.value_or(kDefaultMicroBatch), accumulation = steps.value_or(1);
    return {rows, accumulation, rows * accumulation * world_size};
  }
  const int64_t total = *config.train_batch;
  if (micro && steps && *micro * *steps * world_size != total)
    throw Error("train_batch_size", fmt::format("{}", total),
                fmt::format("micro-batch {} x accumulation {} x ranks {} = {}", *micro, *steps, world_size,
                            *micro * *steps * world_size));
  if (!micro && !steps) steps = 1;
  if (!micro) micro = divide_batch(total, *steps * world_size, "accumulation x ranks");
  if (!steps) steps = divide_batch(total, *micro * world_size, "micro-batch x ranks");
  return {*micro, *steps, total};
}

void validate(const TrainConfig& config) {
  validate_model(config);
  validate_data(config);
  validate_length(config);
  validate_optimizer(config);
  validate_placement(config);
  validate_stage(config);
}

std::unique_ptr<optim::UpdateRule> make_update_rule(const TrainConfig& config) {
  return config.optimizer.kind == OptimizerKind::kAdam ? optim::make_adam(config.optimizer.adam)
                                                       : optim::make_sgd(config.optimizer.sgd);
}

optim::Schedule make_schedule(const TrainConfig& config, int64_t total_steps) {
  return optim::Schedule(config.schedule,
                         {.learning_rate = config.optimizer.learning_rate, .total_steps = total_steps});
}

optim::LossScaler make_loss_scaler(const TrainConfig& config) {
  return config.dtype == DType::kF16 ? optim::LossScaler(config.loss_scale) : optim::LossScaler::unit();
}

// What holds where nothing is given: DeepSpeed's rules for the batch, the planner's choice of homes.
static void describe_effective(const TrainConfig& config, OrderedJson& out) {
  validate_batch(config);
  const BatchShape batch = resolve_batch(config, 1);
  const auto fill = [&](const char* name, const OrderedJson& value, const std::string& source) {
    if (out.at(name).at("value").is_null()) out[name] = {{"value", value}, {"source", source}};
  };
  const std::string source = config.train_batch ? origin(config, "train_batch_size") : "default";
  fill("batch_size", batch.micro_batch, source);
  fill("grad_accumulation", batch.gradient_accumulation, source);
  fill("zero_stage", kDefaultStage, "default");
  fill("ranks", 1, "default");
  for (const char* name :
       {"offload_param", "offload_optimizer", "offload_activations", "prefetch", "recompute"})
    fill(name, "planned", "planner");
}

// What only a DeepSpeed file gives, under its keys.
static void describe_finer(const TrainConfig& config, OrderedJson& out) {
  const PlacementConfig& placement = config.placement;
  const std::pair<const char*, const std::optional<int64_t>&> values[] = {
      {"train_batch_size", config.train_batch},
      {"aio.block_size", placement.io_block_bytes},
      {"aio.queue_depth", placement.io_queue_depth}};
  for (const auto& [key, value] : values)
    if (value) out[key] = {{"value", *value}, {"source", std::string("deepspeed ") + key}};
}

std::string describe_config(const TrainConfig& config) {
  OrderedJson out = OrderedJson::object();
  for (const ConfigField& field : config_fields()) {
    const auto source = config.sources.find(field.name);
    out[field.name] = {{"value", OrderedJson::parse(field.get(config))},
                       {"source", source == config.sources.end() ? "default" : source->second}};
  }
  describe_effective(config, out);
  describe_finer(config, out);
  return out.dump(2, ' ', false, OrderedJson::error_handler_t::replace);
}

}  // namespace aleph::train
