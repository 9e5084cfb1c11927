#include "aleph/io/mapped_fault.h"

#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "aleph/io/file.h"
#include "aleph/io/mapped_file.h"
#include "aleph/io/temporary_directory.h"

namespace aleph::io {
namespace {

/// Reads the last byte of a file that became shorter after it was mapped.
void touch_what_is_gone(const std::filesystem::path& path) {
  report_mapped_faults();
  const MappedFile mapped(path);
  std::filesystem::resize_file(path, 1);
  std::_Exit(static_cast<int>(mapped.bytes().back()) & 1);
}

TEST(MappedFault, NamesTheFile) {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory.path() / "with spaces.bin";
  write_file_atomically(path, std::string(3 * 4096, 'x'));
  EXPECT_EXIT(touch_what_is_gone(path), testing::ExitedWithCode(1),
              "aleph: .*/with spaces.bin: found pages that cannot be read");
}

TEST(MappedFault, OtherFaultsStayWhatTheyAre) {
  const auto raise_own = [] {
    report_mapped_faults();
    std::raise(SIGBUS);
    std::raise(SIGBUS);  // the first one has put the default back
  };
  EXPECT_EXIT(raise_own(), testing::KilledBySignal(SIGBUS), "");
}

}  // namespace
}  // namespace aleph::io
