// One source, several instruction sets, in two ways. A kernel's loop is a generic lambda marked
// always_inline; run_at inlines it into a function compiled for the level the machine has, where the compiler
// turns `#pragma omp simd` loops into vectors of that level. Loop bodies are straight-line scalar code, so an
// element gets the same bits in a vector and in a tail. Or, where more is to be had than a compiler makes of
// a loop, it is written with vector types (vector.h), a file for each level, and kernels_of gives its
// functions. Levels may differ in the last bit (the portable one has no fused multiply-add).
#pragma once

#include <bit>
#include <cstdint>

#include "aleph/base/parallel.h"
#include "aleph/tensor/dtype.h"

namespace aleph::kernels {

enum class CpuLevel : uint8_t {
  kPortable,    ///< what every x86-64 has
  kAvx2,        ///< AVX2, FMA, F16C
  kAvx512,      ///< AVX-512 F, BW, VL, DQ
  kAvx512Bf16,  ///< and products of bf16
};

inline constexpr CpuLevel kCpuLevels[] = {CpuLevel::kPortable, CpuLevel::kAvx2, CpuLevel::kAvx512,
                                          CpuLevel::kAvx512Bf16};

/// "portable", "avx2", "avx512", "avx512_bf16".
const char* cpu_level_name(CpuLevel level);
/// The best level of this machine.
CpuLevel machine_cpu_level();
/// The level kernels run at: the machine's, or a lower one named by the environment variable ALEPH_CPU.
/// Throws UsageError on an unknown name.
CpuLevel cpu_level();

/// What is compiled for a level: Levels has a static member for each.
template <typename Levels>
const auto& kernels_of(CpuLevel level) {
#if defined(__x86_64__)
  if (level == CpuLevel::kAvx512Bf16) return Levels::avx512_bf16();
  if (level == CpuLevel::kAvx512) return Levels::avx512();
  if (level == CpuLevel::kAvx2) return Levels::avx2();
#endif
  return Levels::portable();
}

namespace simd {

/// Passed to bodies; multiply_add(a, b, c) = a b + c, with one rounding where the level has it.
struct Portable {
  [[gnu::always_inline]] static float multiply_add(float a, float b, float c) { return a * b + c; }
};
struct Avx2 {
  [[gnu::always_inline]] static float multiply_add(float a, float b, float c) {
    return __builtin_fmaf(a, b, c);
  }
};
struct Avx512 : Avx2 {};

template <typename Body>
void run_portable(const Body& body) {
  body(Portable{});
}
template <typename Body>
__attribute__((target("avx2,fma,f16c,bmi,bmi2"))) void run_avx2(const Body& body) {
  body(Avx2{});
}
template <typename Body>
__attribute__((target("avx2,fma,f16c,bmi,bmi2,avx512f,avx512bw,avx512vl,avx512dq"))) void run_avx512(
    const Body& body) {
  body(Avx512{});
}

/// Calls `body(tag)` with the tag of `level`, compiled for it. `body` is a lambda with
/// __attribute__((always_inline)).
template <typename Body>
void run_at(CpuLevel level, const Body& body) {
  if (level >= CpuLevel::kAvx512) return run_avx512(body);
  if (level == CpuLevel::kAvx2) return run_avx2(body);
  run_portable(body);
}

/// parallel_for at the level of the machine: `body(tag, begin, end)`, always_inline.
template <typename Body>
void parallel(int64_t n, int64_t grain, const Body& body) {
  const CpuLevel level = cpu_level();
  parallel_for(n, grain, [&](int64_t begin, int64_t end) {
    run_at(
        level, [&](auto isa) __attribute__((always_inline)) { body(isa, begin, end); });
  });
}

/// Elements per task of flat loops: below two of them, starting threads costs more than it saves.
inline constexpr int64_t kFlatGrain = 16384;
/// Rows per task, so that a task has about kFlatGrain elements.
inline int64_t row_grain(int64_t columns) {
  return std::max<int64_t>(1, kFlatGrain / std::max<int64_t>(1, columns));
}

// Storage to fp32 and back, without branches; the same bits as to_float and from_float.

[[gnu::always_inline]] inline float load(const float* x) { return *x; }
[[gnu::always_inline]] inline float load(const BF16* x) {
  return std::bit_cast<float>(static_cast<uint32_t>(x->bits) << 16);
}
[[gnu::always_inline]] inline float load(const F16* x) {
  const uint32_t magnitude = static_cast<uint32_t>(x->bits & 0x7fffu) << 13;
  const uint32_t sign = static_cast<uint32_t>(x->bits & 0x8000u) << 16;
  const uint32_t finite = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112f);
  const uint32_t bits = magnitude >= 0x0f800000u ? magnitude | 0x7f800000u : finite;
  return std::bit_cast<float>(bits | sign);
}

[[gnu::always_inline]] inline void store(float* y, float x) { *y = x; }
[[gnu::always_inline]] inline void store(BF16* y, float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const uint32_t quiet = (bits >> 16) | 0x40u;
  y->bits = static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
}
[[gnu::always_inline]] inline void store(F16* y, float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t magnitude = bits & 0x7fffffffu;
  const uint32_t normal = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - 0x38000000u) >> 13;
  const uint32_t subnormal = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;
  uint32_t half = magnitude < 0x38800000u ? subnormal : normal;
  half = magnitude >= 0x477ff000u ? 0x7c00u : half;
  half = magnitude > 0x7f800000u ? 0x7e00u : half;
  y->bits = static_cast<uint16_t>(half | ((bits >> 16) & 0x8000u));
}

}  // namespace simd
}  // namespace aleph::kernels
