#include "aleph/base/system_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "aleph/base/testing.h"

namespace aleph {
namespace {

TEST(SystemMemory, IsSomethingThatThisMachineHas) {
  const int64_t all = static_cast<int64_t>(::sysconf(_SC_PHYS_PAGES)) * ::sysconf(_SC_PAGESIZE);
  EXPECT_GT(available_memory_bytes(), int64_t{1} << 20);
  EXPECT_LE(available_memory_bytes(), all);
  EXPECT_GT(usable_memory_bytes(), 0);
  EXPECT_LE(usable_memory_bytes(), available_memory_bytes() + (int64_t{64} << 20)) << "both are estimates";
  EXPECT_LE(usable_memory_bytes(), memory_limit_bytes().value_or(all));
}

TEST(SystemMemory, AddressSpaceIsAskedForBeforeItIsNeeded) {
  EXPECT_NO_THROW(require_address_space(int64_t{1} << 20, "a test"));
  EXPECT_THAT(fault_of([] { require_address_space(int64_t{1} << 60, "a test"); }),
              ::testing::HasSubstr("memory: found the system refusing 1048576.0 TiB for a test"));
}

}  // namespace
}  // namespace aleph
