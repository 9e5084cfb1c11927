// The activations for one vector type V (simd/vector.h). Included once by each file that compiles for an
// instruction set, after its target pragma; everything here has internal linkage. What is loaded, computed
// and stored in one loop comes from memory while it computes.
#pragma once

#include <cstdint>
#include <type_traits>

#include "aleph/kernels/activation/activation_rows.h"
#include "aleph/kernels/simd/math-inl.h"
#include "aleph/kernels/simd/rows-inl.h"
#include "aleph/kernels/simd/vector.h"

namespace aleph::kernels::activation {
namespace {

inline constexpr float kTanhFactor = 1.59576912f;  // 2 sqrt(2 / pi): 1/2 (1 + tanh u) = sigmoid(2 u)
inline constexpr float kTanhCubic = 0.044715f;
inline constexpr float kQuick = 1.702f;

/// x sigmoid(factor x) and its derivative.
template <typename V>
inline typename V::Reg swish(typename V::Reg x, float factor) {
  return V::mul(x, simd::sigmoid<V>(V::mul(V::set1(factor), x)));
}
template <typename V>
inline typename V::Reg swish_slope(typename V::Reg x, float factor) {
  const auto scaled = V::mul(V::set1(factor), x), s = simd::sigmoid<V>(scaled);
  return V::fma(V::mul(scaled, s), V::sub(V::set1(1.0f), s), s);
}

template <typename V>
inline typename V::Reg gelu_tanh(typename V::Reg x) {
  const auto cubic = V::fma(V::mul(V::set1(kTanhCubic), x), x, V::set1(1.0f));
  return V::mul(x, simd::sigmoid<V>(V::mul(V::mul(V::set1(kTanhFactor), x), cubic)));
}
/// Beyond 20 the slope is 0 or 1; the square would overflow.
template <typename V>
inline typename V::Reg gelu_tanh_slope(typename V::Reg x) {
  const auto one = V::set1(1.0f), factor = V::set1(kTanhFactor);
  const auto bounded = V::max(V::set1(-20.0f), V::min(V::set1(20.0f), x)), square = V::mul(bounded, bounded);
  const auto cubic = V::fma(V::set1(kTanhCubic), square, one);
  const auto s = simd::sigmoid<V>(V::mul(V::mul(factor, bounded), cubic));
  const auto inner = V::mul(factor, V::fma(V::set1(3.0f * kTanhCubic), square, one));
  return V::fma(V::mul(V::mul(bounded, s), V::sub(one, s)), inner, s);
}

template <typename V, Activation kActivation>
inline typename V::Reg value(typename V::Reg x) {
  const auto zero = V::set1(0.0f);
  if constexpr (kActivation == Activation::kGelu) return V::mul(x, simd::normal<V>(x).distribution);
  if constexpr (kActivation == Activation::kGeluTanh) return gelu_tanh<V>(x);
  if constexpr (kActivation == Activation::kQuickGelu) return swish<V>(x, kQuick);
  if constexpr (kActivation == Activation::kSilu) return swish<V>(x, 1.0f);
  if constexpr (kActivation == Activation::kRelu) return V::max(zero, x);
  if constexpr (kActivation == Activation::kReluSquared) return V::mul(V::max(zero, x), V::max(zero, x));
  if constexpr (kActivation == Activation::kTanh) return simd::tanh<V>(x);
  if constexpr (kActivation == Activation::kSigmoid) return simd::sigmoid<V>(x);
  return x;
}

template <typename V, Activation kActivation>
inline typename V::Reg slope(typename V::Reg x) {
  const auto zero = V::set1(0.0f), one = V::set1(1.0f);
  if constexpr (kActivation == Activation::kGelu) {
    const simd::Normal at = simd::normal<V>(x);
    return V::fma(x, at.density, at.distribution);
  }
  if constexpr (kActivation == Activation::kGeluTanh) return gelu_tanh_slope<V>(x);
  if constexpr (kActivation == Activation::kQuickGelu) return swish_slope<V>(x, kQuick);
  if constexpr (kActivation == Activation::kSilu) return swish_slope<V>(x, 1.0f);
  if constexpr (kActivation == Activation::kRelu) return V::if_less(zero, x, one, zero);
  if constexpr (kActivation == Activation::kReluSquared) return V::if_less(zero, x, V::add(x, x), zero);
  if constexpr (kActivation == Activation::kTanh) {
    const auto t = simd::tanh<V>(x);
    return V::sub(one, V::mul(t, t));
  }
  if constexpr (kActivation == Activation::kSigmoid) {
    const auto s = simd::sigmoid<V>(x);
    return V::mul(s, V::sub(one, s));
  }
  return one;
}

/// Calls `body.operator()<activation>(element)` with the activation as a constant and a number of the dtype.
template <typename Body>
void dispatch(Function f, const Body& body) {
  dispatch_float(f.dtype, [&](auto element) {
    switch (f.activation) {
      case Activation::kGelu:
        return body.template operator()<Activation::kGelu>(element);
      case Activation::kGeluTanh:
        return body.template operator()<Activation::kGeluTanh>(element);
      case Activation::kQuickGelu:
        return body.template operator()<Activation::kQuickGelu>(element);
      case Activation::kSilu:
        return body.template operator()<Activation::kSilu>(element);
      case Activation::kRelu:
        return body.template operator()<Activation::kRelu>(element);
      case Activation::kReluSquared:
        return body.template operator()<Activation::kReluSquared>(element);
      case Activation::kTanh:
        return body.template operator()<Activation::kTanh>(element);
      case Activation::kSigmoid:
        return body.template operator()<Activation::kSigmoid>(element);
      case Activation::kIdentity:
        return body.template operator()<Activation::kIdentity>(element);
    }
  });
}

template <typename T>
const T* numbers(const std::byte* x) {
  return reinterpret_cast<const T*>(x);
}
template <typename T>
T* numbers(std::byte* x) {
  return reinterpret_cast<T*>(x);
}

template <typename V>
void forward(Function f, const std::byte* x_bytes, std::byte* y_bytes, int64_t n) {
  dispatch(f, [=]<Activation kActivation, typename T>(T) {
    const auto* x = numbers<T>(x_bytes);
    auto* y = numbers<T>(y_bytes);
    simd::for_lanes<V>(
        n, [=](auto lanes, int64_t j) { lanes.store(y + j, value<V, kActivation>(lanes.load(x + j))); });
  });
}

template <typename V>
void backward(Function f, const std::byte* x_bytes, const std::byte* dy_bytes, std::byte* dx_bytes,
              int64_t n) {
  dispatch(f, [=]<Activation kActivation, typename T>(T) {
    const auto *x = numbers<T>(x_bytes), *dy = numbers<T>(dy_bytes);
    auto* dx = numbers<T>(dx_bytes);
    simd::for_lanes<V>(n, [=](auto lanes, int64_t j) {
      lanes.store(dx + j, V::mul(lanes.load(dy + j), slope<V, kActivation>(lanes.load(x + j))));
    });
  });
}

template <typename V>
void gated_forward(Function f, const std::byte* gate_bytes, const std::byte* up_bytes, std::byte* y_bytes,
                   int64_t n) {
  dispatch(f, [=]<Activation kActivation, typename T>(T) {
    const auto *gate = numbers<T>(gate_bytes), *up = numbers<T>(up_bytes);
    auto* y = numbers<T>(y_bytes);
    simd::for_lanes<V>(n, [=](auto lanes, int64_t j) {
      lanes.store(y + j, V::mul(value<V, kActivation>(lanes.load(gate + j)), lanes.load(up + j)));
    });
  });
}

/// Value and slope of most activations share an exponential.
template <typename V>
void gated_backward(Function f, const std::byte* gate_bytes, const std::byte* up_bytes,
                    const std::byte* dy_bytes, std::byte* dgate_bytes, std::byte* dup_bytes, int64_t n) {
  dispatch(f, [=]<Activation kActivation, typename T>(T) {
    const auto *gate = numbers<T>(gate_bytes), *up = numbers<T>(up_bytes), *dy = numbers<T>(dy_bytes);
    auto *dgate = numbers<T>(dgate_bytes), *dup = numbers<T>(dup_bytes);
    simd::for_lanes<V>(n, [=](auto lanes, int64_t j) {
      const auto at = lanes.load(gate + j), upstream = lanes.load(dy + j);
      lanes.store(dgate + j, V::mul(V::mul(upstream, lanes.load(up + j)), slope<V, kActivation>(at)));
      lanes.store(dup + j, V::mul(upstream, value<V, kActivation>(at)));
    });
  });
}

template <typename V>
constexpr Kernels kKernels = {.forward = forward<V>,
                              .backward = backward<V>,
                              .gated_forward = gated_forward<V>,
                              .gated_backward = gated_backward<V>};

}  // namespace
}  // namespace aleph::kernels::activation
