#include "aleph/base/log.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <string>

namespace aleph {
namespace {

std::string written(const Console::Options& options, const std::function<void(Console&)>& use) {
  testing::internal::CaptureStderr();
  Console console(options);
  use(console);
  return testing::internal::GetCapturedStderr();
}

TEST(ConsoleTest, ProgressIsPlainLinesWithoutATerminal) {
  EXPECT_EQ(written({},
                    [](Console& console) {
                      console.progress("1/2");
                      console.progress("2/2");
                      console.finish();
                      console.note("{} of {}", "end", 2);
                    }),
            "1/2\n2/2\nend of 2\n");
}

TEST(ConsoleTest, ProgressIsOneRewrittenLineOnATerminal) {
  EXPECT_EQ(written({.terminal = true},
                    [](Console& console) {
                      console.progress("1/2");
                      console.progress("2/2");
                      console.line("saved");  // starts on a line of its own
                      console.progress("3/3");
                      console.finish();
                      console.finish();
                    }),
            "\r\033[K1/2\r\033[K2/2\nsaved\n\r\033[K3/3\n");
}

TEST(ConsoleTest, QuietWritesNothing) {
  for (const bool terminal : {false, true})
    EXPECT_EQ(written({.quiet = true, .terminal = terminal},
                      [](Console& console) {
                        console.line("a");
                        console.progress("b");
                        console.finish();
                      }),
              "");
}

TEST(ConsoleTest, DetectsThatACapturedStreamIsNoTerminal) {
  testing::internal::CaptureStderr();
  const Console console = Console::detect(true);
  testing::internal::GetCapturedStderr();
  EXPECT_TRUE(console.options().quiet);
  EXPECT_FALSE(console.options().terminal);
}

}  // namespace
}  // namespace aleph
