#include "aleph/kernels/cross_entropy/cross_entropy.h"

#include <gtest/gtest.h>

#include <limits>

#include "aleph/kernels/testing.h"

namespace aleph::kernels {
namespace {

constexpr int64_t kShapes[][2] = {{1, 1},     {3, 17},   {17, 63},   {5, 64}, {64, 65},
                                  {127, 127}, {4, 1000}, {3, 50257}, {0, 9}};

class CrossEntropyTest : public testing::LevelTest {};
INSTANTIATE_TEST_SUITE_P(Levels, CrossEntropyTest, ::testing::ValuesIn(testing::cpu_levels()),
                         testing::level_name);

TEST_P(CrossEntropyTest, MatchesTheReference) {
  for (const DType dtype : testing::kFloats) {
    for (const auto& [rows, n] : kShapes) {
      const Tensor logits = random({rows, n}, DType::kF32, 4);
      Tensor labels = random_ids(rows, n);
      if (rows > 2) labels.view().data<int32_t>()[1] = -100;
      Tensor losses = empty({rows}, DType::kF32), expected = empty({rows}, DType::kF32);
      Tensor gradient = empty({rows, n}, dtype), wanted = empty({rows, n}, dtype);
      CrossEntropyArgs args{.logits = logits.view(),
                            .labels = labels.view(),
                            .losses = losses.view(),
                            .gradient = gradient.view(),
                            .gradient_scale = 0.125f};
      cross_entropy(device_, args);
      args.losses = expected.view(), args.gradient = wanted.view();
      cross_entropy_reference(args);
      testing::expect_close(losses.view(), expected.view(), 1e-6, 1e-6, "losses");
      testing::expect_close(gradient.view(), wanted.view(), 4e-6 + 2 * testing::epsilon_of(dtype), 0x1p-24,
                            "gradient");
    }
  }
}

TEST_P(CrossEntropyTest, WithoutGradientAndInPlaceGiveTheSame) {
  const Tensor logits = random({6, 333}, DType::kF32, 3), labels = random_ids(6, 333);
  Tensor in_place = copy(logits), gradient = empty({6, 333}, DType::kF32);
  Tensor losses = empty({6}, DType::kF32), only = empty({6}, DType::kF32);
  CrossEntropyArgs args{.logits = logits.view(), .labels = labels.view(), .losses = only.view()};
  cross_entropy(device_, args);
  args.gradient_scale = 2, args.gradient = gradient.view(), args.losses = losses.view();
  cross_entropy(device_, args);
  testing::expect_same_bits(only.view(), losses.view(), "losses");
  args.logits = args.gradient = in_place.view();
  cross_entropy(device_, args);
  testing::expect_same_bits(gradient.view(), in_place.view(), "gradient");
  for (int64_t row = 0; row < 6; ++row) {  // rows of a softmax gradient sum to zero
    double sum = 0;
    for (int64_t j = 0; j < 333; ++j) sum += get(gradient.view(), row * 333 + j);
    EXPECT_NEAR(sum, 0, 1e-5);
  }
}

TEST_P(CrossEntropyTest, ReferenceGradientIsTheDerivative) {
  Tensor logits = widened(random({3, 7}, DType::kF32));
  const Tensor labels = random_ids(3, 7);
  Tensor losses = empty({3}, DType::kF64), gradient = empty({3, 7}, DType::kF64),
         unused = empty({3, 7}, DType::kF64);
  CrossEntropyArgs args{.logits = logits.view(),
                        .labels = labels.view(),
                        .losses = losses.view(),
                        .gradient = gradient.view(),
                        .gradient_scale = 0.5f};
  cross_entropy_reference(args);
  args.gradient = unused.view();
  const auto loss = [&] {
    cross_entropy_reference(args);
    return 0.5 * (get(losses.view(), 0) + get(losses.view(), 1) + get(losses.view(), 2));
  };
  testing::expect_gradient(logits.view(), gradient.view(), loss, "gradient");
}

TEST_P(CrossEntropyTest, ExtremeLogits) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  Tensor logits = random({3, 40}, DType::kF32), labels = random_ids(3, 1), losses = empty({3}, DType::kF32);
  float* x = logits.view().data<float>();
  for (int64_t j = 0; j < 40; ++j) x[j] = j == 0 ? 1e30f : -1e30f;
  for (int64_t j = 1; j < 40; ++j) x[40 + j] = -kInfinity;  // all but the label masked
  x[80 + 39] = std::numeric_limits<float>::quiet_NaN();
  cross_entropy(device_, {.logits = logits.view(),
                          .labels = labels.view(),
                          .losses = losses.view(),
                          .gradient = logits.view(),
                          .gradient_scale = 1});
  EXPECT_EQ(get(losses.view(), 0), 0);
  EXPECT_EQ(get(losses.view(), 1), 0);
  EXPECT_TRUE(std::isnan(get(losses.view(), 2)));
  for (int64_t j = 0; j < 80; ++j) EXPECT_EQ(get(logits.view(), j), 0) << j;
}

TEST_P(CrossEntropyTest, NamesALabelOutsideTheVocabulary) {
  const Tensor logits = random({4, 5}, DType::kF32);
  Tensor labels = random_ids(4, 5), losses = empty({4}, DType::kF32), narrow = empty({4, 4}, DType::kF32);
  for (const int32_t bad : {5, -1}) {
    labels.view().data<int32_t>()[3] = bad;
    EXPECT_THROW(
        cross_entropy(device_, {.logits = logits.view(), .labels = labels.view(), .losses = losses.view()}),
        Error);
  }
  EXPECT_THROW(cross_entropy(device_, {.logits = logits.view(),
                                       .labels = labels.view(),
                                       .losses = losses.view(),
                                       .gradient = narrow.view(),
                                       .gradient_scale = 1}),
               InternalError);
}

/// Chunks of a row have maxima of their own; whichever chunk holds the largest logit, results are the same.
TEST_P(CrossEntropyTest, ChunksOfLongRowsAreMerged) {
  constexpr int64_t kVocabulary = 3 * 2048 + 77;
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const int64_t top : {int64_t{5}, int64_t{2100}, kVocabulary - 1}) {
      Tensor logits = random({3, kVocabulary}, DType::kF32, 3);
      for (int64_t row = 0; row < 3; ++row) put(logits.view(), row * kVocabulary + top, 30.0);
      const Tensor labels = random_ids(3, kVocabulary);
      Tensor losses = empty({3}, DType::kF32), expected_losses = empty({3}, DType::kF32);
      Tensor gradient = empty({3, kVocabulary}, dtype), expected = empty({3, kVocabulary}, dtype);
      CrossEntropyArgs args{.logits = logits.view(),
                            .labels = labels.view(),
                            .losses = losses.view(),
                            .gradient = gradient.view(),
                            .gradient_scale = 0.5f};
      cross_entropy(device_, args);
      args.losses = expected_losses.view(), args.gradient = expected.view();
      cross_entropy_reference(args);
      testing::expect_close(losses.view(), expected_losses.view(), 1e-6, 1e-6, "losses");
      testing::expect_close(gradient.view(), expected.view(), 2 * testing::epsilon_of(dtype) + 2e-6, 1e-12,
                            "gradient");
    }
  }
}

TEST_P(CrossEntropyTest, PlanningNeedsNoLabelsAndBooksWhatARunUses) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    testing::expect_same_booking([&](DeviceContext& device) {
      const auto make = [&](const Shape& shape, DType type) {
        Tensor tensor(device.memory(), shape, type, MemoryTag::kActivations);
        if (!device.meta()) std::memset(tensor.view().raw(), 0, static_cast<size_t>(tensor.bytes()));
        return tensor;
      };
      const Tensor logits = make({9, 3000}, DType::kF32), labels = make({9}, DType::kI32);
      Tensor losses = make({9}, DType::kF32), gradient = make({9, 3000}, dtype);
      cross_entropy(device, {.logits = logits.view(),
                             .labels = labels.view(),
                             .losses = losses.view(),
                             .gradient = gradient.view(),
                             .gradient_scale = 1});
    });
  }
}

}  // namespace
}  // namespace aleph::kernels
