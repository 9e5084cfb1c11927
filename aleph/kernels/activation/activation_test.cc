#include "aleph/kernels/activation/activation.h"

#include <gtest/gtest.h>

#include "aleph/kernels/testing.h"

namespace aleph::kernels {
namespace {

constexpr Activation kAll[] = {Activation::kGelu, Activation::kGeluTanh, Activation::kQuickGelu,
                               Activation::kSilu, Activation::kRelu,     Activation::kReluSquared,
                               Activation::kTanh, Activation::kSigmoid,  Activation::kIdentity};
constexpr int64_t kSizes[] = {0, 1, 3, 17, 63, 64, 65, 127, 1000, 9001};

class ActivationTest : public testing::LevelTest {};
INSTANTIATE_TEST_SUITE_P(Levels, ActivationTest, ::testing::ValuesIn(testing::cpu_levels()),
                         testing::level_name);

/// fp32 arithmetic, then one rounding to the dtype.
double tolerance(DType dtype) { return 1e-6 + 1.01 * testing::epsilon_of(dtype); }

TEST_P(ActivationTest, ForwardAndBackwardMatchTheReference) {
  for (const Activation activation : kAll) {
    for (const DType dtype : testing::kFloats) {
      for (const int64_t n : kSizes) {
        const Tensor x = random({n}, dtype, 3), dy = random({n}, dtype);
        Tensor y = empty({n}, dtype), expected = empty({n}, dtype), in_place = copy(dy);
        activation_forward(device_, {.activation = activation, .x = x.view(), .y = y.view()});
        activation_forward_reference({.activation = activation, .x = x.view(), .y = expected.view()});
        testing::expect_close(y.view(), expected.view(), 2 * tolerance(dtype), 0x1p-24, "y");
        ActivationBackwardArgs args{.activation = activation, .x = x.view(), .dy = dy.view(), .dx = y.view()};
        activation_backward(device_, args);
        args.dx = expected.view();
        activation_backward_reference(args);
        testing::expect_close(y.view(), expected.view(), 2 * tolerance(dtype), 3e-6, "dx");
        args.dy = args.dx = in_place.view();
        activation_backward(device_, args);
        testing::expect_same_bits(y.view(), in_place.view(), "dx in dy");
      }
    }
  }
}

TEST_P(ActivationTest, GatedFormsMatchTheReference) {
  for (const Activation activation : kAll) {
    for (const DType dtype : testing::kFloats) {
      for (const Shape& shape : {Shape{1, 1}, Shape{3, 17}, Shape{2, 2, 65}, Shape{5, 1000}, Shape{0, 8}}) {
        const int64_t n = shape[-1], rows = n == 0 ? 0 : shape.elements() / n;
        const Tensor x = random({rows, 2 * n}, dtype, 2), dy = random({rows, n}, dtype);
        Tensor y = empty({rows, n}, dtype), expected = empty({rows, n}, dtype);
        gated_forward(device_, {.activation = activation, .x = x.view(), .y = y.view()});
        gated_forward_reference({.activation = activation, .x = x.view(), .y = expected.view()});
        testing::expect_close(y.view(), expected.view(), 2 * tolerance(dtype), 0x1p-22, "y");
        Tensor dx = empty({rows, 2 * n}, dtype), wanted = empty({rows, 2 * n}, dtype);
        GatedBackwardArgs args{.activation = activation, .x = x.view(), .dy = dy.view(), .dx = dx.view()};
        gated_backward(device_, args);
        args.dx = wanted.view();
        gated_backward_reference(args);
        testing::expect_close(dx.view(), wanted.view(), 2 * tolerance(dtype), 1e-5, "dx");
      }
    }
  }
}

struct Range {
  Activation activation;
  double low, high, forward, backward;  ///< bounds of the relative errors; slopes have 2e-7 beside
};

TEST_P(ActivationTest, AreAccurateInTheirTails) {
  constexpr int64_t kPoints = 5003;
  for (const Range& range :
       {Range{Activation::kGelu, -12.5, 14, 1e-6, 1e-6}, Range{Activation::kSigmoid, -80, 80, 5e-7, 1e-6},
        Range{Activation::kSilu, -80, 80, 6e-7, 1e-6}, Range{Activation::kTanh, -12, 12, 3e-7, 1e-6},
        Range{Activation::kTanh, -0.01, 0.01, 3e-7, 1e-6}}) {
    Tensor x = empty({kPoints}, DType::kF32), dy = empty({kPoints}, DType::kF32);
    for (int64_t i = 0; i < kPoints; ++i) {
      put(x.view(), i, range.low + (range.high - range.low) * static_cast<double>(i) / (kPoints - 1));
      put(dy.view(), i, 1);
    }
    Tensor y = empty({kPoints}, DType::kF32), expected = empty({kPoints}, DType::kF32);
    activation_forward(device_, {.activation = range.activation, .x = x.view(), .y = y.view()});
    activation_forward_reference({.activation = range.activation, .x = x.view(), .y = expected.view()});
    testing::expect_close(y.view(), expected.view(), range.forward, 1e-36, "y");
    ActivationBackwardArgs args{
        .activation = range.activation, .x = x.view(), .dy = dy.view(), .dx = y.view()};
    activation_backward(device_, args);
    args.dx = expected.view();
    activation_backward_reference(args);
    testing::expect_close(y.view(), expected.view(), range.backward, 2e-7, "dx");
  }
}

/// Products of numbers of every exponent, subnormal and infinite ones and NaN among them.
template <typename T>
void expect_rounded_like_from_float(DeviceContext& device, DType dtype) {
  constexpr int64_t kCount = 4099;
  Tensor x(device.memory(), {1, 2 * kCount}, dtype, MemoryTag::kActivations);
  Tensor y(device.memory(), {1, kCount}, dtype, MemoryTag::kActivations);
  const RandomStream stream({.seed = 11});
  T* numbers = x.view().data<T>();
  for (int64_t i = 0; i < 2 * kCount; ++i) {
    numbers[i].bits =
        static_cast<uint16_t>(0x1p16 * static_cast<double>(stream.uniform(static_cast<uint64_t>(i))));
  }
  gated_forward(device, {.activation = Activation::kIdentity, .x = x.view(), .y = y.view()});
  for (int64_t i = 0; i < kCount; ++i) {
    const float product = to_float(numbers[i]) * to_float(numbers[kCount + i]);
    const T got = y.view().data<T>()[i], expected = from_float<T>(product);
    if (std::isnan(product)) {
      ASSERT_TRUE(std::isnan(to_float(got))) << i;
    } else {
      ASSERT_EQ(got.bits, expected.bits) << product;
    }
  }
}

TEST_P(ActivationTest, RoundsLikeFromFloat) {
  expect_rounded_like_from_float<BF16>(device_, DType::kBF16);
  expect_rounded_like_from_float<F16>(device_, DType::kF16);
}

TEST_P(ActivationTest, StaysFiniteForHugeInputs) {
  Tensor x = empty({6}, DType::kF32), y = empty({6}, DType::kF32), dy = empty({6}, DType::kF32);
  for (int64_t i = 0; i < 6; ++i) {
    put(x.view(), i, (i % 2 == 0 ? 1 : -1) * std::array{50.0, 1e10, 1e30}[static_cast<size_t>(i / 2)]);
    put(dy.view(), i, 1);
  }
  for (const Activation activation : kAll) {
    if (activation == Activation::kReluSquared) continue;  // its value does overflow
    activation_forward(device_, {.activation = activation, .x = x.view(), .y = y.view()});
    for (int64_t i = 0; i < 6; ++i) {
      ASSERT_NEAR(get(y.view(), i),
                  activation == Activation::kIdentity  ? get(x.view(), i)
                  : activation == Activation::kTanh    ? (i % 2 == 0 ? 1.0 : -1.0)
                  : activation == Activation::kSigmoid ? (i % 2 == 0 ? 1.0 : 0.0)
                                                       : (i % 2 == 0 ? get(x.view(), i) : 0.0),
                  1e-6);
    }
    activation_backward(device_, {.activation = activation, .x = x.view(), .dy = dy.view(), .dx = y.view()});
    for (int64_t i = 0; i < 6; ++i) ASSERT_LE(std::abs(get(y.view(), i)), 1.0 + 1e-6);
  }
}

TEST_P(ActivationTest, ReferenceSlopesAreDerivatives) {
  for (const Activation activation : kAll) {
    Tensor x = widened(random({2, 10}, DType::kF32, 2));
    const Tensor dy = widened(random({2, 5}, DType::kF32));
    Tensor y = empty({2, 5}, DType::kF64), dx = empty({2, 10}, DType::kF64);
    gated_backward_reference({.activation = activation, .x = x.view(), .dy = dy.view(), .dx = dx.view()});
    const auto loss = [&] {
      gated_forward_reference({.activation = activation, .x = x.view(), .y = y.view()});
      double sum = 0;
      for (int64_t i = 0; i < 10; ++i) sum += get(y.view(), i) * get(dy.view(), i);
      return sum;
    };
    testing::expect_gradient(x.view(), dx.view(), loss, "dx");
  }
}

TEST_P(ActivationTest, RefusesWrongShapes) {
  Tensor x = random({2, 6}, DType::kF32), y = random({2, 4}, DType::kF32);
  EXPECT_THROW(activation_forward(device_, {.x = x.view(), .y = y.view()}), InternalError);
  EXPECT_THROW(gated_forward(device_, {.x = x.view(), .y = y.view()}), InternalError);
  EXPECT_THROW(gated_backward(device_, {.x = x.view(), .dy = y.view(), .dx = x.view()}), InternalError);
}

TEST_P(ActivationTest, PlanningBooksTheSame) {
  testing::expect_same_booking([](DeviceContext& device) {
    Tensor x(device.memory(), {64, 64}, DType::kF32, MemoryTag::kActivations);
    Tensor y(device.memory(), {64, 32}, DType::kF32, MemoryTag::kActivations);
    activation_forward(device, {.x = x.view(), .y = x.view()});
    gated_forward(device, {.x = x.view(), .y = y.view()});
    gated_backward(device, {.x = x.view(), .dy = y.view(), .dx = x.view()});
  });
}

}  // namespace
}  // namespace aleph::kernels
