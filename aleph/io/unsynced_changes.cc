#include "aleph/io/unsynced_changes.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <utility>

#include "aleph/base/error.h"
#include "aleph/base/random.h"
#include "aleph/io/syscalls.h"

namespace aleph::io {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kPage = 4096;

std::string identity(const struct stat& status) { return fmt::format("{}:{}", status.st_dev, status.st_ino); }

/// Names a file or directory whatever its path is.
std::string identity(int fd) {
  struct stat status {};
  ALEPH_CHECK(::fstat(fd, &status) == 0);
  return identity(status);
}

/// Empty where nothing has that name.
std::string identity(const char* path) {
  struct stat status {};
  return ::lstat(path, &status) == 0 ? identity(status) : std::string();
}

/// A name in a directory that is held open: still right when the directory was renamed.
class Place {
 public:
  explicit Place(const fs::path& path)
      : name_(path.filename().string()),
        directory_(::open(path.has_parent_path() ? path.parent_path().c_str() : ".", O_RDONLY | O_CLOEXEC)) {
    ALEPH_CHECK(directory_ >= 0, "{} is in no directory", path.string());
  }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  ~Place() { ::close(directory_); }

  const char* name() const { return name_.c_str(); }
  int directory() const { return directory_; }
  std::string owner() const { return identity(directory_); }
  std::string key() const { return owner() + "/" + name_; }
  /// Removes what has the name, with all it holds.
  void clear() const { fs::remove_all(fs::path(fmt::format("/proc/self/fd/{}", directory_)) / name_); }
  void move_to(const Place& other) const { ::renameat(directory_, name(), other.directory_, other.name()); }

 private:
  std::string name_;
  int directory_;
};

}  // namespace

/// A buffered descriptor of its own for an open file, even one that was renamed.
class UnsyncedChanges::Handle {
 public:
  explicit Handle(int fd) : fd_(::open(fmt::format("/proc/self/fd/{}", fd).c_str(), O_RDWR | O_CLOEXEC)) {
    ALEPH_CHECK(fd_ >= 0, "a file that cannot be opened again for writing");
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() { ::close(fd_); }

  int64_t size() const { return ::lseek(fd_, 0, SEEK_END); }
  void resize(int64_t bytes) const { ALEPH_CHECK(::ftruncate(fd_, bytes) == 0); }
  std::string contents(int64_t offset, int64_t bytes) const;
  /// Never makes the file longer.
  void put(int64_t offset, const std::string& text) const {
    const int64_t bytes = std::min(static_cast<int64_t>(text.size()), size() - offset);
    if (bytes > 0) ALEPH_CHECK(::pwrite(fd_, text.data(), static_cast<size_t>(bytes), offset) == bytes);
  }

 private:
  int fd_;
};

/// The bytes of the range, zeros beyond the end of the file.
std::string UnsyncedChanges::Handle::contents(int64_t offset, int64_t bytes) const {
  std::string text(static_cast<size_t>(bytes), '\0');
  int64_t filled = 0;
  while (filled < bytes) {
    const ssize_t n =
        ::pread(fd_, text.data() + filled, static_cast<size_t>(bytes - filled), offset + filled);
    if (n <= 0) break;
    filled += n;
  }
  return text;
}

UnsyncedChanges::UnsyncedChanges() = default;
UnsyncedChanges::~UnsyncedChanges() = default;

std::shared_ptr<UnsyncedChanges::Handle> UnsyncedChanges::handle_of(int fd, const std::string& owner) {
  std::shared_ptr<Handle>& handle = handles_[owner];
  if (handle == nullptr) handle = std::make_shared<Handle>(fd);
  return handle;
}

std::string UnsyncedChanges::new_grave() {
  if (!graveyard_) graveyard_.emplace();
  return (*graveyard_ / std::to_string(graves_++)).string();
}

void UnsyncedChanges::write(int fd, int64_t offset, int64_t bytes) {
  const std::string owner = identity(fd);
  const auto file = handle_of(fd, owner);
  if (offset + bytes > file->size()) resize(fd, offset + bytes);
  for (int64_t begin = offset; begin < offset + bytes;) {
    const int64_t page = begin / kPage;
    const int64_t end = std::min(offset + bytes, (page + 1) * kPage);
    auto undo = [file, begin, old = file->contents(begin, end - begin)] { file->put(begin, old); };
    changes_.push_back({owner, {fmt::format("{} page {}", owner, page)}, std::move(undo)});
    begin = end;
  }
}

void UnsyncedChanges::resize(int fd, int64_t bytes) {
  const std::string owner = identity(fd);
  const auto file = handle_of(fd, owner);
  const int64_t size = file->size();
  if (bytes < size) write(fd, bytes, size - bytes);  // what is cut off is lost like any bytes
  changes_.push_back({owner, {owner + " size"}, [file, size] { file->resize(size); }});
}

void UnsyncedChanges::create(const char* path) {
  const auto place = std::make_shared<Place>(path);
  changes_.push_back({place->owner(), {place->key(), identity(path)}, [place] { place->clear(); }});
}

int UnsyncedChanges::rename(const char* from, const char* to) {
  const std::string moved = identity(from), replaced = identity(to);
  // A second name for the file that loses its own, so that it can get it back.
  const std::string grave = replaced.empty() || fs::is_directory(to) ? std::string() : new_grave();
  if (!grave.empty()) fs::create_hard_link(to, grave);
  const int result = SystemCalls::real().rename(from, to);
  if (result != 0) return result;
  const auto source = std::make_shared<Place>(from), target = std::make_shared<Place>(to);
  auto undo = [source, target, grave] {
    target->move_to(*source);
    if (!grave.empty()) Place(grave).move_to(*target);
  };
  changes_.push_back({target->owner(), {source->key(), target->key(), moved, replaced}, std::move(undo)});
  return 0;
}

int UnsyncedChanges::exchange(const char* a, const char* b) {
  std::vector<std::string> keys = {identity(a), identity(b)};
  const int result = SystemCalls::real().exchange(a, b);
  if (result != 0) return result;
  const auto first = std::make_shared<Place>(a), second = std::make_shared<Place>(b);
  keys.insert(keys.end(), {first->key(), second->key()});
  changes_.push_back({first->owner(), std::move(keys), [first, second] {
                        ::renameat2(first->directory(), first->name(), second->directory(), second->name(),
                                    RENAME_EXCHANGE);
                      }});
  return 0;
}

int UnsyncedChanges::remove(const char* path) {
  const std::string removed = identity(path);
  if (removed.empty()) return -ENOENT;
  if (fs::is_directory(fs::symlink_status(path)) && !fs::is_empty(path)) return -ENOTEMPTY;
  const std::string grave = new_grave();
  const int result = SystemCalls::real().rename(path, grave.c_str());
  ALEPH_CHECK(result != -EXDEV, "{} is not on the disk of temporary files", path);
  if (result != 0) return result;
  const auto place = std::make_shared<Place>(path);
  changes_.push_back(
      {place->owner(), {place->key(), removed}, [place, grave] { Place(grave).move_to(*place); }});
  return 0;
}

void UnsyncedChanges::sync(int fd) {
  const std::string owner = identity(fd);
  std::erase_if(changes_, [&](const Change& change) { return change.owner == owner; });
  handles_.erase(owner);
}

void UnsyncedChanges::lose(PowerLoss loss, uint64_t seed) {
  const RandomStream random({.seed = seed});
  std::set<std::string> built_on;  // by changes that survive
  for (size_t i = changes_.size(); i-- > 0;) {
    const Change& change = changes_[i];
    const bool needed = std::any_of(change.keys.begin(), change.keys.end(), [&](const std::string& key) {
      return !key.empty() && built_on.contains(key);
    });
    if (loss == PowerLoss::kRandom && (needed || random.below(2, 2 * i) == 0))
      built_on.insert(change.keys.begin(), change.keys.end());
    else
      change.undo();
  }
  changes_.clear();
  handles_.clear();
}

}  // namespace aleph::io
