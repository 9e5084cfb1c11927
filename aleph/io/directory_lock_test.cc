#include "aleph/io/directory_lock.h"

#include <gmock/gmock.h>

#include <optional>

#include "aleph/base/error.h"
#include "aleph/io/temporary_directory.h"

namespace aleph::io {
namespace {

std::string fault_of(const std::filesystem::path& directory) {
  try {
    const DirectoryLock lock(directory);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(DirectoryLock, OneAtATime) {
  const TemporaryDirectory directory, other;
  {
    const DirectoryLock lock(directory.path());
    EXPECT_THAT(fault_of(directory.path()), ::testing::HasSubstr("found another run"));
    EXPECT_EQ(fault_of(other.path()), "");
  }
  EXPECT_EQ(fault_of(directory.path()), "") << "given back";
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

TEST(DirectoryLock, NamesWhatCannotBeOpened) {
  const TemporaryDirectory directory;
  EXPECT_THAT(fault_of(directory / "none"), ::testing::HasSubstr("No such file"));
}

}  // namespace
}  // namespace aleph::io
