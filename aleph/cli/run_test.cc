// The program as a whole: commands, versions, exit statuses, one-line errors.
#include <gmock/gmock.h>

#include <new>
#include <system_error>

#include "aleph/base/error.h"
#include "aleph/base/version.h"
#include "aleph/cli/instruction_sets.h"
#include "aleph/cli/testing.h"
#include "aleph/io/temporary_directory.h"

namespace aleph::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

struct Reported {
  int status = 0;
  std::string err;
};

template <typename Failure>
Reported reported(const Failure& failure) {
  testing::internal::CaptureStderr();
  const int status = report_failure(std::make_exception_ptr(failure));
  return {status, testing::internal::GetCapturedStderr()};
}

TEST(ReportFailure, GivesEveryKindOfFailureItsStatusAndOneLine) {
  Reported got = reported(Error("a.txt", "nothing", "text"));
  EXPECT_EQ(got.status, 1);
  EXPECT_EQ(got.err, "aleph: error: a.txt: found nothing, expected text\n");
  got = reported(UsageError("--lr", "'x'", "a number"));
  EXPECT_EQ(got.status, 2);
  EXPECT_EQ(got.err, "aleph: error: --lr: found 'x', expected a number\n");
  got = reported(std::bad_alloc());
  EXPECT_EQ(got.status, 1);
  EXPECT_THAT(got.err, HasSubstr("out of memory"));
  got = reported(std::system_error(ENOSPC, std::generic_category(), "cannot write"));
  EXPECT_EQ(got.status, 1);
  EXPECT_THAT(got.err, HasSubstr("No space left on device"));
  got = reported(InternalError("rank 3 of 2"));
  EXPECT_EQ(got.status, 70);
  EXPECT_EQ(got.err, "aleph: error: a bug of this program: rank 3 of 2\n");
}

TEST(ReportFailure, LineBreaksInNamesDoNotMakeMoreLines) {
  const Reported got = reported(Error("a\nb\r.txt", "nothing", "text"));
  EXPECT_EQ(got.err, "aleph: error: a\\nb\\r.txt: found nothing, expected text\n");
}

TEST(Run, HelpIsAResult) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"--help"}, std::vector<std::string>{"-h"},
        std::vector<std::string>{"help"}}) {
    const Ran result = ran(arguments);
    EXPECT_EQ(result.status, 0);
    EXPECT_EQ(result.err, "");
    for (const char* command : {"train", "generate", "verify", "tokenizer", "info", "doctor"})
      EXPECT_THAT(result.out, HasSubstr(std::string("\n  ") + command + " "));
  }
  for (const std::string command : {"train", "generate", "verify", "tokenizer", "info", "doctor"}) {
    const Ran result = ran({command, "--help"});
    EXPECT_EQ(result.status, 0);
    EXPECT_THAT(result.out, StartsWith("usage: aleph " + command));
    EXPECT_EQ(ran({"help", command}).out, result.out);
    EXPECT_EQ(ran({command, "--no-such-flag", "-h"}).out, result.out);
  }
}

TEST(Run, VersionTellsTheBuildAndTheInstructionSets) {
  const Ran result = ran({"--version"});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.out,
            fmt::format("aleph {} ({})\nbuilt for x86-64 with {}, chosen at run time\nuses here: {}\n",
                        version(), commit(), built_instruction_sets(), used_instruction_sets()));
  EXPECT_EQ(built_instruction_sets(), "AVX2, AVX-512, AVX-512 BF16, AVX-512 VNNI");
}

TEST(InstructionSets, TheEnvironmentLowersWhatIsUsed) {
  const ScopedVariable portable("ALEPH_CPU", "portable");
  EXPECT_EQ(used_instruction_sets(), "none beyond x86-64");
  const ScopedVariable avx2("ALEPH_CPU", "avx2");
  EXPECT_EQ(used_instruction_sets().find("AVX-512"), std::string::npos);
  const ScopedVariable wrong("ALEPH_CPU", "mmx");
  EXPECT_EQ(ran({"--version"}).status, 2);
}

TEST(Run, WrongUsageIsStatusTwoAndOneLine) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{}, "aleph: found no command, expected a command of aleph --help"},
      {{"trian"}, "aleph: found unknown command 'trian', expected a command of aleph --help, such as train"},
      {{"xyzzyxyzzy"}, "aleph: found unknown command 'xyzzyxyzzy', expected a command of aleph --help"},
      {{"help", "trian"},
       "aleph: found unknown command 'trian', expected a command of aleph --help, such as train"},
      {{"generate", "--model"}, "--model: found no value, expected DIR"},
      {{"train"}, "--model and --init: found neither, expected one of them"},
      {{"train", "--model", ".", "--data", "/dev/null"},
       "--data /dev/null: found something else, expected a file"},
      {{"verify"}, "aleph verify: found no directory, expected aleph verify DIR..."},
      {{"verify", "a", "b", "--dump", "x"}, "--dump: found 2 directories, expected one directory"},
      {{"info"}, "aleph info: found 0 paths, expected one directory or file"},
      {{"info", "a", "b"}, "aleph info: found 2 paths, expected one directory or file"},
      {{"doctor", "now"}, "aleph doctor: found 'now', expected flags only (see --help)"}};
  for (const auto& [arguments, message] : cases) {
    const Ran result = ran(arguments);
    EXPECT_EQ(result.fault(), message);
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(result.status, message.find("/dev/null") == std::string::npos ? 2 : 1) << message;
  }
}

TEST(Run, MisspelledVariablesAreWrongUsage) {
  {
    const ScopedVariable other("ALEPH_ARG_SEQ_LEN", "32");  // of another command
    EXPECT_EQ(ran({"info"}).fault(), "aleph info: found 0 paths, expected one directory or file");
  }
  const ScopedVariable wrong("ALEPH_ARG_SEQ_LENGTH", "32");
  const Ran result = ran({"info", "/"});
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.fault(),
              HasSubstr("ALEPH_ARG_SEQ_LENGTH, expected the name of a flag, such as ALEPH_ARG_SEQ_LEN"));
  EXPECT_EQ(ran({"info", "--help"}).status, 0);
}

TEST(Doctor, MeasuresTheDiskAndLeavesNothing) {
  const io::TemporaryDirectory directory;
  const Ran result = ran({"doctor", "--nvme-path", directory.path().string()});
  ASSERT_EQ(result.status, 0) << result.err;
  for (const char* row : {"aleph ", "processor ", "built for ", "uses here ", "kernels run at ", "threads ",
                          "memory ", "memory limit ", "open files ", "disk ", "  free ", "  direct I/O ",
                          "  asynchronous I/O ", "  write ", "  read "})
    EXPECT_THAT("\n" + result.out, HasSubstr(std::string("\n") + row));
  EXPECT_THAT(result.out, HasSubstr(" GB/s\n"));
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
  const Ran refused = ran({"doctor", "--nvme-path", "/no/disk"});
  EXPECT_EQ(refused.status, 1);
  EXPECT_EQ(refused.fault(), "--nvme-path /no/disk: found no directory, expected one on the disk to measure");
  EXPECT_EQ(refused.out, "");
}

TEST(Train, PrintsItsConfigurationAndStops) {
  const Ran result = ran({"train", "--print-config", "--lr", "0.25"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("\"lr\": {\n    \"value\": 0.25,\n    \"source\": \"--lr\"\n  }"));
}

}  // namespace
}  // namespace aleph::cli
