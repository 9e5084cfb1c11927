// A parser that breaks its promise in every way is found out.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <set>
#include <stdexcept>

#include "aleph/base/error.h"
#include "aleph/io/file.h"
#include "aleph/io/temporary_directory.h"
#include "fuzz/driver.h"
#include "fuzz/mutator.h"
#include "fuzz/parser.h"

extern "C" void __sanitizer_set_death_callback(void (*callback)()) __attribute__((weak));

namespace aleph::fuzz {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<char> block;

void misbehave(std::string_view file) {
  if (file == "hang")
    for (volatile bool forever = true; forever;) continue;
  if (file == "crash") std::abort();
  if (file == "lines") throw Error("a", "two\nlines", "one");
  if (file == "unclear") throw UsageError("something is wrong");
  if (file == "other") throw std::runtime_error("what?");
  if (file == "check") ALEPH_CHECK(false, "never");
  if (file == "large" || file == "use") block = std::vector<char>(70'000);
  if (file == "use") parsed();
  if (file == "use") block = std::vector<char>(2'000'000);
  if (file == "bad") throw Error("file", "something", "something else");
}

std::string repair(std::string_view file) {
  return std::string(file.starts_with("repair ") ? file.substr(7) : file);
}

const bool sanitized = __sanitizer_set_death_callback != nullptr;

}  // namespace

const Parser kParser = {.parse = misbehave, .repair = repair};

namespace {

TEST(RunParserTest, KnowsWhatWasTakenAndWhatRefused) {
  EXPECT_TRUE(run_parser("good").taken);
  EXPECT_FALSE(run_parser("bad").taken);
  for (const char* file : {"good", "bad", "repair good", "repair bad"})
    EXPECT_EQ(run_parser(file).fault, "") << file;
}

TEST(RunParserTest, FindsBrokenPromises) {
  for (const std::string before : {"", "repair "}) {
    EXPECT_THAT(run_parser(before + "lines").fault, HasSubstr("control characters"));
    EXPECT_THAT(run_parser(before + "unclear").fault, HasSubstr("found and expected"));
    EXPECT_THAT(run_parser(before + "other").fault, HasSubstr("no Error: what?"));
    EXPECT_THAT(run_parser(before + "check").fault, HasSubstr("check failed"));
  }
}

TEST(RunParserTest, FindsAllocationsWhileParsing) {
  if (!sanitized) GTEST_SKIP() << "allocations are seen with address sanitizer only";
  EXPECT_THAT(run_parser("large").fault,
              HasSubstr("an allocation of 70000 bytes for a file of 5, more than 65536"));
  EXPECT_THAT(run_parser("use").fault, HasSubstr("70000"));
}

/// A corpus of one file; what the driver makes of it, and the file it keeps.
class DriverTest : public ::testing::Test {
 protected:
  int drive_on(const std::string& file) {
    std::ofstream(directory_ / "corpus" / "file", std::ios::binary) << file;
    return drive(
        {(directory_ / "corpus").string(), "--runs", "20", "--seconds", "1", "--keep", kept_.string()});
  }
  void expect_found(const std::string& file, int status, const std::string& words) {
    EXPECT_EXIT(std::_Exit(drive_on(file)), ::testing::ExitedWithCode(status), words);
    EXPECT_EQ(io::read_file(kept_, 100), file);
  }
  void SetUp() override { std::filesystem::create_directory(directory_ / "corpus"); }

  io::TemporaryDirectory directory_;
  std::filesystem::path kept_ = directory_ / "kept";
};

TEST_F(DriverTest, IsContentWithAGoodParser) {
  EXPECT_EXIT(std::_Exit(drive_on("good")), ::testing::ExitedWithCode(0), "");
  EXPECT_FALSE(std::filesystem::exists(kept_));
}

TEST_F(DriverTest, KeepsTheFileOfEveryFault) {
  expect_found("lines", 1, "corpus/file: fault, the file is kept in .*kept");
  expect_found("other", 1, "what\\?");
  expect_found("hang", 1, "a hang");
}

TEST_F(DriverTest, KeepsTheFileOfACrash) {
  if (sanitized) GTEST_SKIP() << "the sanitizer reports abort in its own way";
  expect_found("crash", 1, "the file is kept in");
}

TEST_F(DriverTest, NamesUnknownFlags) {
  EXPECT_EQ(drive({"corpus", "--what", "1"}), 1);
  EXPECT_EQ(drive({"corpus", "--runs"}), 1);
  EXPECT_EQ(drive({}), 1);
}

TEST(DictionaryTest, ReadsTheFormOfLibFuzzer) {
  EXPECT_THAT(dictionary_words("# comment \"no\"\n\nname=\"a\\x41b\"\n\"\\\"q\\\"\"\n\"\\\\\""),
              ElementsAre("aAb", "\"q\"", "\\"));
  EXPECT_THAT(dictionary_words("nothing\n\""), IsEmpty());
}

TEST(MutatorTest, MakesTheSameFilesEveryTimeAndDifferentOnes) {
  const std::vector<std::string> seeds = {R"({"a": [1, 2, {"b": "c"}], "d": 10})", "plain text 123", ""};
  const Mutator mutator(seeds, {"word"}), again(seeds, {"word"});
  std::set<std::string> files;
  size_t with_word = 0, deep = 0;
  for (uint64_t i = 0; i < 1000; ++i) {
    const std::string file = mutator.make(i);
    EXPECT_EQ(file, again.make(i));
    EXPECT_LE(file.size(), size_t{1} << 16);
    files.insert(file);
    with_word += file.find("word") != std::string::npos;
    deep += file.find("[[[[[[[[") != std::string::npos;
  }
  EXPECT_GT(files.size(), 450u);  // a third is the empty one
  EXPECT_GT(with_word, 50u);
  EXPECT_GT(deep, 5u);
}

}  // namespace
}  // namespace aleph::fuzz
