// One read or write and how far it has come: shared by File and both backends of AsyncQueue.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "aleph/base/error.h"
#include "aleph/io/syscalls.h"

namespace aleph::io {

/// Direct I/O needs offset, length and address to be multiples of this.
inline constexpr int64_t kDirectAlignment = 4096;

/// The descriptors of one open file. `direct` is -1 where there is no direct I/O.
struct Descriptors {
  int buffered = -1;
  int direct = -1;
};

/// A range of a file and the memory it is read into or written from. Each system call's result goes into
/// `accept`, which says whether another call is needed: short I/O goes on where it stopped, EINTR and EAGAIN
/// are tried again, a direct call that the file system refuses (EINVAL) is made buffered.
class Transfer {
 public:
  enum class State : uint8_t { kUnfinished, kDone, kFailed };

  Transfer(Direction direction, Descriptors fds, int64_t offset, std::byte* data, int64_t bytes)
      : direction_(direction), fds_(fds), offset_(offset), data_(data), bytes_(bytes), asked_(bytes) {}

  /// `result`: bytes moved, or -errno.
  State accept(int64_t result);
  /// The error after kFailed, or after a call with that result.
  Error error(const std::string& path) const;

  Direction direction() const { return direction_; }
  /// The descriptor for the next call: direct where the rest is aligned.
  int fd() const { return use_direct() ? fds_.direct : fds_.buffered; }
  int64_t offset() const { return offset_; }
  std::byte* data() const { return data_; }
  /// Bytes still to move.
  int64_t bytes() const { return bytes_; }

 private:
  bool use_direct() const;

  Direction direction_;
  Descriptors fds_;
  int64_t offset_;
  std::byte* data_;
  int64_t bytes_;
  int64_t asked_;
  int attempts_ = 0;  // calls in a row that moved nothing
  int errno_ = 0;     // why it failed; 0 with kFailed: the file ended
};

/// Makes calls until the transfer is done. Throws Error naming `path`, offset and bytes.
void run_transfer(Transfer transfer, const std::string& path, SystemCalls& calls);
/// One call.
int64_t call_once(const Transfer& transfer, SystemCalls& calls);

}  // namespace aleph::io
