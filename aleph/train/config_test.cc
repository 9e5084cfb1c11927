#include "aleph/train/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <set>

#include "aleph/base/error.h"
#include "aleph/base/json.h"
#include "aleph/train/config_fields.h"

namespace aleph::train {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

void set(TrainConfig& config, const std::string& name, const std::vector<std::string>& values) {
  const ConfigField* field = find_config_field(name);
  ASSERT_NE(field, nullptr) << name;
  set_config_field(config, *field, values, "--" + name);
}

std::string failure_of(const std::string& name, const std::vector<std::string>& values) {
  TrainConfig config;
  try {
    set(config, name, values);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "no error";
}

std::string batch_failure(const TrainConfig& config, int64_t world) {
  try {
    resolve_batch(config, world);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TrainConfig batch_config(std::optional<int64_t> micro, std::optional<int64_t> accumulation,
                         std::optional<int64_t> total) {
  TrainConfig config;
  config.micro_batch = micro;
  config.gradient_accumulation = accumulation;
  config.train_batch = total;
  return config;
}

void expect_batch(const BatchShape& shape, int64_t micro, int64_t accumulation, int64_t total) {
  EXPECT_EQ(shape.micro_batch, micro);
  EXPECT_EQ(shape.gradient_accumulation, accumulation);
  EXPECT_EQ(shape.train_batch, total);
}

TEST(ResolveBatch, FindsTheThirdOfThree) {
  const auto none = std::nullopt;
  expect_batch(resolve_batch(batch_config(none, none, none), 3), 8, 1, 24);
  expect_batch(resolve_batch(batch_config(4, none, none), 2), 4, 1, 8);
  expect_batch(resolve_batch(batch_config(4, 3, none), 2), 4, 3, 24);
  expect_batch(resolve_batch(batch_config(none, none, 32), 4), 8, 1, 32);
  expect_batch(resolve_batch(batch_config(none, 2, 32), 4), 4, 2, 32);
  expect_batch(resolve_batch(batch_config(2, none, 32), 4), 2, 4, 32);
  expect_batch(resolve_batch(batch_config(2, 4, 32), 4), 2, 4, 32);
}

TEST(ResolveBatch, RefusesContradictions) {
  EXPECT_EQ(batch_failure(batch_config(2, 4, 33), 4),
            "train_batch_size: found 33, expected micro-batch 2 x accumulation 4 x ranks 4 = 32");
  EXPECT_THAT(batch_failure(batch_config(5, std::nullopt, 32), 2), HasSubstr("a multiple of 10"));
  EXPECT_THAT(batch_failure(batch_config(std::nullopt, 3, 32), 2), HasSubstr("a multiple of 6"));
  EXPECT_THAT(batch_failure(batch_config(std::nullopt, std::nullopt, 3), 2), HasSubstr("a multiple of 2"));
}

TEST(ConfigFields, EveryFieldHasAHeadingAValueAndANameOfItsOwn) {
  std::set<std::string> names;
  for (const ConfigField& field : config_fields()) {
    EXPECT_TRUE(names.insert(field.name).second) << field.name;
    EXPECT_FALSE(field.group.empty() || field.help.empty()) << field.name;
    EXPECT_EQ(field.value.empty(), field.arity == ConfigField::Arity::kSwitch) << field.name;
    EXPECT_NO_THROW(OrderedJson::parse(field.get(TrainConfig{}))) << field.name;
  }
  EXPECT_EQ(find_config_field("no_such"), nullptr);
}

TEST(ConfigFields, SetWhatTheyName) {
  TrainConfig config;
  set(config, "model", {"gpt2"});
  set(config, "data", {"a.txt", "b,c.jsonl"});
  set(config, "nvme_path", {"/a,/b", "/c"});
  set(config, "adam_betas", {"0.8,0.99"});
  set(config, "lr", {"3e-4"});
  set(config, "dtype", {"bfloat16"});
  set(config, "offload_param", {"nvme"});
  set(config, "recompute", {"off"});
  set(config, "device_memory", {"1.5G"});
  set(config, "resume", {});
  set(config, "overwrite", {});
  set(config, "weight_decay_on", {"all"});
  set(config, "data_order", {"sequential"});
  EXPECT_EQ(config.model, "gpt2");
  EXPECT_EQ(config.data.files, (std::vector<fs::path>{"a.txt", "b,c.jsonl"}));
  EXPECT_EQ(config.placement.nvme_paths, (std::vector<fs::path>{"/a", "/b", "/c"}));
  EXPECT_EQ(config.optimizer.adam.betas, (optim::Betas{0.8, 0.99}));
  EXPECT_EQ(config.optimizer.learning_rate, 3e-4);
  EXPECT_EQ(config.dtype, DType::kBF16);
  EXPECT_EQ(config.placement.offload_param, Offload::kNvme);
  EXPECT_EQ(config.placement.recompute, false);
  EXPECT_EQ(config.placement.device_memory_bytes, 3 * (int64_t{1} << 29));
  EXPECT_TRUE(config.save.resume && config.save.overwrite && config.optimizer.decay_all);
  EXPECT_EQ(config.data.order, DataOrder::kSequential);
  EXPECT_EQ(config.sources.at("lr"), "--lr");
  set(config, "resume", {"out/checkpoint-4"});
  EXPECT_EQ(config.save.resume_from, "out/checkpoint-4");
}

TEST(ConfigFields, ScheduleAndWarmupComeInAnyOrder) {
  for (const bool warmup_first : {true, false}) {
    TrainConfig config;
    if (warmup_first) set(config, "warmup", {"7"});
    set(config, "lr_schedule", {"cosine"});
    if (!warmup_first) set(config, "warmup", {"7"});
    const auto& schedule = std::get<optim::HfSchedule>(config.schedule);
    EXPECT_EQ(schedule.kind, optim::HfSchedule::Kind::kCosine);
    EXPECT_EQ(schedule.warmup, 7);
  }
}

TEST(ConfigFields, SayWhatIsWrong) {
  EXPECT_EQ(failure_of("lr", {"fast"}), "--lr: found 'fast', expected a number");
  EXPECT_EQ(failure_of("lr", {"inf"}), "--lr: found 'inf', expected a finite number");
  EXPECT_EQ(failure_of("lr", {"1e999"}), "--lr: found '1e999', expected a smaller number");
  EXPECT_EQ(failure_of("lr", {"1", "2"}), "--lr: found 2 values, expected one value");
  EXPECT_EQ(failure_of("steps", {"1.5"}), "--steps: found '1.5', expected an integer");
  EXPECT_EQ(failure_of("steps", {""}), "--steps: found '', expected an integer");
  EXPECT_EQ(failure_of("seed", {"-1"}), "--seed: found '-1', expected an integer of at least 0");
  EXPECT_EQ(failure_of("offload_param", {"gpu"}), "--offload_param: found 'gpu', expected none, cpu or nvme");
  EXPECT_EQ(failure_of("data_order", {"random"}),
            "--data_order: found 'random', expected shuffled or sequential");
  EXPECT_EQ(failure_of("recompute", {"yes"}), "--recompute: found 'yes', expected on or off");
  EXPECT_EQ(failure_of("lr_schedule", {"step"}),
            "--lr_schedule: found 'step', expected constant, linear or cosine");
  EXPECT_EQ(failure_of("optimizer", {"lamb"}), "--optimizer: found 'lamb', expected adam or sgd");
  EXPECT_EQ(failure_of("weight_decay_on", {"some"}),
            "--weight_decay_on: found 'some', expected matrices or all");
  EXPECT_EQ(failure_of("adam_betas", {"0.9"}), "--adam_betas: found one value, expected two values");
  EXPECT_THAT(failure_of("warmup", {"-3"}), HasSubstr("--warmup: found '-3'"));
  EXPECT_THAT(failure_of("device_memory", {"lots"}), HasSubstr("--device_memory: found 'lots'"));
  EXPECT_THAT(failure_of("dtype", {"int8"}), HasSubstr("--dtype: found"));
  EXPECT_THAT(failure_of("model", {""}), HasSubstr("--model: found an empty path"));
}

class ValidateTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::temp_directory_path() / fmt::format("aleph-validate-{}", ::getpid());
    fs::create_directories(root_ / "model");
    std::ofstream(root_ / "a.txt") << "text";
    config_.model = root_ / "model";
    config_.data.files = {root_ / "a.txt"};
    config_.save.output_dir = root_ / "output";
  }
  void TearDown() override { fs::remove_all(root_); }

  std::string failure() const {
    try {
      validate(config_);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }

  fs::path root_;
  TrainConfig config_;
};

TEST_F(ValidateTest, TakesAGoodConfiguration) { EXPECT_EQ(failure(), "no error"); }

TEST_F(ValidateTest, NeedsAModelAndData) {
  config_.init_config = root_ / "a.txt";
  EXPECT_EQ(failure(), "--model and --init: found both, expected one of them");
  config_.model.clear();
  EXPECT_THAT(failure(), HasSubstr("--tokenizer: found nothing"));
  config_.init_config.clear();
  EXPECT_EQ(failure(), "--model and --init: found neither, expected one of them");
  config_.model = root_ / "a.txt";
  EXPECT_THAT(failure(), HasSubstr("a.txt: found something else, expected a directory"));
  config_.model = root_ / "none";
  EXPECT_THAT(failure(), HasSubstr("none: found nothing there, expected a directory"));
  config_.model = root_ / "model";
  config_.data.files = {root_ / "none.txt"};
  EXPECT_THAT(failure(), HasSubstr("none.txt: found nothing there, expected a file"));
  config_.data.files.clear();
  EXPECT_EQ(failure(), "--data: found nothing, expected files to train on");
}

TEST_F(ValidateTest, RefusesValuesOutOfRange) {
  const auto refuses = [this](const std::string& name, const std::string& value, const std::string& message) {
    const TrainConfig good = config_;
    set(config_, name, {value});
    EXPECT_THAT(failure(), HasSubstr(message)) << name << " " << value;
    config_ = good;
  };
  refuses("seq_len", "1", "--seq_len: found 1, expected a value of at least 2");
  refuses("batch_size", "0", "--batch_size: found 0, expected a value of at least 1");
  refuses("batch_size", "99999999", "expected a value of at most 1048576");
  refuses("grad_accumulation", "-2", "--grad_accumulation: found -2");
  refuses("steps", "0", "--steps: found 0");
  refuses("epochs", "0", "--epochs: found 0");
  refuses("lr", "-1e-3", "--lr: found -0.001");
  refuses("weight_decay", "-1", "--weight_decay: found -1");
  refuses("grad_clip", "-1", "--grad_clip: found -1");
  refuses("adam_eps", "0", "--adam_eps: found 0, expected a value above 0");
  refuses("adam_betas", "1,0.9", "--adam_betas: found 1, expected a value of at least 0 and below 1");
  refuses("adam_betas", "0.9,-1", "--adam_betas: found -1");
  refuses("sgd_momentum", "1", "--sgd_momentum: found 1");
  refuses("loss_scale", "-8", "--loss_scale: found -8, expected a value of at least 0");
  refuses("eval_split", "1", "--eval_split: found 1, expected a value of at most 0.9");
  refuses("eval_steps", "-1", "--eval_steps: found -1");
  refuses("save_total_limit", "-1", "--save_total_limit: found -1");
  refuses("logging_steps", "0", "--logging_steps: found 0");
  refuses("zero_stage", "4", "--zero_stage: found 4, expected a value of at most 3");
  refuses("prefetch", "-1", "--prefetch: found -1");
  refuses("threads", "0", "--threads: found 0");
  refuses("ranks", "0", "--ranks: found 0");
  refuses("device_memory", "1K", "--device_memory: found 1024");
  config_.save.output_dir.clear();
  EXPECT_EQ(failure(), "--output-dir: found nothing, expected a directory for the trained model");
}

TEST_F(ValidateTest, RefusesWhatExcludesEachOther) {
  const TrainConfig good = config_;
  set(config_, "steps", {"5"});
  set(config_, "epochs", {"2"});
  EXPECT_EQ(failure(), "--steps and --epochs: found both, expected one of them");
  config_ = good;
  config_.save.resume = config_.save.overwrite = true;
  config_.save.output_dir = root_;
  EXPECT_EQ(failure(), "--resume and --overwrite: found both, expected one of them");
  config_ = good;
  config_.data.eval_files = config_.data.files;
  config_.data.eval_split = 0.1;
  EXPECT_EQ(failure(), "--eval-split: found --eval-data as well, expected one of them");
  config_ = good;
  config_.placement.offload_optimizer = Offload::kNvme;
  EXPECT_EQ(failure(), "--nvme-path: found nothing, expected a directory, as --offload-optimizer is nvme");
  config_.placement.nvme_paths = {root_ / "none"};
  EXPECT_THAT(failure(), HasSubstr("--nvme-path"));
  config_.placement.nvme_paths = {root_};
  EXPECT_EQ(failure(), "no error");
}

TEST_F(ValidateTest, OffloadNeedsTheStageThatSplits) {
  const TrainConfig good = config_;
  const auto with = [&](const char* stage, const char* name) {
    config_ = good;
    set(config_, "zero_stage", {stage});
    set(config_, name, {"cpu"});
    return failure();
  };
  EXPECT_EQ(with("2", "offload_param"),
            "--offload_param: found cpu, expected none, as --zero_stage is 2: this needs stage 3");
  EXPECT_EQ(
      with("0", "offload_optimizer"),
      "--offload_optimizer: found cpu, expected none, as --zero_stage is 0: this needs stage 1, 2 or 3");
  EXPECT_EQ(with("3", "offload_param"), "no error");
  EXPECT_EQ(with("1", "offload_optimizer"), "no error");
  set(config_, "offload_param", {"none"});
  EXPECT_EQ(failure(), "no error");
  config_.placement.zero_stage.reset();
  set(config_, "offload_param", {"cpu"});
  EXPECT_EQ(failure(), "no error") << "no stage is given";
}

TEST(ReconcileFlags, AStageGivenAsAFlagIsSaidToChangeNothing) {
  TrainConfig config;
  config.placement.zero_stage = 3;
  config.sources["zero_stage"] = "deepspeed zero_optimization.stage";
  reconcile_flags(config);
  EXPECT_TRUE(config.notes.empty());
  config.sources.clear();
  set(config, "zero_stage", {"2"});
  reconcile_flags(config);
  EXPECT_EQ(config.notes,
            (std::vector<std::string>{"--zero_stage 2 changes nothing: one rank has nothing to split"}));
}

TEST(ReconcileFlags, EvaluationStepsAloneKeepSomeTextForIt) {
  TrainConfig config;
  set(config, "eval_steps", {"10"});
  reconcile_flags(config);
  EXPECT_EQ(config.data.eval_split, 0.02);
  EXPECT_EQ(config.sources.at("eval_split"), "as --eval_steps is given");
  for (const auto& [name, value] : {std::pair("eval_split", "0"), std::pair("eval_data", "a.txt")}) {
    TrainConfig other;
    set(other, "eval_steps", {"10"});
    set(other, name, {value});
    reconcile_flags(other);
    EXPECT_EQ(other.data.eval_split, 0) << name;
  }
}

TEST(DescribeConfig, GivesValuesWithTheirSources) {
  TrainConfig config;
  set(config, "lr", {"1e-4"});
  set(config, "data", {"a.txt"});
  config.train_batch = 32;
  const OrderedJson described = OrderedJson::parse(describe_config(config));
  EXPECT_EQ(described.begin().key(), "model");
  EXPECT_EQ(described["lr"], (OrderedJson{{"value", 1e-4}, {"source", "--lr"}}));
  EXPECT_EQ(described["data"]["value"], (OrderedJson{"a.txt"}));
  EXPECT_EQ(described["seq_len"]["source"], "default");
  EXPECT_EQ(described["train_batch_size"]["value"], 32);
}

TEST(DescribeConfig, ShowsWhatHoldsWhereNothingIsGiven) {
  TrainConfig config;
  const auto shown = [&](const char* name) { return OrderedJson::parse(describe_config(config)).at(name); };
  const auto entry = [](const OrderedJson& value, const char* source) {
    return OrderedJson{{"value", value}, {"source", source}};
  };
  EXPECT_EQ(shown("batch_size"), entry(8, "default"));
  EXPECT_EQ(shown("grad_accumulation"), entry(1, "default"));
  EXPECT_EQ(shown("zero_stage"), entry(3, "default"));
  for (const char* name :
       {"offload_param", "offload_optimizer", "offload_activations", "prefetch", "recompute"})
    EXPECT_EQ(shown(name), entry("planned", "planner")) << name;
  config.train_batch = 24;
  config.sources["train_batch_size"] = "deepspeed train_batch_size";
  set(config, "batch_size", {"6"});
  EXPECT_EQ(shown("batch_size"), entry(6, "--batch_size"));
  EXPECT_EQ(shown("grad_accumulation"), entry(4, "deepspeed train_batch_size"));
  set(config, "recompute", {"off"});
  EXPECT_EQ(shown("recompute"), entry(false, "--recompute"));
  set(config, "batch_size", {"7"});
  EXPECT_THROW(describe_config(config), Error) << "24 is no multiple of 7";
  set(config, "batch_size", {"0"});
  EXPECT_THROW(describe_config(config), UsageError);
}

TEST(TrainConfigFactories, BuildWhatTheConfigurationSays) {
  TrainConfig config;
  EXPECT_EQ(make_update_rule(config)->state_names().size(), 2u);
  config.optimizer.kind = OptimizerKind::kSgd;
  EXPECT_EQ(make_update_rule(config)->state_names().size(), 0u);
  EXPECT_EQ(make_loss_scaler(config).scale(), 1);
  config.dtype = DType::kF16;
  EXPECT_EQ(make_loss_scaler(config).scale(), 65536);
  config.optimizer.learning_rate = 0.5;
  config.schedule = optim::HfSchedule{.kind = optim::HfSchedule::Kind::kLinear};
  EXPECT_EQ(make_schedule(config, 10).learning_rate(6), 0.25);
}

}  // namespace
}  // namespace aleph::train
