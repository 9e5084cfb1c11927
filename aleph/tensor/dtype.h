// Element types and their conversions.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "aleph/base/error.h"

namespace aleph {

enum class DType : uint8_t { kF32, kBF16, kF16, kI32, kI64, kU8, kF64 };

int64_t dtype_bytes(DType dtype);
/// "fp32", "bf16", "fp16", "int32", "int64", "uint8", "fp64": the names of --dtype and of messages.
const char* dtype_name(DType dtype);
/// Reads "fp32" or "float32", "bf16" or "bfloat16", "fp16" or "float16". Throws UsageError naming `object`.
DType parse_float_dtype(std::string_view name, const std::string& object);

/// bfloat16 storage: the upper half of a float. Arithmetic is done in float.
struct BF16 {
  uint16_t bits;
};
/// IEEE half storage. Arithmetic is done in float.
struct F16 {
  uint16_t bits;
};

inline float to_float(float x) { return x; }
inline float to_float(BF16 x) { return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16); }
float to_float(F16 x);

/// Rounds to nearest, ties to even; NaN stays NaN.
template <typename T>
T from_float(float x);
template <>
inline float from_float<float>(float x) {
  return x;
}
template <>
inline BF16 from_float<BF16>(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((bits >> 16) | 0x40u)};
  return {static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}
template <>
F16 from_float<F16>(float x);

template <typename T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<float>() {
  return DType::kF32;
}
template <>
constexpr DType dtype_of<double>() {
  return DType::kF64;
}
template <>
constexpr DType dtype_of<BF16>() {
  return DType::kBF16;
}
template <>
constexpr DType dtype_of<F16>() {
  return DType::kF16;
}
template <>
constexpr DType dtype_of<int32_t>() {
  return DType::kI32;
}
template <>
constexpr DType dtype_of<int64_t>() {
  return DType::kI64;
}
template <>
constexpr DType dtype_of<uint8_t>() {
  return DType::kU8;
}

/// Calls `body` with a value of the C++ type of a floating storage dtype (float, BF16 or F16).
template <typename Body>
decltype(auto) dispatch_float(DType dtype, const Body& body) {
  if (dtype == DType::kBF16) return body(BF16{});
  if (dtype == DType::kF16) return body(F16{});
  ALEPH_CHECK(dtype == DType::kF32, "dtype {} where fp32, bf16 or fp16 is needed", dtype_name(dtype));
  return body(float{});
}

}  // namespace aleph
