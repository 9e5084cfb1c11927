#include <algorithm>
#include <type_traits>

#include "aleph/kernels/activation/activation.h"
#include "aleph/kernels/checks.h"
#include "aleph/kernels/simd/math.h"
#include "aleph/kernels/simd/prefetch.h"
#include "aleph/kernels/simd/store_row.h"

// Rows are cut into blocks that fit the first cache: storage to fp32 where it is narrower, the function, fp32
// to storage. So the function is compiled once per CPU level and not once per dtype and use.
namespace aleph::kernels {
namespace {

constexpr int64_t kBlock = 512;
constexpr int64_t kGrain = 8 * kBlock;
static_assert(kBlock <= simd::kRowBlock, "a block is one block of by_blocks");

constexpr float kTanhFactor = 1.59576912f;  // 2 sqrt(2 / pi): 1/2 (1 + tanh u) = sigmoid(2 u)
constexpr float kTanhCubic = 0.044715f;

/// x sigmoid(factor x) and its derivative.
template <typename Isa>
[[gnu::always_inline]] inline float swish(float x, float factor) {
  return x * simd::sigmoid<Isa>(factor * x);
}
template <typename Isa>
[[gnu::always_inline]] inline float swish_slope(float x, float factor) {
  const float s = simd::sigmoid<Isa>(factor * x);
  return s + factor * x * s * (1.0f - s);
}

template <Activation kActivation, typename Isa>
[[gnu::always_inline]] inline float value(float x) {
  if constexpr (kActivation == Activation::kGelu) return x * simd::normal<Isa>(x).distribution;
  if constexpr (kActivation == Activation::kGeluTanh) {
    return x * simd::sigmoid<Isa>(kTanhFactor * x * Isa::multiply_add(kTanhCubic * x, x, 1.0f));
  }
  if constexpr (kActivation == Activation::kQuickGelu) return swish<Isa>(x, 1.702f);
  if constexpr (kActivation == Activation::kSilu) return swish<Isa>(x, 1.0f);
  if constexpr (kActivation == Activation::kRelu) return x < 0.0f ? 0.0f : x;
  if constexpr (kActivation == Activation::kReluSquared) return x < 0.0f ? 0.0f : x * x;
  if constexpr (kActivation == Activation::kTanh) return simd::tanh<Isa>(x);
  if constexpr (kActivation == Activation::kSigmoid) return simd::sigmoid<Isa>(x);
  return x;
}

template <typename Isa>
[[gnu::always_inline]] inline float gelu_tanh_slope(float x) {
  float bounded = x > 20.0f ? 20.0f : x;  // beyond, the slope is 0 or 1; the square would overflow
  bounded = bounded < -20.0f ? -20.0f : bounded;
  const float square = bounded * bounded;
  const float s = simd::sigmoid<Isa>(kTanhFactor * bounded * Isa::multiply_add(kTanhCubic, square, 1.0f));
  const float inner = kTanhFactor * Isa::multiply_add(3.0f * kTanhCubic, square, 1.0f);
  return s + bounded * s * (1.0f - s) * inner;
}

template <Activation kActivation, typename Isa>
[[gnu::always_inline]] inline float slope(float x) {
  if constexpr (kActivation == Activation::kGelu) {
    const simd::Normal at = simd::normal<Isa>(x);
    return Isa::multiply_add(x, at.density, at.distribution);
  }
  if constexpr (kActivation == Activation::kGeluTanh) return gelu_tanh_slope<Isa>(x);
  if constexpr (kActivation == Activation::kQuickGelu) return swish_slope<Isa>(x, 1.702f);
  if constexpr (kActivation == Activation::kSilu) return swish_slope<Isa>(x, 1.0f);
  if constexpr (kActivation == Activation::kRelu) return x > 0.0f ? 1.0f : 0.0f;
  if constexpr (kActivation == Activation::kReluSquared) return x > 0.0f ? 2.0f * x : 0.0f;
  if constexpr (kActivation == Activation::kTanh) {
    const float t = simd::tanh<Isa>(x);
    return 1.0f - t * t;
  }
  if constexpr (kActivation == Activation::kSigmoid) {
    const float s = simd::sigmoid<Isa>(x);
    return s * (1.0f - s);
  }
  return 1.0f;
}

template <Activation kActivation>
using Constant = std::integral_constant<Activation, kActivation>;

/// Calls `body` with the activation as a compile-time constant.
template <typename Body>
void with_constant(Activation activation, const Body& body) {
  switch (activation) {
    case Activation::kGelu:
      return body(Constant<Activation::kGelu>{});
    case Activation::kGeluTanh:
      return body(Constant<Activation::kGeluTanh>{});
    case Activation::kQuickGelu:
      return body(Constant<Activation::kQuickGelu>{});
    case Activation::kSilu:
      return body(Constant<Activation::kSilu>{});
    case Activation::kRelu:
      return body(Constant<Activation::kRelu>{});
    case Activation::kReluSquared:
      return body(Constant<Activation::kReluSquared>{});
    case Activation::kTanh:
      return body(Constant<Activation::kTanh>{});
    case Activation::kSigmoid:
      return body(Constant<Activation::kSigmoid>{});
    case Activation::kIdentity:
      return body(Constant<Activation::kIdentity>{});
  }
}

/// y = f(x) of a block.
void values(CpuLevel level, Activation activation, const float* x, float* y, int64_t n) {
  with_constant(activation, [=](auto constant) {
    simd::run_at(
        level, [=](auto isa) __attribute__((always_inline)) {
#pragma omp simd
          for (int64_t i = 0; i < n; ++i) y[i] = value<decltype(constant)::value, decltype(isa)>(x[i]);
        });
  });
}

/// y = dy f'(x) of a block; y may be dy.
void slopes(CpuLevel level, Activation activation, const float* x, const float* dy, float* y, int64_t n) {
  with_constant(activation, [=](auto constant) {
    simd::run_at(
        level, [=](auto isa) __attribute__((always_inline)) {
#pragma omp simd
          for (int64_t i = 0; i < n; ++i)
            y[i] = dy[i] * slope<decltype(constant)::value, decltype(isa)>(x[i]);
        });
  });
}

/// dgate = dy up f'(gate) and dup = dy f(gate) of a block: both in one loop, as most share an exponential.
void gated_slopes(CpuLevel level, Activation activation, const float* gate, const float* up, const float* dy,
                  float* dgate, float* dup, int64_t n) {
  with_constant(activation, [=](auto constant) {
    simd::run_at(
        level, [=](auto isa) __attribute__((always_inline)) {
          constexpr Activation kActivation = decltype(constant)::value;
#pragma omp simd
          for (int64_t i = 0; i < n; ++i) {
            dgate[i] = dy[i] * up[i] * slope<kActivation, decltype(isa)>(gate[i]);
            dup[i] = dy[i] * value<kActivation, decltype(isa)>(gate[i]);
          }
        });
  });
}

/// y = a y of a block.
void multiply(CpuLevel level, const float* a, float* y, int64_t n) {
  simd::run_at(
      level, [=](auto) __attribute__((always_inline)) {
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) y[i] *= a[i];
      });
}

/// A block x[0, n) as fp32: x itself, or widened in `space`; the block behind it is asked for.
template <typename T>
const float* as_fp32(CpuLevel level, const T* x, float* space, int64_t n) {
  if constexpr (std::is_same_v<T, float>) {
    return x;
  } else {
    simd::prefetch(x + kBlock, kBlock);
    simd::run_at(
        level, [=](auto) __attribute__((always_inline)) {
#pragma omp simd
          for (int64_t i = 0; i < n; ++i) space[i] = simd::load(x + i);
        });
    return space;
  }
}

/// Calls `body(begin, count)` on blocks of [0, n), in parallel.
template <typename Body>
void for_blocks(int64_t n, const Body& body) {
  parallel_for(n, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += kBlock) body(i, std::min(kBlock, end - i));
  });
}

/// Calls `body(row, begin, count)` on blocks of the rows of a [rows, n] matrix, in parallel.
template <typename Body>
void for_row_blocks(int64_t rows, int64_t n, const Body& body) {
  const int64_t blocks = (n + kBlock - 1) / kBlock;
  parallel_for(rows * blocks, kGrain / kBlock, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i % blocks * kBlock;
      body(i / blocks, first, std::min(kBlock, n - first));
    }
  });
}

void check_gated(const ConstTensorView& x, const ConstTensorView& y, const char* name) {
  check_float("x", x);
  check_dtype(name, y, x.dtype());
  ALEPH_CHECK(columns_of("x", x) == 2 * columns_of(name, y) && x.elements() == 2 * y.elements(),
              "x is {}, expected rows twice as long as those of {} {}", x.shape().to_string(), name,
              y.shape().to_string());
}

}  // namespace

void activation_forward(DeviceContext& device, const ActivationForwardArgs& args) {
  check_float("x", args.x);
  check_like("y", args.y, args.x);
  if (device.meta()) return;
  const KernelTimer timer(device.profile(), KernelKind::kActivation, 0, bytes_of(args.x, args.y));
  const CpuLevel level = cpu_level();
  dispatch_float(args.x.dtype(), [&](auto element) {
    using T = decltype(element);
    const T* x = args.x.data<T>();
    T* y = args.y.data<T>();
    for_blocks(args.x.elements(), [=, &args](int64_t begin, int64_t count) {
      float space[kBlock];
      const float* in = as_fp32(level, x + begin, space, count);
      simd::by_blocks(level, y + begin, count,
                      [&](int64_t, int64_t, float* out) { values(level, args.activation, in, out, count); });
    });
  });
}

void activation_backward(DeviceContext& device, const ActivationBackwardArgs& args) {
  check_float("x", args.x);
  check_like("dy", args.dy, args.x);
  check_like("dx", args.dx, args.x);
  if (device.meta()) return;
  const KernelTimer timer(device.profile(), KernelKind::kActivation, 0, bytes_of(args.x, args.dy, args.dx));
  const CpuLevel level = cpu_level();
  dispatch_float(args.x.dtype(), [&](auto element) {
    using T = decltype(element);
    const T *x = args.x.data<T>(), *dy = args.dy.data<T>();
    T* dx = args.dx.data<T>();
    for_blocks(args.x.elements(), [=, &args](int64_t begin, int64_t count) {
      float space[2][kBlock];
      const float* in = as_fp32(level, x + begin, space[0], count);
      const float* upstream = as_fp32(level, dy + begin, space[1], count);
      simd::by_blocks(level, dx + begin, count, [&](int64_t, int64_t, float* out) {
        slopes(level, args.activation, in, upstream, out, count);
      });
    });
  });
}

void gated_forward(DeviceContext& device, const GatedForwardArgs& args) {
  check_gated(args.x, args.y, "y");
  if (device.meta()) return;
  const KernelTimer timer(device.profile(), KernelKind::kActivation, 0, bytes_of(args.x, args.y));
  const CpuLevel level = cpu_level();
  dispatch_float(args.x.dtype(), [&](auto element) {
    using T = decltype(element);
    const T* x = args.x.data<T>();
    T* y = args.y.data<T>();
    const int64_t n = columns_of("y", args.y);
    for_row_blocks(rows_of("y", args.y), n, [=, &args](int64_t row, int64_t begin, int64_t count) {
      float space[2][kBlock];
      const float* gate = as_fp32(level, x + row * 2 * n + begin, space[0], count);
      const float* up = as_fp32(level, x + (row * 2 + 1) * n + begin, space[1], count);
      simd::by_blocks(level, y + row * n + begin, count, [&](int64_t, int64_t, float* out) {
        values(level, args.activation, gate, out, count);
        multiply(level, up, out, count);
      });
    });
  });
}

void gated_backward(DeviceContext& device, const GatedBackwardArgs& args) {
  check_gated(args.x, args.dy, "dy");
  check_like("dx", args.dx, args.x);
  if (device.meta()) return;
  const KernelTimer timer(device.profile(), KernelKind::kActivation, 0, bytes_of(args.x, args.dy, args.dx));
  const CpuLevel level = cpu_level();
  dispatch_float(args.x.dtype(), [&](auto element) {
    using T = decltype(element);
    const T *x = args.x.data<T>(), *dy = args.dy.data<T>();
    T* dx = args.dx.data<T>();
    const int64_t n = columns_of("dy", args.dy);
    for_row_blocks(rows_of("dy", args.dy), n, [=, &args](int64_t row, int64_t begin, int64_t count) {
      const int64_t first = row * 2 * n + begin, second = first + n;
      float space[3][kBlock];
      const float* gate = as_fp32(level, x + first, space[0], count);
      const float* up = as_fp32(level, x + second, space[1], count);
      const float* upstream = as_fp32(level, dy + row * n + begin, space[2], count);
      simd::by_blocks(level, dx + first, count, [&](int64_t, int64_t, float* dgate) {
        simd::by_blocks(level, dx + second, count, [&](int64_t, int64_t, float* dup) {
          gated_slopes(level, args.activation, gate, up, upstream, dgate, dup, count);
        });
      });
    });
  });
}

}  // namespace aleph::kernels
