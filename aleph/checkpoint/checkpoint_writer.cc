#include <algorithm>
#include <charconv>
#include <map>
#include <utility>

#include "aleph/base/error.h"
#include "aleph/base/json.h"
#include "aleph/checkpoint/chunk_checksums.h"
#include "aleph/checkpoint/crc32c.h"
#include "aleph/checkpoint/manifest.h"
#include "aleph/checkpoint/safetensors.h"
#include "aleph/checkpoint/training_checkpoint.h"
#include "aleph/io/file.h"

namespace aleph::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "checkpoint-";
constexpr std::string_view kTemporary = ".tmp";
constexpr int64_t kMaxEntryBytes = int64_t{1} << 30;

fs::path checkpoint_path(const fs::path& root, int64_t step) {
  return root / fmt::format("{}{}", kPrefix, step);
}

std::string state_file_name(int rank) { return fmt::format("state-rank-{:05}.safetensors", rank); }

/// Where a rank leaves its part of the manifest for rank 0.
std::string entry_file_name(int rank) { return fmt::format("state-rank-{:05}.json", rank); }

/// The step of a directory named checkpoint-STEP.
std::optional<int64_t> step_of(const std::string& name) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  const std::string_view digits = std::string_view(name).substr(kPrefix.size());
  int64_t step = -1;
  const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), step);
  const bool whole = status == std::errc() && end == digits.data() + digits.size() && step >= 0;
  return whole ? std::optional(step) : std::nullopt;
}

void remove_leftovers(const fs::path& root, io::SystemCalls* calls) {
  for (const fs::path& entry : io::list_directory(root)) {
    const std::string name = entry.filename().string();
    if (!name.ends_with(kTemporary)) continue;
    if (step_of(name.substr(0, name.size() - kTemporary.size()))) io::remove_all(entry, calls);
  }
}

/// Takes the names of checkpoints away: nothing half removed ever has one, not even after a power cut.
void withdraw(const fs::path& root, const std::vector<CheckpointInfo>& doomed, io::SystemCalls* calls) {
  for (const CheckpointInfo& info : doomed) {
    const fs::path temporary = info.path.string() + std::string(kTemporary);
    io::remove_all(temporary, calls);
    io::rename_path(info.path, temporary, calls);
  }
  if (!doomed.empty()) io::sync_directory(root, calls);
}

/// Pieces whose bytes keep the next one aligned for direct I/O come first.
std::vector<StatePiece> by_alignment(std::vector<StatePiece> pieces) {
  std::stable_partition(pieces.begin(), pieces.end(),
                        [](const StatePiece& piece) { return piece.bytes() % io::kDirectAlignment == 0; });
  return pieces;
}

}  // namespace

struct CheckpointWriter::State {
  Options options;
  fs::path temporary;
  std::vector<StatePiece> pieces;
  std::map<std::string, ChunkChecksums, std::less<>> checksums;
  std::unique_ptr<SafetensorsWriter> file;
  bool committed = false;

  void barrier() const {
    if (options.world_size > 1) options.barrier();
  }
  ManifestFile finish_file();
  void publish(const Json& state, ManifestFile own);
};

CheckpointWriter::CheckpointWriter(const Options& options) : state_(std::make_unique<State>()) {
  ALEPH_CHECK(options.step >= 0 && options.rank >= 0 && options.rank < options.world_size,
              "rank {} of {}, step {}", options.rank, options.world_size, options.step);
  ALEPH_CHECK(options.world_size == 1 || options.barrier, "{} ranks without a barrier", options.world_size);
  state_->options = options;
  state_->temporary = checkpoint_path(options.root, options.step).string() + std::string(kTemporary);
  if (options.rank == 0) {
    io::create_directories(options.root, options.calls);
    remove_leftovers(options.root, options.calls);
    io::create_directories(state_->temporary, options.calls);
  }
  state_->barrier();
}

CheckpointWriter::~CheckpointWriter() {
  // Other ranks may still write; then the next save removes what is left.
  if (state_->committed || state_->options.world_size > 1) return;
  state_->file.reset();
  try {
    io::remove_all(state_->temporary, state_->options.calls);
  } catch (const Error&) {  // what stays is in nobody's way: the next save removes it
  }
}

void CheckpointWriter::begin(const std::vector<StatePiece>& pieces) {
  ALEPH_CHECK(state_->file == nullptr, "begin called twice");
  state_->pieces = by_alignment(pieces);
  std::vector<TensorEntry> entries;
  Metadata ranges;
  for (const StatePiece& piece : state_->pieces) {
    ALEPH_CHECK(piece.begin >= 0 && piece.elements >= 0, "piece '{}' {}+{}", piece.name, piece.begin,
                piece.elements);
    entries.push_back({piece.name, piece.dtype, Shape{piece.elements}});
    ranges[piece.name] = fmt::format("{}:{}", piece.begin, piece.begin + piece.elements);
    state_->checksums.try_emplace(piece.name, piece.bytes());
  }
  const Options& options = state_->options;
  state_->file = std::make_unique<SafetensorsWriter>(
      state_->temporary / state_file_name(options.rank), std::move(entries),
      SafetensorsWriter::Options{
          .metadata = std::move(ranges), .data_alignment = io::kDirectAlignment, .calls = options.calls});
}

void CheckpointWriter::write(std::string_view name, int64_t byte_offset, std::span<const std::byte> data) {
  ALEPH_CHECK(state_->file != nullptr, "write before begin");
  state_->file->write(name, byte_offset, data);
  state_->checksums.find(name)->second.add(byte_offset, data);
}

ManifestFile CheckpointWriter::State::finish_file() {
  file->finish();
  ManifestFile entry{.name = state_file_name(options.rank), .bytes = file->file_bytes()};
  entry.header_checksum = crc32c(file->header());
  for (const StatePiece& piece : pieces)
    entry.pieces.push_back({piece, checksums.find(piece.name)->second.values()});
  return entry;
}

void CheckpointWriter::State::publish(const Json& state, ManifestFile own) {
  Manifest manifest{.step = options.step, .world_size = options.world_size, .state = state};
  manifest.files.push_back(std::move(own));
  for (int rank = 1; rank < options.world_size; ++rank) {
    const fs::path path = temporary / entry_file_name(rank);
    const std::string text = io::read_file(path, kMaxEntryBytes, options.calls);
    manifest.files.push_back(parse_file_entry(parse_json(text, path.string()), path.string()));
    io::remove_all(path, options.calls);
  }
  io::write_file_atomically(temporary / kManifestFile, manifest_text(manifest), options.calls);
  io::replace_directory(temporary, checkpoint_path(options.root, options.step), options.calls);
  io::sync_directory(options.root, options.calls);
  io::remove_all(temporary, options.calls);  // a replaced checkpoint stands there now
}

void CheckpointWriter::commit(const Json& state) {
  ALEPH_CHECK(state_->file != nullptr, "commit before begin");
  ALEPH_CHECK(state.is_object(), "the state of a checkpoint is a JSON object");
  const Options& options = state_->options;
  ManifestFile own = state_->finish_file();
  if (options.rank != 0)
    io::write_file_atomically(state_->temporary / entry_file_name(options.rank), file_entry_text(own),
                              options.calls);
  state_->barrier();
  if (options.rank == 0) state_->publish(state, std::move(own));
  state_->committed = true;
  state_->barrier();
}

std::vector<CheckpointInfo> find_checkpoints(const fs::path& root, io::SystemCalls* calls) {
  std::vector<CheckpointInfo> found;
  for (const fs::path& entry : io::list_directory(root)) {
    const std::optional<int64_t> step = step_of(entry.filename().string());
    if (!step || !fs::is_directory(entry)) continue;
    found.push_back({*step, entry, {}});
    try {
      read_manifest(entry, calls);
    } catch (const Error& error) {
      found.back().fault = error.what();
    }
  }
  std::sort(found.begin(), found.end(),
            [](const CheckpointInfo& a, const CheckpointInfo& b) { return a.step < b.step; });
  return found;
}

std::vector<CheckpointInfo> list_checkpoints(const fs::path& root, io::SystemCalls* calls) {
  std::vector<CheckpointInfo> found = find_checkpoints(root, calls);
  std::erase_if(found, [](const CheckpointInfo& info) { return !info.fault.empty(); });
  return found;
}

void remove_old_checkpoints(const fs::path& root, int64_t newest, int64_t keep_last, io::SystemCalls* calls) {
  ALEPH_CHECK(keep_last > 0, "{} checkpoints to keep", keep_last);
  std::vector<CheckpointInfo> found = list_checkpoints(root, calls);
  std::erase_if(found, [&](const CheckpointInfo& info) { return info.step > newest; });
  if (found.size() <= static_cast<size_t>(keep_last)) return;
  found.resize(found.size() - static_cast<size_t>(keep_last));
  withdraw(root, found, calls);
  remove_leftovers(root, calls);
}

void remove_checkpoints(const fs::path& root, io::SystemCalls* calls) {
  withdraw(root, find_checkpoints(root, calls), calls);
  remove_leftovers(root, calls);
}

}  // namespace aleph::checkpoint
