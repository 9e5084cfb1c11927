#include "aleph/io/fault_injection.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <numeric>

#include "aleph/base/error.h"

namespace aleph::io {
namespace {

namespace fs = std::filesystem;

std::string path_of(int fd) {
  std::error_code ignored;
  return fs::read_symlink(fmt::format("/proc/self/fd/{}", fd), ignored).string();
}

}  // namespace

void FaultInjection::fail(Call call, int64_t nth, int error, int64_t times) {
  std::lock_guard lock(mutex_);
  failures_[static_cast<size_t>(call)] = {nth, times, error};
}

void FaultInjection::fail_any(int64_t nth, int error) {
  std::lock_guard lock(mutex_);
  any_failure_ = {nth, 1, error};
  struck_.reset();
}

std::optional<FaultInjection::Struck> FaultInjection::struck() const {
  std::lock_guard lock(mutex_);
  return struck_;
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

int64_t FaultInjection::calls() const {
  std::lock_guard lock(mutex_);
  return std::accumulate(counts_.begin(), counts_.end(), int64_t{0});
}

int64_t FaultInjection::changes() const {
  std::lock_guard lock(mutex_);
  return changes_;
}

int FaultInjection::judge(Call call, bool change, const std::string& path, int64_t bytes) {
  ++counts_[static_cast<size_t>(call)];
  if (change && !killed_ && ++changes_ == kill_at_) killed_ = true;
  if (killed_) return EIO;
  Failure& failure = failures_[static_cast<size_t>(call)];
  if (failure.strikes()) return failure.error;
  if (!any_failure_.strikes()) return 0;
  struck_ = {call, path, bytes};
  return any_failure_.error;
}

int FaultInjection::judge(Call call, bool change, int fd, int64_t bytes) {
  return judge(call, change, path_of(fd), bytes);
}

void FaultInjection::lose_power(PowerLoss loss, uint64_t seed) {
  std::lock_guard lock(mutex_);
  ALEPH_CHECK(remember_, "nothing was remembered");
  unsynced_.lose(loss, seed);
}

int FaultInjection::open(const char* path, int flags) {
  std::lock_guard lock(mutex_);
  const bool creates = (flags & O_CREAT) != 0 && ::access(path, F_OK) != 0;
  const bool empties = (flags & O_TRUNC) != 0 && !creates;
  if (const int error = judge(Call::kOpen, creates || empties, path)) return -error;
  if (empties && remember_) {
    const int old = SystemCalls::open(path, O_RDWR);
    if (old < 0) return old;
    unsynced_.resize(old, 0);
    ::close(old);
  }
  const int fd = SystemCalls::open(path, flags);
  if (fd >= 0 && creates && remember_) unsynced_.create(path);
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
  const bool was_struck = struck_.has_value();
  const int error = judge(write ? Call::kWrite : Call::kRead, write, transfer.fd, transfer.bytes);
  if (error != 0) return {error, 0};
  int64_t bytes = transfer_limit_ > 0 ? std::min(transfer_limit_, transfer.bytes) : transfer.bytes;
  if (struck_.has_value() && !was_struck) bytes = std::max<int64_t>(1, bytes / 2);
  if (write && remember_) unsynced_.write(transfer.fd, transfer.offset, bytes);
  return {0, bytes};
}

int FaultInjection::fsync(int fd) {
  std::lock_guard lock(mutex_);
  if (const int error = judge(Call::kSync, true, fd)) return -error;
  if (remember_) unsynced_.sync(fd);
  return 0;
}

int FaultInjection::allocate(int fd, int64_t bytes) {
  std::lock_guard lock(mutex_);
  if (const int error = judge(Call::kAllocate, true, fd, bytes)) return -error;
  if (remember_ && bytes > ::lseek(fd, 0, SEEK_END)) unsynced_.resize(fd, bytes);
  return SystemCalls::allocate(fd, bytes);
}

int FaultInjection::truncate(int fd, int64_t bytes) {
  std::lock_guard lock(mutex_);
  if (const int error = judge(Call::kTruncate, true, fd, bytes)) return -error;
  if (remember_) unsynced_.resize(fd, bytes);
  return SystemCalls::truncate(fd, bytes);
}

int FaultInjection::rename(const char* from, const char* to) {
  std::lock_guard lock(mutex_);
  if (const int error = judge(Call::kRename, true, from)) return -error;
  return remember_ ? unsynced_.rename(from, to) : SystemCalls::rename(from, to);
}

int FaultInjection::exchange(const char* a, const char* b) {
  std::lock_guard lock(mutex_);
  if (const int error = judge(Call::kRename, true, a)) return -error;
  return remember_ ? unsynced_.exchange(a, b) : SystemCalls::exchange(a, b);
}

int FaultInjection::remove(const char* path) {
  std::lock_guard lock(mutex_);
  if (const int error = judge(Call::kRemove, true, path)) return -error;
  return remember_ ? unsynced_.remove(path) : SystemCalls::remove(path);
}

int FaultInjection::make_directory(const char* path) {
  std::lock_guard lock(mutex_);
  if (const int error = judge(Call::kMakeDirectory, true, path)) return -error;
  const int result = SystemCalls::make_directory(path);
  if (result == 0 && remember_) unsynced_.create(path);
  return result;
}

}  // namespace aleph::io
