#include "aleph/kernels/checks.h"
#include "aleph/kernels/rotary/rotary.h"
#include "aleph/kernels/simd/simd.h"

namespace aleph::kernels {
namespace {

/// Turns the pairs (x[i * step], x[i * step + distance]) of one head.
template <typename Isa, typename T>
[[gnu::always_inline]] inline void turn_pair(T* first, T* second, float cosine, float sine) {
  const float x1 = simd::load(first), x2 = simd::load(second);
  simd::store(first, Isa::multiply_add(x1, cosine, -(x2 * sine)));
  simd::store(second, Isa::multiply_add(x2, cosine, x1 * sine));
}

template <typename Isa, typename T>
[[gnu::always_inline]] inline void turn_head(T* x, const float* cosines, const float* sines, float sign,
                                             int64_t half, RotaryLayout layout) {
  if (layout == RotaryLayout::kHalves) {
#pragma omp simd
    for (int64_t i = 0; i < half; ++i) turn_pair<Isa>(x + i, x + half + i, cosines[i], sign * sines[i]);
  } else {
#pragma omp simd
    for (int64_t i = 0; i < half; ++i) turn_pair<Isa>(x + 2 * i, x + 2 * i + 1, cosines[i], sign * sines[i]);
  }
}

void check_rotary(const RotaryArgs& args) {
  check_float("x", args.x);
  ALEPH_CHECK(args.x.shape().rank() == 3, "x is {}, expected [tokens, heads, head_dim]",
              args.x.shape().to_string());
  ALEPH_CHECK(args.heads >= 0 && args.heads <= args.x.shape()[1], "{} heads of {}", args.heads,
              args.x.shape().to_string());
  check_dtype("cosines", args.cosines, DType::kF32);
  ALEPH_CHECK(args.cosines.shape().rank() == 2 && 2 * args.cosines.shape()[1] <= args.x.shape()[2],
              "cosines are {} for x {}", args.cosines.shape().to_string(), args.x.shape().to_string());
  check_like("sines", args.sines, args.cosines);
  check_vector("positions", args.positions, args.x.shape()[0], DType::kI32);
}

void check_positions(const RotaryArgs& args) {
  const int64_t limit = args.cosines.shape()[0];
  for (const int32_t position : args.positions.span<int32_t>()) {
    ALEPH_CHECK(position >= 0 && position < limit, "position {}, expected less than {}", position, limit);
  }
}

}  // namespace

void rotary(DeviceContext& device, const RotaryArgs& args) {
  check_rotary(args);
  if (device.meta()) return;
  const KernelTimer timer(device.profile(), KernelKind::kRotary, 0, 2 * bytes_of(args.x));
  check_positions(args);
  const int64_t all_heads = args.x.shape()[1], head_dim = args.x.shape()[2], half = args.cosines.shape()[1];
  const float *cosines = args.cosines.data<float>(), *sines = args.sines.data<float>();
  const float sign = args.direction == RotaryDirection::kForward ? 1.0f : -1.0f;
  dispatch_float(args.x.dtype(), [&](auto element) {
    auto* x = args.x.data<decltype(element)>();
    simd::parallel(
        args.x.shape()[0], simd::row_grain(args.heads * half),
        [&](auto isa, int64_t begin, int64_t end) __attribute__((always_inline)) {
          for (int64_t token = begin; token < end; ++token) {
            const int64_t row = args.positions.data<int32_t>()[token] * half;
            for (int64_t head = 0; head < args.heads; ++head) {
              turn_head<decltype(isa)>(x + (token * all_heads + head) * head_dim, cosines + row, sines + row,
                                       sign, half, args.layout);
            }
          }
        });
  });
}

}  // namespace aleph::kernels
