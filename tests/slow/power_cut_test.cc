// The power fails at every change that a run makes to the disk, and what was not synced is lost: in whole,
// and in random parts (aleph/io/unsynced_changes.h says which). ALEPH_TEST_CUTS=0 cuts at every change; N
// (30) at about N of them, at equal distances from a random start.
#include <gtest/gtest.h>

#include <set>

#include "aleph/base/testing.h"
#include "aleph/checkpoint/training_checkpoint.h"
#include "aleph/io/fault_injection.h"
#include "tests/support/tiny_run.h"

namespace aleph::tests {
namespace {

namespace fs = std::filesystem;
using io::PowerLoss;

constexpr int64_t kFirstSteps = 2, kSteps = 4;

/// The files that make a model.
std::vector<std::string> model_in(const fs::path& directory) {
  std::vector<std::string> files;
  for (const char* name : {"config.json", "generation_config.json", "model.safetensors", "vocab.json"})
    files.push_back(fs::exists(directory / name) ? read_bytes(directory / name) : "");
  return files;
}

/// A finished run of two steps, and one that goes on with it or takes its place.
class PowerCut : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    train::TrainConfig first = config("first", true);
    first.steps = kFirstSteps;
    if (GetParam()) first.init_config = llama_ / "config.json";
    train_quietly(first);
    before_ = model_in(world_ / "first");
    train::TrainConfig whole = config("whole", true);
    whole.save.save_total_limit = 0;
    train_quietly(whole);
    after_ = model_in(world_ / "whole");
    ASSERT_NE(before_, after_);
  }

  /// GetParam(): another model stands there and is overwritten.
  train::TrainConfig config(const std::string& output, bool fresh = false) const {
    train::TrainConfig config = world_.config(output);
    config.steps = kSteps;
    config.save.save_steps = 1;
    config.save.save_total_limit = 2;
    config.save.resume = !fresh && !GetParam();
    config.save.overwrite = !fresh && GetParam();
    return config;
  }

  std::string state_of(const std::string& output, int64_t step) const {
    const fs::path file = world_ / output / fmt::format("checkpoint-{}/state-rank-00000.safetensors", step);
    return fs::exists(file) ? read_bytes(file) : "";
  }
  /// What has the name of a checkpoint is whole and of the run that is going on; or, as long as that has
  /// none, of the run that it overwrites.
  void expect_whole_checkpoints() {
    std::set<bool> ours;
    for (const auto& one : checkpoint::find_checkpoints(world_ / "cut")) {
      EXPECT_EQ(one.fault, "");
      EXPECT_EQ(fault_of([&] { checkpoint::CheckpointReader(one.path).verify(); }), "no error");
      const std::string state = state_of("cut", one.step);
      ours.insert(state == state_of("whole", one.step));
      EXPECT_TRUE(ours.contains(true) || state == state_of("first", one.step)) << one.path;
      newest_ = one.step;
    }
    EXPECT_LE(ours.size(), 1u) << "checkpoints of two runs";
    going_on_ = ours.contains(true);
    if (!GetParam()) {
      EXPECT_TRUE(going_on_);
      EXPECT_GE(newest_, kFirstSteps);
    }
  }
  void expect_no_mixed_model(bool finished) {
    const fs::path output = world_ / "cut";
    const std::vector<std::string> model = model_in(output);
    const fs::path mark = output / "training_run.json";
    const bool done =
        fs::exists(mark) && read_bytes(mark).find(fmt::format(": {},", kSteps)) != std::string::npos;
    EXPECT_TRUE(done || !finished);
    EXPECT_TRUE(!done || model == after_) << "marked as finished";
    // A directory without config.json is no model.
    EXPECT_TRUE(model[0].empty() || model == before_ || model == after_);
  }
  void expect_resumes() {
    train::TrainConfig again = config("cut");
    again.save.resume = going_on_;
    again.save.overwrite = !going_on_;
    io::FaultInjection no_sync(false);  // fast
    train_quietly(again, {.calls = &no_sync});
    EXPECT_TRUE(model_in(world_ / "cut") == after_);
  }
  /// True where the run was through before it came to that change.
  bool cut_at(int64_t change, PowerLoss loss, uint64_t seed, int64_t* changes = nullptr) {
    fs::remove_all(world_ / "cut");
    fs::remove(world_ / "cut.jsonl");
    fs::copy(world_ / "first", world_ / "cut", fs::copy_options::recursive);
    io::FaultInjection faults;
    faults.kill_at_change(change);
    const bool finished = fault_of([&] { train_quietly(config("cut"), {.calls = &faults}); }) == "no error";
    if (changes != nullptr) *changes = faults.changes();
    faults.lose_power(loss, seed);
    SCOPED_TRACE(
        fmt::format("change {}, seed {}, {}", change, seed, loss == PowerLoss::kAll ? "all" : "random"));
    expect_whole_checkpoints();
    expect_no_mixed_model(finished);
    expect_resumes();
    return finished;
  }

  TinyWorld world_;
  TinyWorld llama_{TinyWorld::Family::kLlama};
  std::vector<std::string> before_, after_;
  int64_t newest_ = 0;
  bool going_on_ = false;  // the run has a checkpoint of its own
};

TEST_P(PowerCut, AtEveryChangeLeavesWholeCheckpointsAndNoMixedModel) {
  int64_t changes = 0;
  EXPECT_TRUE(cut_at(1 << 20, PowerLoss::kAll, 0, &changes)) << "all is on the disk when the run ends";
  const std::vector<int64_t> chosen = spread(changes, number_from_environment("ALEPH_TEST_CUTS", 30));
  for (const int64_t change : chosen) {
    EXPECT_FALSE(cut_at(change, PowerLoss::kAll, 0));
    cut_at(change, PowerLoss::kRandom, static_cast<uint64_t>(change));
    ASSERT_FALSE(HasFailure());
  }
  fmt::print("{} changes, {} of them cut twice\n", changes, chosen.size());
}

INSTANTIATE_TEST_SUITE_P(Slow, PowerCut, ::testing::Bool(),
                         [](const auto& case_info) { return case_info.param ? "Overwriting" : "Resuming"; });

}  // namespace
}  // namespace aleph::tests
