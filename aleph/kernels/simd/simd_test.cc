#include "aleph/kernels/simd/simd.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "aleph/kernels/testing.h"

namespace aleph::kernels {
namespace {

TEST(CpuLevelTest, TheEnvironmentLowersButNeverRaises) {
  ::setenv("ALEPH_CPU", "portable", 1);
  EXPECT_EQ(cpu_level(), CpuLevel::kPortable);
  ::setenv("ALEPH_CPU", "avx512_bf16", 1);
  EXPECT_EQ(cpu_level(), machine_cpu_level());
  ::setenv("ALEPH_CPU", "mmx", 1);
  EXPECT_THROW(cpu_level(), UsageError);
  ::unsetenv("ALEPH_CPU");
  EXPECT_EQ(cpu_level(), machine_cpu_level());
}

}  // namespace
}  // namespace aleph::kernels
