#include "aleph/base/interrupt.h"

#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

#include "aleph/base/error.h"

namespace aleph {
namespace {

void raise_and_exit_normally(int first, int second) {
  const InterruptGuard guard;
  std::raise(first);
  std::raise(second);
  std::exit(0);
}

void raise_until_exit(int first, int status) {
  guard_until_exit();
  std::raise(first);
  if (interrupted()) std::exit(status);
}

class InterruptTest : public testing::TestWithParam<int> {
 protected:
  // Who started the tests may have them ignore a hang-up.
  void SetUp() override { before_ = std::signal(SIGHUP, SIG_DFL); }
  void TearDown() override { std::signal(SIGHUP, before_); }

 private:
  void (*before_)(int) = SIG_DFL;
};

TEST_P(InterruptTest, FirstSignalSetsTheFlag) {
  const InterruptGuard guard;
  EXPECT_FALSE(interrupted());
  EXPECT_NO_THROW(stop_if_interrupted());
  std::raise(GetParam());
  EXPECT_TRUE(interrupted());
  EXPECT_THROW(stop_if_interrupted(), Interrupted);
  bool seen_elsewhere = false;
  std::thread([&] { seen_elsewhere = interrupted(); }).join();
  EXPECT_TRUE(seen_elsewhere);
}

TEST_P(InterruptTest, SecondSignalEndsTheProcessAtOnce) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // other tests leave threads behind
  for (const int first : {SIGINT, SIGTERM, SIGHUP})
    EXPECT_EXIT(raise_and_exit_normally(first, GetParam()), testing::ExitedWithCode(130), "");
}

TEST_P(InterruptTest, OneSignalDoesNotChangeHowAGuardedProcessEnds) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(raise_until_exit(GetParam(), 7), testing::ExitedWithCode(7), "stopping where nothing is lost");
}

TEST_P(InterruptTest, DestructionRestoresTheHandlerAndForgetsTheSignal) {
  struct sigaction before = {};
  ::sigaction(GetParam(), nullptr, &before);
  {
    const InterruptGuard guard;
    struct sigaction inside = {};
    ::sigaction(GetParam(), nullptr, &inside);
    EXPECT_NE(inside.sa_handler, before.sa_handler);
    std::raise(GetParam());
  }
  struct sigaction after = {};
  ::sigaction(GetParam(), nullptr, &after);
  EXPECT_EQ(after.sa_handler, before.sa_handler);
  EXPECT_FALSE(interrupted());
  const InterruptGuard again;
  EXPECT_FALSE(interrupted());
}

INSTANTIATE_TEST_SUITE_P(Signals, InterruptTest, testing::Values(SIGINT, SIGTERM, SIGHUP),
                         [](const auto& test) { return std::string(::sigabbrev_np(test.param)); });

TEST(InterruptGuardTest, AnIgnoredHangUpStaysIgnored) {
  const auto before = std::signal(SIGHUP, SIG_IGN);
  {
    const InterruptGuard guard;
    std::raise(SIGHUP);
    EXPECT_FALSE(interrupted());
  }
  EXPECT_EQ(std::signal(SIGHUP, before), SIG_IGN);
}

TEST(InterruptGuardTest, TheFirstSignalIsAcknowledged) {
  testing::internal::CaptureStderr();
  {
    const InterruptGuard guard;
    std::raise(SIGINT);
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "\nstopping where nothing is lost; once more to quit at once\n");
}

TEST(InterruptGuardTest, RefusesASecondGuard) {
  const InterruptGuard guard;
  EXPECT_THROW(InterruptGuard(), InternalError);
  std::raise(SIGINT);
  EXPECT_TRUE(interrupted());  // the failed one left the first in charge
}

}  // namespace
}  // namespace aleph
