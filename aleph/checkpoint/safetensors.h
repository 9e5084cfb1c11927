// safetensors files: u64 little-endian header length, JSON header, data (docs/checkpoints.md;
// https://github.com/huggingface/safetensors).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "aleph/io/file.h"
#include "aleph/io/mapped_file.h"
#include "aleph/tensor/tensor.h"

namespace aleph::checkpoint {

using Metadata = std::map<std::string, std::string>;

/// One tensor as a file lists it.
struct TensorInfo {
  std::string name;
  std::string dtype;          ///< the name in the file: "F32", "BF16", "F8_E4M3", ...
  std::optional<DType> type;  ///< nothing where Aleph has no such type
  std::vector<int64_t> shape;
  int64_t offset = 0;  ///< of its first byte, from the start of the file
  int64_t bytes = 0;

  /// "BF16 [2, 3]"
  std::string to_string() const;
};

/// What stands before the data of a file.
struct SafetensorsHeader {
  Metadata metadata;
  std::vector<TensorInfo> tensors;  ///< in the order of the data
  int64_t data_begin = 0;           ///< bytes before the data
};
/// Length and JSON, as they stand in the file. Throws Error naming the file that is cut off, or is none.
std::string read_header_block(const io::File& file);
/// Checks everything that `block` says of a file of `file_bytes`: JSON, dtypes, shapes, and that the tensors
/// cover the data exactly once. Throws Error naming `path` and, where there is one, the tensor.
SafetensorsHeader parse_header_block(std::string_view block, int64_t file_bytes, const std::string& path);

/// The key of the metadata under which our own files keep the CRC-32C of their tensors: eight hexadecimal
/// digits for each, in the order of the data. Other programs pass it over.
inline constexpr const char* kChecksumKey = "aleph.crc32c";

/// A safetensors file, mapped for reading, its header checked. Moves only. Safe to read from several threads.
class SafetensorsFile {
 public:
  /// Throws Error naming the file and, where there is one, the tensor.
  static SafetensorsFile open(const std::filesystem::path& path);
  SafetensorsFile(SafetensorsFile&&) noexcept;
  SafetensorsFile& operator=(SafetensorsFile&&) noexcept;
  ~SafetensorsFile();

  /// In the order of the data.
  const std::vector<TensorInfo>& tensors() const { return header_.tensors; }
  const Metadata& metadata() const { return header_.metadata; }
  bool contains(std::string_view name) const { return find(name) != nullptr; }
  /// nullptr where there is none.
  const TensorInfo* find(std::string_view name) const;
  /// Throws Error where there is none.
  const TensorInfo& info(std::string_view name) const;

  /// The tensor in the mapped file; lives as long as this object. Throws Error when it is missing, of a type
  /// Aleph does not have, of more than Shape::kMaxRank dimensions, or damaged (see verify). A tensor that
  /// stands at an address its type does not allow is copied once.
  ConstTensorView tensor(std::string_view name) const;
  /// Bytes [byte_offset, byte_offset + data.size()) of a tensor, verified as well. Unlike pages of the mapped
  /// file, what is read so takes no memory besides `data`.
  void read(std::string_view name, int64_t byte_offset, std::span<std::byte> data) const;
  /// Throws Error naming file and tensor where its bytes are not those that were saved. They are read once,
  /// however often this is asked; files without checksums are taken as they are.
  void verify(std::string_view name) const;
  bool has_checksums() const { return !checksums_.empty(); }
  /// Its bytes, of any dtype, unverified.
  std::span<const std::byte> raw(std::string_view name) const;
  /// Asks the system to start loading this tensor.
  void prefetch(std::string_view name) const;
  /// Tells the system that the pages of this tensor are not needed soon.
  void release(std::string_view name) const;

  const std::string& path() const { return file_.path(); }
  /// Bytes before the data.
  int64_t data_begin() const { return header_.data_begin; }
  std::span<const std::byte> bytes() const { return file_.bytes(); }

 private:
  struct Lazy;
  explicit SafetensorsFile(const std::filesystem::path& path);
  void read_checksums();
  void check(const TensorInfo& tensor, uint32_t expected) const;

  io::MappedFile file_;
  io::File reads_;  // the same file
  SafetensorsHeader header_;
  std::unordered_map<std::string_view, size_t> index_;  // keys look into header_.tensors
  std::vector<uint32_t> checksums_;                     // as the tensors, or empty
  std::unique_ptr<Lazy> lazy_;
};

/// A tensor to be written.
struct TensorEntry {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;

  int64_t bytes() const { return shape.elements() * dtype_bytes(dtype); }
};

/// The name of a dtype in safetensors files.
const char* safetensors_dtype(DType dtype);

/// Writes a safetensors file piece by piece, in any order. The file stands under PATH.tmp until it is
/// complete, so that nothing half-written ever has the final name. `write` may be called from several
/// threads.
class SafetensorsWriter {
 public:
  struct Options {
    Metadata metadata;
    bool checksums = false;      ///< of the tensors, among the metadata
    int64_t data_alignment = 8;  ///< the data starts at a multiple of it
    io::SystemCalls* calls = nullptr;
  };
  SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorEntry> entries)
      : SafetensorsWriter(path, std::move(entries), Options{}) {}
  /// Takes the disk space of the whole file at once. Throws Error when the disk is full or names are not
  /// unique.
  SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorEntry> entries,
                    const Options& options);
  SafetensorsWriter(SafetensorsWriter&&) noexcept;
  SafetensorsWriter& operator=(SafetensorsWriter&&) = delete;
  /// Removes the temporary file when finish was not reached.
  ~SafetensorsWriter();

  /// Bytes [byte_offset, byte_offset + data.size()) of a tensor. Each byte is written once.
  void write(std::string_view name, int64_t byte_offset, std::span<const std::byte> data);
  /// A whole tensor; dtype and shape must be those of its entry.
  void write(std::string_view name, const ConstTensorView& tensor);

  /// seal and publish.
  void finish();
  /// Checks that every byte was written and puts the file on the disk, under its temporary name.
  void seal();
  /// Gives the sealed file its name and syncs the directory.
  void publish();

  /// The header with its length, as written; with checksums it is complete once the file is sealed.
  std::span<const std::byte> header() const;
  int64_t file_bytes() const;
  const std::filesystem::path& path() const;

 private:
  void remove_temporary() noexcept;

  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace aleph::checkpoint
