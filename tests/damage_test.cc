// Bits that flip in a training checkpoint are named by file and tensor, and never loaded.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "aleph/base/random.h"
#include "aleph/base/testing.h"
#include "aleph/checkpoint/safetensors.h"
#include "aleph/checkpoint/training_checkpoint.h"
#include "aleph/io/file.h"
#include "tests/support/program.h"
#include "tests/support/tiny_run.h"

namespace aleph::tests {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr const char* kStates = "state-rank-00000.safetensors";

void flip(const fs::path& file, uint64_t byte, uint64_t bit) {
  std::string bytes = read_bytes(file);
  bytes.at(byte) = static_cast<char>(bytes[byte] ^ (1 << bit));
  io::write_file_atomically(file, bytes);
}

/// A finished run with checkpoints of its three steps; each test damages the last ones.
class Damage : public ::testing::Test {
 protected:
  void SetUp() override {
    config_.steps = 3;
    config_.save.save_steps = 1;
    whole_ = run(config_);
    config_.save.resume = true;
  }
  fs::path at(int64_t step) const { return config_.save.output_dir / fmt::format("checkpoint-{}", step); }
  /// As after a crash in the third step's end: three checkpoints, no model.
  void remove_model() const {
    for (const char* name : {"model.safetensors", "config.json", "training_run.json"})
      fs::remove(config_.save.output_dir / name);
  }
  std::string load_named() {
    train::TrainConfig config = config_;
    config.steps = 4;
    config.save.output_dir = world_ / "other";
    config.save.resume_from = at(3);
    return fault_of([&] { train_quietly(config); });
  }
  void expect_named(const fs::path& file, uint64_t byte, uint64_t bit, const std::string& words) {
    flip(file, byte, bit);
    const std::string fault = load_named();
    EXPECT_THAT(fault, AllOf(HasSubstr(file.string()), HasSubstr(words)))
        << "byte " << byte << " bit " << bit;
    EXPECT_EQ(fault.find('\n'), std::string::npos) << fault;
    flip(file, byte, bit);
  }

  TinyWorld world_;
  train::TrainConfig config_ = world_.config("run");
  RunResult whole_;
  const RandomStream random_{{.seed = static_cast<uint64_t>(number_from_environment("ALEPH_TEST_SEED", 5))}};
};

TEST_F(Damage, OfEveryTensorIsNamedByFileAndTensor) {
  const fs::path file = at(3) / kStates;
  std::vector<checkpoint::TensorInfo> tensors = checkpoint::SafetensorsFile::open(file).tensors();
  EXPECT_GT(tensors.size(), 100u);
  uint64_t position = 0;
  for (const checkpoint::TensorInfo& tensor : tensors) {
    const auto offset = random_.below(static_cast<uint64_t>(tensor.bytes), position += 2);
    expect_named(file, static_cast<uint64_t>(tensor.offset) + offset, random_.below(8, position += 2),
                 "tensor '" + tensor.name + "'");
  }
  EXPECT_EQ(load_named(), "no error");
}

/// Length, names, types, places, padding; and every part of the manifest.
TEST_F(Damage, OfHeaderAndManifestIsNamedByFile) {
  EXPECT_EQ(std::distance(fs::directory_iterator(at(3)), {}), 2) << "every file is looked at";
  const auto header = static_cast<uint64_t>(checkpoint::SafetensorsFile::open(at(3) / kStates).data_begin());
  const fs::path manifest = at(3) / "manifest.json";
  const uint64_t manifest_bytes = fs::file_size(manifest);
  for (uint64_t i = 0; i < 60; ++i) {
    const uint64_t byte = i < 8 ? i : random_.below(header, 1000 + 4 * i);
    expect_named(at(3) / kStates, byte, random_.below(8, 1002 + 4 * i), "");
    const uint64_t place = i < 20 ? i : random_.below(manifest_bytes, 2000 + 4 * i);
    expect_named(manifest, place, random_.below(8, 2002 + 4 * i), "");
  }
  EXPECT_EQ(load_named(), "no error");
}

/// Without a name, the run goes on from the newest checkpoint that is whole and says what is wrong with the
/// others.
TEST_F(Damage, IsPassedOverWithAWarning) {
  remove_model();
  flip(at(3) / kStates, fs::file_size(at(3) / kStates) - 5, 3);
  flip(at(2) / "manifest.json", 200, 0);
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(train_quietly(config_), train::Outcome::kFinished);
  const std::string said = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(said, AllOf(HasSubstr("aleph: warning: damaged checkpoint passed over: "),
                          HasSubstr((at(3) / kStates).string() + ": tensor '"),
                          HasSubstr((at(2) / "manifest.json").string() + ": found")));
  EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 2) << said;
  EXPECT_TRUE(read_result(config_).weights == whole_.weights);
  EXPECT_TRUE(read_result(config_).state == whole_.state) << "the damaged ones were replaced";
}

TEST_F(Damage, OfAllCheckpointsStartsNothing) {
  remove_model();
  for (const int64_t step : {1, 2, 3}) flip(at(step) / kStates, fs::file_size(at(step) / kStates) - 5, 3);
  ::testing::internal::CaptureStderr();
  EXPECT_THAT(fault_of([&] { train_quietly(config_); }),
              AllOf(HasSubstr("no checkpoint that is whole (the newest of 3: "), HasSubstr("--overwrite")));
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr(at(1).string()));
  config_.save.resume = false;
  config_.save.overwrite = true;
  EXPECT_TRUE(run(config_).weights == whole_.weights);
}

/// What was saved last is kept, also where a later checkpoint stands that the run does not go on from.
TEST_F(Damage, TheLimitKeepsWhatWasSavedLast) {
  remove_model();
  flip(at(3) / kStates, fs::file_size(at(3) / kStates) - 5, 3);
  fs::rename(at(3), at(30));
  fs::remove_all(at(2));
  config_.save.save_total_limit = 1;
  train_quietly(config_);
  EXPECT_TRUE(fs::exists(at(3)));
  EXPECT_TRUE(fs::exists(at(30)));
  EXPECT_FALSE(fs::exists(at(1)));
}

/// The saved model: whatever reads it names file and tensor of every flipped bit of the data.
TEST_F(Damage, OfTheSavedModelIsNamedWhereverItIsRead) {
  const std::string model = config_.save.output_dir.string();
  const fs::path file = config_.save.output_dir / "model.safetensors";
  std::vector<std::string> train = world_.arguments("tuned");
  train[1] = "--model";
  train[2] = model;
  const std::vector<std::vector<std::string>> readers = {
      {"info", model},
      {"generate", "--model", model, "--prompt", "the", "--max-tokens", "1"},
      {"generate", "--model", model, "--prompt", "the", "--max-tokens", "1", "--offload-param", "nvme"},
      train};
  EXPECT_THAT(run_program(readers[0]).out, HasSubstr("  checksums           all right"));
  const std::vector<checkpoint::TensorInfo> tensors = checkpoint::SafetensorsFile::open(file).tensors();
  for (uint64_t i = 0; i < 8; ++i) {
    const checkpoint::TensorInfo& tensor = tensors[random_.below(tensors.size(), 3000 + 6 * i)];
    const auto byte = static_cast<uint64_t>(tensor.offset) +
                      random_.below(static_cast<uint64_t>(tensor.bytes), 3002 + 6 * i);
    flip(file, byte, i);
    const ProgramResult result = run_program(readers[i % readers.size()]);
    EXPECT_EQ(result.status, 1);
    EXPECT_THAT(result.err, HasSubstr(file.string() + ": tensor '" + tensor.name + "': found checksum"));
    flip(file, byte, i);
  }
}

TEST_F(Damage, TheProgramSaysSoInOneLine) {
  const fs::path file = at(3) / kStates;
  flip(file, fs::file_size(file) - 5, 1);
  std::vector<std::string> arguments = world_.arguments("other");
  for (const std::string& more : {std::string("--resume"), at(3).string()}) arguments.push_back(more);
  const ProgramResult named = run_program(arguments);
  EXPECT_EQ(named.status, 1);
  EXPECT_THAT(named.err, AllOf(HasSubstr("aleph: error: " + file.string() + ": tensor '"),
                               HasSubstr("found checksum"), HasSubstr("the file is damaged")));
  const ProgramResult info = run_program({"info", at(3).string()});
  EXPECT_EQ(info.status, 1);
  EXPECT_THAT(info.err, HasSubstr(file.string() + ": tensor '"));
}

}  // namespace
}  // namespace aleph::tests
