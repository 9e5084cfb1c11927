#include "aleph/cli/arguments.h"

#include <gmock/gmock.h>

#include <set>
#include <sstream>

#include "aleph/base/error.h"
#include "aleph/cli/testing.h"
#include "aleph/cli/tools.h"
#include "aleph/io/file.h"
#include "aleph/io/temporary_directory.h"

namespace aleph::cli {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using Values = std::vector<std::string>;

template <typename Parse>
std::string fault_of(const Parse& parse, const Values& arguments) {
  try {
    parse(arguments);
  } catch (const UsageError& error) {
    return error.what();
  } catch (const Error& error) {
    return std::string("world: ") + error.what();
  }
  return "no error";
}

std::set<std::string> flag_names(const CommandSyntax& syntax) {
  std::set<std::string> names;
  for (const Flag& flag : syntax.flags) EXPECT_TRUE(names.insert(flag.name).second) << flag.name << " twice";
  return names;
}

/// Every command's syntax; the flags must not be set, as their targets are gone.
std::vector<CommandSyntax> all_syntaxes() {
  train::TrainConfig train;
  GenerateOptions generate;
  VerifyOptions verify;
  return {train_syntax(train),   generate_syntax(generate),
          verify_syntax(verify), tokenizer_syntax(),
          info_syntax(),         doctor_syntax()};
}

TEST(Syntax, HasTheFlagsThatEverythingElseReliesOn) {
  const std::vector<CommandSyntax> all = all_syntaxes();
  EXPECT_THAT(flag_names(all[0]), IsSupersetOf({"model",
                                                "init",
                                                "tokenizer",
                                                "data",
                                                "eval-data",
                                                "eval-split",
                                                "eval-steps",
                                                "data-order",
                                                "output-dir",
                                                "save-steps",
                                                "save-total-limit",
                                                "resume",
                                                "overwrite",
                                                "seq-len",
                                                "batch-size",
                                                "grad-accumulation",
                                                "steps",
                                                "epochs",
                                                "seed",
                                                "lr",
                                                "lr-schedule",
                                                "warmup",
                                                "weight-decay",
                                                "weight-decay-on",
                                                "adam-betas",
                                                "adam-eps",
                                                "grad-clip",
                                                "dtype",
                                                "zero-stage",
                                                "offload-param",
                                                "offload-optimizer",
                                                "offload-activations",
                                                "nvme-path",
                                                "prefetch",
                                                "recompute",
                                                "device-memory",
                                                "host-memory",
                                                "deepspeed",
                                                "threads",
                                                "ranks",
                                                "log-file",
                                                "logging-steps",
                                                "print-config",
                                                "profile",
                                                "quiet"}));
  EXPECT_THAT(flag_names(all[1]), IsSupersetOf({"model", "prompt", "prompt-file", "max-tokens", "temperature",
                                                "top-k", "top-p", "min-p", "repetition-penalty", "seed",
                                                "stop", "dtype", "device-memory", "offload-param", "ids"}));
  EXPECT_THAT(flag_names(all[2]), IsSupersetOf({"dtype", "dump"}));
}

TEST(Syntax, EveryHelpFitsAndTellsAboutEveryFlag) {
  for (const CommandSyntax& syntax : all_syntaxes()) {
    const std::string help = help_text(syntax);
    std::stringstream lines(help);
    for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100u) << line;
    for (const Flag& flag : syntax.flags) {
      EXPECT_THAT(help, HasSubstr("  --" + flag.name)) << syntax.name;
      EXPECT_FALSE(flag.help.empty() || flag.group.empty()) << flag.name;
      EXPECT_EQ(flag.value.empty(), flag.arity == Flag::Arity::kSwitch) << flag.name;
      EXPECT_TRUE(flag.set != nullptr) << flag.name;
    }
  }
}

TEST(Syntax, TrainingDefaultsAreShownAsTheyAreTyped) {
  train::TrainConfig config;
  const std::string help = help_text(train_syntax(config));
  for (const char* shown :
       {"(default 0.9,0.999)", "micro-steps per step (default 1)", "passes over the data (default 1)",
        "rows per rank and micro-step (default 8)", "no clipping (default 1)", "(default fp32)",
        "(default shuffled)", "--data FILE... ", "--nvme-path DIR[,DIR] ", "--adam-betas B1,B2 ",
        "--resume [DIR] ", "(default 1024)"})
    EXPECT_THAT(help, HasSubstr(shown));
  EXPECT_EQ(help.find("......"), std::string::npos);
  EXPECT_EQ(help.find("[8]"), std::string::npos);
}

TEST(TrainArguments, ReachTheConfiguration) {
  const train::TrainConfig config = parse_train_arguments(
      {"--model",      "m",          "--data",          "a.txt", "b.txt",         "--output_dir=out",
       "--seq-len",    "32",         "--batch-size",    "4",     "--lr=1e-3",     "--adam-betas",
       "0.8,0.9",      "--resume",   "--dtype",         "bf16",  "--nvme-path",   "/a,/b",
       "--recompute",  "on",         "--zero_stage",    "2",     "--host-memory", "1.5G",
       "--data-order", "sequential", "--offload-param", "nvme"});
  EXPECT_EQ(config.model, "m");
  EXPECT_THAT(config.data.files, ElementsAre("a.txt", "b.txt"));
  EXPECT_EQ(config.save.output_dir, "out");
  EXPECT_TRUE(config.save.resume && config.save.resume_from.empty());
  EXPECT_EQ(config.data.seq_len, 32);
  EXPECT_EQ(config.micro_batch, 4);
  EXPECT_EQ(config.optimizer.learning_rate, 1e-3);
  EXPECT_EQ(config.optimizer.adam.betas.beta1, 0.8);
  EXPECT_EQ(config.optimizer.adam.betas.beta2, 0.9);
  EXPECT_EQ(config.dtype, DType::kBF16);
  EXPECT_THAT(config.placement.nvme_paths, ElementsAre("/a", "/b"));
  EXPECT_EQ(config.placement.recompute, true);
  EXPECT_EQ(config.placement.zero_stage, 2);
  EXPECT_EQ(config.placement.host_memory_bytes, int64_t{3} << 29);
  EXPECT_EQ(config.placement.offload_param, train::Offload::kNvme);
  EXPECT_EQ(config.data.order, train::DataOrder::kSequential);
  EXPECT_EQ(parse_train_arguments({"--resume", "there"}).save.resume_from, "there");
}

TEST(TrainArguments, EveryFlagWorksFromTheEnvironmentToo) {
  const std::vector<std::pair<std::string, std::string>> values = {{"number", "3"},
                                                                   {"RATE", "0.5"},
                                                                   {"SCALE", "8"},
                                                                   {"EPS", "1e-6"},
                                                                   {"NORM", "2"},
                                                                   {"FRACTION", "0.25"},
                                                                   {"SIZE", "20M"},
                                                                   {"B1,B2", "0.5,0.6"},
                                                                   {"N", "1"},
                                                                   {"on|off", "on"},
                                                                   {"CONFIG.json", "c"},
                                                                   {"FILE", "f"},
                                                                   {"DIR", "d"},
                                                                   {"DIR[,DIR]", "d"},
                                                                   {"FILE.jsonl", "l"},
                                                                   {"0|1|2|3", "1"},
                                                                   {"none|cpu|nvme", "cpu"},
                                                                   {"fp32|bf16|fp16", "fp16"},
                                                                   {"shuffled|sequential", "sequential"},
                                                                   {"constant|linear|cosine", "linear"},
                                                                   {"matrices|all", "all"},
                                                                   {"adam|sgd", "sgd"},
                                                                   {"", "1"}};
  train::TrainConfig unused;
  for (const Flag& flag : train_syntax(unused).flags) {
    if (flag.name == "deepspeed") continue;  // reads its file
    const auto value =
        std::find_if(values.begin(), values.end(), [&](const auto& v) { return v.first == flag.value; });
    ASSERT_NE(value, values.end()) << flag.name << " " << flag.value;
    const std::string variable = environment_name(flag.name);
    const ScopedVariable scoped(variable.c_str(), value->second);
    const train::TrainConfig from_variable = parse_train_arguments({});
    Values arguments = {"--" + flag.name};
    if (!flag.value.empty() && flag.name != "resume") arguments.push_back(value->second);
    if (flag.name == "resume") arguments.push_back("d");
    ::unsetenv(variable.c_str());
    const train::TrainConfig from_flag = parse_train_arguments(arguments);
    std::string field = flag.name;
    std::replace(field.begin(), field.end(), '-', '_');
    const train::ConfigField* config_field = train::find_config_field(field);
    ASSERT_NE(config_field, nullptr);
    EXPECT_EQ(config_field->get(from_variable), config_field->get(from_flag)) << flag.name;
    EXPECT_EQ(from_variable.sources.at(field), variable);
    EXPECT_EQ(from_flag.sources.at(field), "--" + flag.name);
  }
}

TEST(TrainArguments, FlagsWinOverTheDeepSpeedFileWhereverItStands) {
  const io::TemporaryDirectory directory;
  const std::string file = (directory / "ds.json").string();
  io::write_file_atomically(file, R"({"train_micro_batch_size_per_gpu": 4, "gradient_clipping": 0.5,
                                      "optimizer": {"type": "AdamW", "params": {"lr": 0.25}}})");
  for (const Values& arguments :
       {Values{"--lr", "0.125", "--deepspeed", file}, Values{"--deepspeed=" + file, "--lr=0.125"}}) {
    const train::TrainConfig config = parse_train_arguments(arguments);
    EXPECT_EQ(config.optimizer.learning_rate, 0.125);
    EXPECT_EQ(config.grad_clip, 0.5);
    EXPECT_EQ(config.micro_batch, 4);
    EXPECT_EQ(config.deepspeed, file);
    ASSERT_EQ(config.notes.size(), 1u);
    EXPECT_THAT(config.notes[0], HasSubstr("--lr 0.125 overrides"));
  }
  const ScopedVariable variable("ALEPH_ARG_DEEPSPEED", file);
  EXPECT_EQ(parse_train_arguments({"--lr", "0.125"}).grad_clip, 0.5);
  EXPECT_EQ(parse_train_arguments({"--lr", "0.125"}).optimizer.learning_rate, 0.125);
}

TEST(TrainArguments, SayWhatIsWrong) {
  const std::vector<std::pair<Values, std::string>> cases = {
      {{"--lr", "fast"}, "--lr: found 'fast', expected a number"},
      {{"--steps", "1.5"}, "--steps: found '1.5', expected an integer"},
      {{"--seed", "-1"}, "--seed: found '-1', expected an integer of at least 0"},
      {{"--dtype", "fp64"}, "--dtype: found 'fp64', expected fp32, bf16 or fp16"},
      {{"--offload-param", "disk"}, "--offload-param: found 'disk', expected none, cpu or nvme"},
      {{"--recompute", "maybe"}, "--recompute: found 'maybe', expected on or off"},
      {{"--adam-betas", "0.9"}, "--adam-betas: found one value, expected two values"},
      {{"--device-memory", "lots"},
       "--device-memory: found 'lots', expected a size such as 300M, 1.5G or 4096"},
      {{"--output-dir", ""}, "--output-dir: found an empty path, expected a path"},
      {{"--learning-rate", "1"},
       "aleph train: found unknown flag '--learning-rate', expected a flag of --help"},
      {{"--ofload-param", "cpu"},
       "aleph train: found unknown flag '--ofload-param', expected a flag of --help, such as "
       "--offload-param"},
      {{"book.txt"}, "aleph train: found 'book.txt', expected flags only (see --help)"},
      {{"--deepspeed", "/no/ds.json"},
       "world: /no/ds.json: found No such file or directory, expected a readable file"}};
  for (const auto& [arguments, message] : cases)
    EXPECT_THAT(fault_of(parse_train_arguments, arguments), ::testing::StartsWith(message));
}

TEST(GenerateArguments, ReachTheOptions) {
  const io::TemporaryDirectory directory;
  const std::string file = (directory / "prompt.txt").string();
  io::write_file_atomically(file, "from a\nfile\n");
  const GenerateOptions options = parse_generate_arguments({"--model",
                                                            "m",
                                                            "--prompt",
                                                            "- a list",
                                                            "-5",
                                                            "--prompt-file",
                                                            file,
                                                            "--max_tokens=7",
                                                            "--stop",
                                                            "one",
                                                            "two words",
                                                            "--stop",
                                                            "-3",
                                                            "--temperature",
                                                            "0.5",
                                                            "--top-k",
                                                            "4",
                                                            "--top-p=1",
                                                            "--min-p",
                                                            "0",
                                                            "--repetition-penalty",
                                                            "1.5",
                                                            "--seed",
                                                            "9",
                                                            "--dtype",
                                                            "fp16",
                                                            "--device-memory",
                                                            "2K",
                                                            "--offload-param",
                                                            "cpu",
                                                            "--nvme-path",
                                                            "/a,/b",
                                                            "--threads",
                                                            "2",
                                                            "--ids",
                                                            "--quiet"});
  EXPECT_EQ(options.model, "m");
  EXPECT_THAT(options.prompts, ElementsAre("- a list", "-5", "from a\nfile\n"));
  EXPECT_THAT(options.stop, ElementsAre("one", "two words", "-3"));
  EXPECT_EQ(options.max_tokens, 7);
  EXPECT_EQ(options.temperature, 0.5);
  EXPECT_EQ(options.top_k, 4);
  EXPECT_EQ(options.top_p, 1);
  EXPECT_EQ(options.min_p, 0);
  EXPECT_EQ(options.repetition_penalty, 1.5);
  EXPECT_EQ(options.seed, 9u);
  EXPECT_EQ(options.dtype, DType::kF16);
  EXPECT_EQ(options.device_memory_bytes, 2048);
  EXPECT_EQ(options.offload_param, train::Offload::kCpu);
  EXPECT_THAT(options.nvme_paths, ElementsAre("/a", "/b"));
  EXPECT_EQ(options.threads, 2);
  EXPECT_TRUE(options.ids && options.quiet);
  const GenerateOptions plain = parse_generate_arguments({"--model", "m", "--prompt", ""});
  EXPECT_THAT(plain.prompts, ElementsAre(""));
  EXPECT_EQ(plain.max_tokens, 128);
  EXPECT_FALSE(plain.temperature || plain.top_k || plain.dtype || plain.threads || plain.ids || plain.quiet);
}

TEST(GenerateArguments, SayWhatIsWrong) {
  const std::vector<std::pair<Values, std::string>> cases = {
      {{"--prompt", "x"}, "aleph generate: found no --model, expected --model DIR"},
      {{"--model", "m"}, "aleph generate: found no prompt, expected --prompt TEXT or --prompt-file FILE"},
      {{"--model", ""}, "--model: found an empty text, expected a directory"},
      {{"--stop", ""}, "--stop: found an empty text, expected text to stop at"},
      {{"--max-tokens", "-1"}, "--max-tokens: found '-1', expected an integer of at least 0"},
      {{"--max-tokens", "many"}, "--max-tokens: found 'many', expected an integer of at least 0"},
      {{"--temperature", "-0.5"}, "--temperature: found '-0.5', expected a number of at least 0"},
      {{"--temperature", "inf"}, "--temperature: found 'inf', expected a number of at least 0"},
      {{"--top-k", "-1"}, "--top-k: found '-1', expected an integer of at least 0"},
      {{"--top-p", "0"}, "--top-p: found '0', expected a number above 0"},
      {{"--top-p", "1.01"}, "--top-p: found '1.01', expected a number from 0 to 1"},
      {{"--min-p", "2"}, "--min-p: found '2', expected a number from 0 to 1"},
      {{"--repetition-penalty", "0"}, "--repetition-penalty: found '0', expected a number above 0"},
      {{"--device-memory", "0"}, "--device-memory: found '0', expected a size above 0"},
      {{"--device-memory", "-5"}, "--device-memory: found '-5', expected a size such as 300M, 1.5G or 4096"},
      {{"--offload-param", "disk"}, "--offload-param: found 'disk', expected none, cpu or nvme"},
      {{"--threads", "0"}, "--threads: found '0', expected an integer from 1 to 4096"},
      {{"--dtype", "int8"}, "--dtype: found 'int8', expected fp32, bf16 or fp16"},
      {{"--promt", "x"},
       "aleph generate: found unknown flag '--promt', expected a flag of --help, such as --prompt"},
      {{"--prompt-file", "/no/prompt"},
       "world: /no/prompt: found No such file or directory, expected a readable file"}};
  for (const auto& [arguments, message] : cases)
    EXPECT_EQ(fault_of(parse_generate_arguments, arguments), message);
}

TEST(VerifyArguments, ReachTheOptions) {
  const VerifyOptions options = parse_verify_arguments(
      {"a", "--dtype", "bf16", "b c", "--dump", "d.safetensors", "--verbose", "--threads=3"});
  EXPECT_THAT(options.directories, ElementsAre("a", "b c"));
  EXPECT_EQ(options.dtype, DType::kBF16);
  EXPECT_EQ(options.dump, "d.safetensors");
  EXPECT_TRUE(options.verbose && !options.quiet);
  EXPECT_EQ(options.threads, 3);
  EXPECT_EQ(fault_of(parse_verify_arguments, {}),
            "aleph verify: found no directory, expected aleph verify DIR...");
  EXPECT_EQ(fault_of(parse_verify_arguments, {"a", "--dump", ""}),
            "--dump: found an empty text, expected a file name");
}

}  // namespace
}  // namespace aleph::cli
