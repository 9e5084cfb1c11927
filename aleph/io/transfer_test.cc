#include "aleph/io/transfer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cerrno>

namespace aleph::io {
namespace {

using State = Transfer::State;

constexpr int kBuffered = 7, kDirect = 8;

class TransferTest : public testing::Test {
 protected:
  Transfer make(Direction direction, int64_t offset, int64_t bytes, int64_t shift = 0) {
    return Transfer(direction, {.buffered = kBuffered, .direct = kDirect}, offset, memory_.data() + shift,
                    bytes);
  }

  alignas(kDirectAlignment) std::array<std::byte, 4 * kDirectAlignment> memory_{};
};

TEST_F(TransferTest, GoesOnWhereItStopped) {
  Transfer transfer = make(Direction::kRead, 100, 1000);
  EXPECT_EQ(transfer.accept(1), State::kUnfinished);
  EXPECT_EQ(transfer.offset(), 101);
  EXPECT_EQ(transfer.data(), memory_.data() + 1);
  EXPECT_EQ(transfer.bytes(), 999);
  EXPECT_EQ(transfer.accept(998), State::kUnfinished);
  EXPECT_EQ(transfer.accept(1), State::kDone);
  EXPECT_EQ(transfer.bytes(), 0);
}

TEST_F(TransferTest, DirectOnlyWhereOffsetSizeAndAddressAreAligned) {
  const int64_t a = kDirectAlignment;
  EXPECT_EQ(make(Direction::kWrite, 0, a).fd(), kDirect);
  EXPECT_EQ(make(Direction::kWrite, 3 * a, 2 * a, a).fd(), kDirect);
  EXPECT_EQ(make(Direction::kWrite, 512, a).fd(), kBuffered);
  EXPECT_EQ(make(Direction::kWrite, 0, a - 1).fd(), kBuffered);
  EXPECT_EQ(make(Direction::kWrite, 0, a, 8).fd(), kBuffered);
  Transfer transfer = make(Direction::kWrite, 0, 3 * a);
  transfer.accept(100);  // what is left is not aligned any more
  EXPECT_EQ(transfer.fd(), kBuffered);
  transfer.accept(a - 100);
  EXPECT_EQ(transfer.fd(), kDirect);
}

TEST_F(TransferTest, ARefusedDirectCallIsMadeBufferedOnce) {
  Transfer transfer = make(Direction::kRead, 0, kDirectAlignment);
  EXPECT_EQ(transfer.accept(-EINVAL), State::kUnfinished);
  EXPECT_EQ(transfer.fd(), kBuffered);
  EXPECT_EQ(transfer.accept(-EINVAL), State::kFailed);
  EXPECT_THAT(transfer.error("a").what(), testing::HasSubstr("Invalid argument"));
}

TEST_F(TransferTest, InterruptionsAreTriedAgainButNotForever) {
  for (const int error : {EINTR, EAGAIN}) {
    Transfer transfer = make(Direction::kRead, 0, 10);
    for (int i = 0; i < 900; ++i) ASSERT_EQ(transfer.accept(-error), State::kUnfinished);
    EXPECT_EQ(transfer.accept(3), State::kUnfinished);  // progress starts the count anew
    int attempts = 1;
    while (transfer.accept(-error) == State::kUnfinished) ++attempts;
    EXPECT_GT(attempts, 900);
    EXPECT_LT(attempts, 10'000);
  }
}

TEST_F(TransferTest, NothingReadIsTheEndNothingWrittenIsNoProgress) {
  Transfer read = make(Direction::kRead, 30, 10);
  EXPECT_EQ(read.accept(4), State::kUnfinished);
  EXPECT_EQ(read.accept(0), State::kFailed);
  EXPECT_STREQ(read.error("f").what(),
               "f: found the end of the file after 4 of 10 bytes at offset 30, expected a complete read");
  Transfer write = make(Direction::kWrite, 30, 10);
  State state = State::kUnfinished;
  for (int i = 0; i < 10'000 && state == State::kUnfinished; ++i) state = write.accept(0);
  EXPECT_EQ(state, State::kFailed);
  EXPECT_STREQ(write.error("f").what(),
               "f: found no progress after 0 of 10 bytes at offset 30, expected a complete write");
}

TEST_F(TransferTest, OtherErrorsFailAtOnce) {
  for (const int error : {EIO, ENOSPC, EBADF, EDQUOT, EFBIG}) {
    Transfer transfer = make(Direction::kWrite, 5, 10);
    EXPECT_EQ(transfer.accept(-error), State::kFailed);
    EXPECT_THAT(transfer.error("f").what(), testing::HasSubstr(std::generic_category().message(error)));
  }
  Transfer transfer = make(Direction::kRead, 0, 10);
  EXPECT_THROW(transfer.accept(11), InternalError);
}

}  // namespace
}  // namespace aleph::io
