#include "aleph/base/system_memory.h"

#include <gtest/gtest.h>
#include <unistd.h>

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

}  // namespace
}  // namespace aleph
