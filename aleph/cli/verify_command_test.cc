// aleph verify in this process: lines, exit statuses, what it dumps.
#include <gmock/gmock.h>

#include "aleph/base/json.h"
#include "aleph/checkpoint/safetensors.h"
#include "aleph/cli/testing.h"
#include "aleph/io/file.h"
#include "aleph/io/json_file.h"
#include "aleph/io/temporary_directory.h"

namespace aleph::cli {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

const fs::path kGoldens = fs::path(ALEPH_TEST_DATA) / "goldens";

TEST(VerifyCommand, APassingModelHasALineForEachCheck) {
  const Ran result = ran({"verify", (kGoldens / "gpt2").string()});
  EXPECT_EQ(result.status, 0) << result.out << result.err;
  for (const char* line : {"  ok    config.json and config.v5.json", "  ok    logits ", "  ok    loss ",
                           " gradients, worst: ", "greedy tokens: the first ", "  bar 1e-04\n",
                           "  bar 1e-03\n", "\nall checks passed\n"})
    EXPECT_THAT(result.out, HasSubstr(line));
  EXPECT_THAT(result.out, Not(HasSubstr("FAIL")));
  const Ran verbose = ran({"verify", "--verbose", "--threads", "1", (kGoldens / "gpt2").string()});
  EXPECT_THAT(verbose.out, HasSubstr("gradient."));
}

TEST(VerifyCommand, QuietSaysWhatFailsAndTheVerdict) {
  EXPECT_EQ(ran({"verify", "--quiet", (kGoldens / "gpt2").string()}).out, "all checks passed\n");
  const io::TemporaryDirectory directory;
  fs::copy(kGoldens / "gpt2", directory / "m");
  Json config = io::parse_json_file(directory / "m" / "config.v5.json");
  config["layer_norm_epsilon"] = 0.5;
  io::write_file_atomically(directory / "m" / "config.v5.json", config.dump());
  const Ran result = ran({"verify", "--quiet", (directory / "m").string(), (kGoldens / "llama").string()});
  EXPECT_EQ(result.status, 1);
  EXPECT_EQ(result.out, (directory / "m").string() +
                            ": gpt2, 100272 parameters, fp32\n"
                            "  FAIL  config.json and config.v5.json give different specifications\n"
                            "1 check failed\n");
}

TEST(VerifyCommand, TokensThatAreNoneAreNamed) {
  const io::TemporaryDirectory directory;
  fs::copy(kGoldens / "gpt2", directory / "m");
  const fs::path expected = directory / "m" / "expected.json";
  Json json = io::parse_json_file(expected);
  for (const Json& bad : {Json(-1), Json(1e30), Json(2.5), Json("x"), Json(uint64_t{1} << 63)}) {
    json["greedy"]["prompt"][0] = bad;
    io::write_file_atomically(expected, json.dump());
    const Ran result = ran({"verify", (directory / "m").string()});
    EXPECT_EQ(result.status, 1) << bad;
    EXPECT_THAT(result.fault(), HasSubstr("expected.json: greedy: prompt: found ")) << bad;
  }
}

TEST(VerifyCommand, DumpsUnderTheNamesOfTheReference) {
  const io::TemporaryDirectory directory;
  const fs::path dump = directory / "a dump.safetensors";
  ASSERT_EQ(ran({"verify", (kGoldens / "llama").string(), "--dump", dump.string()}).status, 0);
  const auto mine = checkpoint::SafetensorsFile::open(dump);
  const auto theirs = checkpoint::SafetensorsFile::open(kGoldens / "llama" / "expected.safetensors");
  for (const char* name : {"output.loss", "train.losses", "greedy.tokens"})
    EXPECT_TRUE(mine.contains(name)) << name;
  int compared = 0;
  for (const checkpoint::TensorInfo& info : theirs.tensors()) {
    if (!info.name.starts_with("gradient.") && !info.name.starts_with("output.")) continue;
    ASSERT_TRUE(mine.contains(info.name)) << info.name;
    EXPECT_EQ(mine.info(info.name).shape, info.shape) << info.name;
    ++compared;
  }
  EXPECT_GT(compared, 5);
}

TEST(VerifyCommand, ABrokenDirectoryAmongOthersIsAFailureAndNotTheEnd) {
  const io::TemporaryDirectory directory;
  const Ran among = ran({"verify", directory.path().string(), (kGoldens / "llama").string()});
  EXPECT_EQ(among.status, 1);
  EXPECT_EQ(among.err, "");
  EXPECT_THAT(among.out, HasSubstr("FAIL"));
  EXPECT_THAT(among.out, HasSubstr("\n1 check failed\n"));
  const Ran alone = ran({"verify", directory.path().string()});
  EXPECT_EQ(alone.status, 1);
  EXPECT_EQ(alone.out, "");
  EXPECT_THAT(alone.fault(), HasSubstr("expected reference outputs beside the model"));
}

TEST(VerifyCommand, DamagedReferencesAreNamed) {
  const io::TemporaryDirectory directory;
  fs::copy(kGoldens / "gpt2", directory / "m");
  const fs::path expected = directory / "m" / "expected.json";
  const std::string good = io::read_file(expected, 1 << 20);
  for (const std::string text : {"", "{", "{}", "[]", R"({"task": "masked-lm"})"}) {
    io::write_file_atomically(expected, text);
    const Ran result = ran({"verify", (directory / "m").string()});
    EXPECT_EQ(result.status, 1) << text;
    EXPECT_THAT(result.fault(), HasSubstr("expected.json")) << text;
  }
  io::write_file_atomically(expected, good);
  fs::resize_file(directory / "m" / "expected.safetensors", 1000);
  EXPECT_THAT(ran({"verify", (directory / "m").string()}).fault(), HasSubstr("expected.safetensors: found"));
}

TEST(VerifyCommand, DropoutIsOff) {
  const io::TemporaryDirectory directory;
  fs::copy(kGoldens / "gpt2", directory / "m");
  for (const char* name : {"config.json", "config.v5.json"}) {
    const fs::path path = directory / "m" / name;
    Json config = Json::parse(io::read_file(path, 1 << 20));
    for (const char* key : {"attn_pdrop", "embd_pdrop", "resid_pdrop"}) config[key] = 0.1;
    io::write_file_atomically(path, config.dump());
  }
  const Ran result = ran({"verify", (directory / "m").string()});
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

}  // namespace
}  // namespace aleph::cli
