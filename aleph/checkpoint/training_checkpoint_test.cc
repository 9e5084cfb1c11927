#include "aleph/checkpoint/training_checkpoint.h"

#include <gmock/gmock.h>

#include <barrier>
#include <cstring>
#include <set>
#include <thread>

#include "aleph/base/json.h"
#include "aleph/checkpoint/chunk_checksums.h"
#include "aleph/checkpoint/crc32c.h"
#include "aleph/checkpoint/manifest.h"
#include "aleph/checkpoint/safetensors.h"
#include "aleph/checkpoint/testing.h"
#include "aleph/io/fault_injection.h"
#include "aleph/io/temporary_directory.h"

namespace aleph::checkpoint {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// Flat tensors of a training run; their bytes follow from name and seed.
struct Whole {
  std::string name;
  DType dtype = DType::kF32;
  int64_t elements = 0;

  std::vector<std::byte> bytes(uint64_t seed) const {
    return random_bytes(elements * dtype_bytes(dtype), seed + stable_hash(name));
  }
};

const std::vector<Whole> kTensors = {{"master/embed", DType::kF32, 3001},
                                     {"exp_avg/embed", DType::kF32, 3001},
                                     {"weights/글", DType::kBF16, 1024},
                                     {"master/large", DType::kF32, 700'001},
                                     {"empty", DType::kF32, 0}};

/// Elements [begin, end) of rank `rank` of `size`: as equal as it goes.
std::pair<int64_t, int64_t> part_of(int64_t elements, int rank, int size) {
  return {elements * rank / size, elements * (rank + 1) / size};
}

struct Save {
  fs::path root;
  int64_t step = 1;
  uint64_t seed = 1;
  int world_size = 1;
  std::vector<Whole> tensors = kTensors;
  io::SystemCalls* calls = nullptr;
};

void save_rank(const Save& save, int rank, const std::function<void()>& barrier) {
  CheckpointWriter writer({.root = save.root,
                           .step = save.step,
                           .rank = rank,
                           .world_size = save.world_size,
                           .barrier = barrier,
                           .calls = save.calls});
  std::vector<StatePiece> pieces;
  for (const Whole& whole : save.tensors) {
    const auto [begin, end] = part_of(whole.elements, rank, save.world_size);
    pieces.push_back({.name = whole.name, .dtype = whole.dtype, .begin = begin, .elements = end - begin});
  }
  writer.begin(pieces);
  for (size_t i = pieces.size(); i-- > 0;) {
    const auto all = save.tensors[i].bytes(save.seed);
    const auto own =
        std::span(all).subspan(static_cast<size_t>(pieces[i].begin * dtype_bytes(pieces[i].dtype)),
                               static_cast<size_t>(pieces[i].bytes()));
    const size_t half = own.size() / 3 / 4 * 4;
    writer.write(pieces[i].name, static_cast<int64_t>(half), own.subspan(half));
    writer.write(pieces[i].name, 0, own.first(half));
  }
  writer.commit({{"seed", save.seed}, {"rank", rank}});
}

void run_save(const Save& save) {
  std::barrier<> meeting(save.world_size);
  std::vector<std::thread> ranks;
  for (int rank = 1; rank < save.world_size; ++rank)
    ranks.emplace_back([&, rank] { save_rank(save, rank, [&] { meeting.arrive_and_wait(); }); });
  save_rank(save, 0, [&] { meeting.arrive_and_wait(); });
  for (std::thread& rank : ranks) rank.join();
}

void expect_holds(const fs::path& path, uint64_t seed, const std::vector<Whole>& tensors = kTensors) {
  const CheckpointReader reader(path);
  EXPECT_EQ(reader.state()["seed"], seed);
  EXPECT_EQ(reader.state()["rank"], 0);
  EXPECT_EQ(reader.tensors().size(), tensors.size());
  for (const Whole& whole : tensors) {
    ASSERT_TRUE(reader.contains(whole.name));
    const auto expected = whole.bytes(seed);
    std::vector<std::byte> found(expected.size());
    reader.read(whole.name, 0, found);
    EXPECT_TRUE(found == expected) << whole.name;
  }
  EXPECT_NO_THROW(reader.verify());
}

std::set<std::string> names_in(const fs::path& directory) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) names.insert(entry.path().filename().string());
  return names;
}

class TrainingCheckpoint : public ::testing::Test {
 protected:
  fs::path at(int64_t step) const { return root_ / fmt::format("checkpoint-{}", step); }
  /// Of the complete ones.
  fs::path newest() const { return list_checkpoints(root_).back().path; }

  io::TemporaryDirectory directory_;
  fs::path root_ = directory_ / "out put/글";
};

TEST_F(TrainingCheckpoint, LoadsWhateverTheNumberOfRanks) {
  for (const int ranks : {1, 2, 3, 7}) {
    run_save({.root = root_, .step = ranks, .seed = static_cast<uint64_t>(10 + ranks), .world_size = ranks});
    expect_holds(at(ranks), static_cast<uint64_t>(10 + ranks));
    const CheckpointReader reader(at(ranks));
    EXPECT_EQ(reader.step(), ranks);
    EXPECT_EQ(reader.world_size(), ranks);
    EXPECT_EQ(names_in(at(ranks)).size(), static_cast<size_t>(ranks) + 1)
        << "state files and the manifest alone";
  }
}

TEST_F(TrainingCheckpoint, AnyRangeCanBeRead) {
  run_save({.root = root_, .seed = 5, .world_size = 3});
  const CheckpointReader reader(at(1));
  const RandomStream random({.seed = 6});
  for (uint64_t i = 0; i < 60; ++i) {
    const Whole& whole = kTensors[random.below(4, 6 * i)];
    const auto all = whole.bytes(5);
    const size_t begin = random.below(all.size(), 6 * i + 2);
    const size_t size =
        random.below(std::min<size_t>(all.size() - begin, i % 2 == 0 ? 5000 : all.size()) + 1, 6 * i + 4);
    std::vector<std::byte> found(size);
    reader.read(whole.name, static_cast<int64_t>(begin), found);
    EXPECT_EQ(std::memcmp(found.data(), all.data() + begin, size), 0)
        << whole.name << " " << begin << " " << size;
  }
  std::vector<std::byte> one(1);
  EXPECT_THROW(reader.read("master/embed", 3001 * 4, one), InternalError);
  EXPECT_THROW(reader.read("master/embed", -1, one), InternalError);
  EXPECT_THAT(one_line_fault_of([&] { reader.read("master/none", 0, one); }),
              HasSubstr("found no tensor 'master/none'"));
}

TEST_F(TrainingCheckpoint, TensorsAreListedWhole) {
  run_save({.root = root_, .world_size = 2});
  const CheckpointReader reader(at(1));
  std::vector<std::string> names;
  for (const StatePiece& piece : reader.tensors()) {
    names.push_back(piece.name);
    EXPECT_EQ(piece.begin, 0);
    const auto whole =
        std::find_if(kTensors.begin(), kTensors.end(), [&](auto& t) { return t.name == piece.name; });
    ASSERT_NE(whole, kTensors.end());
    EXPECT_EQ(piece.elements, whole->elements);
    EXPECT_EQ(piece.dtype, whole->dtype);
  }
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
}

TEST_F(TrainingCheckpoint, RanksMayHoldTheSamePiece) {
  std::barrier<> meeting(2);
  const auto data = random_bytes(400, 3);
  const auto rank = [&](int number) {
    CheckpointWriter writer({.root = root_, .step = 4, .rank = number, .world_size = 2, .barrier = [&] {
                               meeting.arrive_and_wait();
                             }});
    writer.begin({{.name = "norm", .elements = 100}});
    writer.write("norm", 0, data);
    writer.commit(Json::object());
  };
  std::thread other(rank, 1);
  rank(0);
  other.join();
  std::vector<std::byte> found(400);
  CheckpointReader(at(4)).read("norm", 0, found);
  EXPECT_EQ(found, data);
}

TEST_F(TrainingCheckpoint, FlippedBitsAreNamedByFileAndTensor) {
  const RandomStream random({.seed = 21});
  run_save({.root = root_, .seed = 2, .world_size = 2});
  for (uint64_t i = 0; i < 24; ++i) {
    const std::string file = fmt::format("state-rank-0000{}.safetensors", i % 2);
    const std::string before = text_of(at(1) / file);
    const SafetensorsFile layout = SafetensorsFile::open(at(1) / file);
    const TensorInfo& hit = layout.tensors()[1 + random.below(layout.tensors().size() - 1, 4 * i)];
    if (hit.bytes == 0) continue;
    flip(at(1) / file,
         hit.offset + static_cast<int64_t>(random.below(static_cast<uint64_t>(hit.bytes), 4 * i + 2)),
         static_cast<int>(i % 8));
    const CheckpointReader reader(at(1));
    const auto expected = AllOf(HasSubstr(file + ": tensor '" + hit.name + "': found checksum"),
                                HasSubstr("the file is damaged"));
    EXPECT_THAT(one_line_fault_of([&] { reader.verify(); }), expected);
    const auto whole =
        std::find_if(kTensors.begin(), kTensors.end(), [&](auto& t) { return t.name == hit.name; });
    std::vector<std::byte> data(whole->bytes(2).size());
    EXPECT_THAT(one_line_fault_of([&] { reader.read(hit.name, 0, data); }), expected);
    put(at(1) / file, before);
  }
  expect_holds(at(1), 2);
}

TEST_F(TrainingCheckpoint, DamagedHeadersMissingAndTruncatedFilesAreNamed) {
  run_save({.root = root_, .world_size = 2});
  const auto open_fault = [&] { return one_line_fault_of([&] { CheckpointReader reader(at(1)); }); };
  const fs::path state = at(1) / "state-rank-00001.safetensors", manifest = at(1) / "manifest.json";
  const std::string before = text_of(state), manifest_before = text_of(manifest);
  put(state, std::string(before).replace(before.find("master/embed"), 12, "master/embeD"));
  EXPECT_THAT(open_fault(), AllOf(HasSubstr("state-rank-00001.safetensors"), HasSubstr("header checksum")));
  put(state, before.substr(0, before.size() - 1));
  EXPECT_THAT(open_fault(), HasSubstr(fmt::format("state-rank-00001.safetensors: found {} bytes, expected {}",
                                                  before.size() - 1, before.size())));
  EXPECT_TRUE(list_checkpoints(root_).empty());
  fs::remove(state);
  EXPECT_THAT(open_fault(), HasSubstr("state-rank-00001.safetensors: found No such file"));
  put(state, before);
  flip(manifest, 300, 3);
  EXPECT_THAT(open_fault(), HasSubstr("manifest.json: found checksum"));
  EXPECT_TRUE(list_checkpoints(root_).empty());
  put(manifest, manifest_before);
  EXPECT_EQ(newest(), at(1));
}

/// With right checksums, as no damage has them.
TEST_F(TrainingCheckpoint, HeadersThatContradictTheirManifestAreRefused) {
  run_save({.root = root_});
  const fs::path state = at(1) / "state-rank-00000.safetensors";
  const std::string before = text_of(state);
  Manifest manifest = read_manifest(at(1));
  const auto fault_with = [&](const std::string& from, const std::string& to) {
    std::string text = before;
    text.replace(text.find(from), from.size(), to);
    put(state, text);
    const size_t header = 8 + static_cast<size_t>(static_cast<uint8_t>(text[0])) +
                          256 * static_cast<size_t>(static_cast<uint8_t>(text[1]));
    manifest.files[0].header_checksum = crc32c(std::as_bytes(std::span(text).first(header)));
    put(at(1) / kManifestFile, manifest_text(manifest));
    return one_line_fault_of([&] { CheckpointReader reader(at(1)); });
  };
  EXPECT_EQ(fault_with("{", "{"), "no error");
  for (const auto& [from, to] :
       std::vector<std::pair<std::string, std::string>>{{"\"F32\"", "\"I32\""},
                                                        {"_offsets\":[0", "_offsets\":[4"},
                                                        {"_offsets\":[0,", "_offsets\":[-1"},
                                                        {"master/embed\":{", "master/embeD\":{"},
                                                        {"{", "["}})
    EXPECT_THAT(fault_with(from, to), HasSubstr("state-rank-00000.safetensors: ")) << to;
}

TEST_F(TrainingCheckpoint, EveryReadOfOpeningCanFailAndIsNamed) {
  run_save({.root = root_, .world_size = 2});
  io::FaultInjection counting;
  CheckpointReader(at(1), &counting);
  std::set<std::string> named;
  for (int64_t read = 1; read <= counting.count(io::Call::kRead); ++read) {
    io::FaultInjection faults;
    faults.fail(io::Call::kRead, read, EIO);
    const std::string fault = one_line_fault_of([&] { CheckpointReader reader(at(1), &faults); });
    EXPECT_THAT(fault, HasSubstr(": found Input/output error after 0 of "));
    named.insert(fault.substr(0, fault.find(": found")));
  }
  EXPECT_THAT(named, ElementsAre((at(1) / "manifest.json").string(),
                                 (at(1) / "state-rank-00000.safetensors").string(),
                                 (at(1) / "state-rank-00001.safetensors").string()));
}

TEST_F(TrainingCheckpoint, ACheckpointOfTheSameStepIsReplaced) {
  run_save({.root = root_, .step = 3, .seed = 1});
  run_save({.root = root_, .step = 3, .seed = 2, .tensors = {{"other", DType::kF32, 9}}});
  expect_holds(at(3), 2, {{"other", DType::kF32, 9}});
  EXPECT_THAT(names_in(root_), ElementsAre("checkpoint-3"));
}

TEST_F(TrainingCheckpoint, CheckpointsAreListedByStepAndOldOnesRemoved) {
  EXPECT_TRUE(list_checkpoints(root_).empty());
  const std::vector<Whole> small = {{"w", DType::kF32, 5}};
  for (const int64_t step : {100, 9, 20}) run_save({.root = root_, .step = step, .tensors = small});
  fs::create_directories(root_ / "checkpoint-500");
  fs::create_directories(root_ / "checkpoint-x");
  fs::create_directories(root_ / "checkpoint-7.tmp");
  put(root_ / "checkpoint-3", "a file");
  std::vector<int64_t> steps;
  for (const CheckpointInfo& info : list_checkpoints(root_)) steps.push_back(info.step);
  EXPECT_THAT(steps, ElementsAre(9, 20, 100));
  EXPECT_EQ(newest(), at(100));
  remove_old_checkpoints(root_, 100, 5);
  EXPECT_EQ(list_checkpoints(root_).size(), 3u);
  remove_old_checkpoints(root_, 20, 2);
  EXPECT_EQ(list_checkpoints(root_).size(), 3u) << "what comes after step 20 does not count";
  remove_old_checkpoints(root_, 100, 2);
  EXPECT_EQ(list_checkpoints(root_).front().step, 20);
  EXPECT_FALSE(fs::exists(at(9)));
  EXPECT_TRUE(fs::exists(root_ / "checkpoint-500")) << "what is not complete is left to its owner";
  EXPECT_THROW(remove_old_checkpoints(root_, 100, 0), InternalError);
}

TEST_F(TrainingCheckpoint, AWriterThatGivesUpLeavesNothing) {
  {
    CheckpointWriter writer({.root = root_, .step = 4});
    writer.begin({{.name = "w", .elements = 5}});
  }
  EXPECT_TRUE(names_in(root_).empty());
}

TEST_F(TrainingCheckpoint, LeftoversOfKilledSavesAreRemoved) {
  fs::create_directories(root_ / "checkpoint-7.tmp/deep");
  fs::create_directories(root_ / "notes.tmp");
  put(root_ / "checkpoint-7.tmp/state-rank-00000.safetensors", "half");
  run_save({.root = root_, .step = 8});
  EXPECT_THAT(names_in(root_), ElementsAre("checkpoint-8", "notes.tmp"));
}

TEST_F(TrainingCheckpoint, WithoutCommitNothingChanges) {
  run_save({.root = root_, .step = 1, .seed = 1});
  {
    CheckpointWriter writer({.root = root_, .step = 2});
    writer.begin({{.name = "w", .elements = 2}});
    writer.write("w", 0, random_bytes(8, 1));
  }
  EXPECT_EQ(newest(), at(1));
  CheckpointWriter writer({.root = root_, .step = 2});
  EXPECT_THROW(writer.write("w", 0, random_bytes(8, 1)), InternalError);
  EXPECT_THROW(writer.commit(Json::object()), InternalError);
  writer.begin({{.name = "w", .elements = 2}});
  EXPECT_THROW(writer.begin({}), InternalError);
  EXPECT_THROW(writer.commit(Json::array()), InternalError);
  writer.write("w", 0, random_bytes(4, 1));
  EXPECT_THROW(writer.commit(Json::object()), InternalError) << "four bytes are missing";
  EXPECT_THROW(CheckpointWriter({.root = root_, .rank = 1, .world_size = 2}), InternalError);
}

TEST_F(TrainingCheckpoint, AFullDiskOrDeadDiskIsAnErrorAndKeepsTheOldOne) {
  run_save({.root = root_, .step = 1, .seed = 1});
  for (const io::Call call : {io::Call::kOpen, io::Call::kWrite, io::Call::kSync, io::Call::kAllocate,
                              io::Call::kRename, io::Call::kMakeDirectory}) {
    io::FaultInjection faults;
    faults.fail(call, 1, ENOSPC, 1'000'000);
    EXPECT_THAT(one_line_fault_of([&] { run_save({.root = root_, .step = 2, .seed = 2, .calls = &faults}); }),
                HasSubstr("No space left on device"));
    ASSERT_EQ(newest(), at(1));
  }
  expect_holds(at(1), 1);
}

// The process is killed before its nth change to the disk; then the machine may lose power as well.
TEST_F(TrainingCheckpoint, TheLastGoodOneSurvivesAKillAtAnyChange) {
  const std::vector<Whole> small = {{"a", DType::kF32, 7000}, {"b", DType::kBF16, 33}};
  // A save that is cut; true where it was through before. Loss 0: none, 1: of all, 2...: random.
  const auto cut = [&](int64_t next_step, int64_t kill, uint64_t loss) {
    fs::remove_all(root_);
    io::FaultInjection faults;
    run_save({.root = root_, .step = 1, .seed = 1, .tensors = small, .calls = &faults});
    faults.kill_at_change(kill);
    const std::string fault = one_line_fault_of(
        [&] { run_save({.root = root_, .step = next_step, .seed = 2, .tensors = small, .calls = &faults}); });
    const bool finished = fault == "no error";
    if (loss > 0) faults.lose_power(loss == 1 ? io::PowerLoss::kAll : io::PowerLoss::kRandom, loss);
    if (list_checkpoints(root_).empty()) return ADD_FAILURE() << fault, true;
    const uint64_t seed = CheckpointReader(newest()).state()["seed"].get<uint64_t>();
    EXPECT_TRUE(seed == 2 || !finished) << "the save had returned";
    for (const CheckpointInfo& info : find_checkpoints(root_)) EXPECT_EQ(info.fault, "");
    expect_holds(newest(), seed, small);
    io::FaultInjection no_sync(false);                                                     // fast
    run_save({.root = root_, .step = 3, .seed = 3, .tensors = small, .calls = &no_sync});  // cleans up
    expect_holds(at(3), 3, small);
    for (const std::string& name : names_in(root_)) EXPECT_EQ(name.find(".tmp"), std::string::npos) << name;
    return finished;
  };
  for (const int64_t next_step : {1, 2}) {  // one that replaces the old, and a new one
    bool finished = false;
    for (int64_t kill = 1; !finished && !HasFailure(); ++kill) {
      ASSERT_LT(kill, 200);
      SCOPED_TRACE(fmt::format("step {}, change {}", next_step, kill));
      for (uint64_t loss = 0; loss < 4; ++loss)
        finished = cut(next_step, kill, loss < 2 ? loss : 10 * static_cast<uint64_t>(kill) + loss);
    }
  }
}

TEST_F(TrainingCheckpoint, RemovingOldOnesSurvivesAKillAtAnyChange) {
  const std::vector<Whole> small = {{"a", DType::kF32, 7}};
  bool finished = false;
  for (int64_t kill = 1; !finished; ++kill) {
    ASSERT_LT(kill, 100);
    fs::remove_all(root_);
    io::FaultInjection faults;
    for (const int64_t step : {1, 2, 3})
      run_save({.root = root_, .step = step, .seed = 4, .tensors = small, .calls = &faults});
    faults.kill_at_change(kill);
    finished = one_line_fault_of([&] { remove_old_checkpoints(root_, 3, 1, &faults); }) == "no error";
    if (!finished && kill % 2 == 0) faults.lose_power(io::PowerLoss::kRandom, static_cast<uint64_t>(kill));
    for (const CheckpointInfo& info : find_checkpoints(root_)) expect_holds(info.path, 4, small);
    EXPECT_EQ(newest(), at(3));
  }
  EXPECT_EQ(names_in(root_).size(), 1u);
}

TEST_F(TrainingCheckpoint, RemovedOnesNeverComeBack) {
  for (uint64_t seed = 0; seed < 10; ++seed) {
    fs::remove_all(root_);
    io::FaultInjection faults;
    for (const int64_t step : {1, 2})
      run_save({.root = root_, .step = step, .tensors = {{"a", DType::kF32, 7}}, .calls = &faults});
    remove_checkpoints(root_, &faults);
    faults.lose_power(io::PowerLoss::kRandom, seed);
    EXPECT_TRUE(find_checkpoints(root_).empty());
  }
}

}  // namespace
}  // namespace aleph::checkpoint
