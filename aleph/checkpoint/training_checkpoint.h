// Training checkpoints that survive a kill at any instant and load at any number of ranks. The format is
// written down in docs/checkpoints.md.
//
//   ROOT/checkpoint-STEP/state-rank-RRRRR.safetensors   pieces of flat tensors, one file a rank
//   ROOT/checkpoint-STEP/manifest.json                  what belongs to it, with checksums; written last
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "aleph/io/syscalls.h"
#include "aleph/tensor/dtype.h"

namespace aleph::checkpoint {

/// The part of a flat tensor that one rank holds: elements [begin, begin + elements) of the whole.
struct StatePiece {
  std::string name;  ///< "master/PARAMETER", "exp_avg/PARAMETER", ...
  DType dtype = DType::kF32;
  int64_t begin = 0;
  int64_t elements = 0;

  int64_t bytes() const { return elements * dtype_bytes(dtype); }
};

/// Writes one checkpoint. Every rank has a writer and makes the same calls in the same order, except `write`.
/// A writer that is destroyed before commit leaves the earlier checkpoints as they were.
class CheckpointWriter {
 public:
  struct Options {
    std::filesystem::path root;  ///< one directory for all ranks
    int64_t step = 0;
    int rank = 0;
    int world_size = 1;
    std::function<void()> barrier;  ///< returns when all ranks have called it; needed for more than one
    io::SystemCalls* calls = nullptr;
  };

  /// Rank 0 removes what unfinished saves left and creates checkpoint-STEP.tmp; then a barrier.
  explicit CheckpointWriter(const Options& options);
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  /// Names the pieces of this rank, each name once, and takes their disk space. Ranks may hold the same
  /// piece.
  void begin(const std::vector<StatePiece>& pieces);
  /// Bytes [byte_offset, byte_offset + data.size()) of this rank's piece, in any order, each byte once. May
  /// be called from several threads. Memory aligned to 4096 bytes at offsets that are multiples of it is
  /// fastest.
  void write(std::string_view name, int64_t byte_offset, std::span<const std::byte> data);
  /// Puts everything on the disk, then gives the directory its name; when it returns on any rank the
  /// checkpoint is complete. `state` (an object; that of rank 0 counts) is kept in the manifest. A checkpoint
  /// of the same step is replaced. Two barriers.
  void commit(const nlohmann::json& state);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Reads a complete checkpoint. What is read is verified. Safe to use from several threads.
class CheckpointReader {
 public:
  /// Checks the manifest and the sizes and headers of all files; data is checked when it is read. Throws
  /// Error naming the file, and the tensor where there is one.
  explicit CheckpointReader(const std::filesystem::path& directory, io::SystemCalls* calls = nullptr);
  ~CheckpointReader();
  CheckpointReader(CheckpointReader&&) noexcept;
  CheckpointReader& operator=(CheckpointReader&&) = delete;

  int64_t step() const;
  int world_size() const;
  const nlohmann::json& state() const;

  /// Whole tensors, put together from all ranks; `begin` is 0. Sorted by name.
  const std::vector<StatePiece>& tensors() const;
  bool contains(std::string_view name) const;

  /// Bytes [byte_offset, byte_offset + data.size()) of the whole tensor, whichever ranks hold them. Throws
  /// Error when the checksum of what was read is wrong.
  void read(std::string_view name, int64_t byte_offset, std::span<std::byte> data) const;
  /// Reads everything and checks every checksum.
  void verify() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

struct CheckpointInfo {
  int64_t step = 0;
  std::filesystem::path path;
  std::string fault;  ///< what manifest and file sizes say is wrong with it; empty: it is complete
};

/// What has the name of a checkpoint in `root`, oldest step first. An absent root has none.
std::vector<CheckpointInfo> find_checkpoints(const std::filesystem::path& root,
                                             io::SystemCalls* calls = nullptr);
/// Those without fault.
std::vector<CheckpointInfo> list_checkpoints(const std::filesystem::path& root,
                                             io::SystemCalls* calls = nullptr);
/// Of the complete checkpoints of `newest` and earlier steps, removes all but the last `keep_last` (> 0).
/// Later ones are of another course of the run, and stay.
void remove_old_checkpoints(const std::filesystem::path& root, int64_t newest, int64_t keep_last,
                            io::SystemCalls* calls = nullptr);
/// Removes all that has the name of a checkpoint, or of one that is being saved or removed. On the disk when
/// it returns: none comes back after a power cut.
void remove_checkpoints(const std::filesystem::path& root, io::SystemCalls* calls = nullptr);

}  // namespace aleph::checkpoint
