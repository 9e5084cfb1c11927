// The program as its users meet it: exit statuses, one-line errors, signals.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include "aleph/base/json.h"
#include "aleph/base/random.h"
#include "aleph/checkpoint/training_checkpoint.h"
#include "aleph/io/file.h"
#include "tests/support/arguments.h"
#include "tests/support/tiny_run.h"

namespace aleph::tests {
namespace {

using ::testing::HasSubstr;

void expect_refused(const Arguments& arguments, int status, const std::string& words) {
  expect_one_line(run_program(arguments), status, words);
}

TEST(ProgramTest, TrainsAsTheLibraryDoes) {
  const TinyWorld world;
  const ProgramResult result = run_program(world.arguments("program"));
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out, "");
  const RunResult mine = read_result(world.config("program"));
  EXPECT_EQ(mine.losses, run(world.config("library")).losses);
  for (const char* file : {"config.json", "generation_config.json", "vocab.json", "merges.txt"})
    EXPECT_TRUE(std::filesystem::exists(world / "program" / file)) << file;
}

TEST(ProgramTest, WrongInputIsOneLine) {
  const TinyWorld world;
  const Arguments good = world.arguments("wrong");
  expect_refused(with(good, "--data", "/no/such.txt"), 1, "/no/such.txt");
  expect_refused(with(good, "--init", "/no/config.json"), 1, "/no/config.json");
  expect_refused(with(good, "--tokenizer", "/no/tokenizer"), 1, "/no/tokenizer");
  expect_refused(with(good, "--seq-len", "64"), 1, "32");
  expect_refused(with(good, "--seq-len", "zwei"), 2, "seq-len");
  expect_refused(with(good, "--seq-len", "-3"), 2, "seq-len");
  expect_refused(good + Arguments{"--no-such-flag"}, 2, "--no-such-flag");
  expect_refused(good + Arguments{"--dtype", "fp64"}, 2, "fp64");
  expect_refused({"train"}, 2, "");
  EXPECT_FALSE(std::filesystem::exists(world / "wrong" / "model.safetensors"));
}

TEST(ProgramTest, BrokenFilesAreOneLine) {
  const TinyWorld world;
  const Arguments good = world.arguments("broken");
  io::write_file_atomically(world / "broken.json", "{\"model_type\": \"gpt2\",");
  expect_refused(with(good, "--init", (world / "broken.json").string()), 1, "broken.json");
  io::write_file_atomically(world / "other.json", "{\"model_type\": \"no-such-model\"}");
  expect_refused(with(good, "--init", (world / "other.json").string()), 1, "no-such-model");
  io::write_file_atomically(world / "empty.txt", "");
  expect_refused(with(good, "--data", (world / "empty.txt").string()), 1, "empty.txt");
  io::write_file_atomically(
      world / "small.json",
      R"({"model_type": "gpt2", "vocab_size": 100, "n_embd": 8, "n_layer": 1, "n_head": 1})");
  expect_refused(with(good, "--init", (world / "small.json").string()), 1, "vocabulary");
}

TEST(ProgramTest, EncodedBytesAreDecodedByteForByte) {
  const io::TemporaryDirectory directory;
  const RandomStream random({.seed = 13});
  std::string bytes(10007, '\0');
  for (uint64_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(random.below(256, i));
  io::write_file_atomically(directory / "bytes", bytes + "half a character: \xE2\x82");
  const std::string tokenizer = std::string(" --tokenizer '") + ALEPH_TEST_DATA + "/tiny-tokenizer'";
  const ProgramResult result =
      run_script(directory.path(), "\"$ALEPH\" tokenizer encode --file bytes" + tokenizer +
                                       " | \"$ALEPH\" tokenizer decode" + tokenizer + " | cmp - bytes");
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST(ProgramTest, WhatFitsNowhereIsRefusedWithATable) {
  const TinyWorld world;
  io::write_file_atomically(
      world / "large.json",
      R"({"model_type": "gpt2", "vocab_size": 280, "n_embd": 512, "n_layer": 2, "n_head": 8})");
  Arguments arguments = with(world.arguments("large"), "--init", (world / "large.json").string());
  const ProgramResult result =
      run_program(arguments + Arguments{"--device-memory", "2M", "--host-memory", "2M"});
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.err, HasSubstr("device"));
  EXPECT_THAT(result.err, HasSubstr("gradients"));
}

TEST(ProgramTest, ASignalSavesAndStopsAndTheRunContinues) {
  const TinyWorld world;
  Program program(with(world.arguments("run"), "--steps", "200000") + Arguments{"--lr-schedule", "constant"});
  while (program.running() && log_values(world / "run.jsonl", "loss").size() < 3) ::usleep(1000);
  program.signal(SIGINT);
  const ProgramResult result = program.wait();
  EXPECT_EQ(result.status, 130) << result.err;
  EXPECT_THAT(result.err, HasSubstr("interrupted"));
  const auto saved = checkpoint::list_checkpoints(world / "run");
  ASSERT_EQ(saved.size(), 1u);
  const int64_t step = saved.front().step;
  EXPECT_EQ(static_cast<int64_t>(log_values(world / "run.jsonl", "loss").size()), step);

  const std::string steps = std::to_string(step + 3);
  const ProgramResult resumed =
      run_program(with(world.arguments("run"), "--steps", steps) + Arguments{"--resume"});
  ASSERT_EQ(resumed.status, 0) << resumed.err;
  run_program(with(world.arguments("whole"), "--steps", steps));
  EXPECT_TRUE(read_result(world.config("run")).weights == read_result(world.config("whole")).weights);
}

TEST(ProgramTest, SwapFilesOfAKilledRunAreRemoved) {
  const TinyWorld world;
  Arguments arguments = with(world.arguments("killed"), "--offload-optimizer", "nvme");
  {
    Program program(with(arguments, "--steps", "200000"));
    while (program.running() && log_values(world / "killed.jsonl", "loss").size() < 2) ::usleep(1000);
    EXPECT_FALSE(std::filesystem::is_empty(world / "swap"));
    program.signal(SIGKILL);
    EXPECT_EQ(program.wait().status, 128 + SIGKILL);
  }
  ASSERT_EQ(run_program(arguments + Arguments{"--overwrite"}).status, 0);
  EXPECT_TRUE(std::filesystem::is_empty(world / "swap"));
}

}  // namespace
}  // namespace aleph::tests
