#include "aleph/train/deepspeed_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "aleph/base/error.h"
#include "aleph/base/json.h"
#include "aleph/train/config_fields.h"

namespace aleph::train {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TrainConfig read(const std::string& text) {
  TrainConfig config;
  read_deepspeed_config(text, "ds.json", config);
  return config;
}

std::string failure(const std::string& text) {
  try {
    read(text);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

void flag(TrainConfig& config, const std::string& name, const std::string& value) {
  set_config_field(config, *find_config_field(name), {value}, "--" + name);
}

// A complete ZeRO-Infinity file, as users have them.
constexpr const char* kInfinity = R"({
  "train_micro_batch_size_per_gpu": 4, "gradient_accumulation_steps": 8, "gradient_clipping": 0.5,
  "steps_per_print": 50, "wall_clock_breakdown": true,
  "fp16": {"enabled": true, "initial_scale_power": 12, "hysteresis": 3, "min_loss_scale": 0.5},
  "optimizer": {"type": "AdamW", "params": {"lr": 1e-4, "betas": [0.8, 0.99], "eps": 1e-6, "weight_decay": 3e-7}},
  "scheduler": {"type": "WarmupDecayLR", "params": {"total_num_steps": 200, "warmup_num_steps": 10,
                "warmup_max_lr": 2e-4, "warmup_type": "linear"}},
  "zero_optimization": {"stage": 3, "overlap_comm": true, "contiguous_gradients": true,
    "reduce_bucket_size": 1e8, "sub_group_size": 5e7, "stage3_prefetch_bucket_size": 1e8,
    "offload_optimizer": {"device": "nvme", "nvme_path": "/nvme", "pin_memory": true, "buffer_count": 12,
                          "pipeline_read": true},
    "offload_param": {"device": "nvme", "nvme_path": "/nvme2", "max_in_cpu": 1e9}},
  "aio": {"block_size": 262144, "queue_depth": 32, "thread_count": 4, "single_submit": false}
})";

TEST(DeepSpeedConfig, ReadsACompleteFile) {
  const TrainConfig config = read(kInfinity);
  EXPECT_EQ(config.micro_batch, 4);
  EXPECT_EQ(config.gradient_accumulation, 8);
  EXPECT_EQ(config.grad_clip, 0.5);
  EXPECT_EQ(config.log.steps, 50);
  EXPECT_TRUE(config.log.profile);
  EXPECT_EQ(config.dtype, DType::kF16);
  EXPECT_EQ(config.loss_scale.initial_scale_power, 12);
  EXPECT_EQ(config.loss_scale.hysteresis, 3);
  EXPECT_EQ(config.loss_scale.min_loss_scale, 0.5);
  EXPECT_EQ(config.optimizer.learning_rate, 1e-4);
  EXPECT_EQ(config.optimizer.adam.betas, (optim::Betas{0.8, 0.99}));
  EXPECT_EQ(config.optimizer.adam.epsilon, 1e-6);
  EXPECT_EQ(config.optimizer.weight_decay, 3e-7);
  const auto& schedule = std::get<optim::WarmupDecayLr>(config.schedule);
  EXPECT_EQ(schedule.total_num_steps, 200);
  EXPECT_EQ(schedule.warmup_num_steps, 10);
  EXPECT_EQ(schedule.warmup_max_lr, 2e-4);
  EXPECT_EQ(schedule.warmup_type, optim::WarmupType::kLinear);
}

TEST(DeepSpeedConfig, ReadsPlacement) {
  const TrainConfig config = read(kInfinity);
  const PlacementConfig& placement = config.placement;
  EXPECT_EQ(placement.zero_stage, 3);
  EXPECT_EQ(placement.offload_param, Offload::kNvme);
  EXPECT_EQ(placement.offload_optimizer, Offload::kNvme);
  EXPECT_THAT(placement.nvme_paths, ElementsAre("/nvme2", "/nvme"));
  EXPECT_EQ(placement.io_block_bytes, 262144);
  EXPECT_EQ(placement.io_queue_depth, 32);
  EXPECT_EQ(config.sources.at("offload_param"), "deepspeed zero_optimization.offload_param.device");
  EXPECT_EQ(config.sources.at("lr"), "deepspeed optimizer.params.lr");
}

TEST(DeepSpeedConfig, SaysOnceWhichKeysHaveNoEffect) {
  const TrainConfig config = read(kInfinity);
  const std::string all = ::testing::PrintToString(config.notes);
  EXPECT_THAT(config.notes, Contains(HasSubstr("no effect here (buffers are planned): "
                                               "zero_optimization.offload_optimizer.buffer_count")));
  for (const char* key : {"zero_optimization.overlap_comm", "zero_optimization.contiguous_gradients",
                          "zero_optimization.stage3_prefetch_bucket_size",
                          "zero_optimization.reduce_bucket_size", "zero_optimization.sub_group_size",
                          "zero_optimization.offload_param.max_in_cpu", "aio.thread_count"}) {
    EXPECT_THAT(all, HasSubstr(key));
    EXPECT_EQ(all.find(key), all.rfind(key)) << key;
  }
  EXPECT_THAT(all, ::testing::Not(HasSubstr("single_submit"))) << "false changes nothing anywhere";
}

TEST(DeepSpeedConfig, SaysThatOverflowIsAlwaysChecked) {
  for (const char* value : {"true", "false"}) {
    const TrainConfig config =
        read(std::string(R"({"bf16": {"enabled": true, "check_grad_overflow": )") + value + "}}");
    EXPECT_THAT(config.notes, ElementsAre(HasSubstr("ends the run): bf16.check_grad_overflow"))) << value;
  }
  EXPECT_THAT(failure(R"({"bf16": {"check_grad_overflow": 3}})"), HasSubstr("check_grad_overflow"));
}

TEST(DeepSpeedConfig, DefaultsAreThoseOfDeepSpeed) {
  const TrainConfig config = read(R"({"optimizer": {"type": "Adam"}, "fp16": {"enabled": true}})");
  EXPECT_EQ(config.grad_clip, 1.0);
  EXPECT_EQ(config.optimizer.learning_rate, 1e-3);
  EXPECT_TRUE(config.optimizer.adam.decoupled_decay) << "adam_w_mode is on unless told otherwise";
  EXPECT_EQ(config.loss_scale.initial_scale_power, 16);
  EXPECT_EQ(config.loss_scale.hysteresis, 2);
  EXPECT_THAT(config.notes, IsEmpty());
  EXPECT_FALSE(config.placement.zero_stage.has_value());
}

TEST(DeepSpeedConfig, AdamModes) {
  const auto decoupled = [](const std::string& optimizer) {
    return read("{\"optimizer\": " + optimizer + "}").optimizer.adam.decoupled_decay;
  };
  EXPECT_FALSE(decoupled(R"({"type": "Adam", "params": {"adam_w_mode": false}})"));
  EXPECT_TRUE(decoupled(R"({"type": "AdamW", "params": {"adam_w_mode": false}})"));
  EXPECT_FALSE(read(R"({"optimizer": {"type": "adam", "params": {"bias_correction": false}}})")
                   .optimizer.adam.bias_correction);
  const TrainConfig sgd =
      read(R"({"optimizer": {"type": "SGD", "params": {"lr": 0.1, "momentum": 0.9, "nesterov": true}}})");
  EXPECT_EQ(sgd.optimizer.kind, OptimizerKind::kSgd);
  EXPECT_EQ(sgd.optimizer.sgd.momentum, 0.9);
  EXPECT_TRUE(sgd.optimizer.sgd.nesterov);
}

TEST(DeepSpeedConfig, AnAutomaticLearningRateIsThatOfTheFlag) {
  EXPECT_EQ(read(R"({"optimizer": {"type": "AdamW"}})").optimizer.learning_rate, 1e-3);
  const TrainConfig config = read(R"({"optimizer": {"type": "AdamW", "params": {"lr": "auto"}}})");
  EXPECT_EQ(config.optimizer.learning_rate, TrainConfig{}.optimizer.learning_rate);
  EXPECT_FALSE(config.sources.contains("lr"));
}

TEST(DeepSpeedConfig, TakesBothSpellings) {
  EXPECT_EQ(read(R"({"bf16": {"enabled": true}})").dtype, DType::kBF16);
  const TrainConfig old = read(
      R"({"zero_optimization": {"stage": 2, "cpu_offload": true, "cpu_offload_params": true,
          "cpu_offload_use_pin_memory": true, "stage3_gather_fp16_weights_on_model_save": true}})");
  EXPECT_EQ(old.placement.offload_optimizer, Offload::kCpu);
  EXPECT_EQ(old.placement.offload_param, Offload::kCpu);
  EXPECT_EQ(read(R"({"zero_optimization": true})").placement.zero_stage, 1);
  const TrainConfig activations = read(R"({"activation_checkpointing": {"cpu_checkpointing": true}})");
  EXPECT_EQ(activations.placement.offload_activations, Offload::kCpu);
  EXPECT_EQ(activations.placement.recompute, true);
}

TEST(DeepSpeedConfig, AutoLeavesTheValueToFlags) {
  TrainConfig config = read(R"({"train_batch_size": "auto", "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto", "gradient_clipping": "auto", "bf16": {"enabled": "auto"},
    "optimizer": {"type": "AdamW", "params": {"lr": "auto", "betas": "auto", "eps": "auto", "weight_decay": "auto"}},
    "scheduler": {"type": "WarmupDecayLR", "params": {"warmup_min_lr": "auto", "warmup_max_lr": "auto",
                  "warmup_num_steps": "auto", "total_num_steps": "auto"}},
    "zero_optimization": {"stage": 3, "reduce_bucket_size": "auto", "stage3_prefetch_bucket_size": "auto"}})");
  EXPECT_FALSE(config.train_batch || config.micro_batch || config.gradient_accumulation);
  flag(config, "lr", "0.5");
  flag(config, "warmup", "4");
  reconcile_flags(config);
  const optim::Schedule schedule = make_schedule(config, 20);
  EXPECT_EQ(schedule.learning_rate(6), 0.5) << "i = 4: warm-up is over";
  EXPECT_EQ(schedule.learning_rate(22), 0);
  EXPECT_EQ(config.dtype, DType::kF32);
}

TEST(DeepSpeedConfig, FlagsWinAndSaySo) {
  TrainConfig config = read(kInfinity);
  config.notes.clear();
  flag(config, "lr", "1e-3");
  flag(config, "grad_clip", "0.5");
  flag(config, "offload_param", "cpu");
  flag(config, "warmup", "20");
  reconcile_flags(config);
  EXPECT_THAT(config.notes,
              ElementsAre("--lr 0.001 overrides optimizer.params.lr 0.0001",
                          "--offload_param \"cpu\" overrides zero_optimization.offload_param.device \"nvme\"",
                          "--warmup 20 overrides scheduler.params.warmup_num_steps 10",
                          "--lr 0.001 overrides scheduler.params.warmup_max_lr 0.0002"));
  EXPECT_EQ(config.sources.at("lr"), "--lr");
  EXPECT_EQ(make_schedule(config, 100).learning_rate(22), 1e-3);
}

TEST(DeepSpeedConfig, FlagsThatASchedulerDoesNotUseSaySo) {
  TrainConfig config =
      read(R"({"scheduler": {"type": "OneCycle", "params": {"cycle_min_lr": 1e-4, "cycle_max_lr": 1e-3}}})");
  flag(config, "lr", "1e-3");
  reconcile_flags(config);
  EXPECT_THAT(config.notes, Contains(HasSubstr("--lr has no effect: scheduler OneCycle")));
  EXPECT_THROW(flag(config, "warmup", "5"), UsageError);
  TrainConfig warmup = read(R"({"scheduler": {"type": "WarmupLR"}})");
  EXPECT_THROW(flag(warmup, "warmup", "0.1"), UsageError);
}

TEST(DeepSpeedConfig, BatchFlagsReplaceTheTotal) {
  TrainConfig config = read(R"({"train_batch_size": 32, "gradient_accumulation_steps": 4})");
  flag(config, "batch_size", "2");
  reconcile_flags(config);
  EXPECT_THAT(config.notes, Contains("--batch_size overrides train_batch_size 32"));
  EXPECT_EQ(resolve_batch(config, 1).train_batch, 8);
  TrainConfig derived = read(R"({"train_batch_size": 32})");
  flag(derived, "batch_size", "2");
  reconcile_flags(derived);
  EXPECT_EQ(resolve_batch(derived, 2).gradient_accumulation, 8);
}

TEST(DeepSpeedConfig, UnknownKeysNameTheNearest) {
  EXPECT_EQ(failure(R"({"zero_optimization": {"offload_optimzer": {}}})"),
            "ds.json: zero_optimization.offload_optimzer: found an unknown key, expected "
            "'offload_optimizer' perhaps");
  EXPECT_THAT(failure(R"({"gradient_acumulation_steps": 2})"), HasSubstr("'gradient_accumulation_steps'"));
  EXPECT_THAT(failure(R"({"fp16": {"enable": true}})"), HasSubstr("fp16.enable: found an unknown key"));
  EXPECT_THAT(failure(R"({"optimizer": {"type": "Adam", "params": {"learning_rate_of_all": 1}}})"),
              HasSubstr("optimizer.params.learning_rate_of_all: found an unknown key, expected a key that"));
  EXPECT_THAT(failure(R"({"scheduler": {"type": "WarmupLR", "params": {"warmup_steps": 1}}})"),
              HasSubstr("scheduler.params.warmup_steps: found an unknown key"));
  EXPECT_THAT(failure(R"({"zero_optimization": {"offload_param": {"divice": "cpu"}}})"),
              HasSubstr("zero_optimization.offload_param.divice: found an unknown key, expected 'device'"));
  EXPECT_THAT(failure(R"({"aio": {"queue_dept": 2}})"), HasSubstr("'queue_depth'"));
  EXPECT_THAT(failure(R"({"activation_checkpointing": {"cpu": true}})"), HasSubstr("an unknown key"));
  EXPECT_THAT(failure(R"({"aleph": {"seqlen": 4}})"),
              HasSubstr("aleph.seqlen: found an unknown key, expected 'seq_len'"));
  EXPECT_THAT(failure(R"({"aleph": {"zzzzzzzzzz": 4}})"), HasSubstr("expected a flag of aleph train"));
}

TEST(DeepSpeedConfig, WrongTypesAndValuesNameTheKey) {
  EXPECT_EQ(failure(R"({"zero_optimization": {"stage": "three"}})"),
            "ds.json: zero_optimization: stage: found \"three\", expected an integer");
  EXPECT_THAT(failure(R"({"zero_optimization": {"stage": 4}})"),
              HasSubstr("zero_optimization.stage: found 4"));
  EXPECT_THAT(failure(R"({"train_batch_size": 0})"), HasSubstr("train_batch_size: found 0"));
  EXPECT_THAT(failure(R"({"fp16": {"enabled": true, "loss_scale_window": 0}})"),
              HasSubstr("ds.json: fp16.loss_scale_window: found 0, expected a positive integer"));
  EXPECT_THAT(
      failure(R"({"scheduler": {"type": "OneCycle", "params": {"cycle_min_lr": 0.1, "cycle_max_lr": 0.2,
                                                               "cycle_first_step_size": 0}}})"),
      HasSubstr("ds.json: scheduler.params.cycle_first_step_size: found 0, expected a positive value"));
  EXPECT_THAT(failure(R"({"aio": {"queue_depth": 0.9}})"), HasSubstr("queue_depth: found 0.9"));
  EXPECT_THAT(failure(R"({"aio": {"queue_depth": -5}})"), HasSubstr("queue_depth: found -5"));
  EXPECT_THAT(failure(R"({"aio": {"queue_depth": 4294967297}})"),
              HasSubstr("queue_depth: found 4294967297, expected at most 1024"));
  EXPECT_THAT(failure(R"({"aio": {"block_size": 1000}})"),
              HasSubstr("block_size: found 1000, expected a multiple of 4096"));
  EXPECT_THAT(failure(R"({"zero_optimization": {"offload_param": {"device": "gpu"}}})"),
              HasSubstr("offload_param.device: found 'gpu', expected none, cpu or nvme"));
  EXPECT_THAT(failure(R"({"zero_optimization": {"offload_param": {"device": "nvme"}}})"),
              HasSubstr("offload_param.nvme_path: found nothing"));
  EXPECT_THAT(failure(R"({"fp16": true})"), HasSubstr("fp16: found true, expected an object"));
  EXPECT_THAT(failure("[1]"), HasSubstr("ds.json: found [1], expected an object"));
  EXPECT_THAT(failure(R"({"fp16": {}, "fp16": {}})"), HasSubstr("key 'fp16' twice"));
  EXPECT_THAT(failure("{"), HasSubstr("ds.json: found invalid JSON at line 1"));
  EXPECT_THAT(failure(R"({"optimizer": {"type": "Adam", "params": {"betas": [0.9]}}})"),
              HasSubstr("betas: found 1 numbers, expected two numbers"));
  EXPECT_THAT(failure(R"({"optimizer": {"type": "Adam", "params": {"betas": 0.9}}})"),
              HasSubstr("a list of numbers"));
  EXPECT_THAT(failure(R"({"optimizer": {"params": {}}})"), HasSubstr("optimizer.type: found nothing"));
  EXPECT_THAT(failure(R"({"scheduler": {"type": "Cosine"}})"), HasSubstr("scheduler.type: found 'Cosine'"));
  EXPECT_THAT(failure(R"({"scheduler": {"type": "OneCycle", "params": {"cycle_min_lr": 1}}})"),
              HasSubstr("scheduler.params.cycle_max_lr: found nothing"));
  EXPECT_THAT(failure(R"({"scheduler": {"type": "WarmupLR", "params": {"warmup_type": "exp"}}})"),
              HasSubstr("warmup_type: found 'exp', expected log or linear"));
  EXPECT_THAT(failure(R"({"scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 0}}})"),
              HasSubstr("warmup_num_steps: found 0"));
}

TEST(DeepSpeedConfig, RefusesWhatCannotBeHonoured) {
  EXPECT_THAT(failure(R"({"fp16": {"enabled": true}, "bf16": {"enabled": true}})"),
              HasSubstr("bf16: found enabled beside fp16"));
  EXPECT_THAT(failure(R"({"optimizer": {"type": "Adam", "params": {"max_grad_norm": 1.0}}})"),
              HasSubstr("optimizer.params.max_grad_norm: found a key that optimizers do not take, expected "
                        "gradient_clipping at the top level"));
  EXPECT_THAT(
      failure(R"({"optimizer": {"type": "OneBitAdam"}})"),
      HasSubstr("optimizer.type: found 'OneBitAdam' (not supported yet), expected Adam, AdamW or SGD"));
  EXPECT_THAT(failure(R"({"optimizer": {"type": "Adem"}})"), HasSubstr("found 'Adem', expected"));
  EXPECT_THAT(failure(R"({"optimizer": {"type": "Adam", "params": {"amsgrad": true}}})"),
              HasSubstr("amsgrad"));
  EXPECT_THAT(failure(R"({"amp": {"enabled": true}})"), HasSubstr("amp: found"));
  EXPECT_THAT(failure(R"({"gradient_allreduce_op": "sum"})"), HasSubstr("gradient_allreduce_op: found sum"));
  EXPECT_THAT(failure(R"({"managed_gradient_accumulation": false})"),
              HasSubstr("managed_gradient_accumulation"));
  EXPECT_THAT(failure(R"({"zero_optimization": {"zero_hpz_partition_size": 8}})"),
              HasSubstr("zero_hpz_partition_size"));
  EXPECT_THAT(failure(R"({"zero_optimization": {"mics_shard_size": 8}})"), HasSubstr("mics_shard_size"));
  EXPECT_THAT(
      failure(R"({"zero_optimization": {"zero_quantized_weights": true}})"),
      HasSubstr("zero_optimization.zero_quantized_weights: found true, expected false: not supported yet"));
  EXPECT_THAT(failure(R"({"zero_optimization": {"offload_optimizer": {"device": "cpu", "ratio": 0.3}}})"),
              HasSubstr("ratio: found 0.3"));
  EXPECT_THAT(failure(R"({"pipeline": {"stages": 2}})"), HasSubstr("pipeline.stages: found 2"));
  EXPECT_THAT(failure(R"({"tensor_parallel": {"autotp_size": 4}})"), HasSubstr("autotp_size: found 4"));
  for (const char* key : {"elasticity", "progressive_layer_drop", "quantize_training", "hybrid_engine",
                          "autotuning", "data_efficiency", "curriculum_learning", "expert_parallel"}) {
    EXPECT_THAT(failure(fmt::format(R"({{"{}": {{"enabled": true}}}})", key)),
                HasSubstr(fmt::format("ds.json: {}: found", key)));
    EXPECT_EQ(failure(fmt::format(R"({{"{}": {{"enabled": false, "other": 3}}}})", key)), "no error");
  }
}

TEST(DeepSpeedConfig, ReadsItsOwnBlock) {
  const TrainConfig config = read(
      R"({"aleph": {"seq_len": 5e2, "data": ["a.txt", "b.txt"], "lr": 3e-4, "overwrite": false,
          "recompute": true, "device_memory": "2G", "adam_betas": [0.9, 0.95]}})");
  EXPECT_EQ(config.data.seq_len, 500);
  EXPECT_EQ(config.data.files.size(), 2u);
  EXPECT_EQ(config.optimizer.learning_rate, 3e-4);
  EXPECT_FALSE(config.save.overwrite);
  EXPECT_EQ(config.placement.recompute, true);
  EXPECT_EQ(config.placement.device_memory_bytes, int64_t{2} << 30);
  EXPECT_EQ(config.optimizer.adam.betas.beta2, 0.95);
  EXPECT_EQ(config.sources.at("seq_len"), "deepspeed aleph.seq_len");
  EXPECT_THAT(failure(R"({"aleph": {"lr": {"a": 1}}})"), HasSubstr("aleph.lr: found a nested value"));
  for (const char* entry : {"1", "\"\"", "[]", "null"})
    EXPECT_THAT(failure(fmt::format(R"({{"aleph": {{"data": ["a.txt", {}]}}}})", entry)),
                HasSubstr(fmt::format("aleph.data: found {}, expected names of files", entry)));
  EXPECT_THAT(failure(R"({"aleph": {"lr": "fast"}})"), HasSubstr("ds.json: aleph.lr: found 'fast'"));
}

TEST(DeepSpeedConfig, MissingFileIsAnError) {
  TrainConfig config;
  EXPECT_THROW(read_deepspeed_file("/no/such/file.json", config), Error);
}

}  // namespace
}  // namespace aleph::train
