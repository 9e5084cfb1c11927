#include "aleph/tensor/dtype.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <type_traits>

#include "aleph/base/random.h"

namespace aleph {
namespace {

/// A binary format: 1 + `mantissa` significant bits, least positive value 2^least.
template <typename T>
struct Format;
template <>
struct Format<BF16> {
  static constexpr int kMantissa = 7, kLeast = -133;
  static constexpr uint32_t kInfinity = 0x7f80;
};
template <>
struct Format<F16> {
  static constexpr int kMantissa = 10, kLeast = -24;
  static constexpr uint32_t kInfinity = 0x7c00;
};

/// The value of non-negative finite bits, by definition; for those of infinity the value that would follow.
template <typename T>
double value_of(uint32_t bits) {
  const int mantissa = Format<T>::kMantissa;
  const auto exponent = static_cast<int>(bits >> mantissa);
  const auto fraction = static_cast<double>(bits & ((1u << mantissa) - 1));
  const double hidden = exponent == 0 ? 0 : std::ldexp(1.0, mantissa);
  return std::ldexp(hidden + fraction, Format<T>::kLeast + std::max(exponent, 1) - 1);
}

template <typename T>
T storage(uint32_t bits) {
  return T{static_cast<uint16_t>(bits)};
}

template <typename T>
class SixteenBits : public testing::Test {};
using SixteenBitTypes = testing::Types<BF16, F16>;
TYPED_TEST_SUITE(SixteenBits, SixteenBitTypes);

TYPED_TEST(SixteenBits, EveryFiniteValueIsItsDefinitionAndComesBack) {
  for (uint32_t bits = 0; bits < Format<TypeParam>::kInfinity; ++bits) {
    const double expected = value_of<TypeParam>(bits);
    ASSERT_EQ(static_cast<double>(to_float(storage<TypeParam>(bits))), expected) << bits;
    ASSERT_EQ(static_cast<double>(to_float(storage<TypeParam>(bits | 0x8000))), -expected) << bits;
    ASSERT_EQ(from_float<TypeParam>(static_cast<float>(expected)).bits, bits);
    ASSERT_EQ(from_float<TypeParam>(-static_cast<float>(expected)).bits, bits | 0x8000)
        << "sign, of zero too";
  }
}

TYPED_TEST(SixteenBits, EveryBorderBetweenNeighboursRoundsToTheEvenOne) {
  constexpr float kUp = std::numeric_limits<float>::infinity();
  for (uint32_t low = 0; low < Format<TypeParam>::kInfinity; ++low) {
    const uint32_t high = low + 1, even = low % 2 == 0 ? low : high;
    const double middle = (value_of<TypeParam>(low) + value_of<TypeParam>(high)) / 2;
    const auto border = static_cast<float>(middle);
    ASSERT_EQ(static_cast<double>(border), middle);
    for (const uint32_t sign : {0u, 0x8000u}) {
      const float s = sign == 0 ? 1.0f : -1.0f;
      ASSERT_EQ(from_float<TypeParam>(s * border).bits, even | sign) << low;
      ASSERT_EQ(from_float<TypeParam>(s * std::nextafter(border, 0.0f)).bits, low | sign) << low;
      ASSERT_EQ(from_float<TypeParam>(s * std::nextafter(border, kUp)).bits, high | sign) << low;
    }
  }
}

TYPED_TEST(SixteenBits, RandomFloatsRoundLikeDoubleArithmetic) {
  const RandomStream random({.seed = 41});
  for (uint64_t i = 0; i < 400'000; ++i) {
    const float x = std::bit_cast<float>(random.word(i));
    if (!std::isfinite(x)) continue;
    const int exponent =
        std::max(x == 0 ? -1000 : std::ilogb(x) - Format<TypeParam>::kMantissa, Format<TypeParam>::kLeast);
    double expected = std::ldexp(std::nearbyint(std::ldexp(static_cast<double>(x), -exponent)), exponent);
    if (std::abs(expected) >= value_of<TypeParam>(Format<TypeParam>::kInfinity))
      expected = std::copysign(std::numeric_limits<double>::infinity(), expected);
    ASSERT_EQ(static_cast<double>(to_float(from_float<TypeParam>(x))), expected) << x;
    ASSERT_EQ(std::signbit(to_float(from_float<TypeParam>(x))), std::signbit(x)) << x;
  }
}

TYPED_TEST(SixteenBits, InfinityAndNanStayWhatTheyAre) {
  constexpr uint32_t kInfinity = Format<TypeParam>::kInfinity;
  constexpr float kInf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(from_float<TypeParam>(kInf).bits, kInfinity);
  EXPECT_EQ(from_float<TypeParam>(-kInf).bits, kInfinity | 0x8000);
  EXPECT_EQ(to_float(storage<TypeParam>(kInfinity)), kInf);
  for (uint32_t bits = kInfinity + 1; bits < 0x8000; ++bits)
    ASSERT_TRUE(std::isnan(to_float(storage<TypeParam>(bits)))) << bits;
  const RandomStream random({.seed = 42});
  for (uint64_t i = 0; i < 23 + 1000; ++i) {
    // Payloads of one bit alone: the lowest must not round to infinity, nor the carry run into the sign.
    const uint32_t payload = i < 23 ? 1u << i : (random.word(i) & 0x7fffffu) | 1u;
    for (const uint32_t sign : {0u, 0x80000000u}) {
      const TypeParam stored = from_float<TypeParam>(std::bit_cast<float>(sign | 0x7f800000u | payload));
      ASSERT_TRUE(std::isnan(to_float(stored))) << payload;
      ASSERT_EQ(stored.bits >> 15, sign >> 31) << payload;
    }
  }
}

TEST(DTypeNamesTest, SizesAreThoseOfTheTypes) {
  const auto same = [](auto value, const char* name) {
    using T = decltype(value);
    return dtype_bytes(dtype_of<T>()) == static_cast<int64_t>(sizeof(T)) &&
           std::string(dtype_name(dtype_of<T>())) == name;
  };
  EXPECT_TRUE(same(float{}, "fp32"));
  EXPECT_TRUE(same(BF16{}, "bf16"));
  EXPECT_TRUE(same(F16{}, "fp16"));
  EXPECT_TRUE(same(int32_t{}, "int32"));
  EXPECT_TRUE(same(int64_t{}, "int64"));
  EXPECT_TRUE(same(uint8_t{}, "uint8"));
  EXPECT_TRUE(same(double{}, "fp64"));
  EXPECT_THROW((void)dtype_bytes(static_cast<DType>(99)), InternalError);
  EXPECT_THROW((void)dtype_name(static_cast<DType>(99)), InternalError);
}

TEST(DTypeNamesTest, ReadsTheNamesPeopleWrite) {
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16})
    EXPECT_EQ(parse_float_dtype(dtype_name(dtype), "--dtype"), dtype);
  EXPECT_EQ(parse_float_dtype("float32", "x"), DType::kF32);
  EXPECT_EQ(parse_float_dtype("bfloat16", "x"), DType::kBF16);
  EXPECT_EQ(parse_float_dtype("float16", "x"), DType::kF16);
  for (const char* wrong : {"", "FP32", "fp32 ", "int32", "fp64", "half", "b\nf16"}) {
    try {
      parse_float_dtype(wrong, "--dtype");
      FAIL() << wrong;
    } catch (const UsageError& error) {
      const std::string line = error.what();
      EXPECT_EQ(line.rfind("--dtype: found '", 0), 0u) << line;
      EXPECT_NE(line.find("expected fp32, bf16 or fp16"), std::string::npos) << line;
      EXPECT_EQ(line.find('\n'), std::string::npos);
    }
  }
}

TEST(DTypeNamesTest, DispatchGivesTheStorageType) {
  const auto bytes = [](DType dtype) {
    return dispatch_float(dtype, [](auto value) { return dtype_of<decltype(value)>(); });
  };
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) EXPECT_EQ(bytes(dtype), dtype);
  for (const DType dtype : {DType::kI32, DType::kI64, DType::kU8, DType::kF64})
    EXPECT_THROW(bytes(dtype), InternalError);
}

}  // namespace
}  // namespace aleph
