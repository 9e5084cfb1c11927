#include "aleph/kernels/rotary/rotary.h"

#include <gtest/gtest.h>

#include "aleph/kernels/testing.h"

namespace aleph::kernels {
namespace {

class RotaryTest : public testing::LevelTest {
 protected:
  /// Tables of true angles for `positions` rows.
  void fill_tables(int64_t positions, int64_t half) {
    cosines_ = empty({positions, half}, DType::kF32);
    sines_ = empty({positions, half}, DType::kF32);
    for (int64_t i = 0; i < positions * half; ++i) {
      const double angle = static_cast<double>(i / half) *
                           std::pow(10000.0, -static_cast<double>(i % half) / static_cast<double>(half));
      put(cosines_.view(), i, std::cos(angle));
      put(sines_.view(), i, std::sin(angle));
    }
  }
  RotaryArgs args_for(Tensor& x, int64_t heads, const Tensor& positions, RotaryLayout layout) {
    return {.x = x.view(),
            .heads = heads,
            .cosines = cosines_.view(),
            .sines = sines_.view(),
            .positions = positions.view(),
            .layout = layout};
  }
  Tensor cosines_, sines_;
};
INSTANTIATE_TEST_SUITE_P(Levels, RotaryTest, ::testing::ValuesIn(testing::cpu_levels()), testing::level_name);

struct Case {
  int64_t tokens, all_heads, heads, head_dim, half;
};
constexpr Case kCases[] = {{1, 1, 1, 2, 1},    {3, 5, 4, 6, 3},    {17, 6, 4, 64, 32},
                           {65, 3, 2, 80, 16}, {7, 4, 4, 130, 65}, {0, 2, 2, 8, 4}};

TEST_P(RotaryTest, MatchesTheReferenceAndLeavesTheRest) {
  for (const DType dtype : testing::kFloats) {
    for (const RotaryLayout layout : {RotaryLayout::kHalves, RotaryLayout::kInterleaved}) {
      for (const Case& c : kCases) {
        fill_tables(50, c.half);
        const Tensor start = random({c.tokens, c.all_heads, c.head_dim}, dtype);
        const Tensor positions = random_ids(c.tokens, 50);
        Tensor x = copy(start), expected = copy(start);
        rotary(device_, args_for(x, c.heads, positions, layout));
        rotary_reference(args_for(expected, c.heads, positions, layout));
        testing::expect_close(x.view(), expected.view(), 2 * testing::epsilon_of(dtype) + 1e-6, 5e-7, "x");
        for (int64_t i = 0; i < start.shape().elements(); ++i) {
          const bool turned = i / c.head_dim % c.all_heads < c.heads && i % c.head_dim < 2 * c.half;
          if (turned) continue;
          ASSERT_EQ(get(x.view(), i), get(start.view(), i));
        }
      }
    }
  }
}

TEST_P(RotaryTest, BackwardTurnsBackAndIsTheTransposedMap) {
  fill_tables(9, 8);
  for (const RotaryLayout layout : {RotaryLayout::kHalves, RotaryLayout::kInterleaved}) {
    const Tensor start = random({9, 2, 20}, DType::kF32), dy = random({9, 2, 20}, DType::kF32);
    const Tensor positions = random_ids(9, 9);
    Tensor x = copy(start), dx = copy(dy);
    rotary(device_, args_for(x, 2, positions, layout));
    RotaryArgs back = args_for(dx, 2, positions, layout);
    back.direction = RotaryDirection::kBackward;
    rotary(device_, back);
    double forward = 0, backward = 0;  // <R x, dy> = <x, R^T dy>
    for (int64_t i = 0; i < 360; ++i) {
      forward += get(x.view(), i) * get(dy.view(), i);
      backward += get(start.view(), i) * get(dx.view(), i);
    }
    EXPECT_NEAR(forward, backward, 1e-4);
    back.x = x.view();
    rotary(device_, back);
    testing::expect_close(x.view(), start.view(), 1e-6, 1e-6, "turned back");
  }
}

TEST_P(RotaryTest, RefusesPositionsOutsideTheTable) {
  fill_tables(4, 4);
  Tensor x = random({1, 1, 8}, DType::kF32), positions = empty({1}, DType::kI32),
         narrow = random({1, 1, 6}, DType::kF32);
  for (const int32_t position : {4, -1}) {
    positions.view().data<int32_t>()[0] = position;
    EXPECT_THROW(rotary(device_, args_for(x, 1, positions, RotaryLayout::kHalves)), InternalError);
  }
  positions.view().data<int32_t>()[0] = 0;
  EXPECT_THROW(rotary(device_, args_for(narrow, 1, positions, RotaryLayout::kHalves)), InternalError);
  EXPECT_THROW(rotary(device_, args_for(x, 2, positions, RotaryLayout::kHalves)), InternalError);
}

TEST_P(RotaryTest, PlanningBooksTheSame) {
  testing::expect_same_booking([](DeviceContext& device) {
    Tensor x(device.memory(), {4, 2, 16}, DType::kBF16, MemoryTag::kActivations);
    Tensor tables(device.memory(), {8, 8}, DType::kF32, MemoryTag::kActivations);
    Tensor positions(device.memory(), {4}, DType::kI32, MemoryTag::kActivations);
    if (!device.meta()) {
      for (int32_t& position : positions.view().span<int32_t>()) position = 3;
    }
    rotary(device, {.x = x.view(),
                    .heads = 2,
                    .cosines = tables.view(),
                    .sines = tables.view(),
                    .positions = positions.view()});
  });
}

}  // namespace
}  // namespace aleph::kernels
