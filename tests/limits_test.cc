// The program where the system gives it less than usual: it works, or says in one line why not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "aleph/io/file.h"
#include "tests/support/program.h"
#include "tests/support/tiny_run.h"

namespace aleph::tests {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

const std::string kStories = ALEPH_TEST_DATA "/goldens/stories260K-hf";
const std::string kGolden = ALEPH_TEST_DATA "/goldens/gpt2";

/// Commands of every kind, by name; each can run again and again.
const std::map<std::string, std::string>& commands() {
  static const std::string train = "\"$ALEPH\" train --model '" + kStories +
                                   "' --data text.txt --seq-len 16 --batch-size 2 --steps 2 --save-steps 1 "
                                   "--overwrite --quiet --output-dir out ";
  static const std::map<std::string, std::string> all = {
      {"train", train},
      {"train on a drive", train + "--offload-param nvme --offload-optimizer nvme --offload-activations nvme "
                                   "--nvme-path swap"},
      {"generate", "\"$ALEPH\" generate --model '" + kStories + "' --prompt Once --max-tokens 3 --quiet"},
      {"encode", "\"$ALEPH\" tokenizer encode --tokenizer '" + kStories + "' --file text.txt"},
      {"tokenizer train", "\"$ALEPH\" tokenizer train text.txt --vocab-size 300 --output tok"},
      {"info", "\"$ALEPH\" info '" + kStories + "'"},
      {"verify", "\"$ALEPH\" verify '" + kGolden + "' --quiet"}};
  return all;
}

class Limits : public ::testing::Test {
 protected:
  void SetUp() override {
    const TinyWorld world;
    fs::copy(world / "text.txt", directory_ / "text.txt");
    fs::create_directory(directory_ / "swap");
  }
  ProgramResult sh(const std::string& script) const { return run_script(directory_.path(), script); }
  io::TemporaryDirectory directory_;
};

TEST_F(Limits, MissingSurroundingsChangeNothing) {
  const std::vector<std::pair<std::string, std::string>> surroundings = {
      {"ulimit -n 64; ", ""}, {"", " <&-"}, {"unset HOME; TMPDIR=/dev/null/none; export TMPDIR; ", ""}};
  for (const auto& [name, command] : commands()) {
    const ProgramResult plain = sh(command);
    for (const auto& [before, after] : surroundings) {
      const ProgramResult limited = sh(before + command + after);
      EXPECT_EQ(limited.status, 0) << before << name << after << ": " << limited.err;
      EXPECT_EQ(limited.out.empty(), plain.out.empty()) << before << name << after;
      EXPECT_TRUE(fs::is_empty(directory_ / "swap"));
    }
  }
}

TEST_F(Limits, AClosedPipeIsToldByThoseWhoseResultsGoThere) {
  for (const auto& [name, command] : commands()) {
    SCOPED_TRACE(name);
    const ProgramResult result = sh("{ sleep 0.05; " + command + "; echo $? >status; } | true; cat status");
    const bool writes_files = name.starts_with("train");
    EXPECT_EQ(result.out, writes_files ? "0\n" : "1\n") << result.err;
    if (!writes_files) {
      EXPECT_THAT(result.err, HasSubstr("aleph: error: standard output: found Broken pipe"));
    }
  }
}

/// One line of ours and status 1, or success. Below some MiB the system's loader cannot even start a program:
/// it says so in its way.
void expect_works_or_says_why(const ProgramResult& result, const std::string& where) {
  SCOPED_TRACE(where);
  if (result.status == 0) return;
  if (result.status == 127 && result.err.find("error while loading shared libraries") != std::string::npos)
    return;
  EXPECT_EQ(result.status, 1) << result.err;
  const size_t begin = result.err.find_first_not_of('\n');
  ASSERT_NE(begin, std::string::npos);
  EXPECT_EQ(result.err.find('\n', begin), result.err.size() - 1) << result.err;
  EXPECT_THAT(result.err.substr(begin),
              ::testing::MatchesRegex("(aleph: error: .*: found .*, expected |libgomp: Thread).*\n"));
  EXPECT_EQ(result.err.find("a bug of this program"), std::string::npos);
}

TEST_F(Limits, LittleAddressSpaceIsSaidInOneLine) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers reserve more address space than any limit leaves";
#endif
  int failed = 0, worked = 0;
  for (const auto& [name, command] : commands()) {
    const bool computes = name.starts_with("train") || name == "generate" || name == "verify";
    for (int mib = 70; mib <= 150; mib += computes && mib > 84 && mib < 130 ? 4 : 20) {
      const ProgramResult result = sh("ulimit -v " + std::to_string(mib * 1024) + "; " + command);
      expect_works_or_says_why(result, fmt::format("{} with {} MiB", name, mib));
      ++(result.status == 0 ? worked : failed);
    }
  }
  EXPECT_GT(failed, 10);
  EXPECT_GT(worked, 10);
}

}  // namespace
}  // namespace aleph::tests
