#include "aleph/io/transfer.h"

#include <cerrno>
#include <system_error>

namespace aleph::io {
namespace {

constexpr int kMaxAttempts = 1000;  // a disk that answers EAGAIN forever is an error, not a hang

}  // namespace

bool Transfer::use_direct() const {
  const auto address = reinterpret_cast<uintptr_t>(data_);
  const auto mixed = static_cast<uintptr_t>(offset_) | static_cast<uintptr_t>(bytes_) | address;
  return fds_.direct >= 0 && mixed % kDirectAlignment == 0;
}

Transfer::State Transfer::accept(int64_t result) {
  if (result > 0) {
    ALEPH_CHECK(result <= bytes_, "{} bytes moved where {} were asked for", result, bytes_);
    offset_ += result;
    data_ += result;
    bytes_ -= result;
    attempts_ = 0;
    return bytes_ == 0 ? State::kDone : State::kUnfinished;
  }
  errno_ = static_cast<int>(-result);
  if (errno_ == EINVAL && use_direct()) {
    fds_.direct = -1;
    return State::kUnfinished;
  }
  const bool retry = errno_ == EINTR || errno_ == EAGAIN || (errno_ == 0 && direction_ == Direction::kWrite);
  return retry && ++attempts_ < kMaxAttempts ? State::kUnfinished : State::kFailed;
}

Error Transfer::error(const std::string& path) const {
  const bool read = direction_ == Direction::kRead;
  const std::string reason = errno_ != 0 ? std::generic_category().message(errno_)
                             : read      ? "the end of the file"
                                         : "no progress";
  const int64_t moved = asked_ - bytes_;
  return Error(path,
               fmt::format("{} after {} of {} bytes at offset {}", reason, moved, asked_, offset_ - moved),
               read ? "a complete read" : "a complete write");
}

int64_t call_once(const Transfer& transfer, SystemCalls& calls) {
  const std::span data(transfer.data(), static_cast<size_t>(transfer.bytes()));
  return transfer.direction() == Direction::kRead ? calls.pread(transfer.fd(), data, transfer.offset())
                                                  : calls.pwrite(transfer.fd(), data, transfer.offset());
}

void run_transfer(Transfer transfer, const std::string& path, SystemCalls& calls) {
  auto state = transfer.bytes() == 0 ? Transfer::State::kDone : Transfer::State::kUnfinished;
  while (state == Transfer::State::kUnfinished) state = transfer.accept(call_once(transfer, calls));
  if (state == Transfer::State::kFailed) throw transfer.error(path);
}

}  // namespace aleph::io
