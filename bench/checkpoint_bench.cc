// checkpoint_bench [--folder DIR] [--filter TEXT] [--threads N] [--seconds S] [--json FILE]: checkpoints of
// training (1 GiB of state) and weights (512 MiB) saved to and loaded from DIR (default: the working
// directory), in turn with plain direct writes and reads of as many bytes, as a share of their speed.

#include <unistd.h>

#include <filesystem>
#include <vector>

#include "aleph/base/random.h"
#include "aleph/checkpoint/crc32c.h"
#include "aleph/checkpoint/model_files.h"
#include "aleph/checkpoint/training_checkpoint.h"
#include "aleph/io/async_queue.h"
#include "bench/bench.h"

namespace aleph::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kStateBytes = int64_t{1} << 30, kWeightBytes = int64_t{512} << 20;
constexpr int64_t kTensorBytes = int64_t{64} << 20, kPieceBytes = int64_t{4} << 20;

/// A folder that goes with its owner.
class Scratch {
 public:
  explicit Scratch(const fs::path& folder) : path_(folder / fmt::format("checkpoint_bench-{}", ::getpid())) {
    fs::create_directories(path_);
  }
  ~Scratch() { fs::remove_all(path_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

/// Plain direct writes and reads: what the disk does with `bytes` in one file.
class PlainFile {
 public:
  PlainFile(const fs::path& path, std::span<std::byte> memory)
      : file_(io::File::open_read_write(path, io::Direct::kTry)), memory_(memory) {
    file_.preallocate(kStateBytes);
  }
  void write(int64_t bytes) {
    for (int64_t at = 0; at < bytes; at += kPieceBytes) queue_.write(file_, at, piece(at));
    queue_.drain();
    file_.sync();
  }
  void read(int64_t bytes) {
    for (int64_t at = 0; at < bytes; at += kPieceBytes) queue_.read(file_, at, piece(at));
    queue_.drain();
  }

 private:
  std::span<std::byte> piece(int64_t at) const {
    return memory_.subspan(static_cast<size_t>(at) % memory_.size(), static_cast<size_t>(kPieceBytes));
  }
  io::File file_;
  std::span<std::byte> memory_;
  io::AsyncQueue queue_;
};

/// Runs body(name, offset, bytes) over tensors of kTensorBytes, piece by piece.
template <typename Body>
void for_each_piece(int64_t bytes, const Body& body) {
  for (int64_t tensor = 0; tensor * kTensorBytes < bytes; ++tensor) {
    const std::string name = fmt::format("tensor.{}", tensor);
    for (int64_t at = 0; at < kTensorBytes; at += kPieceBytes) body(name, at);
  }
}

void save_checkpoint(const fs::path& root, std::span<const std::byte> piece) {
  CheckpointWriter writer({.root = root, .step = 1});
  std::vector<StatePiece> pieces;
  for (int64_t i = 0; i * kTensorBytes < kStateBytes; ++i)
    pieces.push_back({.name = fmt::format("tensor.{}", i), .elements = kTensorBytes / 4});
  writer.begin(pieces);
  for_each_piece(kStateBytes, [&](const std::string& name, int64_t at) { writer.write(name, at, piece); });
  writer.commit(Json::object());
}

void load_checkpoint(const fs::path& root, std::span<std::byte> piece) {
  const CheckpointReader reader(root / "checkpoint-1");
  for_each_piece(kStateBytes, [&](const std::string& name, int64_t at) { reader.read(name, at, piece); });
}

void save_weights(const fs::path& directory, std::span<const std::byte> piece) {
  std::vector<TensorEntry> entries;
  for (int64_t i = 0; i * kTensorBytes < kWeightBytes; ++i)
    entries.push_back({.name = fmt::format("tensor.{}", i), .shape = Shape{kTensorBytes / 4}});
  ModelWriter writer(directory, entries, kWeightBytes * 2, nullptr);
  for_each_piece(kWeightBytes, [&](const std::string& name, int64_t at) { writer.write(name, at, piece); });
  writer.finish();
}

void run_all(int argc, char** argv) {
  bench::Bench bench("checkpoint", bench::parse(argc, argv, {{"--folder", "."}}));
  DeviceContext device({});
  const Scratch scratch(bench.options().own.at("--folder"));
  Tensor memory(device.memory(), {16 * kPieceBytes}, DType::kU8, MemoryTag::kIoBuffers);
  const RandomStream stream({.seed = 1});
  uint64_t at = 0;
  for (uint32_t& word : std::span(reinterpret_cast<uint32_t*>(memory.view().raw()), memory.bytes() / 4))
    word = static_cast<uint32_t>(stream.below(uint32_t{1} << 31, at++));
  const std::span<std::byte> all(memory.view().raw(), static_cast<size_t>(memory.bytes()));
  const std::span<std::byte> piece = all.first(static_cast<size_t>(kPieceBytes));
  PlainFile plain(scratch.path() / "plain", all);
  const bench::Work state{.bytes = kStateBytes}, weights{.bytes = kWeightBytes};

  bench.run("crc32c of 64 MiB", {.bytes = static_cast<double>(all.size())}, [&] { crc32c(all); });
  bench.run_against(
      "save a checkpoint of 1 GiB", state, [&] { save_checkpoint(scratch.path(), piece); }, state,
      [&] { plain.write(kStateBytes); });
  save_checkpoint(scratch.path(), piece);
  bench.run_against(
      "load a checkpoint of 1 GiB", state, [&] { load_checkpoint(scratch.path(), piece); }, state,
      [&] { plain.read(kStateBytes); });
  bench.run_against(
      "save weights of 512 MiB", weights, [&] { save_weights(scratch.path() / "model", piece); }, weights,
      [&] { plain.write(kWeightBytes); });
  bench.write();
}

}  // namespace
}  // namespace aleph::checkpoint

int main(int argc, char** argv) {
  return aleph::bench::main_of([&] { aleph::checkpoint::run_all(argc, argv); });
}
