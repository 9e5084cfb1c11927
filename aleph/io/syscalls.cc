#include "aleph/io/syscalls.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

namespace aleph::io {
namespace {

template <typename T>
T checked(T result) {
  return result < 0 ? static_cast<T>(-errno) : result;
}

}  // namespace

SystemCalls& SystemCalls::real() {
  static SystemCalls calls;
  return calls;
}

int SystemCalls::open(const char* path, int flags) { return checked(::open(path, flags | O_CLOEXEC, 0666)); }

int64_t SystemCalls::pread(int fd, std::span<std::byte> data, int64_t offset) {
  return checked(::pread(fd, data.data(), data.size(), offset));
}

int64_t SystemCalls::pwrite(int fd, std::span<const std::byte> data, int64_t offset) {
  return checked(::pwrite(fd, data.data(), data.size(), offset));
}

int SystemCalls::fsync(int fd) { return checked(::fsync(fd)); }

int SystemCalls::allocate(int fd, int64_t bytes) { return -::posix_fallocate(fd, 0, bytes); }

int SystemCalls::truncate(int fd, int64_t bytes) { return checked(::ftruncate(fd, bytes)); }

int SystemCalls::rename(const char* from, const char* to) { return checked(::rename(from, to)); }

int SystemCalls::exchange(const char* a, const char* b) {
  return checked(::renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE));
}

int SystemCalls::remove(const char* path) { return checked(::remove(path)); }

int SystemCalls::make_directory(const char* path) { return checked(::mkdir(path, 0777)); }

}  // namespace aleph::io
