#include "aleph/io/directory_lock.h"

#include <gmock/gmock.h>

#include "aleph/base/testing.h"
#include "aleph/io/temporary_directory.h"

namespace aleph::io {
namespace {

std::string fault_of_locking(const std::filesystem::path& directory) {
  return fault_of([&] { const DirectoryLock lock(directory); });
}

TEST(DirectoryLock, OneAtATime) {
  const TemporaryDirectory directory, other;
  {
    const DirectoryLock lock(directory.path());
    EXPECT_THAT(fault_of_locking(directory.path()), ::testing::HasSubstr("found another run"));
    EXPECT_EQ(fault_of_locking(other.path()), "no error");
  }
  EXPECT_EQ(fault_of_locking(directory.path()), "no error") << "given back";
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

TEST(DirectoryLock, NamesWhatCannotBeOpened) {
  const TemporaryDirectory directory;
  EXPECT_THAT(fault_of_locking(directory / "none"), ::testing::HasSubstr("No such file"));
}

}  // namespace
}  // namespace aleph::io
