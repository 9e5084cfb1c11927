#include "aleph/io/fault_injection.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <utility>

#include "aleph/base/error.h"
#include "aleph/base/random.h"

namespace aleph::io {
namespace {

namespace fs = std::filesystem;

/// Names a file or directory whatever its path is.
std::string identity(int fd) {
  struct stat status {};
  ALEPH_CHECK(::fstat(fd, &status) == 0);
  return fmt::format("{}:{}", status.st_dev, status.st_ino);
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

 private:
  std::string name_;
  int directory_;
};

}  // namespace

/// A buffered descriptor of its own for an open file, even one that was renamed.
class FaultInjection::Handle {
 public:
  explicit Handle(int fd) : fd_(::open(fmt::format("/proc/self/fd/{}", fd).c_str(), O_RDWR | O_CLOEXEC)) {}
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() {
    if (fd_ >= 0) ::close(fd_);
  }
  int fd() const { return fd_; }
  int64_t size() const { return ::lseek(fd_, 0, SEEK_END); }
  std::string contents(int64_t offset, int64_t bytes) const;
  void put(int64_t offset, const std::string& text) const {
    ALEPH_CHECK(::pwrite(fd_, text.data(), text.size(), offset) == static_cast<ssize_t>(text.size()));
  }

 private:
  int fd_;
};

/// The bytes of the range, zeros beyond the end of the file.
std::string FaultInjection::Handle::contents(int64_t offset, int64_t bytes) const {
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

FaultInjection::~FaultInjection() = default;

void FaultInjection::fail(Call call, int64_t nth, int error, int64_t times) {
  std::lock_guard lock(mutex_);
  failures_[static_cast<size_t>(call)] = {nth, times, error};
}

void FaultInjection::limit_transfers(int64_t bytes) {
  std::lock_guard lock(mutex_);
  transfer_limit_ = bytes;
}

void FaultInjection::kill_at_change(int64_t nth) {
  std::lock_guard lock(mutex_);
  kill_at_ = changes_ + nth;
}

bool FaultInjection::killed() const {
  std::lock_guard lock(mutex_);
  return killed_;
}

int64_t FaultInjection::count(Call call) const {
  std::lock_guard lock(mutex_);
  return counts_[static_cast<size_t>(call)];
}

int64_t FaultInjection::changes() const {
  std::lock_guard lock(mutex_);
  return changes_;
}

int FaultInjection::judge(Call call, bool change) {
  ++counts_[static_cast<size_t>(call)];
  if (change && !killed_ && ++changes_ == kill_at_) killed_ = true;
  if (killed_) return EIO;
  Failure& failure = failures_[static_cast<size_t>(call)];
  if (failure.times == 0 || --failure.countdown > 0) return 0;
  --failure.times;
  return failure.error;
}

void FaultInjection::remember_bytes(int fd, int64_t offset, int64_t bytes) {
  const std::string owner = identity(fd);
  const auto known = std::find_if(unsynced_.begin(), unsynced_.end(), [&](const Change& change) {
    return change.file != nullptr && change.owner == owner;
  });
  auto file = known != unsynced_.end() ? known->file : std::make_shared<Handle>(fd);
  ALEPH_CHECK(file->fd() >= 0, "a file that cannot be opened again for writing");
  auto undo = [raw = file.get(), offset, size = file->size(),
               old = file->contents(offset, bytes)](PowerLoss loss) {
    if (!old.empty()) raw->put(offset, old);
    // Others that survive may have made the file longer: then the lost range reads as zeros.
    if (loss == PowerLoss::kAll) ALEPH_CHECK(::ftruncate(raw->fd(), size) == 0);
  };
  unsynced_.push_back({owner, std::move(file), std::move(undo)});
}

void FaultInjection::remember_name(std::string owner, std::function<void()> undo) {
  unsynced_.push_back({std::move(owner), nullptr, [undo = std::move(undo)](PowerLoss) { undo(); }});
}

void FaultInjection::lose_power(PowerLoss loss, uint64_t seed) {
  std::lock_guard lock(mutex_);
  const RandomStream random({.seed = seed});
  const uint64_t names_kept = random.below(unsynced_.size() + 1, 0);
  for (size_t i = unsynced_.size(); i-- > 0;) {
    const Change& change = unsynced_[i];
    const bool survives = change.file == nullptr ? i < names_kept : random.below(2, 2 * i + 2) == 0;
    if (loss == PowerLoss::kAll || !survives) change.undo(loss);
  }
  unsynced_.clear();
}

int FaultInjection::open(const char* path, int flags) {
  std::lock_guard lock(mutex_);
  const bool creates = (flags & O_CREAT) != 0 && ::access(path, F_OK) != 0;
  if (const int error = judge(Call::kOpen, creates || (flags & O_TRUNC) != 0)) return -error;
  if ((flags & O_TRUNC) != 0 && !creates) {
    const int old = SystemCalls::open(path, O_RDWR);
    if (old < 0) return old;
    remember_bytes(old, 0, Handle(old).size());
    ::close(old);
  }
  const int fd = SystemCalls::open(path, flags);
  if (fd >= 0 && creates) {
    const auto place = std::make_shared<Place>(path);
    remember_name(place->owner(), [place] { ::unlinkat(place->directory(), place->name(), 0); });
  }
  return fd;
}

int64_t FaultInjection::pread(int fd, std::span<std::byte> data, int64_t offset) {
  const auto bytes = static_cast<int64_t>(data.size());
  const Verdict verdict = before_transfer({Direction::kRead, fd, offset, bytes});
  if (verdict.error != 0) return -verdict.error;
  return SystemCalls::pread(fd, data.first(static_cast<size_t>(verdict.bytes)), offset);
}

int64_t FaultInjection::pwrite(int fd, std::span<const std::byte> data, int64_t offset) {
  const auto bytes = static_cast<int64_t>(data.size());
  const Verdict verdict = before_transfer({Direction::kWrite, fd, offset, bytes});
  if (verdict.error != 0) return -verdict.error;
  return SystemCalls::pwrite(fd, data.first(static_cast<size_t>(verdict.bytes)), offset);
}

SystemCalls::Verdict FaultInjection::before_transfer(const Transfer& transfer) {
  std::lock_guard lock(mutex_);
  const bool write = transfer.direction == Direction::kWrite;
  if (const int error = judge(write ? Call::kWrite : Call::kRead, write)) return {error, 0};
  const int64_t bytes = transfer_limit_ > 0 ? std::min(transfer_limit_, transfer.bytes) : transfer.bytes;
  if (write) remember_bytes(transfer.fd, transfer.offset, bytes);
  return {0, bytes};
}

int FaultInjection::fsync(int fd) {
  std::lock_guard lock(mutex_);
  if (const int error = judge(Call::kSync, true)) return -error;
  // Not really synced: only the books count here, and tests stay fast.
  std::erase_if(unsynced_, [id = identity(fd)](const Change& change) { return change.owner == id; });
  return 0;
}

int FaultInjection::allocate(int fd, int64_t bytes) {
  std::lock_guard lock(mutex_);
  if (const int error = judge(Call::kAllocate, true)) return -error;
  remember_bytes(fd, 0, 0);
  return SystemCalls::allocate(fd, bytes);
}

int FaultInjection::truncate(int fd, int64_t bytes) {
  std::lock_guard lock(mutex_);
  if (const int error = judge(Call::kTruncate, true)) return -error;
  const int64_t old_size = Handle(fd).size();
  remember_bytes(fd, bytes, std::max<int64_t>(0, old_size - bytes));
  return SystemCalls::truncate(fd, bytes);
}

int FaultInjection::rename(const char* from, const char* to) {
  std::lock_guard lock(mutex_);
  if (const int error = judge(Call::kRename, true)) return -error;
  // The file that loses its name stays open, so that it can get it back.
  const int old = fs::is_regular_file(to) ? SystemCalls::open(to, O_RDWR) : -1;
  const auto replaced = old < 0 ? nullptr : std::make_shared<Handle>(old);
  if (old >= 0) ::close(old);
  const int result = SystemCalls::rename(from, to);
  if (result != 0) return result;
  const auto source = std::make_shared<Place>(from);
  const auto target = std::make_shared<Place>(to);
  remember_name(target->owner(), [source, target, replaced] {
    ::renameat(target->directory(), target->name(), source->directory(), source->name());
    if (replaced == nullptr) return;
    const int fd = ::openat(target->directory(), target->name(), O_RDWR | O_CREAT | O_TRUNC, 0666);
    Handle(fd).put(0, replaced->contents(0, replaced->size()));
    ::close(fd);
  });
  return 0;
}

int FaultInjection::exchange(const char* a, const char* b) {
  std::lock_guard lock(mutex_);
  if (const int error = judge(Call::kRename, true)) return -error;
  const int result = SystemCalls::exchange(a, b);
  if (result != 0) return result;
  const auto first = std::make_shared<Place>(a);
  const auto second = std::make_shared<Place>(b);
  remember_name(first->owner(), [first, second] {
    ::renameat2(first->directory(), first->name(), second->directory(), second->name(), RENAME_EXCHANGE);
  });
  return 0;
}

int FaultInjection::remove(const char* path) {
  std::lock_guard lock(mutex_);
  if (const int error = judge(Call::kRemove, true)) return -error;
  return SystemCalls::remove(path);  // on the disk at once: what a removed file held cannot come back
}

int FaultInjection::make_directory(const char* path) {
  std::lock_guard lock(mutex_);
  if (const int error = judge(Call::kMakeDirectory, true)) return -error;
  const int result = SystemCalls::make_directory(path);
  if (result != 0) return result;
  const auto place = std::make_shared<Place>(path);
  remember_name(place->owner(), [place] { ::unlinkat(place->directory(), place->name(), AT_REMOVEDIR); });
  return 0;
}

}  // namespace aleph::io
