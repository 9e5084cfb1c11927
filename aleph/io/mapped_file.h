// A file as memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <utility>

namespace aleph::io {

/// A file mapped for reading; pages are loaded when touched. Moves only. The file must not shrink meanwhile:
/// touching what is gone ends the process (mapped_fault.h).
class MappedFile {
 public:
  MappedFile() = default;
  /// Throws Error when the file cannot be opened or mapped, or is not a regular file.
  explicit MappedFile(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept { swap(other); }
  MappedFile& operator=(MappedFile&& other) noexcept {
    MappedFile(std::move(other)).swap(*this);
    return *this;
  }
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }
  const std::string& path() const { return path_; }
  /// Asks the system to start loading [offset, offset + bytes).
  void prefetch(int64_t offset, int64_t bytes) const;
  /// Tells the system that [offset, offset + bytes) is not needed soon: its pages stop counting as resident.
  void release(int64_t offset, int64_t bytes) const;

 private:
  void swap(MappedFile& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(bytes_, other.bytes_);
  }
  void advise(int64_t offset, int64_t bytes, int advice) const;

  std::string path_;
  std::span<const std::byte> bytes_;
};

}  // namespace aleph::io
