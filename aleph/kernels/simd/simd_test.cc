#include "aleph/kernels/simd/simd.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <limits>
#include <vector>

#include "aleph/kernels/simd/math.h"
#include "aleph/kernels/simd/store_row.h"
#include "aleph/kernels/testing.h"

namespace aleph::kernels {
namespace {

class MathTest : public testing::LevelTest {
 protected:
  /// Relative error of `fast` against `exact` on an even grid of [low, high].
  template <typename Fast, typename Exact>
  void expect_accurate(const Fast& fast, const Exact& exact, double low, double high, double tolerance) {
    constexpr int64_t kPoints = 20011;
    std::vector<float> x(kPoints), y(kPoints);
    for (int64_t i = 0; i < kPoints; ++i) {
      x[static_cast<size_t>(i)] =
          static_cast<float>(low + (high - low) * static_cast<double>(i) / (kPoints - 1));
    }
    const float* px = x.data();
    float* py = y.data();
    simd::run_at(
        GetParam(), [&](auto isa) __attribute__((always_inline)) {
#pragma omp simd
          for (int64_t i = 0; i < kPoints; ++i) py[i] = fast(isa, px[i]);
        });
    for (size_t i = 0; i < x.size(); ++i) {
      const double expected = exact(static_cast<double>(x[i]));
      if (std::abs(expected) < 1e-36) continue;
      ASSERT_NEAR(y[i], expected, tolerance * std::abs(expected)) << "at " << x[i];
    }
  }
};
INSTANTIATE_TEST_SUITE_P(Levels, MathTest, ::testing::ValuesIn(testing::cpu_levels()), testing::level_name);

TEST_P(MathTest, ExpOfNegativeIsAccurate) {
  const auto fast = [](auto isa, float x) __attribute__((always_inline)) {
    return simd::exp_of_negative<decltype(isa)>(x);
  };
  const auto exact = [](double x) { return std::exp(x); };
  expect_accurate(fast, exact, -87, 0, 4e-7);
  expect_accurate(fast, exact, -1, 0, 2e-7);
}

TEST_P(MathTest, LimitsAndNan) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  simd::run_at(
      GetParam(), [&](auto isa) __attribute__((always_inline)) {
        using Isa = decltype(isa);
        EXPECT_EQ(simd::exp_of_negative<Isa>(-kInfinity), 0.0f);
        EXPECT_EQ(simd::exp_of_negative<Isa>(0.0f), 1.0f);
        EXPECT_TRUE(std::isnan(simd::exp_of_negative<Isa>(std::numeric_limits<float>::quiet_NaN())));
      });
}

using StoreRowTest = testing::LevelTest;
INSTANTIATE_TEST_SUITE_P(Levels, StoreRowTest, ::testing::ValuesIn(testing::cpu_levels()),
                         testing::level_name);

template <typename T>
void expect_bits_of_store(CpuLevel level, const std::vector<float>& x, float factor) {
  std::vector<T> row(x.size());
  simd::store_row(level, x.data(), factor, row.data(), static_cast<int64_t>(x.size()));
  for (size_t i = 0; i < x.size(); ++i) {
    T expected;
    simd::store(&expected, x[i] * factor);
    ASSERT_EQ(std::memcmp(&row[i], &expected, sizeof(T)), 0) << x[i] << " at " << i;
  }
}

TEST_P(StoreRowTest, RowsHaveTheBitsOfStore) {
  const RandomStream stream({.seed = 3});
  for (const size_t n : {1, 31, 32, 33, 64, 1000}) {
    std::vector<float> x(n);
    for (size_t i = 0; i < n; ++i) {  // every exponent: subnormal numbers, infinities and NaN among them
      const auto word = static_cast<uint32_t>(0x1p32 * static_cast<double>(stream.uniform(i)));
      x[i] = std::bit_cast<float>(i % 5 == 0 ? word & 0x807fffffu : word ^ static_cast<uint32_t>(i));
      if (i % 7 == 3) x[i] = std::numeric_limits<float>::infinity();
      if (i % 11 == 4) x[i] = std::numeric_limits<float>::quiet_NaN();
    }
    expect_bits_of_store<BF16>(GetParam(), x, 1.0f);
    expect_bits_of_store<BF16>(GetParam(), x, 0.3f);
    expect_bits_of_store<F16>(GetParam(), x, 1.0f);
    expect_bits_of_store<float>(GetParam(), x, 0.3f);
  }
}

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
