// Infinities, NaN, subnormals, signed zeros and tensors of nothing: what comes in comes out where it must,
// and nowhere else.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "aleph/kernels/activation/activation.h"
#include "aleph/kernels/adamw/adamw.h"
#include "aleph/kernels/cross_entropy/cross_entropy.h"
#include "aleph/kernels/elementwise/elementwise.h"
#include "aleph/kernels/embedding/embedding.h"
#include "aleph/kernels/matmul/matmul.h"
#include "aleph/kernels/norm/norm.h"
#include "aleph/kernels/rotary/rotary.h"
#include "aleph/kernels/testing.h"

namespace aleph::kernels {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

class SpecialValuesTest : public testing::LevelTest {
 protected:
  /// Rows of `y` [rows, n] that hold a NaN.
  static std::vector<int64_t> nan_rows(const ConstTensorView& y) {
    const int64_t n = y.shape()[-1];
    std::vector<int64_t> rows;
    for (int64_t i = 0; i < y.elements(); ++i) {
      if (std::isnan(get(y, i)) && (rows.empty() || rows.back() != i / n)) rows.push_back(i / n);
    }
    return rows;
  }
};
INSTANTIATE_TEST_SUITE_P(Levels, SpecialValuesTest, ::testing::ValuesIn(testing::cpu_levels()),
                         testing::level_name);

TEST_P(SpecialValuesTest, ANanStaysInItsRow) {
  for (const DType dtype : testing::kFloats) {
    for (const int64_t n : {1, 17, 64, 100}) {
      Tensor x = random({7, n}, dtype);
      put(x.view(), 3 * n + n / 2, kNan);
      const Tensor weight = random({n}, dtype), square = random({n, n}, dtype), dy = random({7, n}, dtype);
      Tensor y = empty({7, n}, dtype), mean = empty({7}, DType::kF32), rstd = empty({7}, DType::kF32);
      const std::vector<int64_t> third = {3};
      rms_norm_forward(device_, {.x = x.view(), .weight = weight.view(), .y = y.view(), .rstd = rstd.view()});
      EXPECT_EQ(nan_rows(y.view()), third) << n;
      layer_norm_forward(
          device_,
          {.x = x.view(), .weight = weight.view(), .y = y.view(), .mean = mean.view(), .rstd = rstd.view()});
      EXPECT_EQ(nan_rows(y.view()), third) << n;
      matmul(device_, {.a = x.view(), .b = square.view(), .transpose_b = true, .c = y.view()});
      EXPECT_EQ(nan_rows(y.view()), third) << n;
      if (dtype != DType::kF16) {
        const PackedWeight packed(device_, square.view());
        matmul(device_, {.a = x.view(), .weight = &packed, .c = y.view()});
        EXPECT_EQ(nan_rows(y.view()), third) << "packed " << n;
      }
      add(device_, x.view(), dy.view(), y.view());
      EXPECT_EQ(nan_rows(y.view()), third);
    }
  }
}

TEST_P(SpecialValuesTest, ANanWeightReachesItsColumnAlone) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const int64_t m : {1, 3, 20}) {  // few rows and many take different ways
      const Tensor a = random({m, 33}, dtype);
      Tensor weight = random({70, 33}, dtype), c = empty({m, 70}, DType::kF32);
      put(weight.view(), 65 * 33 + 32, kInfinity);
      const PackedWeight packed(device_, weight.view());
      matmul(device_, {.a = a.view(), .weight = &packed, .c = c.view()});
      for (int64_t i = 0; i < c.shape().elements(); ++i)
        ASSERT_EQ(std::isfinite(get(c.view(), i)), i % 70 != 65) << m << " " << i;
    }
  }
}

TEST_P(SpecialValuesTest, ActivationsKeepNanAndKnowTheirLimits) {
  struct Limits {
    Activation kind;
    double below, above;
  };
  const Limits limits[] = {{Activation::kRelu, 0, kInfinity},
                           {Activation::kReluSquared, 0, kInfinity},
                           {Activation::kTanh, -1, 1},
                           {Activation::kSigmoid, 0, 1},
                           {Activation::kIdentity, -kInfinity, kInfinity}};
  for (const DType dtype : testing::kFloats) {
    for (const Limits& limit : limits) {
      Tensor x = random({41}, dtype), y = empty({41}, dtype);
      put(x.view(), 0, -kInfinity);
      put(x.view(), 20, kInfinity);
      put(x.view(), 40, kNan);
      activation_forward(device_, {.activation = limit.kind, .x = x.view(), .y = y.view()});
      EXPECT_EQ(get(y.view(), 0), limit.below) << static_cast<int>(limit.kind);
      EXPECT_EQ(get(y.view(), 20), limit.above) << static_cast<int>(limit.kind);
      EXPECT_TRUE(std::isnan(get(y.view(), 40))) << static_cast<int>(limit.kind);
      for (int64_t i = 1; i < 20; ++i) ASSERT_TRUE(std::isfinite(get(y.view(), i)));
    }
    for (const Activation kind :
         {Activation::kGelu, Activation::kGeluTanh, Activation::kSilu, Activation::kQuickGelu}) {
      Tensor x = random({41}, dtype), y = empty({41}, dtype);
      put(x.view(), 20, kInfinity);
      put(x.view(), 40, kNan);
      activation_forward(device_, {.activation = kind, .x = x.view(), .y = y.view()});
      EXPECT_EQ(get(y.view(), 20), kInfinity) << static_cast<int>(kind);
      EXPECT_TRUE(std::isnan(get(y.view(), 40))) << static_cast<int>(kind);
    }
  }
}

TEST_P(SpecialValuesTest, ConversionsKeepZerosSubnormalsAndOverflows) {
  const std::vector<float> values = {0.0f,       -0.0f,    0x1p-149f, -0x1p-149f, 0x1p-24f,        0x1p-25f,
                                     0x1.8p-25f, 65504.0f, 65519.9f,  65520.0f,   -65520.0f,       3.4e38f,
                                     -3.4e38f,   INFINITY, -INFINITY, 0x1p-126f,  0x1.fffffep-127f};
  const auto n = static_cast<int64_t>(values.size());
  const ConstTensorView x = view_of(std::span<const float>(values), {n});
  for (const DType dtype : testing::kFloats) {
    Tensor y = empty({n}, dtype);
    convert(device_, x, y.view());
    dispatch_float(dtype, [&](auto type) {
      for (int64_t i = 0; i < n; ++i) {
        const float expected = to_float(from_float<decltype(type)>(values[static_cast<size_t>(i)]));
        const float found = to_float(y.view().data<decltype(type)>()[i]);
        EXPECT_EQ(found, expected) << values[static_cast<size_t>(i)];
        EXPECT_EQ(std::signbit(found), std::signbit(expected));
      }
    });
  }
}

TEST_P(SpecialValuesTest, NormsOfConstantAndHugeRowsAreFinite) {
  for (const DType dtype : testing::kFloats) {
    const int64_t n = 50;
    Tensor x = empty({3, n}, dtype), y = empty({3, n}, dtype), mean = empty({3}, DType::kF32),
           rstd = empty({3}, DType::kF32);
    Tensor weight = empty({n}, dtype);
    for (int64_t i = 0; i < n; ++i) {
      put(x.view(), i, 0);
      put(x.view(), n + i, 7);
      put(x.view(), 2 * n + i, i % 2 == 0 ? 60000 : -60000);  // squares do not fit fp16
      put(weight.view(), i, 1);
    }
    layer_norm_forward(
        device_,
        {.x = x.view(), .weight = weight.view(), .y = y.view(), .mean = mean.view(), .rstd = rstd.view()});
    for (int64_t i = 0; i < 2 * n; ++i) EXPECT_EQ(get(y.view(), i), 0) << "nothing varies";
    for (int64_t i = 0; i < n; ++i) EXPECT_NEAR(get(y.view(), 2 * n + i), i % 2 == 0 ? 1 : -1, 1e-2);
    rms_norm_forward(device_, {.x = x.view(), .weight = weight.view(), .y = y.view(), .rstd = rstd.view()});
    for (int64_t i = 0; i < n; ++i) {
      EXPECT_EQ(get(y.view(), i), 0);
      EXPECT_NEAR(get(y.view(), n + i), 1, 1e-2);
      EXPECT_NEAR(get(y.view(), 2 * n + i), i % 2 == 0 ? 1 : -1, 1e-2);
    }
  }
}

TEST_P(SpecialValuesTest, SquaresOfHugeAndTinyGradientsAreCounted) {
  std::vector<float> x(10'000, 1e30f);
  x[77] = INFINITY;
  x[9'999] = NAN;
  x[5'000] = -INFINITY;
  const SquareSum sum = sum_of_squares(device_, view_of(std::span<const float>(x), {10'000}));
  EXPECT_EQ(sum.non_finite, 3);
  EXPECT_NEAR(sum.sum / 9.997e63, 1, 1e-6) << "squares beyond fp32 do not overflow";
  const std::vector<float> tiny(4'097, 1e-30f);
  EXPECT_NEAR(sum_of_squares(device_, view_of(std::span<const float>(tiny), {4'097})).sum / 4.097e-57, 1,
              1e-5);
  EXPECT_EQ(sum_of_squares(device_, view_of(std::span<const float>(tiny).first(0), {0})).sum, 0);
}

TEST_P(SpecialValuesTest, AZeroGradientMovesNothingButTheDecay) {
  for (const double decay : {0.0, 0.25}) {
    Tensor p = random({37}, DType::kF32), m = empty({37}, DType::kF32), v = empty({37}, DType::kF32),
           g = empty({37}, DType::kF32);
    for (const Tensor* tensor : {&m, &v, &g}) zero(device_, const_cast<Tensor*>(tensor)->view());
    const Tensor before = copy(p);
    adam_update(device_, {.parameter = p.view(),
                          .exp_avg = m.view(),
                          .exp_avg_sq = v.view(),
                          .gradient = g.view(),
                          .learning_rate = 0.5,
                          .weight_decay = decay});
    for (int64_t i = 0; i < 37; ++i)
      ASSERT_FLOAT_EQ(static_cast<float>(get(p.view(), i)),
                      static_cast<float>(get(before.view(), i) * (1 - 0.5 * decay)));
  }
}

TEST_P(SpecialValuesTest, TensorsOfNothingAreFine) {
  for (const DType dtype : testing::kFloats) {
    Tensor none = empty({0, 16}, dtype), wide = empty({0, 32}, dtype), row = empty({0}, DType::kF32);
    const Tensor weight = random({16}, dtype), table = random({4, 16}, dtype);
    Tensor sums = random({16}, DType::kF32), ids = random_ids(0, 4);
    const Tensor start = copy(sums);
    EXPECT_NO_THROW(activation_forward(device_, {.x = none.view(), .y = none.view()}));
    EXPECT_NO_THROW(gated_forward(device_, {.x = wide.view(), .y = none.view()}));
    EXPECT_NO_THROW(rms_norm_forward(
        device_, {.x = none.view(), .weight = weight.view(), .y = none.view(), .rstd = row.view()}));
    EXPECT_NO_THROW(rms_norm_backward(device_, {.x = none.view(),
                                                .weight = weight.view(),
                                                .rstd = row.view(),
                                                .dy = none.view(),
                                                .dx = none.view(),
                                                .dweight = sums.view()}));
    EXPECT_NO_THROW(column_sum(device_, {.x = none.view(), .sums = sums.view()}));
    EXPECT_NO_THROW(embedding_forward(device_, {.ids = ids.view(), .table = table.view(), .y = none.view()}));
    EXPECT_NO_THROW(convert(device_, none.view(), none.view()));
    EXPECT_NO_THROW(zero(device_, none.view()));
    EXPECT_NO_THROW(dropout(device_, {.x = none.view(), .y = none.view(), .probability = 0.5f}));
    testing::expect_same_bits(sums.view(), start.view(), "nothing is added");
  }
}

}  // namespace
}  // namespace aleph::kernels
