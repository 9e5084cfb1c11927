#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "aleph/base/error.h"
#include "aleph/base/json.h"
#include "aleph/cli/commands.h"
#include "aleph/io/json_file.h"

namespace aleph::cli {
namespace {

namespace fs = std::filesystem;
const fs::path kStories = fs::path(ALEPH_TEST_DATA) / "goldens" / "stories260K-hf";

struct CommandResult {
  int status = 0;
  std::string out, notes;
};

/// Runs the command and takes what it writes.
CommandResult run_generate(const GenerateOptions& options) {
  Console console({.quiet = options.quiet});
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  CommandResult run;
  std::exception_ptr failure;
  try {
    run.status = generate_command(options, console);
  } catch (...) {
    failure = std::current_exception();
  }
  run.out = testing::internal::GetCapturedStdout();
  run.notes = testing::internal::GetCapturedStderr();
  if (failure) std::rethrow_exception(failure);
  return run;
}

std::string fault_of(const GenerateOptions& options) {
  try {
    run_generate(options);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

GenerateOptions stories(const std::string& prompt, int64_t max_tokens) {
  return {.model = kStories, .prompts = {prompt}, .max_tokens = max_tokens};
}

std::string reference_ids(size_t count) {
  std::ifstream in(kStories / "reference_greedy_tokens.txt");
  std::string line, ids;
  for (size_t i = 0; i < count && std::getline(in, line); ++i) {
    std::istringstream words(line);
    std::string position, id;
    words >> position >> id;
    ids += (i == 0 ? "" : " ") + id;
  }
  return ids + "\n";
}

std::string reference_text() {
  std::ifstream in(kStories / "expected_greedy.txt");
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

TEST(GenerateCommandTest, WritesTheReferenceStory) {
  const CommandResult run = run_generate(stories("", 256));
  EXPECT_EQ(run.status, kDone);
  EXPECT_EQ(run.out, reference_text());
  EXPECT_NE(run.notes.find("prompt 1 tokens, generated 256 tokens"), std::string::npos) << run.notes;
  EXPECT_NE(run.notes.find("peak memory: device"), std::string::npos) << run.notes;
}

TEST(GenerateCommandTest, PrintsIdsOneLineASequence) {
  GenerateOptions options = stories("", 40);
  options.ids = true;
  options.prompts.push_back("");
  options.quiet = true;
  const CommandResult run = run_generate(options);
  EXPECT_EQ(run.out, reference_ids(40) + reference_ids(40));
  EXPECT_EQ(run.notes, "");
}

TEST(GenerateCommandTest, ThePromptAndTheTextFitTogether) {
  const std::string text = reference_text();
  const std::string prompt = "Once upon a time, there was a little girl named Lily.";
  const CommandResult run = run_generate(stories(prompt, 30));
  ASSERT_EQ(text.rfind(prompt, 0), 0u);
  const std::string shown = run.out.substr(0, run.out.size() - 1);
  EXPECT_EQ(text.substr(prompt.size(), shown.size()), shown);
  EXPECT_EQ(shown.front(), ' ');
}

TEST(GenerateCommandTest, StopsBeforeAStopString) {
  GenerateOptions options = stories("", 100);
  options.stop = {"big, red ball", "never there"};
  const std::string text = reference_text();
  EXPECT_EQ(run_generate(options).out, text.substr(0, text.find("big, red ball")) + "\n");
}

TEST(GenerateCommandTest, OffloadAndBudgetsDoNotChangeTheText) {
  const std::string expected = run_generate(stories("", 20)).out;
  for (const train::Offload offload : {train::Offload::kNone, train::Offload::kCpu, train::Offload::kNvme}) {
    GenerateOptions options = stories("", 20);
    options.offload_param = offload;
    EXPECT_EQ(run_generate(options).out, expected);
  }
  GenerateOptions options = stories("", 20);
  options.device_memory_bytes = 700 << 10;
  const CommandResult run = run_generate(options);
  EXPECT_EQ(run.out, expected);
  EXPECT_NE(run.notes.find("--offload-param cpu"), std::string::npos) << run.notes;
}

TEST(GenerateCommandTest, SamplingIsRepeatable) {
  GenerateOptions options = stories("Once", 30);
  options.temperature = 1;
  options.top_p = 0.95;
  options.seed = 1;
  const std::string first = run_generate(options).out;
  EXPECT_EQ(run_generate(options).out, first);
  options.seed = 2;
  EXPECT_NE(run_generate(options).out, first);
}

TEST(GenerateCommandTest, FaultsAreOneLineWithBothSides) {
  GenerateOptions options = stories("", 5);
  options.model = "/nowhere";
  EXPECT_NE(fault_of(options).find("/nowhere"), std::string::npos);
  options = stories("", 5);
  options.temperature = -1;
  EXPECT_NE(fault_of(options).find("temperature"), std::string::npos);
  options = stories("", 5);
  options.device_memory_bytes = 1000;
  EXPECT_NE(fault_of(options).find("--device-memory"), std::string::npos);
  std::string long_prompt;
  for (int i = 0; i < 600; ++i) long_prompt += " dog";
  const std::string fault = fault_of(stories(long_prompt, 5));
  EXPECT_NE(fault.find("512"), std::string::npos) << fault;
  EXPECT_EQ(fault.find('\n'), std::string::npos);
}

TEST(GenerateCommandTest, SaysWhenTheContextEnds) {
  const CommandResult run = run_generate(stories("", 10000));
  EXPECT_TRUE(run.notes.find("context of 512") != std::string::npos ||
              run.notes.find("generated 512") == std::string::npos)
      << run.notes;
}

TEST(GenerateCommandTest, NotesFlagsWithoutEffect) {
  GenerateOptions options = stories("", 2);
  options.top_p = 0.5;
  options.nvme_paths = {"/tmp"};
  const CommandResult run = run_generate(options);
  EXPECT_NE(run.notes.find("--temperature"), std::string::npos);
  EXPECT_NE(run.notes.find("--nvme-path"), std::string::npos);
}

/// The directory of an environment variable, or beside the checkout.
fs::path beside_checkout(const char* variable, const char* name) {
  const char* value = std::getenv(variable);
  return value != nullptr ? fs::path(value) : fs::path(ALEPH_TEST_DATA) / ".." / ".." / ".." / name;
}

TEST(GenerateCommandTest, SmolLm2AnswersLikeTransformers) {
  const fs::path model = beside_checkout("ALEPH_MODELS", "models") / "smollm2-135m-instruct";
  const fs::path expected = beside_checkout("ALEPH_SHARED", "shared") / "goldens" / "real" / "smollm2.json";
  if (!fs::exists(model) || !fs::exists(expected))
    GTEST_SKIP() << model << " or " << expected << " is not there";
  const Json greedy = io::parse_json_file(expected).at("greedy");
  for (const Json& sample : greedy) {
    GenerateOptions options{
        .model = model, .prompts = {sample.at("prompt").get<std::string>()}, .max_tokens = 48, .ids = true};
    std::string ids;
    for (const int32_t id : sample.at("tokens").get<std::vector<int32_t>>())
      ids += fmt::format("{}{}", ids.empty() ? "" : " ", id);
    EXPECT_EQ(run_generate(options).out, ids + "\n") << sample.at("prompt");
  }
}

}  // namespace
}  // namespace aleph::cli
