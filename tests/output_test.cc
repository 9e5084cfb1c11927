// Places that are not what a run hopes for: output directories of others or without right to write, swap
// folders of others. Nothing is overwritten silently.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <map>
#include <memory>

#include "aleph/io/file.h"
#include "tests/support/arguments.h"
#include "tests/support/tiny_run.h"

namespace aleph::tests {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::map<std::string, std::string> contents_of(const fs::path& directory) {
  std::map<std::string, std::string> contents;
  for (const auto& entry : fs::recursive_directory_iterator(directory))
    contents[entry.path().string()] = entry.is_directory() ? "" : read_bytes(entry.path());
  return contents;
}

class Places : public ::testing::Test {
 protected:
  /// The run is refused and changes nothing.
  void expect_refused(const Arguments& more, const std::string& words) {
    const auto before = contents_of(output_);
    const ProgramResult result = run_program(world_.arguments("out") + more);
    EXPECT_EQ(result.status, 1) << result.err;
    EXPECT_THAT(result.err, AllOf(HasSubstr("aleph: error: "), HasSubstr(words)));
    EXPECT_TRUE(contents_of(output_) == before);
  }
  void put(const std::string& name) {
    io::create_directories((output_ / name).parent_path());
    io::write_file_atomically(output_ / name, "of another");
  }

  TinyWorld world_;
  fs::path output_ = world_ / "out";
};

TEST_F(Places, WithAnotherModelAreRefused) {
  for (const char* name : {"model.safetensors", "model-00001-of-00002.safetensors", "pytorch_model.bin",
                           "model.safetensors.index.json", "config.json"}) {
    put(name);
    expect_refused({}, "out: found a model or checkpoints in it, expected an empty or new directory");
    expect_refused({"--resume"}, "out: found a model and no checkpoint to go on from");
    fs::remove_all(output_);
  }
}

TEST_F(Places, WithCheckpointsOfOthersAreRefused) {
  put("checkpoint-5/pytorch_model.bin");
  expect_refused({}, "found a model or checkpoints in it");
  expect_refused({"--resume"}, "no checkpoint that is whole");
}

TEST_F(Places, WithAnotherTokenizerAreRefused) {
  put("merges.txt");
  expect_refused({}, "found another merges.txt in it");
}

TEST_F(Places, WithWhatARunDoesNotWriteAreFine) {
  for (const char* name : {"notes.txt", "checkpoint-notes/a", "data.jsonl"}) put(name);
  fs::copy(ALEPH_TEST_DATA "/tiny-tokenizer/vocab.json", output_ / "vocab.json");  // the same
  ASSERT_EQ(run_program(world_.arguments("out")).status, 0);
  ASSERT_EQ(run_program(world_.arguments("out") + Arguments{"--overwrite"}).status, 0);
  EXPECT_EQ(read_bytes(output_ / "notes.txt"), "of another");
  EXPECT_EQ(read_bytes(output_ / "checkpoint-notes/a"), "of another");
}

TEST_F(Places, OfAnotherRunAtWorkAreRefused) {
  Program first(with(world_.arguments("out"), "--steps", "200000"));
  while (first.running() && log_values(world_ / "out.jsonl", "loss").empty()) ::usleep(1000);
  const Arguments second = with(world_.arguments("out"), "--log-file", (world_ / "second.jsonl").string());
  const ProgramResult result = run_program(second + Arguments{"--overwrite"});
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.err, HasSubstr("out: found another run at work in it"));
  EXPECT_TRUE(first.running());
}

/// Found before the work, not after it. Root may write everywhere: there the program runs as somebody else.
TEST_F(Places, WithoutRightToWriteAreRefusedAtTheStart) {
  fs::create_directories(output_);
  const auto readable =
      fs::perms::owner_read | fs::perms::owner_exec | fs::perms::others_read | fs::perms::others_exec;
  fs::permissions(output_, readable);
  std::string program = "\"$ALEPH\"";
  if (::geteuid() == 0) {
    program = "setpriv --reuid 65534 --regid 65534 --clear-groups " + program;
    fs::permissions(output_.parent_path(), readable, fs::perm_options::add);
  }
  if (run_script(output_, program + " --version").status != 0)
    GTEST_SKIP() << "root, and the program cannot be run as somebody else (setpriv)";
  for (const std::string& argument : with(world_.arguments("out"), "--steps", "200000"))
    program += " '" + argument + "'";
  const ProgramResult result = run_script(output_, program);
  EXPECT_EQ(result.status, 1) << result.err;
  EXPECT_THAT(result.err,
              HasSubstr("out: found Permission denied, expected a directory that can be written"));
  EXPECT_TRUE(fs::is_empty(output_));
}

/// Two runs share a swap folder, another's files and what a killed run left: each does its own work.
TEST_F(Places, OfSwapFilesMayBeShared) {
  const auto arguments = [&](const std::string& output) {
    return with(with_states_on("nvme", world_.arguments(output)), "--steps", "30");
  };
  for (const char* file : {"aleph-swap-1-rank0/optimizer.swap", "aleph-swap-1-rank0/lock", "mine.swap"}) {
    io::create_directories((world_ / "swap" / file).parent_path());
    io::write_file_atomically(world_ / "swap" / file, "left");
  }
  Program a(arguments("a")), b(arguments("b"));
  const ProgramResult alone = run_program(with(world_.arguments("alone"), "--steps", "30"));
  EXPECT_EQ(alone.status, 0) << alone.err;
  for (Program* program : {&a, &b}) {
    const ProgramResult result = program->wait();
    EXPECT_EQ(result.status, 0) << result.err;
  }
  for (const char* output : {"a", "b"})
    EXPECT_TRUE(read_result(world_.config(output)).weights == read_result(world_.config("alone")).weights);
  EXPECT_EQ(contents_of(world_ / "swap").size(), 1u);
  EXPECT_EQ(read_bytes(world_ / "swap/mine.swap"), "left");
}

/// Many runs that start at once take and clear the same folder.
TEST_F(Places, OfSwapFilesAreNotTakenFromRunsThatStart) {
  std::vector<std::unique_ptr<Program>> programs;
  for (int i = 0; i < 12; ++i) {
    const std::string output = "run" + std::to_string(i);
    programs.push_back(std::make_unique<Program>(
        with(with(world_.arguments(output), "--offload-optimizer", "nvme"), "--steps", "1")));
  }
  for (const auto& program : programs) {
    const ProgramResult result = program->wait();
    EXPECT_EQ(result.status, 0) << result.err;
  }
  EXPECT_TRUE(fs::is_empty(world_ / "swap"));
}

}  // namespace
}  // namespace aleph::tests
