#include "aleph/kernels/matmul/transpose.h"

#include <gtest/gtest.h>

#include "aleph/kernels/testing.h"

namespace aleph::kernels {
namespace {

using TransposeTest = testing::LevelTest;
INSTANTIATE_TEST_SUITE_P(Levels, TransposeTest, ::testing::ValuesIn(testing::cpu_levels()),
                         testing::level_name);

TEST_P(TransposeTest, TurnsRowsIntoColumns) {
  for (const DType dtype : testing::kFloats) {
    for (const Shape& shape : {Shape{1, 1}, Shape{0, 5}, Shape{32, 16}, Shape{33, 17}, Shape{3, 165},
                               Shape{160, 144}, Shape{127, 100}, Shape{513, 70}}) {
      const Tensor x = random(shape, dtype);
      Tensor y = empty({shape[1], shape[0]}, dtype);
      transpose(x.view(), 0, y.view());
      for (int64_t i = 0; i < shape.elements(); ++i) {
        ASSERT_EQ(get(y.view(), i % shape[1] * shape[0] + i / shape[1]), get(x.view(), i))
            << shape.to_string() << " " << dtype_name(dtype) << " at " << i;
      }
    }
  }
}

TEST_P(TransposeTest, TakesSomeColumns) {
  const Tensor x = random({70, 200}, DType::kBF16);
  Tensor y = empty({90, 70}, DType::kBF16);
  transpose(x.view(), 37, y.view());
  for (int64_t i = 0; i < y.shape().elements(); ++i) {
    ASSERT_EQ(get(y.view(), i), get(x.view(), i % 70 * 200 + 37 + i / 70)) << i;
  }
  EXPECT_THROW(transpose(x.view(), 111, y.view()), InternalError);
}

TEST_P(TransposeTest, ChecksItsArguments) {
  const Tensor x = random({3, 5}, DType::kF32);
  Tensor wrong_shape = empty({3, 5}, DType::kF32), wrong_dtype = empty({5, 3}, DType::kBF16);
  EXPECT_THROW(transpose(x.view(), 0, wrong_shape.view()), InternalError);
  EXPECT_THROW(transpose(x.view(), 0, wrong_dtype.view()), InternalError);
}

}  // namespace
}  // namespace aleph::kernels
