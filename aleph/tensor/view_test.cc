// Shapes, views and the tensors that own what views look at.
#include <gtest/gtest.h>

#include <limits>
#include <numeric>

#include "aleph/base/random.h"
#include "aleph/tensor/tensor.h"

namespace aleph {
namespace {

TEST(ShapesTest, CountElementsAndRows) {
  EXPECT_EQ(Shape().rank(), 0);
  EXPECT_EQ(Shape().elements(), 1) << "a scalar";
  EXPECT_EQ(Shape().rows(), 1);
  EXPECT_EQ(Shape().to_string(), "[]");
  EXPECT_EQ(Shape({7}).rows(), 1);
  EXPECT_EQ(Shape({2, 3, 5, 7, 11}).elements(), 2310);
  EXPECT_EQ(Shape({2, 3, 5, 7, 11}).rows(), 210);
  EXPECT_EQ(Shape({0, 5}).rows(), 0);
  EXPECT_EQ(Shape({3, 0}).elements(), 0);
  EXPECT_EQ(Shape({3, 0}).rows(), 3) << "rows of no elements are rows";
}

TEST(ShapesTest, EqualityIsThatOfRankAndSizes) {
  EXPECT_EQ(Shape({2, 3}), Shape({2, 3}));
  EXPECT_FALSE(Shape({2, 3}) == Shape({3, 2}));
  EXPECT_FALSE(Shape({2}) == Shape({2, 1}));
  EXPECT_FALSE(Shape() == Shape({0}));
}

TEST(ShapesTest, RefuseAxesAndSizesThatDoNotExist) {
  const Shape shape{2, 3};
  EXPECT_EQ(shape[-2], 2);
  for (const int axis : {-3, 2, 100}) EXPECT_THROW((void)shape[axis], InternalError) << axis;
  EXPECT_THROW((void)Shape()[0], InternalError);
  EXPECT_THROW(Shape({1, 2, 3, 4, 5, 6}), InternalError);
  EXPECT_THROW(Shape({2, -1}), InternalError);
}

std::vector<int32_t> counted(const Shape& shape) {
  std::vector<int32_t> values(static_cast<size_t>(shape.elements()));
  std::iota(values.begin(), values.end(), 0);
  return values;
}

TEST(ViewsTest, ASliceHoldsTheRowsOfItsRange) {
  const RandomStream random({.seed = 61});
  for (uint64_t i = 0; i < 200; ++i) {
    std::vector<int64_t> sizes;
    for (uint64_t axis = 0; axis <= i % 5; ++axis)
      sizes.push_back(static_cast<int64_t>(random.below(5, 32 * i + 2 * axis)));
    const Shape shape{std::span<const int64_t>(sizes)};
    std::vector<int32_t> values = counted(shape);
    const TensorView view = view_of<int32_t>(std::span(values), shape);
    const int64_t stride = sizes[0] == 0 ? 0 : shape.elements() / sizes[0];
    for (int64_t begin = 0; begin <= sizes[0]; ++begin) {
      for (int64_t count = 0; begin + count <= sizes[0]; ++count) {
        const TensorView part = view.slice(begin, count);
        ASSERT_EQ(part.shape()[0], count);
        ASSERT_EQ(part.elements(), count * stride);
        for (int64_t k = 0; k < part.elements(); ++k)
          ASSERT_EQ(part.data<int32_t>()[k], begin * stride + k) << shape.to_string();
      }
    }
  }
}

TEST(ViewsTest, SlicesOfSlicesAndReshapesLookAtTheSameMemory) {
  std::vector<int32_t> values = counted({6, 4});
  const TensorView view = view_of<int32_t>(std::span(values), {6, 4});
  const TensorView inner = view.slice(2, 3).slice(1, 2).reshape({4, 2}).slice(3, 1);
  inner.data<int32_t>()[1] = -5;
  EXPECT_EQ(values[19], -5);
  EXPECT_EQ(view.reshape({24}).shape(), Shape({24}));
  EXPECT_THROW((void)view.reshape({23}), InternalError);
  EXPECT_THROW((void)view.reshape({}), InternalError);
}

TEST(ViewsTest, RefuseRangesOutside) {
  std::vector<float> values(6);
  const TensorView view = view_of<float>(std::span(values), {3, 2});
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  const std::vector<std::pair<int64_t, int64_t>> wrong = {{0, 4},  {3, 1},     {4, 0},     {-1, 1},
                                                          {1, -1}, {kMost, 1}, {1, kMost}, {kMost, kMost}};
  for (const auto& [begin, count] : wrong)
    EXPECT_THROW((void)view.slice(begin, count), InternalError) << begin << " " << count;
  float scalar = 0;
  EXPECT_THROW((void)view_of<float>(std::span(&scalar, 1), {}).slice(0, 1), InternalError);
}

TEST(ViewsTest, ReadOnlyTheTypeThatIsThere) {
  std::vector<BF16> values(4);
  const TensorView view = view_of<BF16>(std::span(values), {2, 2});
  EXPECT_EQ(view.span<BF16>().size(), 4u);
  EXPECT_EQ(view.bytes(), 8);
  EXPECT_THROW((void)view.data<F16>(), InternalError) << "equally wide, but another type";
  EXPECT_THROW((void)view.data<float>(), InternalError);
  EXPECT_THROW((void)view_of<BF16>(std::span(values), {5}), InternalError);
  EXPECT_THROW((void)view_of<BF16>(std::span<const BF16>(values), {3}), InternalError);
}

TEST(ViewsTest, AMutableViewBecomesAConstOneAndNotBack) {
  static_assert(std::is_convertible_v<TensorView, ConstTensorView>);
  static_assert(!std::is_convertible_v<ConstTensorView, TensorView>);
  static_assert(!std::is_copy_constructible_v<Tensor> && std::is_move_constructible_v<Tensor>);
  std::vector<double> values = {1.5, 2.5};
  const TensorView view = view_of<double>(std::span(values), {2});
  const ConstTensorView constant = view;
  EXPECT_EQ(constant.data<double>(), values.data());
  EXPECT_EQ(constant.shape(), view.shape());
  EXPECT_EQ(constant.dtype(), DType::kF64);
  EXPECT_FALSE(TensorView());
}

TEST(TensorsTest, OwnMemoryOfTheirPoolUntilTheyGo) {
  MemoryPool pool(MemoryTier::kDevice, 0);
  {
    Tensor tensor(pool, {3, 5}, DType::kF16, MemoryTag::kActivations);
    EXPECT_EQ(tensor.bytes(), 30);
    EXPECT_EQ(pool.ledger().live(MemoryTag::kActivations), 64);
    std::byte* data = tensor.view().raw();
    const Tensor moved = std::move(tensor);
    EXPECT_EQ(moved.view().raw(), data);
    EXPECT_TRUE(static_cast<bool>(moved));
    EXPECT_FALSE(static_cast<bool>(tensor));  // NOLINT(bugprone-use-after-move)
    EXPECT_EQ(pool.ledger().live(), 64);
  }
  EXPECT_EQ(pool.ledger().live(), 0);
}

TEST(TensorsTest, ShapeAloneHasNoMemory) {
  const Tensor tensor = Tensor::without_memory({4, 4}, DType::kBF16);
  EXPECT_FALSE(static_cast<bool>(tensor));
  EXPECT_EQ(tensor.shape(), Shape({4, 4}));
  EXPECT_EQ(tensor.dtype(), DType::kBF16);
  EXPECT_EQ(tensor.bytes(), 32);
  EXPECT_FALSE(tensor.view());
}

TEST(TensorsTest, ARefusedTensorBooksNothing) {
  MemoryPool pool(MemoryTier::kDevice, 4096);
  EXPECT_THROW(Tensor(pool, {1025}, DType::kF32, MemoryTag::kWorkspace), Error);
  EXPECT_EQ(pool.ledger().live(), 0);
}

}  // namespace
}  // namespace aleph
