#include "aleph/checkpoint/model_files.h"

#include <gmock/gmock.h>

#include <cstring>
#include <set>

#include "aleph/base/json.h"
#include "aleph/checkpoint/testing.h"
#include "aleph/io/fault_injection.h"
#include "aleph/io/json_file.h"
#include "aleph/io/temporary_directory.h"

namespace aleph::checkpoint {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::vector<TensorEntry> kEntries = {{"embed.weight", DType::kF32, Shape{10, 4}},
                                           {"block.0.weight", DType::kBF16, Shape{30}},
                                           {"block.1.weight", DType::kBF16, Shape{31}},
                                           {"norm.weight", DType::kF32, Shape{4}}};

class ModelFilesTest : public ::testing::Test {
 protected:
  /// Writes every tensor in two parts; `seed` says with which bytes.
  void save(int64_t max_shard_bytes, uint64_t seed, io::SystemCalls* calls = nullptr) {
    ModelWriter writer(root_, kEntries, max_shard_bytes, calls);
    for (const TensorEntry& entry : kEntries) {
      const auto data = random_bytes(entry.bytes(), seed + entry.name.size());
      writer.write(entry.name, 8, std::span(data).subspan(8));
      writer.write(entry.name, 0, std::span(data).first(8));
    }
    writer.finish();
  }
  bool holds(uint64_t seed) const {
    const ModelFiles files = ModelFiles::open(root_);
    if (files.names().size() != kEntries.size()) return false;
    for (const TensorEntry& entry : kEntries) {
      const ConstTensorView view = files.tensor(entry.name);
      const auto expected = random_bytes(entry.bytes(), seed + entry.name.size());
      if (view.dtype() != entry.dtype || view.shape() != entry.shape ||
          std::memcmp(view.raw(), expected.data(), expected.size()) != 0)
        return false;
    }
    return true;
  }
  std::set<std::string> listing() const {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(root_)) names.insert(entry.path().filename().string());
    return names;
  }
  std::string open_fault() const {
    return one_line_fault_of([&] { ModelFiles::open(root_); });
  }

  io::TemporaryDirectory directory_;
  fs::path root_ = directory_ / "a model 글";
};

TEST_F(ModelFilesTest, OneFileOrShardsHoldTheSame) {
  save(1 << 20, 1);
  EXPECT_TRUE(holds(1));
  EXPECT_THAT(listing(), ElementsAre("model.safetensors"));
  EXPECT_EQ(ModelFiles::open(root_).total_bytes(), 160 + 60 + 62 + 16);
  save(130, 2);
  EXPECT_TRUE(holds(2));
  EXPECT_THAT(listing(), ElementsAre("model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
                                     "model-00003-of-00003.safetensors", "model.safetensors.index.json"));
  const Json index = io::parse_json_file(root_ / "model.safetensors.index.json");
  EXPECT_EQ(index["metadata"]["total_size"], 298);
  EXPECT_EQ(index["weight_map"]["block.1.weight"], "model-00002-of-00003.safetensors");
  EXPECT_EQ(ModelFiles::open(root_).file_of("norm.weight").path(),
            (root_ / "model-00003-of-00003.safetensors").string());
  save(1, 3);
  EXPECT_TRUE(holds(3));
  EXPECT_EQ(listing().size(), 5u) << "files of the save before are gone";
  put(root_ / "other.safetensors", "not ours");
  save(1 << 20, 4);
  EXPECT_TRUE(holds(4));
  EXPECT_THAT(listing(), ElementsAre("model.safetensors", "other.safetensors"));
}

TEST_F(ModelFilesTest, LooksTensorsUpWithTheNearestName) {
  save(200, 1);
  const ModelFiles files = ModelFiles::open(root_);
  EXPECT_TRUE(files.contains("norm.weight"));
  EXPECT_FALSE(files.contains("norm.bias"));
  EXPECT_EQ(files.info("embed.weight").to_string(), "F32 [10, 4]");
  EXPECT_THAT(
      one_line_fault_of([&] { files.tensor("block.3.weight"); }),
      AllOf(HasSubstr("a model 글: found no tensor 'block.3.weight'"), HasSubstr("there is 'block.")));
  files.release("norm.weight");
}

TEST_F(ModelFilesTest, DirectoriesWithoutWeightsSayWhatIsThere) {
  EXPECT_THAT(open_fault(), HasSubstr("a model 글: found no directory, expected a model directory"));
  fs::create_directory(root_);
  EXPECT_THAT(open_fault(),
              HasSubstr("found no weights, expected model.safetensors or model.safetensors.index.json"));
  put(root_ / "pytorch_model.bin", "x");
  EXPECT_THAT(open_fault(), HasSubstr("found weights as pytorch_model.bin only"));
}

TEST_F(ModelFilesTest, DamagedIndexesAreRefused) {
  save(130, 1);
  const fs::path index = root_ / "model.safetensors.index.json";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "index.json: found"},
      {"[]", "index.json: found no object 'weight_map'"},
      {R"({"weight_map": []})", "found no object 'weight_map'"},
      {R"({"weight_map": {"a": 1}})", "tensor 'a': found 1, expected the name of a .safetensors file"},
      {R"({"weight_map": {"a": "../model.safetensors"}})", "tensor 'a': found \"../model.safetensors\""},
      {R"({"weight_map": {"a": "/etc/x.safetensors"}})", "tensor 'a'"},
      {R"({"weight_map": {"a": "model.bin"}})", "tensor 'a': found \"model.bin\""},
      {R"({"weight_map": {"a": "x\u0000.safetensors"}})", "tensor 'a'"},
      {R"({"weight_map": {"a": "x\u001b.safetensors"}})", "tensor 'a': found \"x\\u001b.safetensors\""},
      {R"({"weight_map": {"a": "model-00009-of-00009.safetensors"}})",
       "model-00009-of-00009.safetensors: found no such file, expected the shard that"},
      {R"({"weight_map": {"norm.weight": "model-00001-of-00003.safetensors"}})",
       "model-00001-of-00003.safetensors: found no tensor 'norm.weight', expected it there"}};
  for (const auto& [text, message] : cases) {
    put(index, text);
    EXPECT_THAT(open_fault(), HasSubstr(message)) << text;
  }
}

TEST_F(ModelFilesTest, MissingAndTruncatedShardsAreNamed) {
  save(130, 1);
  const fs::path shard = root_ / "model-00002-of-00003.safetensors";
  fs::resize_file(shard, fs::file_size(shard) - 1);
  EXPECT_THAT(open_fault(), HasSubstr("model-00002-of-00003.safetensors: tensor 'block."));
  fs::resize_file(shard, 5);
  EXPECT_THAT(open_fault(), HasSubstr("model-00002-of-00003.safetensors: found 5 bytes"));
  fs::remove(shard);
  EXPECT_THAT(open_fault(), HasSubstr("model-00002-of-00003.safetensors: found no such file"));
}

TEST_F(ModelFilesTest, TensorsThatTheIndexDoesNotNameAreNotThere) {
  save(130, 1);
  put(root_ / "model.safetensors.index.json",
      R"({"weight_map": {"block.0.weight": "model-00002-of-00003.safetensors"}})");
  const ModelFiles files = ModelFiles::open(root_);
  EXPECT_THAT(files.names(), ElementsAre("block.0.weight"));
  EXPECT_FALSE(files.contains("block.1.weight"));
  EXPECT_EQ(files.total_bytes(), 60);
}

TEST_F(ModelFilesTest, NamesMustDiffer) {
  const TensorEntry entry{"a", DType::kF32, Shape{1}};
  EXPECT_THAT(one_line_fault_of([&] { ModelWriter(root_, {entry, entry}); }), HasSubstr("'a'"));
  EXPECT_THAT(one_line_fault_of([&] { ModelWriter(root_, {entry, entry}, 1); }), HasSubstr("'a' twice"));
  ModelWriter writer(root_, {entry});
  EXPECT_THROW(writer.write("b", 0, random_bytes(4, 1)), InternalError);
  EXPECT_THROW(writer.finish(), InternalError);
}

// From one layout to another, with the machine losing power at any change: the old weights or the new ones,
// or where shards changed a directory that says it has none; never a mixture.
TEST_F(ModelFilesTest, AKillAtAnyChangeNeverMixesWeights) {
  const std::pair<int64_t, int64_t> layouts[] = {
      {1 << 20, 1 << 20}, {130, 130}, {1 << 20, 130}, {130, 1 << 20}};
  for (const auto& [before, after] : layouts) {
    bool finished = false;
    for (int64_t kill = 1; !finished; ++kill) {
      ASSERT_LT(kill, 200);
      fs::remove_all(root_);
      io::FaultInjection faults;
      save(before, 1, &faults);
      faults.kill_at_change(kill);
      finished = one_line_fault_of([&] { save(after, 2, &faults); }) == "no error";
      faults.lose_power(kill % 2 == 0 ? io::PowerLoss::kAll : io::PowerLoss::kRandom,
                        static_cast<uint64_t>(kill));
      const std::string fault = open_fault();
      if (fault == "no error") {
        EXPECT_TRUE(holds(2) || (!finished && holds(1))) << before << " to " << after << " at " << kill;
      } else {
        EXPECT_FALSE(finished);
        EXPECT_THAT(fault, HasSubstr("found no weights")) << before << " to " << after << " at " << kill;
      }
    }
  }
}

TEST_F(ModelFilesTest, TokenizerFilesAreCopied) {
  const fs::path from = directory_ / "from";
  fs::create_directory(from);
  for (const char* name : {"tokenizer.json", "merges.txt", "config.json", "notes.txt"})
    put(from / name, name);
  fs::create_directory(root_);
  put(root_ / "tokenizer.json", "older");
  copy_tokenizer_files(from, root_);
  EXPECT_THAT(listing(), ElementsAre("merges.txt", "tokenizer.json"));
  EXPECT_EQ(text_of(root_ / "tokenizer.json"), "tokenizer.json");
  copy_tokenizer_files(root_, root_);
  EXPECT_EQ(text_of(root_ / "merges.txt"), "merges.txt");
}

}  // namespace
}  // namespace aleph::checkpoint
