#include "aleph/kernels/adamw/adamw.h"

#include <gtest/gtest.h>

#include <array>

#include "aleph/kernels/testing.h"

namespace aleph::kernels {
namespace {

constexpr int64_t kSizes[] = {0, 1, 3, 17, 63, 64, 65, 127, 1000, 40001};

class AdamTest : public testing::LevelTest {
 protected:
  struct States {
    Tensor parameter, exp_avg, exp_avg_sq, gradient, narrow;
    AdamArgs args(int64_t begin, int64_t count) {
      return {.parameter = parameter.view().slice(begin, count),
              .exp_avg = exp_avg.view().slice(begin, count),
              .exp_avg_sq = exp_avg_sq.view().slice(begin, count),
              .gradient = gradient.view().slice(begin, count),
              .parameter_16bit = narrow ? narrow.view().slice(begin, count) : TensorView()};
    }
  };
  States random_states(int64_t n, DType narrow) {
    States states{random({n}, DType::kF32),
                  random({n}, DType::kF32, 0.1),
                  random({n}, DType::kF32, 0.01),
                  random({n}, DType::kF32),
                  {}};
    for (int64_t i = 0; i < n; ++i)
      put(states.exp_avg_sq.view(), i, std::abs(get(states.exp_avg_sq.view(), i)));
    if (narrow != DType::kF32) states.narrow = empty({n}, narrow);
    return states;
  }
  States copy_states(const States& from) {
    States states{copy(from.parameter), copy(from.exp_avg), copy(from.exp_avg_sq), copy(from.gradient), {}};
    if (from.narrow) states.narrow = copy(from.narrow);
    return states;
  }
  static void configure(AdamArgs& args, bool decoupled, bool correction) {
    args.step = 3, args.learning_rate = 0.01, args.weight_decay = 0.1, args.gradient_scale = 0.25f;
    args.decoupled_decay = decoupled, args.bias_correction = correction;
  }
};
INSTANTIATE_TEST_SUITE_P(Levels, AdamTest, ::testing::ValuesIn(testing::cpu_levels()), testing::level_name);

TEST_P(AdamTest, MatchesTheReference) {
  for (const DType narrow : testing::kFloats) {
    for (const bool decoupled : {false, true}) {
      for (const bool correction : {false, true}) {
        for (const int64_t n : kSizes) {
          States states = random_states(n, narrow), expected = copy_states(states);
          AdamArgs args = states.args(0, n), wanted = expected.args(0, n);
          configure(args, decoupled, correction);
          configure(wanted, decoupled, correction);
          adam_update(device_, args);
          adam_update_reference(wanted);
          testing::expect_close(args.exp_avg, wanted.exp_avg, 1e-6, 1e-7, "exp_avg");
          testing::expect_close(args.exp_avg_sq, wanted.exp_avg_sq, 1e-6, 1e-9, "exp_avg_sq");
          testing::expect_close(args.parameter, wanted.parameter, 1e-6, 1e-6, "parameter");
          for (int64_t i = 0; i < n && narrow != DType::kF32; ++i) {
            const float p = args.parameter.data<float>()[i];
            ASSERT_EQ(get(args.parameter_16bit, i),
                      narrow == DType::kBF16 ? to_float(from_float<BF16>(p)) : to_float(from_float<F16>(p)));
          }
        }
      }
    }
  }
}

TEST_P(AdamTest, DoesNotDependOnCutsOrThreads) {
  constexpr int64_t kCount = 40001;
  States whole = random_states(kCount, DType::kBF16), pieces = copy_states(whole);
  AdamArgs args = whole.args(0, kCount);
  configure(args, true, true);
  adam_update(device_, args);
  const int threads = omp_get_max_threads();
  omp_set_num_threads(threads + 1);
  int64_t begin = 0;
  for (const int64_t count : std::array<int64_t, 7>{1, 7, 64, 1000, 20001, 3, kCount - 21076}) {
    AdamArgs part = pieces.args(begin, count);
    configure(part, true, true);
    adam_update(device_, part);
    begin += count;
  }
  omp_set_num_threads(threads);
  ASSERT_EQ(begin, kCount);
  testing::expect_same_bits(whole.parameter.view(), pieces.parameter.view(), "parameter");
  testing::expect_same_bits(whole.exp_avg.view(), pieces.exp_avg.view(), "exp_avg");
  testing::expect_same_bits(whole.exp_avg_sq.view(), pieces.exp_avg_sq.view(), "exp_avg_sq");
  testing::expect_same_bits(whole.narrow.view(), pieces.narrow.view(), "parameter_16bit");
}

TEST_P(AdamTest, TinyDecayIsNotLostToRounding) {
  Tensor p = empty({1}, DType::kF32), zeros = empty({3}, DType::kF32);
  for (int64_t i = 0; i < 3; ++i) put(zeros.view(), i, 0);
  put(p.view(), 0, 1);
  for (int64_t step = 1; step <= 1000; ++step) {
    adam_update(device_, {.parameter = p.view(),
                          .exp_avg = zeros.view().slice(0, 1),
                          .exp_avg_sq = zeros.view().slice(1, 1),
                          .gradient = zeros.view().slice(2, 1),
                          .step = step,
                          .learning_rate = 1e-5,
                          .weight_decay = 0.1});
  }
  EXPECT_NEAR(get(p.view(), 0), std::pow(1 - 1e-6, 1000), 5e-5);
}

TEST_P(AdamTest, RefusesWrongShapesAndTypes) {
  States states = random_states(8, DType::kF32);
  AdamArgs args = states.args(0, 8);
  args.gradient = states.gradient.view().slice(0, 7);
  EXPECT_THROW(adam_update(device_, args), InternalError);
  args = states.args(0, 8);
  args.parameter_16bit = states.gradient.view();
  EXPECT_THROW(adam_update(device_, args), InternalError);
  args = states.args(0, 8);
  args.step = 0;
  EXPECT_THROW(adam_update(device_, args), InternalError);
}

TEST_P(AdamTest, PlanningTouchesNothing) {
  DeviceContext meta({.kind = DeviceKind::kMeta});
  Tensor state(meta.memory(), {100}, DType::kF32, MemoryTag::kOptimizer);
  adam_update(meta, {.parameter = state.view(),
                     .exp_avg = state.view(),
                     .exp_avg_sq = state.view(),
                     .gradient = state.view()});
  EXPECT_EQ(meta.memory().ledger().peak(MemoryTag::kWorkspace), 0);
}

}  // namespace
}  // namespace aleph::kernels
