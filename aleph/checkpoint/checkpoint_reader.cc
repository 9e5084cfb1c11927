#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "aleph/base/error.h"
#include "aleph/base/json.h"
#include "aleph/base/text_util.h"
#include "aleph/checkpoint/chunk_checksums.h"
#include "aleph/checkpoint/crc32c.h"
#include "aleph/checkpoint/manifest.h"
#include "aleph/checkpoint/safetensors.h"
#include "aleph/checkpoint/training_checkpoint.h"
#include "aleph/io/file.h"

namespace aleph::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kBufferChunks = 8;

struct alignas(io::kDirectAlignment) Page {
  std::array<std::byte, io::kDirectAlignment> bytes;
};

/// Memory for some chunks, aligned for direct I/O.
class ChunkBuffer {
 public:
  std::span<std::byte> first(int64_t bytes) {
    if (pages_.empty()) pages_.resize(kBufferChunks * kChunkBytes / io::kDirectAlignment);
    return std::as_writable_bytes(std::span(pages_)).first(static_cast<size_t>(bytes));
  }

 private:
  std::vector<Page> pages_;
};

/// A piece and where its bytes are.
struct Located {
  const io::File* file = nullptr;
  int64_t offset = 0;  // of its first byte in the file
  StatePiece piece;
  std::vector<uint32_t> checksums;

  int64_t begin_byte() const { return piece.begin * dtype_bytes(piece.dtype); }
  int64_t end_byte() const { return begin_byte() + piece.bytes(); }
};

std::string object_of(const Located& located) {
  return fmt::format("{}: tensor '{}'", located.file->path(), printable(located.piece.name));
}

void check_chunk(const Located& located, int64_t chunk, std::span<const std::byte> data) {
  const uint32_t found = crc32c(data);
  const uint32_t expected = located.checksums[static_cast<size_t>(chunk)];
  const int64_t begin = chunk * kChunkBytes;
  if (found != expected)
    throw Error(object_of(located),
                fmt::format("checksum {:08x} of bytes {} to {}", found, begin,
                            begin + static_cast<int64_t>(data.size())),
                fmt::format("{:08x}: the file is damaged", expected));
}

/// Fills `data` with whole chunks from `chunk` on and checks each.
void read_chunks(const Located& located, int64_t chunk, std::span<std::byte> data) {
  located.file->read_at(located.offset + chunk * kChunkBytes, data);
  for (; !data.empty(); ++chunk) {
    const auto size = static_cast<size_t>(chunk_size(located.piece.bytes(), chunk));
    check_chunk(located, chunk, data.first(size));
    data = data.subspan(size);
  }
}

/// Bytes [offset, offset + data.size()) of the piece: whole chunks in place, parts of chunks through a
/// buffer.
void read_piece(const Located& located, int64_t offset, std::span<std::byte> data) {
  const int64_t bytes = located.piece.bytes();
  const int64_t end = offset + static_cast<int64_t>(data.size());
  ChunkBuffer buffer;
  for (int64_t begin = offset; begin < end;) {
    const int64_t chunk = begin / kChunkBytes;
    const int64_t skipped = begin % kChunkBytes;
    int64_t stop = end == bytes ? end : end / kChunkBytes * kChunkBytes;  // of the whole chunks
    if (skipped == 0 && stop > begin) {
      read_chunks(located, chunk,
                  data.subspan(static_cast<size_t>(begin - offset), static_cast<size_t>(stop - begin)));
    } else {
      const std::span<std::byte> whole = buffer.first(chunk_size(bytes, chunk));
      read_chunks(located, chunk, whole);
      stop = std::min(end, chunk * kChunkBytes + static_cast<int64_t>(whole.size()));
      std::copy_n(whole.begin() + skipped, stop - begin, data.begin() + (begin - offset));
    }
    begin = stop;
  }
}

void verify_piece(const Located& located, ChunkBuffer& buffer) {
  const int64_t bytes = located.piece.bytes();
  for (int64_t chunk = 0; chunk < chunk_count(bytes); chunk += kBufferChunks)
    read_chunks(located, chunk,
                buffer.first(std::min(kBufferChunks * kChunkBytes, bytes - chunk * kChunkBytes)));
}

/// The header of a file of states, which the manifest knows by its checksum.
SafetensorsHeader read_header(const io::File& file, const ManifestFile& entry) {
  const std::string block = read_header_block(file);
  const uint32_t checksum = crc32c(std::as_bytes(std::span(block)));
  if (checksum != entry.header_checksum)
    throw Error(file.path(), fmt::format("header checksum {:08x}", checksum),
                fmt::format("{:08x}: the file is damaged", entry.header_checksum));
  return parse_header_block(block, entry.bytes, file.path());
}

/// Where the bytes of a piece begin in the file. Throws Error where header and manifest contradict each
/// other.
int64_t offset_of(const StatePiece& piece, const std::map<std::string_view, const TensorInfo*>& tensors,
                  const std::string& path) {
  const auto found = tensors.find(piece.name);
  if (found != tensors.end() && found->second->type == piece.dtype && found->second->bytes == piece.bytes())
    return found->second->offset;
  throw Error(fmt::format("{}: tensor '{}'", path, printable(piece.name)),
              found == tensors.end() ? "none in the header" : found->second->to_string(),
              fmt::format("{} elements of {}", piece.elements, safetensors_dtype(piece.dtype)));
}

/// The whole tensor that the pieces, sorted by begin, make up.
StatePiece whole_tensor(const std::vector<Located>& pieces) {
  StatePiece whole{.name = pieces.front().piece.name, .dtype = pieces.front().piece.dtype};
  for (const Located& located : pieces) {
    const StatePiece& piece = located.piece;
    if (piece.dtype != whole.dtype)
      throw Error(object_of(located), dtype_name(piece.dtype),
                  fmt::format("{} as in {}", dtype_name(whole.dtype), pieces.front().file->path()));
    if (piece.begin > whole.elements)
      throw Error(object_of(located), fmt::format("elements from {} on", piece.begin),
                  fmt::format("some rank to hold those from {} on", whole.elements));
    whole.elements = std::max(whole.elements, piece.begin + piece.elements);
  }
  return whole;
}

}  // namespace

struct CheckpointReader::State {
  Manifest manifest;
  std::vector<io::File> files;
  std::map<std::string, std::vector<Located>, std::less<>> pieces;  // by tensor, sorted by begin
  std::vector<StatePiece> tensors;

  void open_file(const fs::path& path, ManifestFile& entry, io::File& file, io::SystemCalls* calls);
  void collect_tensors();
};

void CheckpointReader::State::open_file(const fs::path& path, ManifestFile& entry, io::File& file,
                                        io::SystemCalls* calls) {
  file = io::File::open_read(path, io::Direct::kTry, calls);
  const SafetensorsHeader header = read_header(file, entry);
  if (header.tensors.size() != entry.pieces.size())
    throw Error(path.string(), fmt::format("{} tensors", header.tensors.size()),
                fmt::format("{} as its manifest says", entry.pieces.size()));
  std::map<std::string_view, const TensorInfo*> infos;
  for (const TensorInfo& tensor : header.tensors) infos.emplace(tensor.name, &tensor);
  for (ManifestPiece& piece : entry.pieces)
    pieces[piece.piece.name].push_back({.file = &file,
                                        .offset = offset_of(piece.piece, infos, path.string()),
                                        .piece = piece.piece,
                                        .checksums = std::move(piece.checksums)});
  entry.pieces.clear();
}

void CheckpointReader::State::collect_tensors() {
  for (auto& [name, list] : pieces) {
    std::stable_sort(list.begin(), list.end(),
                     [](const Located& a, const Located& b) { return a.piece.begin < b.piece.begin; });
    tensors.push_back(whole_tensor(list));
  }
}

CheckpointReader::CheckpointReader(const fs::path& directory, io::SystemCalls* calls)
    : state_(std::make_unique<State>()) {
  state_->manifest = read_manifest(directory, calls);
  state_->files.resize(state_->manifest.files.size());
  for (size_t i = 0; i < state_->files.size(); ++i) {
    ManifestFile& entry = state_->manifest.files[i];
    state_->open_file(directory / entry.name, entry, state_->files[i], calls);
  }
  state_->collect_tensors();
}

CheckpointReader::~CheckpointReader() = default;
CheckpointReader::CheckpointReader(CheckpointReader&&) noexcept = default;

int64_t CheckpointReader::step() const { return state_->manifest.step; }

int CheckpointReader::world_size() const { return static_cast<int>(state_->manifest.world_size); }

const Json& CheckpointReader::state() const { return state_->manifest.state; }

const std::vector<StatePiece>& CheckpointReader::tensors() const { return state_->tensors; }

bool CheckpointReader::contains(std::string_view name) const { return state_->pieces.contains(name); }

void CheckpointReader::read(std::string_view name, int64_t byte_offset, std::span<std::byte> data) const {
  const auto found = state_->pieces.find(name);
  if (found == state_->pieces.end())
    throw Error(
        state_->files.empty() ? "checkpoint" : fs::path(state_->files[0].path()).parent_path().string(),
        "no tensor '" + printable(name) + "'", "one of that name");
  ALEPH_CHECK(byte_offset >= 0, "bytes from {} on of tensor '{}'", byte_offset, name);
  const int64_t end = byte_offset + static_cast<int64_t>(data.size());
  int64_t position = byte_offset;
  for (const Located& located : found->second) {
    // Sorted and without gaps: the first piece that reaches beyond the position holds it.
    if (position >= end || located.end_byte() <= position) continue;
    const int64_t stop = std::min(end, located.end_byte());
    read_piece(
        located, position - located.begin_byte(),
        data.subspan(static_cast<size_t>(position - byte_offset), static_cast<size_t>(stop - position)));
    position = stop;
  }
  ALEPH_CHECK(position >= end, "bytes {} to {} of tensor '{}'", byte_offset, end, name);
}

void CheckpointReader::verify() const {
  ChunkBuffer buffer;
  for (const auto& [name, pieces] : state_->pieces)
    for (const Located& located : pieces) verify_piece(located, buffer);
}

}  // namespace aleph::checkpoint
