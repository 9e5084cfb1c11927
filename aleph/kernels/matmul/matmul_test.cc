#include "aleph/kernels/matmul/matmul.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "aleph/kernels/testing.h"

namespace aleph::kernels {
namespace {

class MatmulTest : public testing::LevelTest {
 protected:
  Tensor widened_float(const Tensor& source) {
    Tensor tensor = empty(source.shape(), DType::kF32);
    for (int64_t i = 0; i < source.shape().elements(); ++i) put(tensor.view(), i, get(source.view(), i));
    return tensor;
  }
  /// |c - exact| <= tolerance * (|a| |b|)_ij; the bound on the sum's rounding, plus rounding of the output.
  void expect_product(const MatmulArgs& args, const ConstTensorView& start, const char* what) {
    const int64_t n = args.c.shape()[-1], m = args.c.elements() / std::max<int64_t>(1, n);
    const int64_t k = args.a.elements() / std::max<int64_t>(1, m);
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        double exact = start ? get(start, i * n + j) : 0, norm = std::abs(exact);
        if (args.bias) exact += get(args.bias, j), norm += std::abs(get(args.bias, j));
        for (int64_t p = 0; p < k; ++p) {
          const double term = get(args.a, args.transpose_a ? p * m + i : i * k + p) *
                              get(args.b, args.transpose_b ? j * k + p : p * n + j);
          exact += term, norm += std::abs(term);
        }
        const double rounding = testing::epsilon_of(args.c.dtype()) * std::abs(exact);
        ASSERT_NEAR(get(args.c, i * n + j), exact, 1.01 * rounding + 1e-6 * norm + 0x1p-25)
            << what << " " << m << "x" << k << "x" << n << " " << dtype_name(args.a.dtype()) << " at " << i
            << "," << j;
      }
    }
  }
};
INSTANTIATE_TEST_SUITE_P(Levels, MatmulTest, ::testing::ValuesIn(testing::cpu_levels()), testing::level_name);

constexpr int64_t kShapes[][3] = {{1, 1, 1},    {1, 17, 3},    {3, 1, 65}, {17, 64, 63}, {64, 65, 17},
                                  {127, 3, 64}, {65, 127, 33}, {0, 5, 7},  {5, 0, 7},    {33, 200, 100}};

/// Operands of which the kernel copies no more than a part at a time.
TEST_P(MatmulTest, LargeOperandsAreCopiedInParts) {
  constexpr int64_t kDepth = 5000, kLong = 1800, kShort = 70;  // 36 MB turned, in three parts
  for (const bool turned : {false, true}) {
    const int64_t m = turned ? kLong : kShort, n = turned ? kShort : kLong;
    const Tensor a = random(turned ? Shape{kDepth, m} : Shape{m, kDepth}, DType::kF32);
    const Tensor b = random({kDepth, n}, DType::kF32), bias = random({n}, DType::kF32);
    Tensor c = empty({m, n}, DType::kF32);
    matmul(device_,
           {.a = a.view(), .transpose_a = turned, .b = b.view(), .c = c.view(), .bias = bias.view()});
    const float *pa = a.view().data<float>(), *pb = b.view().data<float>();
    for (int64_t at = 0; at < m * n; at += 97) {
      const int64_t i = at / n, j = at % n;
      double exact = bias.view().data<float>()[j], norm = std::abs(exact);
      for (int64_t p = 0; p < kDepth; ++p) {
        const double term = double{pa[turned ? p * m + i : i * kDepth + p]} * double{pb[p * n + j]};
        exact += term, norm += std::abs(term);
      }
      ASSERT_NEAR(c.view().data<float>()[at], exact, 1e-6 * norm) << turned << " at " << i << "," << j;
    }
  }
}

TEST_P(MatmulTest, MatchesExactProductsInEveryOrientation) {
  for (const DType dtype : testing::kFloats) {
    for (const auto& [m, k, n] : kShapes) {
      for (const int orientation : {0, 1, 2, 3}) {
        const bool ta = (orientation & 1) != 0, tb = (orientation & 2) != 0;
        const Tensor a = random(ta ? Shape{k, m} : Shape{m, k}, dtype);
        const Tensor b = random(tb ? Shape{n, k} : Shape{k, n}, dtype);
        Tensor c = random({m, n}, dtype);
        const MatmulArgs args{
            .a = a.view(), .transpose_a = ta, .b = b.view(), .transpose_b = tb, .c = c.view()};
        matmul(device_, args);
        expect_product(args, {}, "plain");
      }
    }
  }
}

TEST_P(MatmulTest, AddsBiasAndAccumulates) {
  for (const DType dtype : testing::kFloats) {
    for (const auto& [m, k, n] : kShapes) {
      const Tensor a = random({m, k}, dtype), b = random({n, k}, dtype), bias = random({n}, dtype);
      for (const DType output : {dtype, DType::kF32}) {
        Tensor c = random({m, n}, output);
        const MatmulArgs args{
            .a = a.view(), .b = b.view(), .transpose_b = true, .c = c.view(), .bias = bias.view()};
        matmul(device_, args);
        expect_product(args, {}, "bias");
      }
      const Tensor at = random({k, m}, dtype), bt = random({k, n}, dtype),
                   start = random({m, n}, DType::kF32);
      Tensor total = copy(start);
      const MatmulArgs args{
          .a = at.view(), .transpose_a = true, .b = bt.view(), .c = total.view(), .accumulate = true};
      matmul(device_, args);
      expect_product(args, start.view(), "accumulate");
    }
  }
}

TEST_P(MatmulTest, ReferenceAgrees) {
  const Tensor a = random({2, 5, 17}, DType::kF32), b = random({9, 17}, DType::kF32);
  const Tensor bias = random({9}, DType::kF32);
  Tensor c = empty({2, 5, 9}, DType::kF32);
  const MatmulArgs args{
      .a = a.view(), .b = b.view(), .transpose_b = true, .c = c.view(), .bias = bias.view()};
  matmul_reference(args);
  expect_product(args, {}, "reference");
}

TEST_P(MatmulTest, SameBitsEveryCallWhereverOperandsLie) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const int64_t m = 67, k = 150, n = 70;
    const Tensor a = random({m, k}, dtype), b = random({k, n}, dtype);
    Tensor first = empty({m, n}, dtype), again = empty({m + 1, n}, dtype), moved = empty({m + 1, k}, dtype);
    matmul(device_, {.a = a.view(), .b = b.view(), .c = first.view()});
    const TensorView shifted = moved.view().slice(1, m), result = again.view().slice(1, m);
    std::memcpy(shifted.raw(), a.view().raw(), static_cast<size_t>(a.bytes()));
    matmul(device_, {.a = shifted, .b = b.view(), .c = result});
    testing::expect_same_bits(first.view(), result, "product");
  }
}

TEST_P(MatmulTest, RefusesWrongShapesAndTypes) {
  Tensor a = random({4, 5}, DType::kF32), b = random({6, 5}, DType::kF32), c = random({4, 6}, DType::kF32);
  Tensor half = random({4, 6}, DType::kF16), bias = random({5}, DType::kF32);
  EXPECT_THROW(matmul(device_, {.a = a.view(), .b = b.view(), .c = c.view()}), InternalError);
  EXPECT_THROW(matmul(device_, {.a = a.view(), .b = b.view(), .transpose_b = true, .c = half.view()}),
               InternalError);
  EXPECT_THROW(
      matmul(device_,
             {.a = a.view(), .b = b.view(), .transpose_b = true, .c = c.view(), .bias = bias.view()}),
      InternalError);
}

TEST_P(MatmulTest, SumsColumns) {
  for (const DType dtype : testing::kFloats) {
    for (const auto& [rows, n] :
         {std::pair<int64_t, int64_t>{1, 1}, {3, 17}, {65, 64}, {127, 1000}, {1000, 65}, {0, 9}}) {
      const Tensor x = random({rows, n}, dtype), start = random({n}, DType::kF32);
      Tensor sums = copy(start), expected = copy(start);
      column_sum(device_, {.x = x.view(), .sums = sums.view()});
      column_sum_reference({.x = x.view(), .sums = expected.view()});
      testing::expect_close(sums.view(), expected.view(), 1e-6, 1e-7 * static_cast<double>(rows + 1), "sums");
    }
  }
}

TEST_P(MatmulTest, PackedWeightsGiveTheSameProducts) {
  for (const DType dtype : testing::kFloats) {
    const DType packed_dtype = dtype == DType::kBF16 ? DType::kBF16 : DType::kF32;
    for (const auto& [k, n] : {std::pair<int64_t, int64_t>{1, 1}, {17, 3}, {64, 64}, {65, 127}, {200, 65}}) {
      const Tensor weight = random({n, k}, dtype), bias = random({n}, packed_dtype);
      const PackedWeight packed(device_, weight.view());
      const Tensor plain = dtype == DType::kF16 ? widened_float(weight) : copy(weight);
      for (const int64_t m : {0, 1, 2, 3, 4, 5, 16, 17, 65, 127}) {
        const Tensor a = random({m, k}, packed_dtype);
        for (const DType output : {packed_dtype, DType::kF32}) {
          Tensor c = random({m, n}, output);
          PackedMatmulArgs args{.a = a.view(), .weight = &packed, .c = c.view()};
          if (m % 2 == 1) args.bias = bias.view();
          matmul(device_, args);
          expect_product(
              {.a = a.view(), .b = plain.view(), .transpose_b = true, .c = c.view(), .bias = args.bias}, {},
              "packed");
        }
      }
    }
  }
}

TEST_P(MatmulTest, PackedWeightsAreNotMuchLargerAndRefuseWrongShapes) {
  const Tensor weight = random({100, 70}, DType::kBF16), a = random({3, 70}, DType::kBF16);
  Tensor c = empty({3, 99}, DType::kBF16);
  const PackedWeight packed(device_, weight.view());
  EXPECT_EQ(packed.rows(), 100);
  EXPECT_EQ(packed.columns(), 70);
  EXPECT_EQ(packed.storage().bytes(), 2 * 128 * 96);
  EXPECT_THROW(matmul(device_, {.a = a.view(), .weight = &packed, .c = c.view()}), InternalError);
  EXPECT_THROW(matmul(device_, {.a = a.view(), .weight = nullptr, .c = c.view()}), InternalError);
}

TEST_P(MatmulTest, WeightsBroughtPieceByPieceAreTheSameWeight) {
  for (const DType dtype : testing::kFloats) {
    for (const auto& [k, n] :
         {std::pair<int64_t, int64_t>{1, 1}, {33, 64}, {64, 65}, {75, 300}, {200, 129}}) {
      const Tensor weight = random({n, k}, dtype);
      const PackedWeight whole(device_, weight.view());
      const auto read = [&](int64_t row_begin, const TensorView& dst) {
        const ConstTensorView part = weight.view().slice(row_begin, dst.shape()[0]);
        ASSERT_EQ(dst.shape()[1], part.shape()[1]);
        std::memcpy(dst.raw(), part.raw(), static_cast<size_t>(part.bytes()));
      };
      const PackedWeight pieces(device_, WeightRows{.n = n, .k = k, .dtype = dtype, .read = read});
      EXPECT_EQ(pieces.rows(), n);
      EXPECT_EQ(pieces.columns(), k);
      testing::expect_same_bits(pieces.storage(), whole.storage(), "storage");
    }
  }
}

TEST_P(MatmulTest, PackedStorageKeptElsewhereIsTheSameWeight) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const Tensor weight = random({77, 45}, dtype), a = random({3, 45}, dtype);
    Tensor c = empty({3, 77}, DType::kF32), again = empty({3, 77}, DType::kF32);
    const PackedWeight packed(device_, weight.view());
    const PackedWeight copy = PackedWeight::from_storage(device_, packed.storage(), 77, 45);
    matmul(device_, {.a = a.view(), .weight = &packed, .c = c.view()});
    matmul(device_, {.a = a.view(), .weight = &copy, .c = again.view()});
    EXPECT_TRUE(std::ranges::equal(c.view().span<float>(), again.view().span<float>()));
    EXPECT_THROW(PackedWeight::from_storage(device_, packed.storage(), 77, 145), InternalError);
  }
}

TEST_P(MatmulTest, PlanningBooksTheSame) {
  testing::expect_same_booking([](DeviceContext& device) {
    for (const DType dtype : testing::kFloats) {
      Tensor a(device.memory(), {70, 90}, dtype, MemoryTag::kActivations);
      Tensor b(device.memory(), {130, 90}, dtype, MemoryTag::kActivations);
      Tensor c(device.memory(), {70, 130}, dtype, MemoryTag::kActivations);
      Tensor da(device.memory(), {130, 90}, DType::kF32, MemoryTag::kGradients);
      matmul(device, {.a = a.view(), .b = b.view(), .transpose_b = true, .c = c.view()});
      matmul(device, {.a = c.view(), .transpose_a = true, .b = a.view(), .c = da.view(), .accumulate = true});
      if (dtype == DType::kF16) continue;
      const PackedWeight packed(device, b.view());
      matmul(device, {.a = a.view(), .weight = &packed, .c = c.view()});
      matmul(device, {.a = a.view().slice(0, 3), .weight = &packed, .c = c.view().slice(0, 3)});
    }
  });
}

}  // namespace
}  // namespace aleph::kernels
