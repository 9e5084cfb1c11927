// Files whose every failure is an aleph::Error naming the path, the bytes, the offset and the reason.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "aleph/io/syscalls.h"
#include "aleph/io/transfer.h"

namespace aleph::io {

enum class Direct : uint8_t {
  kNo,
  kTry,  ///< bypass the page cache (O_DIRECT) where the file system can
};

/// Owns an open file. Moves only. Reads and writes may run on several threads at once. `calls` (nullptr: the
/// real ones) must outlive the file.
class File {
 public:
  using Path = std::filesystem::path;

  static File open_read(const Path& path, SystemCalls* calls = nullptr);
  static File open_read(const Path& path, Direct direct, SystemCalls* calls = nullptr);
  /// A new or emptied file for reading and writing.
  static File create(const Path& path, SystemCalls* calls = nullptr);
  /// Keeps the contents of an existing file, creates a missing one.
  static File open_read_write(const Path& path, Direct direct = Direct::kNo, SystemCalls* calls = nullptr);

  File() = default;
  File(File&& other) noexcept { swap(other); }
  File& operator=(File&& other) noexcept {
    File(std::move(other)).swap(*this);
    return *this;
  }
  ~File();

  /// Fills `data` from `offset` on; throws Error when the file ends before.
  void read_at(int64_t offset, std::span<std::byte> data) const;
  void write_at(int64_t offset, std::span<const std::byte> data) const;

  int64_t size() const;
  /// Takes the disk space of [0, bytes) now, so that a full disk is noticed here, and grows the file to that
  /// size. Throws Error with the free bytes of the disk.
  void preallocate(int64_t bytes) const;
  void truncate(int64_t bytes) const;
  /// Returns when contents and size are on the disk.
  void sync() const;

  /// True where aligned reads and writes (offset, length and address multiples of kDirectAlignment) bypass
  /// the page cache. Unaligned ones are correct too, through the cache and slower.
  bool direct() const { return fds_.direct >= 0; }
  explicit operator bool() const { return fds_.buffered >= 0; }
  const std::string& path() const { return path_; }
  Descriptors descriptors() const { return fds_; }
  SystemCalls& calls() const { return *calls_; }

 private:
  static File open(const Path& path, int flags, SystemCalls* calls);
  static File open(const Path& path, int flags, Direct direct, SystemCalls* calls);
  void swap(File& other) noexcept;

  std::string path_;
  Descriptors fds_;
  SystemCalls* calls_ = nullptr;
};

/// Returns when the names in `directory` (files created, renamed or removed) are on the disk.
void sync_directory(const std::filesystem::path& directory, SystemCalls* calls = nullptr);

/// Renames and does not sync. Replaces a file named `to`.
void rename_path(const std::filesystem::path& from, const std::filesystem::path& to,
                 SystemCalls* calls = nullptr);

/// Puts the directory `from` under the name `to`. One that has the name is swapped with `from` in one step
/// where the file system can, and then stands under `from`; elsewhere it is removed before. Does not sync.
void replace_directory(const std::filesystem::path& from, const std::filesystem::path& to,
                       SystemCalls* calls = nullptr);

/// Replaces or creates `path`: whatever happens, a reader finds the old contents or the new ones, never a
/// part. Writes PATH.tmp, syncs, renames, syncs the directory.
void write_file_atomically(const std::filesystem::path& path, std::string_view text,
                           SystemCalls* calls = nullptr);

/// The whole file; throws Error when it is larger than `max_bytes`.
std::string read_file(const std::filesystem::path& path, int64_t max_bytes, SystemCalls* calls = nullptr);

/// What is in the directory, in no order; nothing where there is none. Throws Error where it cannot be
/// listed.
std::vector<std::filesystem::path> list_directory(const std::filesystem::path& directory);

/// Creates the directory and its parents where missing; their names are on the disk when it returns.
void create_directories(const std::filesystem::path& path, SystemCalls* calls = nullptr);

/// Removes a file or a directory with all it holds (links are removed, not followed); a missing one is fine.
void remove_all(const std::filesystem::path& path, SystemCalls* calls = nullptr);

/// Bytes an unprivileged user can still write to the disk that holds `path` or its nearest existing parent.
int64_t free_bytes(const std::filesystem::path& path);

}  // namespace aleph::io
