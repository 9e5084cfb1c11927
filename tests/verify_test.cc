// aleph verify on the reference models.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "aleph/checkpoint/safetensors.h"
#include "aleph/io/file.h"
#include "aleph/io/temporary_directory.h"
#include "tests/support/program.h"
#include "tests/support/tiny_run.h"

namespace aleph::tests {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const std::string kGoldens = ALEPH_TEST_DATA "/goldens/";

class Verify : public ::testing::TestWithParam<std::string> {};

TEST_P(Verify, EveryCheckPasses) {
  const ProgramResult result = run_program({"verify", kGoldens + GetParam()});
  EXPECT_EQ(result.status, 0) << result.out << result.err;
  EXPECT_THAT(result.out, HasSubstr("all checks passed"));
  EXPECT_THAT(result.out, HasSubstr("same specification"));
}

TEST_P(Verify, SixteenBitTypesPassTheirBars) {
  for (const char* dtype : {"bf16", "fp16"}) {
    const ProgramResult result = run_program({"verify", kGoldens + GetParam(), "--dtype", dtype});
    EXPECT_EQ(result.status, 0) << result.out << result.err;
  }
}

INSTANTIATE_TEST_SUITE_P(Integration, Verify,
                         ::testing::Values("gpt2", "gpt_neo", "llama", "llama-rope-llama3-tied",
                                           "llama-rope-linear-bias"),
                         [](const auto& case_info) {
                           std::string name = case_info.param;
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

/// A copy of a reference directory, to be damaged.
std::filesystem::path copy_golden(const io::TemporaryDirectory& directory, const std::string& name) {
  std::filesystem::copy(kGoldens + name, directory / name);
  return directory / name;
}

TEST(VerifyTest, OtherWeightsFail) {
  const io::TemporaryDirectory directory;
  const std::filesystem::path copy = copy_golden(directory, "gpt2");
  std::string bytes = read_bytes(copy / "model.safetensors");
  bytes[bytes.size() - 1] = static_cast<char>(bytes[bytes.size() - 1] ^ 0x02);  // the exponent of one weight
  io::write_file_atomically(copy / "model.safetensors", bytes);
  const ProgramResult result = run_program({"verify", copy.string()});
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.out, HasSubstr("FAIL"));
  EXPECT_THAT(result.out, Not(HasSubstr("all checks passed")));
}

TEST(VerifyTest, OtherConfigurationFails) {
  const io::TemporaryDirectory directory;
  const std::filesystem::path copy = copy_golden(directory, "llama");
  std::string text = read_bytes(copy / "config.v5.json");
  const std::string key = "\"rms_norm_eps\": ";
  text.insert(text.find(key) + key.size(), "1");
  io::write_file_atomically(copy / "config.v5.json", text);
  const ProgramResult result = run_program({"verify", copy.string()});
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.out, HasSubstr("FAIL  config.json and config.v5.json"));
}

TEST(VerifyTest, DirectoriesWithoutReferencesAreErrors) {
  const io::TemporaryDirectory directory;
  const ProgramResult alone = run_program({"verify", directory.path().string()});
  EXPECT_EQ(alone.status, 1);
  EXPECT_THAT(alone.err, HasSubstr("expected.safetensors"));
  const ProgramResult among = run_program({"verify", directory.path().string(), kGoldens + "llama"});
  EXPECT_EQ(among.status, 1);
  EXPECT_THAT(among.out, HasSubstr("greedy tokens: the first 24 of 24 equal"));
}

TEST(VerifyTest, VerboseShowsEveryGradient) {
  const ProgramResult result = run_program({"verify", "--verbose", kGoldens + "gpt2"});
  EXPECT_THAT(result.out, HasSubstr("gradient.transformer.h.0.attn.c_attn.weight"));
  EXPECT_THAT(result.out, HasSubstr("gradient.transformer.wte.weight"));
}

TEST(VerifyTest, DumpHoldsWhatWasComputed) {
  const io::TemporaryDirectory directory;
  const std::filesystem::path dump = directory / "dump.safetensors";
  const ProgramResult result = run_program({"verify", kGoldens + "gpt2", "--dump", dump.string()});
  ASSERT_EQ(result.status, 0) << result.err;
  const auto mine = checkpoint::SafetensorsFile::open(dump);
  const auto theirs = checkpoint::SafetensorsFile::open(kGoldens + "gpt2/expected.safetensors");
  for (const checkpoint::TensorInfo& tensor : theirs.tensors()) {
    if (!tensor.name.starts_with("gradient.") && !tensor.name.starts_with("output.")) continue;
    ASSERT_TRUE(mine.contains(tensor.name)) << tensor.name;
    EXPECT_EQ(mine.info(tensor.name).shape, tensor.shape) << tensor.name;
  }
  EXPECT_EQ(mine.info("train.losses").shape, (std::vector<int64_t>{20}));
  EXPECT_EQ(mine.info("greedy.tokens").dtype, "I32");
  EXPECT_TRUE(mine.contains("output.loss"));
}

}  // namespace
}  // namespace aleph::tests
