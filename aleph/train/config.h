// Every option of a training run, whatever it came from: flags, environment, DeepSpeed JSON, defaults.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "aleph/optim/loss_scaler.h"
#include "aleph/optim/schedule.h"
#include "aleph/optim/update_rule.h"
#include "aleph/tensor/dtype.h"

namespace aleph::train {

enum class DataOrder : uint8_t { kShuffled, kSequential };
enum class Offload : uint8_t { kNone, kCpu, kNvme };
enum class OptimizerKind : uint8_t { kAdam, kSgd };

/// "none", "cpu", "nvme".
const char* offload_name(Offload offload);
/// "shuffled", "sequential".
const char* data_order_name(DataOrder order);

struct DataConfig {
  std::filesystem::path tokenizer;  ///< empty: the directory of the model
  std::vector<std::filesystem::path> files;
  std::vector<std::filesystem::path> eval_files;
  double eval_split = 0;   ///< tail of the data kept for evaluation, when there are no eval files
  int64_t eval_steps = 0;  ///< evaluate every so many steps; 0: at the end only, where there is eval data
  DataOrder order = DataOrder::kShuffled;
  int64_t seq_len = 1024;
};

struct SaveConfig {
  std::filesystem::path output_dir;
  int64_t save_steps = 0;        ///< 0: only the final model
  int64_t save_total_limit = 0;  ///< 0: keep every checkpoint
  bool resume = false;
  std::filesystem::path resume_from;  ///< empty: the newest complete checkpoint in output_dir
  bool overwrite = false;
};

struct OptimizerConfig {
  OptimizerKind kind = OptimizerKind::kAdam;
  double learning_rate = 5e-5;
  double weight_decay = 0;
  bool decay_all = false;  ///< every parameter decays, not only matrices
  optim::AdamOptions adam;
  optim::SgdOptions sgd;
};

/// Where states live and how they move. Not given: the planner decides.
struct PlacementConfig {
  std::optional<int64_t> zero_stage;
  std::optional<Offload> offload_param;
  std::optional<Offload> offload_optimizer;
  std::optional<Offload> offload_activations;
  std::vector<std::filesystem::path> nvme_paths;
  std::optional<int64_t> prefetch;  ///< blocks gathered ahead
  std::optional<bool> recompute;
  std::optional<int64_t> device_memory_bytes;
  std::optional<int64_t> host_memory_bytes;
  // Finer settings that only a DeepSpeed file gives.
  std::optional<int64_t> io_block_bytes;
  std::optional<int64_t> io_queue_depth;
};

struct LogConfig {
  std::filesystem::path file;
  int64_t steps = 10;  ///< a progress line every so many steps; the log file has every step
  bool quiet = false;
  bool profile = false;
};

struct TrainConfig {
  std::filesystem::path model;        ///< a Hugging Face directory, or empty
  std::filesystem::path init_config;  ///< config.json of a model with random weights, or empty
  DataConfig data;
  SaveConfig save;
  OptimizerConfig optimizer;
  optim::ScheduleOptions schedule = optim::HfSchedule{};
  optim::LossScaleOptions loss_scale;
  PlacementConfig placement;
  LogConfig log;
  DType dtype = DType::kF32;  ///< parameters and activations
  double grad_clip = 1.0;     ///< largest global gradient norm; 0: no clipping

  // Batch: rows of seq_len tokens. resolve_batch fills in what is not given.
  std::optional<int64_t> micro_batch;            ///< rows per rank and micro-step
  std::optional<int64_t> gradient_accumulation;  ///< micro-steps per optimizer step
  std::optional<int64_t> train_batch;            ///< rows of all ranks per optimizer step

  std::optional<int64_t> steps;  ///< optimizer steps; not given: `epochs`
  double epochs = 1;
  uint64_t seed = 0;
  std::optional<int64_t> threads;  ///< not given: all cores
  std::optional<int64_t> ranks;    ///< not given: 1; more are refused
  std::filesystem::path deepspeed;
  bool print_config = false;

  /// Where a value came from, by name as in describe_config: "--lr", "ALEPH_ARG_LR", "deepspeed
  /// optimizer.params.lr". Names without an entry have their default.
  std::map<std::string, std::string> sources;
  /// Lines to say once: keys without effect, overridden values.
  std::vector<std::string> notes;
};

/// Rows per optimizer step, all present, micro * accumulation * world == total.
struct BatchShape {
  int64_t micro_batch = 1;
  int64_t gradient_accumulation = 1;
  int64_t train_batch = 1;
};
/// DeepSpeed's rules for the three sizes; with none given, micro-batches of 8 rows and no accumulation.
/// Throws Error where they contradict each other, or do not divide.
BatchShape resolve_batch(const TrainConfig& config, int64_t world_size);

/// Throws Error or UsageError for what cannot be: no model, no data, values out of range, paths missing.
void validate(const TrainConfig& config);

std::unique_ptr<optim::UpdateRule> make_update_rule(const TrainConfig& config);
optim::Schedule make_schedule(const TrainConfig& config, int64_t total_steps);
/// Dynamic or static for fp16, always 1 for others.
optim::LossScaler make_loss_scaler(const TrainConfig& config);

/// What --print-config prints: every effective value and its source, as indented JSON in the order of --help:
/// {"lr": {"value": 1e-4, "source": "--lr"}, ...}. "planned" stands for what the planner decides. Throws
/// Error or UsageError for sizes of a batch that cannot be.
std::string describe_config(const TrainConfig& config);

}  // namespace aleph::train
