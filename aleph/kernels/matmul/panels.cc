#include "aleph/kernels/matmul/panels.h"

#include <algorithm>

#include "aleph/base/round_up.h"
#include "aleph/kernels/simd/simd.h"

namespace aleph::kernels {
namespace {

/// `count` elements of step p of k, padded to 64; null: a step of padding.
[[gnu::always_inline]] inline void pack_step(const float* from, int64_t count, float* to) {
  if (from == nullptr) count = 0;
#pragma omp simd
  for (int64_t j = 0; j < count; ++j) to[j] = from[j];
  for (int64_t j = count; j < kPanel; ++j) to[j] = 0;
}

/// Steps p and p + 1 side by side.
[[gnu::always_inline]] inline void pack_pair(const BF16* low, const BF16* high, int64_t count, uint32_t* to) {
  if (low == nullptr) count = 0;
  if (high == nullptr) {
    for (int64_t j = 0; j < count; ++j) to[j] = low[j].bits;
  } else {
#pragma omp simd
    for (int64_t j = 0; j < count; ++j) to[j] = low[j].bits | static_cast<uint32_t>(high[j].bits) << 16;
  }
  for (int64_t j = count; j < kPanel; ++j) to[j] = 0;
}

/// A stretch of one panel: steps [begin, end) of k.
struct Stretch {
  int64_t column, count;  // of b
  int64_t begin, end;
};

[[gnu::always_inline]] inline void pack(const float* b, int64_t n, int64_t k, const Stretch& part,
                                        float* panel) {
  for (int64_t p = part.begin; p < part.end; ++p) {
    pack_step(p < k ? b + p * n + part.column : nullptr, part.count, panel + p * kPanel);
  }
}
[[gnu::always_inline]] inline void pack(const BF16* b, int64_t n, int64_t k, const Stretch& part,
                                        BF16* panel) {
  for (int64_t p = part.begin; p < part.end; p += 2) {
    const BF16* low = b + p * n + part.column;
    pack_pair(p < k ? low : nullptr, p + 1 < k ? low + n : nullptr, part.count,
              reinterpret_cast<uint32_t*>(panel + p * kPanel));
  }
}

}  // namespace

int64_t padded_depth(int64_t k, DType dtype) { return round_up(k, 64 / dtype_bytes(dtype)); }

Shape panels_shape(int64_t n, int64_t k, DType dtype) {
  return {(n + kPanel - 1) / kPanel, padded_depth(k, dtype), kPanel};
}

void pack_panels(const ConstTensorView& b, const TensorView& panels) {
  constexpr int64_t kSteps = 256;  // of a task: 128 bytes of as many rows fit the address translation cache
  const int64_t k = b.shape()[0], n = b.shape()[1];
  const int64_t depth = padded_depth(k, b.dtype()), stretches = (depth + kSteps - 1) / kSteps;
  const auto run = [&](auto element) {
    using T = decltype(element);
    const T* from = b.data<T>();
    T* to = panels.data<T>();
    simd::parallel(
        panels.shape()[0] * stretches,
        1, [=](auto, int64_t begin, int64_t end) __attribute__((always_inline)) {
          for (int64_t i = begin; i < end; ++i) {
            const int64_t panel = i / stretches, column = panel * kPanel, step = i % stretches * kSteps;
            pack(from, n, k, {column, std::min(kPanel, n - column), step, std::min(depth, step + kSteps)},
                 to + panel * kPanel * depth);
          }
        });
  };
  b.dtype() == DType::kBF16 ? run(BF16{}) : run(float{});
}

}  // namespace aleph::kernels
