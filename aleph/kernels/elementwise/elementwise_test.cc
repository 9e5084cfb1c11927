#include "aleph/kernels/elementwise/elementwise.h"

#include <gtest/gtest.h>

#include <limits>

#include "aleph/kernels/testing.h"

namespace aleph::kernels {
namespace {

constexpr int64_t kSizes[] = {0, 1, 3, 17, 63, 64, 65, 127, 1000, 40001};

class ElementwiseTest : public testing::LevelTest {};
INSTANTIATE_TEST_SUITE_P(Levels, ElementwiseTest, ::testing::ValuesIn(testing::cpu_levels()),
                         testing::level_name);

TEST_P(ElementwiseTest, ConvertsEveryPairOfTypes) {
  for (const DType from : testing::kFloats) {
    for (const DType to : testing::kFloats) {
      for (const int64_t n : kSizes) {
        const Tensor x = random({n}, from);
        Tensor y = empty({n}, to), expected = empty({n}, to);
        convert(device_, x.view(), y.view());
        for (int64_t i = 0; i < n; ++i) put(expected.view(), i, get(x.view(), i));
        testing::expect_same_bits(y.view(), expected.view(), "converted");
      }
    }
  }
}

TEST_P(ElementwiseTest, ConvertsEveryHalfAndBfloat) {
  for (const DType narrow : {DType::kF16, DType::kBF16}) {
    Tensor x = empty({0x10000}, narrow), wide = empty({0x10000}, DType::kF32),
           back = empty({0x10000}, narrow);
    for (uint32_t bits = 0; bits < 0x10000u; ++bits) {
      const auto half = static_cast<uint16_t>(bits);
      std::memcpy(x.view().raw() + 2 * bits, &half, 2);
    }
    convert(device_, x.view(), wide.view());
    convert(device_, wide.view(), back.view());
    testing::expect_close(wide.view(), x.view(), 0, 0, "widened");
    testing::expect_close(back.view(), x.view(), 0, 0, "there and back");
  }
}

TEST_P(ElementwiseTest, RoundsLikeFromFloat) {
  const RandomStream stream({.seed = 3});
  Tensor x = empty({20000}, DType::kF32), half = empty({20000}, DType::kF16),
         bf = empty({20000}, DType::kBF16);
  for (int64_t i = 0; i < 20000; ++i) {  // any bit pattern: subnormal, huge, infinite, NaN
    const uint32_t bits = i % 3 == 0 ? (stream.word(static_cast<uint64_t>(i)) & 0x8fffffffu) | 0x30000000u
                                     : stream.word(static_cast<uint64_t>(i));
    x.view().data<float>()[i] = std::bit_cast<float>(bits);
  }
  convert(device_, x.view(), half.view());
  convert(device_, x.view(), bf.view());
  for (int64_t i = 0; i < 20000; ++i) {
    const float value = x.view().data<float>()[i];
    ASSERT_EQ(half.view().data<F16>()[i].bits, from_float<F16>(value).bits) << value;
    ASSERT_EQ(bf.view().data<BF16>()[i].bits, from_float<BF16>(value).bits) << value;
  }
}

TEST_P(ElementwiseTest, ZeroesEveryByte) {
  Tensor y = random({70001}, DType::kBF16);
  zero(device_, y.view());
  for (int64_t i = 0; i < 70001; ++i) ASSERT_EQ(y.view().data<BF16>()[i].bits, 0);
}

TEST_P(ElementwiseTest, AddsAccumulatesAndScales) {
  for (const DType dtype : testing::kFloats) {
    for (const int64_t n : kSizes) {
      const Tensor a = random({n}, dtype), b = random({n}, dtype), start = random({n}, DType::kF32);
      Tensor sum = empty({n}, dtype), in_place = copy(a), total = copy(start), scaled = copy(a);
      add(device_, a.view(), b.view(), sum.view());
      add(device_, in_place.view(), b.view(), in_place.view());
      accumulate(device_, a.view(), total.view());
      scale(device_, 0.3f, scaled.view());
      testing::expect_same_bits(sum.view(), in_place.view(), "in place");
      for (int64_t i = 0; i < n; ++i) {
        const double x = get(a.view(), i), y = get(b.view(), i);
        const double epsilon = testing::epsilon_of(dtype) + 0x1p-24;
        ASSERT_NEAR(get(sum.view(), i), x + y, epsilon * (std::abs(x + y) + 1e-6));
        ASSERT_NEAR(get(scaled.view(), i), x * 0.3f, epsilon * (std::abs(0.3 * x) + 1e-3));
        ASSERT_EQ(total.view().data<float>()[i], start.view().data<float>()[i] + static_cast<float>(x));
      }
    }
  }
}

TEST_P(ElementwiseTest, SumsSquaresIndependentOfThreads) {
  for (const int64_t n : {int64_t{0}, int64_t{1}, int64_t{4095}, int64_t{4097}, int64_t{100003}}) {
    const Tensor x = random({n}, DType::kF32, 100);
    double expected = 0;
    for (int64_t i = 0; i < n; ++i) expected += get(x.view(), i) * get(x.view(), i);
    const SquareSum result = sum_of_squares(device_, x.view());
    EXPECT_NEAR(result.sum, expected, 1e-13 * expected);
    EXPECT_EQ(result.non_finite, 0);
    const int threads = omp_get_max_threads();
    omp_set_num_threads(threads + 1);
    EXPECT_EQ(sum_of_squares(device_, x.view()).sum, result.sum);
    omp_set_num_threads(threads);
  }
}

TEST_P(ElementwiseTest, CountsInfinitiesAndNans) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  Tensor x = random({10000}, DType::kF32);
  Tensor clean = copy(x);
  float* values = x.view().data<float>();
  for (const int64_t i : {0, 17, 4096, 9999}) {
    values[i] = i % 2 == 0 ? kInfinity : std::numeric_limits<float>::quiet_NaN();
    clean.view().data<float>()[i] = 0;
  }
  values[5] = clean.view().data<float>()[5] = std::numeric_limits<float>::max();
  const SquareSum result = sum_of_squares(device_, x.view());
  EXPECT_EQ(result.non_finite, 4);
  EXPECT_EQ(result.sum, sum_of_squares(device_, clean.view()).sum);
}

TEST_P(ElementwiseTest, DropoutMatchesTheReferenceDrawByDraw) {
  for (const DType dtype : testing::kFloats) {
    for (const int64_t n : kSizes) {
      const Tensor x = random({n}, dtype);
      Tensor y = empty({n}, dtype), expected = empty({n}, dtype), in_place = copy(x);
      const RandomKey key{.seed = 11, .purpose = RandomPurpose::kDropout, .stream = 5, .step = 9};
      DropoutArgs args{.x = x.view(), .y = y.view(), .probability = 0.3f, .key = key};
      dropout(device_, args);
      args.y = expected.view();
      dropout_reference(args);
      args.x = args.y = in_place.view();
      dropout(device_, args);
      testing::expect_close(y.view(), expected.view(), 2 * testing::epsilon_of(dtype) + 2e-7, 0, "dropout");
      testing::expect_same_bits(y.view(), in_place.view(), "in place");
      if (n < 1000) continue;
      int64_t dropped = 0;
      for (int64_t i = 0; i < n; ++i) dropped += get(y.view(), i) == 0 ? 1 : 0;
      EXPECT_NEAR(static_cast<double>(dropped) / static_cast<double>(n), 0.3, 0.06);
    }
  }
}

TEST_P(ElementwiseTest, RefusesWrongShapesAndTypes) {
  Tensor a = random({8}, DType::kF32), b = random({9}, DType::kF32), c = random({8}, DType::kBF16);
  EXPECT_THROW(convert(device_, a.view(), b.view()), InternalError);
  EXPECT_THROW(add(device_, a.view(), b.view(), a.view()), InternalError);
  EXPECT_THROW(add(device_, a.view(), a.view(), c.view()), InternalError);
  EXPECT_THROW(accumulate(device_, a.view(), c.view()), InternalError);
  EXPECT_THROW(sum_of_squares(device_, c.view()), InternalError);
  EXPECT_THROW(dropout(device_, {.x = a.view(), .y = a.view(), .probability = 1.0f}), InternalError);
}

TEST_P(ElementwiseTest, PlanningBooksTheSame) {
  testing::expect_same_booking([](DeviceContext& device) {
    Tensor x(device.memory(), {50000}, DType::kF32, MemoryTag::kActivations);
    Tensor y(device.memory(), {50000}, DType::kBF16, MemoryTag::kActivations);
    zero(device, x.view());
    convert(device, x.view(), y.view());
    add(device, y.view(), y.view(), y.view());
    accumulate(device, y.view(), x.view());
    scale(device, 2, x.view());
    sum_of_squares(device, x.view());
    dropout(device, {.x = x.view(), .y = x.view(), .probability = 0.1f});
  });
}

}  // namespace
}  // namespace aleph::kernels
