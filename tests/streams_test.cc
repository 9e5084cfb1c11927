// The program among other programs: pipes, closed descriptors, environments, odd directory names.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "aleph/io/file.h"
#include "tests/support/program.h"
#include "tests/support/tiny_run.h"

namespace aleph::tests {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

const std::string kStories = ALEPH_TEST_DATA "/goldens/stories260K-hf";
const std::string kGenerate =
    "\"$ALEPH\" generate --model '" + kStories + "' --prompt Once --max-tokens 3 --quiet";
const std::string kStory = " upon a time\n";

class Streams : public ::testing::Test {
 protected:
  ProgramResult sh(const std::string& script) const { return run_script(directory_.path(), script); }

  io::TemporaryDirectory directory_;
};

TEST_F(Streams, NoHomeAndNoEnvironmentAreFine) {
  const ProgramResult result = sh("env -i " + kGenerate);
  EXPECT_EQ(result.out, kStory) << result.err;
  EXPECT_EQ(sh("unset HOME TMPDIR PATH; " + kGenerate).out, kStory);
}

TEST_F(Streams, ClosedDescriptorsAreFineWhereNothingGoesThrough) {
  EXPECT_EQ(sh(kGenerate + " <&-").out, kStory);
  EXPECT_EQ(sh(kGenerate + " 2>&-").out, kStory);
  EXPECT_EQ(sh(kGenerate + " <&- 2>&-").out, kStory);
  const ProgramResult closed = sh("\"$ALEPH\" tokenizer encode --tokenizer '" + kStories + "' <&-");
  EXPECT_EQ(closed.status, 0);
  EXPECT_EQ(closed.out, "1\n");
}

TEST_F(Streams, LostResultsAreAFailure) {
  for (const std::string& command :
       {kGenerate, "\"$ALEPH\" info '" + kStories + "'", std::string("\"$ALEPH\" --version"),
        std::string("\"$ALEPH\" train --help")}) {
    const ProgramResult closed = sh(command + " >&-");
    EXPECT_EQ(closed.status, 1) << command;
    EXPECT_THAT(closed.err, HasSubstr("aleph: error: standard output: found"));
    const ProgramResult full = sh(command + " >/dev/full");
    EXPECT_EQ(full.status, 1) << command;
    EXPECT_EQ(std::count(full.err.begin(), full.err.end(), '\n'), 1) << full.err;
    EXPECT_THAT(full.err, HasSubstr("No space left on device"));
  }
}

TEST_F(Streams, ErrorsThatNobodyHearsKeepTheirStatus) {
  for (const char* where : {" 2>/dev/full", " 2>&-", " >/dev/full 2>/dev/full"}) {
    EXPECT_EQ(sh("\"$ALEPH\" info nothing" + std::string(where)).status, 1) << where;
    EXPECT_EQ(sh("\"$ALEPH\" trian" + std::string(where)).status, 2) << where;
  }
}

TEST_F(Streams, AReaderThatGoesAwayEndsIt) {
  const std::string endless =
      "\"$ALEPH\" generate --model '" + kStories + "' --prompt Once --max-tokens 400 --quiet";
  const ProgramResult result = sh("{ " + endless + "; echo $? >status; } | head -c 3; cat status >&2");
  EXPECT_EQ(result.out, " up");
  EXPECT_THAT(result.err, HasSubstr("standard output: found Broken pipe"));
  EXPECT_THAT(result.err, HasSubstr("\n1\n"));
  const ProgramResult both = sh("{ " + endless + " 2>&1; echo $? >status; } | head -c 3; cat status");
  EXPECT_EQ(both.out, " up1\n");
}

TEST_F(Streams, ResultsGoToStandardOutputAndNotesToStandardError) {
  const ProgramResult loud =
      sh("\"$ALEPH\" generate --model '" + kStories + "' --prompt Once --max-tokens 3");
  EXPECT_EQ(loud.out, kStory);
  EXPECT_THAT(loud.err, HasSubstr("generated 3 tokens"));
  EXPECT_EQ(loud.err.find('\r'), std::string::npos) << "not a terminal: plain lines";
  EXPECT_EQ(loud.err.find('\x1b'), std::string::npos);
}

TEST_F(Streams, TextGoesThroughPipes) {
  const ProgramResult result =
      sh("printf 'Once upon a time\\n한글' | \"$ALEPH\" tokenizer encode --tokenizer '" + kStories +
         "' --no-special | \"$ALEPH\" tokenizer decode --tokenizer '" + kStories + "'");
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("Once upon a time\n한글"));
}

TEST_F(Streams, DirectoriesWithSpacesAndHangulTrainResumeAndGenerate) {
  const TinyWorld world;
  fs::create_directory(directory_ / "내 모델 dir");
  fs::copy(kStories, directory_ / "내 모델 dir/in put");
  fs::copy(world / "text.txt", directory_ / "내 모델 dir/글 text.txt");
  const std::string train =
      "cd '내 모델 dir' && \"$ALEPH\" train --model 'in put' --data '글 text.txt' --output-dir '나 out' "
      "--seq-len 16 "
      "--batch-size 2 --save-steps 2 --offload-optimizer nvme --nvme-path . --log-file '로그 log.jsonl' "
      "--quiet ";
  ProgramResult result = sh(train + "--steps 2");
  EXPECT_EQ(result.status, 0) << result.err;
  result = sh(train + "--steps 4 --resume");
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_TRUE(fs::exists(directory_ / "내 모델 dir/나 out/checkpoint-4/manifest.json"));
  EXPECT_EQ(log_values(directory_ / "내 모델 dir/로그 log.jsonl", "loss").size(), 4u);
  result =
      sh("cd '내 모델 dir' && \"$ALEPH\" generate --model '나 out' --prompt '한글 -' '- b' --max-tokens 2 "
         "--quiet --ids");
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(std::count(result.out.begin(), result.out.end(), '\n'), 2) << result.out;
  EXPECT_THAT(sh("\"$ALEPH\" info '내 모델 dir/나 out/checkpoint-4'").out, HasSubstr("step 4, 1 rank"));
  for (const auto& entry : fs::directory_iterator(directory_ / "내 모델 dir"))
    EXPECT_EQ(entry.path().string().find("swap"), std::string::npos) << "swap files are gone";
}

TEST_F(Streams, EveryFlagCanComeFromTheEnvironment) {
  const ProgramResult result =
      sh("ALEPH_ARG_MODEL='" + kStories +
         "' ALEPH_ARG_PROMPT='Once' ALEPH_ARG_MAX_TOKENS=3 ALEPH_ARG_QUIET=1 \"$ALEPH\" generate");
  EXPECT_EQ(result.out, kStory) << result.err;
  const ProgramResult wrong = sh("ALEPH_ARG_MAX_TOKNES=3 " + kGenerate);
  EXPECT_EQ(wrong.status, 2);
  EXPECT_THAT(wrong.err, HasSubstr("such as ALEPH_ARG_MAX_TOKENS"));
}

}  // namespace
}  // namespace aleph::tests
