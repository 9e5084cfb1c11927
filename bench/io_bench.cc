// io_bench [--folder DIR] [--filter TEXT] [--seconds S] [--json FILE]: direct reads and writes of a file of 1
// GiB in DIR (default: the working directory) through the asynchronous queue, at several depths.

#include <unistd.h>

#include <filesystem>

#include "aleph/io/async_queue.h"
#include "bench/bench.h"

namespace aleph::io {
namespace {

namespace fs = std::filesystem;
constexpr int64_t kFileBytes = int64_t{1} << 30, kPieceBytes = int64_t{16} << 20;

/// A file that goes with its owner.
class Scratch {
 public:
  explicit Scratch(const fs::path& folder)
      : path_(folder / fmt::format("io_bench-{}", ::getpid())),
        file_(File::open_read_write(path_, Direct::kTry)) {
    file_.preallocate(kFileBytes);
  }
  ~Scratch() { fs::remove(path_); }
  const File& file() const { return file_; }

 private:
  fs::path path_;
  File file_;
};

/// Moves the whole file, each piece through its own part of `memory`.
template <typename Move>
void move_all(AsyncQueue& queue, const TensorView& memory, const Move& move) {
  for (int64_t offset = 0; offset < kFileBytes; offset += kPieceBytes) {
    std::byte* part = memory.raw() + offset % memory.bytes();
    move(offset, std::span(part, static_cast<size_t>(kPieceBytes)));
  }
  queue.drain();
}

void run_all(int argc, char** argv) {
  bench::Bench bench("io", bench::parse(argc, argv, {{"--folder", "."}}));
  DeviceContext device({});
  const Scratch scratch(bench.options().own.at("--folder"));
  Tensor memory(device.memory(), {8 * kPieceBytes}, DType::kU8, MemoryTag::kIoBuffers);
  std::memset(memory.view().raw(), 0x5a, static_cast<size_t>(memory.bytes()));
  for (const int depth : {1, 2, 8, 32}) {
    AsyncQueue queue({.depth = depth});
    const bench::Work work{.bytes = static_cast<double>(kFileBytes)};
    bench.run(fmt::format("write depth {}", depth), work, [&] {
      move_all(queue, memory.view(),
               [&](int64_t offset, std::span<std::byte> part) { queue.write(scratch.file(), offset, part); });
    });
    bench.run(fmt::format("read depth {}", depth), work, [&] {
      move_all(queue, memory.view(),
               [&](int64_t offset, std::span<std::byte> part) { queue.read(scratch.file(), offset, part); });
    });
  }
  bench.write();
}

}  // namespace
}  // namespace aleph::io

int main(int argc, char** argv) {
  return aleph::bench::main_of([&] { aleph::io::run_all(argc, argv); });
}
