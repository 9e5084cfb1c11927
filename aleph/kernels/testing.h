// What the kernel tests share: fresh random tensors, every CPU level of the machine, comparison with a
// reference, and the promise that a planning run books what a real one does.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "aleph/base/random.h"
#include "aleph/kernels/reference.h"
#include "aleph/kernels/simd/simd.h"
#include "aleph/tensor/device.h"
#include "aleph/tensor/tensor.h"

namespace aleph::kernels::testing {

inline constexpr DType kFloats[] = {DType::kF32, DType::kBF16, DType::kF16};

/// Half the distance between neighbours, relative: what one rounding costs.
inline double epsilon_of(DType dtype) {
  if (dtype == DType::kBF16) return 0x1p-8;
  return dtype == DType::kF16 ? 0x1p-11 : 0x1p-24;
}

inline std::vector<CpuLevel> cpu_levels() {
  std::vector<CpuLevel> levels;
  for (const CpuLevel level : kCpuLevels) {
    if (level <= machine_cpu_level()) levels.push_back(level);
  }
  return levels;
}

inline std::string level_name(const ::testing::TestParamInfo<CpuLevel>& level) {
  return cpu_level_name(level.param);
}

/// Runs each case once per CPU level:
/// INSTANTIATE_TEST_SUITE_P(Levels, MyTest, ::testing::ValuesIn(testing::cpu_levels()), testing::level_name);
class LevelTest : public ::testing::TestWithParam<CpuLevel> {
 protected:
  void SetUp() override { ::setenv("ALEPH_CPU", cpu_level_name(GetParam()), 1); }
  void TearDown() override { ::unsetenv("ALEPH_CPU"); }

  Tensor empty(const Shape& shape, DType dtype) {
    return Tensor(device_.memory(), shape, dtype, MemoryTag::kActivations);
  }
  /// Normal values times `scale`, different for every call.
  Tensor random(const Shape& shape, DType dtype, double scale = 1) {
    Tensor tensor = empty(shape, dtype);
    const RandomStream stream({.seed = 7, .stream = ++drawn_});
    for (int64_t i = 0; i < shape.elements(); ++i) {
      put(tensor.view(), i, scale * stream.normal(static_cast<uint64_t>(i)));
    }
    return tensor;
  }
  Tensor copy(const Tensor& source) {
    Tensor tensor = empty(source.shape(), source.dtype());
    if (tensor) std::memcpy(tensor.view().raw(), source.view().raw(), static_cast<size_t>(source.bytes()));
    return tensor;
  }
  /// The same values in double.
  Tensor widened(const Tensor& source) {
    Tensor tensor = empty(source.shape(), DType::kF64);
    for (int64_t i = 0; i < source.shape().elements(); ++i) put(tensor.view(), i, get(source.view(), i));
    return tensor;
  }
  /// int32 values in [0, limit).
  Tensor random_ids(int64_t count, int64_t limit) {
    Tensor tensor = empty({count}, DType::kI32);
    const RandomStream stream({.seed = 7, .stream = ++drawn_});
    for (int64_t i = 0; i < count; ++i) {
      tensor.view().data<int32_t>()[i] =
          static_cast<int32_t>(stream.below(static_cast<uint64_t>(limit), static_cast<uint64_t>(i)));
    }
    return tensor;
  }

  DeviceContext device_{{}};

 private:
  uint32_t drawn_ = 0;
};

/// |actual - expected| <= absolute + relative |expected| for every element.
inline void expect_close(const ConstTensorView& actual, const ConstTensorView& expected, double relative,
                         double absolute, const char* what) {
  ASSERT_EQ(actual.elements(), expected.elements()) << what;
  for (int64_t i = 0; i < actual.elements(); ++i) {
    const double a = get(actual, i), e = get(expected, i);
    if (std::isnan(e) ? std::isnan(a) : a == e) continue;
    ASSERT_LE(std::abs(a - e), absolute + relative * std::abs(e))
        << what << "[" << i << "] of " << actual.shape().to_string() << " " << dtype_name(actual.dtype())
        << ": " << a << ", expected " << e;
  }
}

inline void expect_same_bits(const ConstTensorView& a, const ConstTensorView& b, const char* what) {
  ASSERT_EQ(a.bytes(), b.bytes()) << what;
  if (a.bytes() == 0) return;
  EXPECT_EQ(std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.bytes())), 0) << what;
}

/// `run(device)` allocates its tensors from device.memory() and calls kernels.
template <typename Run>
void expect_same_booking(const Run& run) {
  DeviceContext real({}), meta({.kind = DeviceKind::kMeta});
  run(real);
  run(meta);
  EXPECT_EQ(real.memory().ledger().peak(), meta.memory().ledger().peak());
  EXPECT_EQ(real.memory().ledger().peak(MemoryTag::kWorkspace),
            meta.memory().ledger().peak(MemoryTag::kWorkspace));
}

/// Checks `analytic` (dL/dx) against central differences of `loss()` in the elements of `x` (double).
template <typename Loss>
void expect_gradient(const TensorView& x, const ConstTensorView& analytic, const Loss& loss, const char* what,
                     double tolerance = 1e-6) {
  constexpr double kStep = 1e-5;
  for (int64_t i = 0; i < x.elements(); ++i) {
    const double saved = get(x, i);
    put(x, i, saved + kStep);
    const double above = loss();
    put(x, i, saved - kStep);
    const double below = loss();
    put(x, i, saved);
    const double numeric = (above - below) / (2 * kStep);
    ASSERT_NEAR(get(analytic, i), numeric, tolerance * (1 + std::abs(numeric))) << what << "[" << i << "]";
  }
}

}  // namespace aleph::kernels::testing
