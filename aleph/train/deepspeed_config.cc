#include "aleph/train/deepspeed_config.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <cmath>

#include "aleph/base/error.h"
#include "aleph/base/json.h"
#include "aleph/base/text_util.h"
#include "aleph/io/async_queue.h"
#include "aleph/io/file.h"
#include "aleph/train/config_fields.h"
#include "aleph/train/json_section.h"

namespace aleph::train {
namespace {

constexpr int64_t kMaxFileBytes = int64_t{64} << 20;
constexpr const char* kNotYet = "false: not supported yet";
constexpr const char* kFp32States = "master weights, moments and gradients stay fp32";
constexpr const char* kOneScheme = "the order of blocks is known: fetching and release are planned";
constexpr const char* kReduction = "gradients are reduced in fp32, in a fixed order";
constexpr const char* kFinite = "a gradient that is not finite ends the run";
constexpr const char* kMonitors = "--log-file has every step as JSON";
constexpr const char* kPyTorch = "there is no PyTorch below";

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

/// A fault of a value, with its place in the file before it.
struct FileError : Error {
  explicit FileError(const std::string& line) : Error(line) {}
};

class Reader {
 public:
  Reader(const Json& json, const std::string& document, TrainConfig& config)
      : document_(document), config_(config), root_(json, document, "", without_effect_) {}

  void read() {
    read_batch();
    read_general();
    read_optimizer();
    read_scheduler();
    read_precision();
    read_zero();
    read_aio();
    read_activations();
    read_refused();
    read_aleph();
    root_.finish();
    for (const auto& [reason, keys] : without_effect_)
      config_.notes.push_back(
          fmt::format("{}: no effect here ({}): {}", document_, reason, fmt::join(keys, ", ")));
  }

 private:
  void came_from(const char* field, const JsonSection& section, const char* key) {
    config_.sources[field] = "deepspeed " + section.path_of(key);
  }

  // Stores a value where the key is given, and where it came from.
  template <typename Value, typename Target>
  bool store(const char* field, const JsonSection& section, const char* key,
             const std::optional<Value>& value, Target& target) {
    if (!value) return false;
    target = *value;
    came_from(field, section, key);
    return true;
  }

  // What `make` finds wrong is in that section of the file.
  template <typename Make>
  void check(const JsonSection& section, const Make& make) {
    try {
      make();
    } catch (const Error& error) {
      throw FileError(document_ + ": " + section.path_of("") + error.what());
    }
  }

  void read_batch() {
    store("batch_size", root_, "train_micro_batch_size_per_gpu",
          root_.integer("train_micro_batch_size_per_gpu"), config_.micro_batch);
    store("grad_accumulation", root_, "gradient_accumulation_steps",
          root_.integer("gradient_accumulation_steps"), config_.gradient_accumulation);
    store("train_batch_size", root_, "train_batch_size", root_.integer("train_batch_size"),
          config_.train_batch);
    for (const auto& [key, value] : {std::pair("train_micro_batch_size_per_gpu", config_.micro_batch),
                                     std::pair("gradient_accumulation_steps", config_.gradient_accumulation),
                                     std::pair("train_batch_size", config_.train_batch)})
      if (value && *value < 1) root_.fail(key, fmt::format("{}", *value), "a positive integer");
    if (root_.boolean("managed_gradient_accumulation") == false)
      root_.fail("managed_gradient_accumulation", "false", "true: the boundaries are the program's own");
  }

  void read_general() {
    store("grad_clip", root_, "gradient_clipping", root_.number("gradient_clipping"), config_.grad_clip);
    store("logging_steps", root_, "steps_per_print", root_.integer("steps_per_print"), config_.log.steps);
    if (root_.boolean("dump_state") == true) config_.notes.push_back(dump_state_note());
    store("profile", root_, "wall_clock_breakdown", root_.boolean("wall_clock_breakdown"),
          config_.log.profile);
    if (root_.text("gradient_allreduce_op").value_or("mean") != "mean")
      root_.fail("gradient_allreduce_op", *root_.text("gradient_allreduce_op"), "mean: sum is not supported");
    root_.without_effect(
        {"prescale_gradients", "gradient_predivide_factor", "fp32_allreduce", "communication_data_type",
         "seq_parallel_communication_data_type", "disable_allgather", "sparse_gradients", "data_types"},
        kReduction);
    root_.without_effect({"zero_allow_untested_optimizer", "zero_force_ds_cpu_optimizer", "compile",
                          "memory_breakdown", "vocabulary_size", "dataloader_drop_last", "log_level",
                          "use_data_before_expert_parallelism", "timers", "graph_harvesting"},
                         kPyTorch);
    root_.without_effect({"tensorboard", "wandb", "csv_monitor", "comet", "comms_logger", "flops_profiler"},
                         kMonitors);
    root_.without_effect({"checkpoint"}, "checkpoints load at any number of ranks");
  }

  static std::string dump_state_note() {
    return "dump_state: use --print-config to see the effective options";
  }

  void read_optimizer() {
    std::optional<JsonSection> optimizer = root_.section("optimizer");
    if (!optimizer) return;
    optimizer->without_effect({"legacy_fusion"}, kPyTorch);
    const std::optional<std::string> type = optimizer->text("type");
    if (!type) optimizer->fail("type", "nothing", "Adam, AdamW or SGD");
    const std::string name = lower(*type);
    if (name != "adam" && name != "adamw" && name != "sgd") refuse_optimizer(*optimizer, *type, name);
    config_.optimizer.kind = name == "sgd" ? OptimizerKind::kSgd : OptimizerKind::kAdam;
    came_from("optimizer", *optimizer, "type");
    config_.optimizer.learning_rate = 1e-3;
    came_from("lr", *optimizer, "params.lr, by default");
    if (std::optional<JsonSection> params = optimizer->section("params")) {
      read_common_params(*params);
      name == "sgd" ? read_sgd(*params) : read_adam(*params, name == "adam");
      params->finish();
    }
    optimizer->finish();
  }

  [[noreturn]] static void refuse_optimizer(const JsonSection& optimizer, const std::string& type,
                                            const std::string& name) {
    const std::string known[] = {"lamb", "onebitadam", "onebitlamb", "zerooneadam", "adagrad",
                                 "lion", "muadam",     "muadamw",    "musgd",       "muon"};
    const bool later = std::find(std::begin(known), std::end(known), name) != std::end(known);
    optimizer.fail("type", "'" + printable(type) + (later ? "' (not supported yet)" : "'"),
                   "Adam, AdamW or SGD");
  }

  void read_common_params(JsonSection& params) {
    // "auto" is what --lr says, and its default; a missing key is the default of the optimizer.
    if (params.is_auto("lr")) {
      config_.optimizer.learning_rate = OptimizerConfig{}.learning_rate;
      config_.sources.erase("lr");
    }
    store("lr", params, "lr", params.number("lr"), config_.optimizer.learning_rate);
    store("weight_decay", params, "weight_decay", params.number("weight_decay"),
          config_.optimizer.weight_decay);
    if (params.value("max_grad_norm") != nullptr)
      params.fail("max_grad_norm", "a key that optimizers do not take",
                  "gradient_clipping at the top level in its place");
    params.without_effect({"torch_adam", "fused", "foreach", "fp32_optimizer_states", "capturable"},
                          kPyTorch);
  }

  void read_adam(JsonSection& params, bool may_couple) {
    optim::AdamOptions& adam = config_.optimizer.adam;
    if (const auto betas = params.numbers("betas")) {
      if (betas->size() != 2) params.fail("betas", fmt::format("{} numbers", betas->size()), "two numbers");
      adam.betas = {.beta1 = (*betas)[0], .beta2 = (*betas)[1]};
      came_from("adam_betas", params, "betas");
    }
    store("adam_eps", params, "eps", params.number("eps"), adam.epsilon);
    adam.bias_correction = params.boolean("bias_correction").value_or(true);
    // DeepSpeed's Adam is AdamW unless told otherwise.
    adam.decoupled_decay = params.boolean("adam_w_mode").value_or(true) || !may_couple;
    params.refuse({"amsgrad"}, kNotYet);
  }

  void read_sgd(JsonSection& params) {
    optim::SgdOptions& sgd = config_.optimizer.sgd;
    store("sgd_momentum", params, "momentum", params.number("momentum"), sgd.momentum);
    sgd.nesterov = params.boolean("nesterov").value_or(false);
    params.refuse({"dampening"}, "0: not supported yet");
  }

  void read_scheduler() {
    std::optional<JsonSection> scheduler = root_.section("scheduler");
    if (!scheduler) return;
    const std::optional<std::string> type = scheduler->text("type");
    static const Json kNoParams = Json::object();
    JsonSection params(kNoParams, document_, scheduler->path_of("params"), without_effect_);
    if (auto given = scheduler->section("params")) params = *given;
    if (type) {
      read_schedule(*scheduler, *type, params);
      check(params, [&] { make_schedule(config_, 1); });
      came_from("lr_schedule", *scheduler, "type");
      params.without_effect({"last_batch_iteration"}, "the step of a checkpoint says where to go on");
      params.finish();
    }
    scheduler->finish();
  }

  void read_schedule(const JsonSection& scheduler, const std::string& type, JsonSection& params) {
    if (type == "WarmupLR") {
      config_.schedule = read_warmup(params);
    } else if (type == "WarmupDecayLR") {
      config_.schedule = read_warmup_decay(params);
    } else if (type == "WarmupCosineLR") {
      config_.schedule = read_warmup_cosine(params);
    } else if (type == "OneCycle") {
      config_.schedule = read_one_cycle(params);
    } else if (type == "LRRangeTest") {
      config_.schedule = read_range_test(params);
    } else {
      scheduler.fail("type", "'" + printable(type) + "'",
                     "WarmupLR, WarmupDecayLR, WarmupCosineLR, OneCycle or LRRangeTest");
    }
  }

  optim::WarmupType warmup_type(JsonSection& params) {
    const std::string type = params.text("warmup_type").value_or("log");
    if (type != "log" && type != "linear")
      params.fail("warmup_type", "'" + printable(type) + "'", "log or linear");
    return type == "log" ? optim::WarmupType::kLog : optim::WarmupType::kLinear;
  }

  int64_t warmup_steps(JsonSection& params) {
    const auto steps = params.integer("warmup_num_steps");
    if (steps && *steps < 1) params.fail("warmup_num_steps", fmt::format("{}", *steps), "a positive integer");
    if (steps) came_from("warmup", params, "warmup_num_steps");
    // "auto" stands for the number of a flag, which is applied later; none means no warm-up.
    return steps.value_or(params.is_auto("warmup_num_steps") ? 1 : 1000);
  }

  optim::WarmupLr read_warmup(JsonSection& params) {
    return {.warmup_min_lr = params.number("warmup_min_lr").value_or(0),
            .warmup_max_lr = params.number("warmup_max_lr"),
            .warmup_num_steps = warmup_steps(params),
            .warmup_type = warmup_type(params)};
  }

  optim::WarmupDecayLr read_warmup_decay(JsonSection& params) {
    optim::WarmupDecayLr schedule{.total_num_steps = params.integer("total_num_steps"),
                                  .warmup_min_lr = params.number("warmup_min_lr").value_or(0),
                                  .warmup_num_steps = warmup_steps(params),
                                  .warmup_type = warmup_type(params)};
    if (params.is_auto("warmup_max_lr")) schedule.warmup_max_lr.reset();
    if (const auto highest = params.number("warmup_max_lr")) schedule.warmup_max_lr = highest;
    return schedule;
  }

  optim::WarmupCosineLr read_warmup_cosine(JsonSection& params) {
    return {.total_num_steps = params.integer("total_num_steps"),
            .warmup_min_ratio = params.number("warmup_min_ratio").value_or(0),
            .warmup_num_steps = warmup_steps(params),
            .cos_min_ratio = params.number("cos_min_ratio").value_or(1e-4),
            .warmup_type = warmup_type(params)};
  }

  optim::OneCycle read_one_cycle(JsonSection& params) {
    for (const char* key : {"cycle_min_lr", "cycle_max_lr"})
      if (!params.number(key)) params.fail(key, "nothing", "a learning rate");
    const optim::OneCycle defaults;
    return {.cycle_min_lr = *params.number("cycle_min_lr"),
            .cycle_max_lr = *params.number("cycle_max_lr"),
            .decay_lr_rate = params.number("decay_lr_rate").value_or(0),
            .cycle_first_step_size =
                params.number("cycle_first_step_size").value_or(defaults.cycle_first_step_size),
            .cycle_second_step_size = params.number("cycle_second_step_size"),
            .cycle_first_stair_count = params.integer("cycle_first_stair_count").value_or(0),
            .cycle_second_stair_count = params.integer("cycle_second_stair_count"),
            .decay_step_size = params.number("decay_step_size").value_or(0),
            .cycle_momentum = params.boolean("cycle_momentum").value_or(true),
            .cycle_min_mom = params.number("cycle_min_mom").value_or(defaults.cycle_min_mom),
            .cycle_max_mom = params.number("cycle_max_mom").value_or(defaults.cycle_max_mom),
            .decay_mom_rate = params.number("decay_mom_rate").value_or(0)};
  }

  optim::LrRangeTest read_range_test(JsonSection& params) {
    const optim::LrRangeTest defaults;
    return {
        .lr_range_test_min_lr = params.number("lr_range_test_min_lr").value_or(defaults.lr_range_test_min_lr),
        .lr_range_test_step_size =
            params.integer("lr_range_test_step_size").value_or(defaults.lr_range_test_step_size),
        .lr_range_test_step_rate = params.number("lr_range_test_step_rate").value_or(1),
        .lr_range_test_staircase = params.boolean("lr_range_test_staircase").value_or(false)};
  }

  void read_precision() {
    const bool fp16 = read_fp16();
    const char* key =
        root_.value("bf16") == nullptr && root_.value("bfloat16") != nullptr ? "bfloat16" : "bf16";
    root_.value("bfloat16");
    const bool bf16 = read_bf16(key);
    if (fp16 && bf16) root_.fail(key, "enabled beside fp16", "one of fp16 and bf16");
    if (fp16 || bf16) config_.dtype = fp16 ? DType::kF16 : DType::kBF16;
    if (fp16 || bf16)
      config_.sources["dtype"] = std::string("deepspeed ") + (fp16 ? "fp16" : key) + ".enabled";
    root_.refuse({"amp"}, "bf16 or fp16 in place of Apex");
    root_.refuse({"torch_autocast"}, "bf16 or fp16 in place of autocast");
  }

  bool read_fp16() {
    std::optional<JsonSection> fp16 = root_.section("fp16");
    if (!fp16) return false;
    const bool enabled = fp16->boolean("enabled").value_or(false);
    optim::LossScaleOptions& scale = config_.loss_scale;
    store("loss_scale", *fp16, "loss_scale", fp16->number("loss_scale"), scale.loss_scale);
    scale.initial_scale_power = fp16->integer("initial_scale_power").value_or(scale.initial_scale_power);
    scale.loss_scale_window = fp16->integer("loss_scale_window").value_or(scale.loss_scale_window);
    scale.hysteresis = fp16->integer("hysteresis").value_or(scale.hysteresis);
    scale.consecutive_hysteresis = fp16->boolean("consecutive_hysteresis").value_or(false);
    scale.min_loss_scale = fp16->number("min_loss_scale").value_or(scale.min_loss_scale);
    check(*fp16, [&] { optim::LossScaler{scale}; });
    fp16->without_effect({"auto_cast"}, "inputs are token ids");
    fp16->without_effect({"fp16_master_weights_and_grads"}, kFp32States);
    fp16->finish();
    return enabled;
  }

  bool read_bf16(const char* key) {
    std::optional<JsonSection> bf16 = root_.section(key);
    if (!bf16) return false;
    const bool enabled = bf16->boolean("enabled").value_or(false);
    if (bf16->boolean("check_grad_overflow"))
      without_effect_[kFinite].push_back(bf16->path_of("check_grad_overflow"));
    bf16->without_effect({"immediate_grad_update"}, kReduction);
    bf16->without_effect({"bf16_master_weights_and_grads", "bf16_optimizer_states"}, kFp32States);
    bf16->finish();
    return enabled;
  }

  void read_zero() {
    const Json* zero = root_.value("zero_optimization");
    if (zero == nullptr) return;
    if (zero->is_boolean()) {
      config_.placement.zero_stage = zero->get<bool>() ? 1 : 0;
      came_from("zero_stage", root_, "zero_optimization");
      return;
    }
    JsonSection section = *root_.section("zero_optimization");
    read_stage(section);
    read_old_offload(section);
    read_offload_param(section);
    read_offload_optimizer(section);
    read_zero_sizes(section);
    read_zero_rest(section);
    section.finish();
  }

  void read_stage(JsonSection& zero) {
    const std::optional<int64_t> stage = zero.integer("stage");
    if (stage && (*stage < 0 || *stage > 3)) zero.fail("stage", fmt::format("{}", *stage), "0, 1, 2 or 3");
    store("zero_stage", zero, "stage", stage, config_.placement.zero_stage);
  }

  void read_old_offload(JsonSection& zero) {
    if (zero.boolean("cpu_offload") == true) {
      config_.placement.offload_optimizer = Offload::kCpu;
      came_from("offload_optimizer", zero, "cpu_offload");
    }
    for (const char* key : {"cpu_offload_params", "cpu_offload_param"})
      if (zero.boolean(key) == true) {
        config_.placement.offload_param = Offload::kCpu;
        came_from("offload_param", zero, key);
      }
    zero.without_effect({"cpu_offload_use_pin_memory"}, "buffers are pinned where there is a GPU");
  }

  void read_device(JsonSection& section, const char* field, std::optional<Offload>& offload) {
    const std::string device = section.text("device").value_or("none");
    if (device != "none" && device != "cpu" && device != "nvme")
      section.fail("device", "'" + printable(device) + "'", "none, cpu or nvme");
    offload = device == "cpu" ? Offload::kCpu : device == "nvme" ? Offload::kNvme : Offload::kNone;
    came_from(field, section, "device");
    section.without_effect({"pin_memory"}, "buffers are pinned where there is a GPU");
    section.without_effect({"buffer_count", "buffer_size"}, "buffers are planned");
    const std::optional<std::string> path = section.text("nvme_path");
    if (offload != Offload::kNvme) return;
    if (!path) section.fail("nvme_path", "nothing", "a directory, as the device is nvme");
    auto& paths = config_.placement.nvme_paths;
    if (std::find(paths.begin(), paths.end(), *path) == paths.end()) paths.emplace_back(*path);
    came_from("nvme_path", section, "nvme_path");
  }

  void read_offload_param(JsonSection& zero) {
    std::optional<JsonSection> section = zero.section("offload_param");
    if (!section) return;
    read_device(*section, "offload_param", config_.placement.offload_param);
    section->without_effect({"max_in_cpu"}, "all parameters have one home");
    section->finish();
  }

  void read_offload_optimizer(JsonSection& zero) {
    std::optional<JsonSection> section = zero.section("offload_optimizer");
    if (!section) return;
    read_device(*section, "offload_optimizer", config_.placement.offload_optimizer);
    section->without_effect({"pipeline_read", "pipeline_write", "fast_init"},
                            "reading, updating and writing always overlap");
    if (section->number("ratio").value_or(1) < 1)
      section->fail("ratio", fmt::format("{}", *section->number("ratio")), "1: less is not supported yet");
    section->refuse({"super_offload"}, kNotYet);
    section->without_effect({"cpuadam_cores_perc"}, "--threads says how many cores are used");
    section->finish();
  }

  // A positive count.
  std::optional<int64_t> elements(JsonSection& section, const char* key) {
    const std::optional<int64_t> count = section.integer(key);
    if (count && *count < 1) section.fail(key, fmt::format("{}", *count), "a positive integer");
    return count;
  }

  void read_zero_sizes(JsonSection& zero) {
    zero.without_effect({"sub_group_size"}, "buffers are planned");
    for (const char* key :
         {"prefetch_bucket_size", "param_persistence_threshold", "model_persistence_threshold",
          "max_live_parameters", "max_reuse_distance", "module_granularity_threshold",
          "use_all_reduce_for_fetch_params", "allgather_sequential"}) {
      zero.without_effect({key, ("stage3_" + std::string(key)).c_str()}, kOneScheme);
    }
    zero.without_effect({"allgather_bucket_size", "allgather_partitions", "overlap_comm", "leaf_module",
                         "memory_efficient_linear", "override_module_apply", "log_trace_cache_warnings",
                         "enable_sanity_checks", "pipeline_loading_checkpoint"},
                        kOneScheme);
  }

  void read_zero_rest(JsonSection& zero) {
    zero.without_effect({"reduce_bucket_size", "reduce_scatter", "contiguous_gradients",
                         "use_multi_rank_bucket_allreduce", "round_robin_gradients",
                         "ignore_unused_parameters", "grad_hooks", "legacy_stage1", "compute_grad_norm"},
                        kReduction);
    zero.without_effect(
        {"stage3_gather_16bit_weights_on_model_save", "stage3_gather_fp16_weights_on_model_save",
         "gather_16bit_weights_on_model_save", "load_from_fp32_weights", "elastic_checkpoint"},
        "the final model is always whole, checkpoints load at any number of ranks");
    if (zero.integer("zero_hpz_partition_size").value_or(1) > 1)
      zero.fail("zero_hpz_partition_size", "a secondary partition", "1: not supported yet");
    if (zero.integer("mics_shard_size").value_or(-1) > 0)
      zero.fail("mics_shard_size", "a shard size", "-1: not supported");
    zero.refuse({"zero_quantized_weights", "zero_quantized_nontrainable_weights", "zero_quantized_gradients",
                 "zeropp_loco_param", "mics_hierarchical_params_gather", "zenflow",
                 "save_muon_momentum_buffer_in_memory"},
                kNotYet);
  }

  void read_aio() {
    std::optional<JsonSection> aio = root_.section("aio");
    if (!aio) return;
    config_.placement.io_block_bytes = elements(*aio, "block_size");
    if (const auto bytes = config_.placement.io_block_bytes; bytes && !io::AsyncQueue::takes_block(*bytes))
      aio->fail("block_size", fmt::format("{}", *bytes), "a multiple of 4096 of at most 1 GiB");
    config_.placement.io_queue_depth = elements(*aio, "queue_depth");
    if (const auto depth = config_.placement.io_queue_depth; depth && *depth > io::AsyncQueue::kMaxDepth)
      aio->fail("queue_depth", fmt::format("{}", *depth),
                fmt::format("at most {}", io::AsyncQueue::kMaxDepth));
    aio->without_effect({"thread_count", "intra_op_parallelism"},
                        "queue_depth says how many transfers are under way");
    aio->without_effect({"single_submit", "overlap_events"}, "requests are submitted together and overlap");
    aio->refuse({"use_gds"}, kNotYet);
    aio->finish();
  }

  void read_activations() {
    std::optional<JsonSection> section = root_.section("activation_checkpointing");
    if (!section) return;
    if (section->boolean("cpu_checkpointing") == true) {
      config_.placement.offload_activations = Offload::kCpu;
      came_from("offload_activations", *section, "cpu_checkpointing");
      config_.placement.recompute = true;
      came_from("recompute", *section, "cpu_checkpointing");
    }
    section->without_effect({"partition_activations", "contiguous_memory_optimization", "number_checkpoints",
                             "synchronize_checkpoint_boundary", "profile"},
                            "--recompute keeps the input of each block");
    section->finish();
  }

  void read_refused() {
    root_.refuse({"elasticity", "progressive_layer_drop", "quantize_training", "eigenvalue", "hybrid_engine",
                  "autotuning", "data_efficiency", "curriculum_learning", "expert_parallel", "nebula",
                  "sparse_attention", "weight_quantization", "compression_training"},
                 kNotYet);
    refuse_more_than_one("pipeline", "stages");
    refuse_more_than_one("tensor_parallel", "autotp_size");
    if (root_.integer("sequence_parallel_size").value_or(1) > 1)
      root_.fail("sequence_parallel_size", "a sequence split over ranks", "1: not supported yet");
  }

  void refuse_more_than_one(const char* block, const char* key) {
    std::optional<JsonSection> section = root_.section(block);
    if (!section) return;
    if (section->integer(key).value_or(1) > 1)
      section->fail(key, fmt::format("{}", *section->integer(key)), "1: not supported yet");
  }

  // Aleph's own keys: the names of the flags with underscores.
  void read_aleph() {
    std::optional<JsonSection> own = root_.section("aleph");
    if (!own) return;
    for (const ConfigField& field : config_fields()) {
      if (field.name == "deepspeed") continue;
      const Json* value = own->value(field.name.c_str());
      if (value == nullptr) continue;
      const bool off = *value == false && field.arity == ConfigField::Arity::kSwitch;
      if (!off) field.set(config_, texts(*own, field, *value), document_ + ": aleph." + field.name);
      config_.sources[field.name] = "deepspeed aleph." + field.name;
    }
    own->finish("a flag of aleph train");
  }

  static std::vector<std::string> texts(const JsonSection& own, const ConfigField& field, const Json& value) {
    const auto text = [&](const Json& entry) {
      if (entry.is_string()) return entry.get<std::string>();
      if (entry.is_structured()) own.fail(field.name, "a nested value", field.value);
      if (entry.is_number_float() && entry.get<double>() == std::floor(entry.get<double>()) &&
          std::abs(entry.get<double>()) < 9e15)
        return fmt::format("{}", static_cast<int64_t>(entry.get<double>()));
      return entry.dump();
    };
    if (!value.is_array()) return {text(value)};
    // Numbers would be fewer bytes than a tenth of the paths.
    const bool files = field.arity == ConfigField::Arity::kMany && !field.commas;
    std::vector<std::string> out;
    out.reserve(value.size());
    for (const Json& entry : value) {
      if (files && (!entry.is_string() || entry == ""))
        own.fail(field.name, json_shown(entry), "names of files");
      out.push_back(text(entry));
    }
    return out;
  }

  std::string document_;
  TrainConfig& config_;
  WithoutEffect without_effect_;
  JsonSection root_;
};

}  // namespace

void read_deepspeed_config(std::string_view text, const std::string& object, TrainConfig& config) {
  const Json json = parse_json(text, object);
  Reader(json, object, config).read();
}

void read_deepspeed_file(const std::filesystem::path& path, TrainConfig& config) {
  read_deepspeed_config(io::read_file(path, kMaxFileBytes), path.string(), config);
}

}  // namespace aleph::train
