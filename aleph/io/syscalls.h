// The system calls behind files, as one interface: the place where tests make disks fail.
#pragma once

#include <cstdint>
#include <span>

namespace aleph::io {

enum class Direction : uint8_t { kRead, kWrite };

/// Calls of the operating system. Every method returns what io_uring would: a count or 0, or -errno; nothing
/// throws. The class itself makes the real calls; tests override them (fault_injection.h). Thread-safe.
class SystemCalls {
 public:
  virtual ~SystemCalls() = default;

  /// The real calls. Has no state.
  static SystemCalls& real();

  /// A descriptor; `flags` as for open(2), O_CLOEXEC is added.
  virtual int open(const char* path, int flags);
  virtual int64_t pread(int fd, std::span<std::byte> data, int64_t offset);
  virtual int64_t pwrite(int fd, std::span<const std::byte> data, int64_t offset);
  virtual int fsync(int fd);
  /// Makes room for [0, bytes) on the disk and grows the file to at least that size.
  virtual int allocate(int fd, int64_t bytes);
  virtual int truncate(int fd, int64_t bytes);
  virtual int rename(const char* from, const char* to);
  /// Swaps two names in one step. -EINVAL or -ENOSYS where the file system cannot.
  virtual int exchange(const char* a, const char* b);
  /// Removes a file or an empty directory.
  virtual int remove(const char* path);
  virtual int make_directory(const char* path);

  /// A read or write that is about to be made in another way than through pread and pwrite.
  struct Transfer {
    Direction direction = Direction::kRead;
    int fd = -1;
    int64_t offset = 0;
    int64_t bytes = 0;
  };
  struct Verdict {
    int error = 0;      ///< where not 0: the call is not made and counts as failed with this errno
    int64_t bytes = 0;  ///< how much of it to make
  };
  /// Asked by the io_uring backend before each submission. The real calls let everything pass.
  virtual Verdict before_transfer(const Transfer& transfer) { return {0, transfer.bytes}; }
};

}  // namespace aleph::io
