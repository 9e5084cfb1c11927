#include "aleph/io/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <fstream>
#include <system_error>
#include <utility>
#include <vector>

#include "aleph/base/error.h"
#include "aleph/base/text_util.h"

namespace aleph::io {
namespace {

namespace fs = std::filesystem;

std::string reason(int error) { return std::generic_category().message(error); }

/// Throws unless `result` is fine (>= 0); `expected` says what was tried.
void require(int result, const std::string& path, const std::string& expected) {
  if (result < 0) throw Error(path, reason(-result), expected);
}

SystemCalls& calls_or_real(SystemCalls* calls) { return calls != nullptr ? *calls : SystemCalls::real(); }

/// Pipes and devices have no size: read to their end.
std::string read_stream(const fs::path& path, int64_t max_bytes) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw Error(path.string(), "no readable file", "a file or pipe");
  std::string text;
  std::array<char, 1 << 16> piece;
  while (in.read(piece.data(), piece.size()), in.gcount() > 0) {
    text.append(piece.data(), static_cast<size_t>(in.gcount()));
    if (static_cast<int64_t>(text.size()) > max_bytes)
      throw Error(path.string(), "more than that", fmt::format("at most {}", format_bytes(max_bytes)));
  }
  if (in.bad()) throw Error(path.string(), "a read error", "a readable file or pipe");
  return text;
}

bool is_stream(const fs::path& path) {
  std::error_code ignored;
  return fs::is_fifo(path, ignored) || fs::is_character_file(path, ignored) || fs::is_socket(path, ignored);
}

}  // namespace

File File::open(const Path& path, int flags, SystemCalls* calls) {
  File file;
  file.path_ = path.string();
  file.calls_ = &calls_or_real(calls);
  file.fds_.buffered = file.calls_->open(path.c_str(), flags);
  const bool write = (flags & O_ACCMODE) != O_RDONLY;
  require(file.fds_.buffered, file.path_, write ? "a file that can be written" : "a readable file");
  struct stat status {};
  require(::fstat(file.fds_.buffered, &status) != 0 ? -errno : 0, file.path_, "a file");
  if (S_ISDIR(status.st_mode)) throw Error(file.path_, "a directory", "a file");
  return file;
}

File File::open(const Path& path, int flags, Direct direct, SystemCalls* calls) {
  File file = open(path, flags, calls);
  if (direct == Direct::kTry) {
    const int fd = file.calls_->open(path.c_str(), (flags & O_ACCMODE) | O_DIRECT);
    if (fd >= 0) file.fds_.direct = fd;
  }
  return file;
}

File File::open_read(const Path& path, SystemCalls* calls) { return open(path, O_RDONLY, calls); }

File File::open_read(const Path& path, Direct direct, SystemCalls* calls) {
  return open(path, O_RDONLY, direct, calls);
}

File File::create(const Path& path, SystemCalls* calls) {
  return open(path, O_RDWR | O_CREAT | O_TRUNC, calls);
}

File File::open_read_write(const Path& path, Direct direct, SystemCalls* calls) {
  return open(path, O_RDWR | O_CREAT, direct, calls);
}

File::~File() {
  if (fds_.direct >= 0) ::close(fds_.direct);
  if (fds_.buffered >= 0) ::close(fds_.buffered);
}

void File::swap(File& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fds_, other.fds_);
  std::swap(calls_, other.calls_);
}

void File::read_at(int64_t offset, std::span<std::byte> data) const {
  ALEPH_CHECK(*this && offset >= 0, "read of '{}' at {}", path_, offset);
  run_transfer(Transfer(Direction::kRead, fds_, offset, data.data(), static_cast<int64_t>(data.size())),
               path_, *calls_);
}

void File::write_at(int64_t offset, std::span<const std::byte> data) const {
  ALEPH_CHECK(*this && offset >= 0, "write to '{}' at {}", path_, offset);
  // A write never changes the memory it is given.
  auto* source = const_cast<std::byte*>(data.data());
  run_transfer(Transfer(Direction::kWrite, fds_, offset, source, static_cast<int64_t>(data.size())), path_,
               *calls_);
}

int64_t File::size() const {
  ALEPH_CHECK(*this);
  struct stat status {};
  require(::fstat(fds_.buffered, &status) != 0 ? -errno : 0, path_, "the size of the file");
  return status.st_size;
}

void File::preallocate(int64_t bytes) const {
  ALEPH_CHECK(*this && bytes >= 0);
  if (bytes == 0) return;
  int result = -EINTR;
  while (result == -EINTR) result = calls_->allocate(fds_.buffered, bytes);
  if (result == 0) return;
  throw Error(path_, fmt::format("{} ({} free)", reason(-result), format_bytes(free_bytes(path_))),
              fmt::format("room for {} ({} bytes)", format_bytes(bytes), bytes));
}

void File::truncate(int64_t bytes) const {
  ALEPH_CHECK(*this && bytes >= 0);
  require(calls_->truncate(fds_.buffered, bytes), path_, fmt::format("a file of {} bytes", bytes));
}

void File::sync() const {
  ALEPH_CHECK(*this);
  require(calls_->fsync(fds_.buffered), path_, "its data on the disk");
}

void sync_directory(const fs::path& directory, SystemCalls* calls) {
  const fs::path path = directory.empty() ? fs::path(".") : directory;
  SystemCalls& system = calls_or_real(calls);
  const int fd = system.open(path.c_str(), O_RDONLY | O_DIRECTORY);
  require(fd, path.string(), "a directory");
  const int result = system.fsync(fd);
  ::close(fd);
  // Some network file systems have nothing to sync for a directory.
  if (result != -EINVAL) require(result, path.string(), "its entries on the disk");
}

void rename_path(const fs::path& from, const fs::path& to, SystemCalls* calls) {
  require(calls_or_real(calls).rename(from.c_str(), to.c_str()), from.string(),
          fmt::format("to be renamed to {}", to.string()));
}

void replace_directory(const fs::path& from, const fs::path& to, SystemCalls* calls) {
  const int result = calls_or_real(calls).exchange(from.c_str(), to.c_str());
  if (result == 0) return;
  if (result != -ENOENT) {
    const bool cannot = result == -EINVAL || result == -ENOSYS || result == -EOPNOTSUPP;
    require(cannot ? 0 : result, from.string(), fmt::format("to take the place of {}", to.string()));
    remove_all(to, calls);
  }
  rename_path(from, to, calls);
}

void write_file_atomically(const fs::path& path, std::string_view text, SystemCalls* calls) {
  const fs::path temporary = path.string() + ".tmp";
  {
    const File file = File::create(temporary, calls);
    file.write_at(0, std::as_bytes(std::span(text)));
    file.sync();
  }
  rename_path(temporary, path, calls);
  sync_directory(path.parent_path(), calls);
}

std::string read_file(const fs::path& path, int64_t max_bytes, SystemCalls* calls) {
  if (is_stream(path)) return read_stream(path, max_bytes);
  const File file = File::open_read(path, calls);
  const int64_t size = file.size();
  if (size > max_bytes)
    throw Error(path.string(), format_bytes(size), fmt::format("at most {}", format_bytes(max_bytes)));
  std::string text(static_cast<size_t>(size), '\0');
  file.read_at(0, std::as_writable_bytes(std::span(text)));
  return text;
}

std::vector<fs::path> list_directory(const fs::path& directory) {
  std::vector<fs::path> entries;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error))
    entries.push_back(it->path());
  if (error && error != std::errc::no_such_file_or_directory)
    throw Error(directory.string(), error.message(), "a directory that can be listed");
  return entries;
}

void create_directories(const fs::path& path, SystemCalls* calls) {
  std::error_code ignored;
  if (path.empty() || fs::is_directory(path, ignored)) return;
  create_directories(path.parent_path(), calls);
  const int result = calls_or_real(calls).make_directory(path.c_str());
  if (result == -EEXIST && fs::is_directory(path, ignored)) return;
  require(result, path.string(), "a directory to be created");
  sync_directory(path.parent_path(), calls);
}

void remove_all(const fs::path& path, SystemCalls* calls) {
  std::error_code error;
  const fs::file_status status = fs::symlink_status(path, error);
  if (status.type() == fs::file_type::not_found) return;
  if (fs::is_directory(status)) {
    std::vector<fs::path> entries;
    for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error))
      entries.push_back(it->path());
    if (error) throw Error(path.string(), error.message(), "a directory that can be listed");
    for (const fs::path& entry : entries) remove_all(entry, calls);
  }
  const int result = calls_or_real(calls).remove(path.c_str());
  if (result != -ENOENT) require(result, path.string(), "to be removed");
}

int64_t free_bytes(const fs::path& path) {
  std::error_code error;
  fs::path existing = fs::absolute(path, error);
  while (!fs::exists(existing, error) && existing.has_relative_path()) existing = existing.parent_path();
  const fs::space_info space = fs::space(existing, error);
  if (error) throw Error(path.string(), error.message(), "a disk with known free space");
  return static_cast<int64_t>(space.available);
}

}  // namespace aleph::io
