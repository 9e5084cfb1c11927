#include <algorithm>
#include <cmath>
#include <limits>

#include "aleph/kernels/checks.h"
#include "aleph/kernels/cross_entropy/cross_entropy.h"
#include "aleph/kernels/simd/math.h"

namespace aleph::kernels {
namespace {

[[gnu::always_inline]] inline float largest_of(const float* x, int64_t n) {
  float largest = -std::numeric_limits<float>::infinity();
#pragma omp simd reduction(max : largest)
  for (int64_t j = 0; j < n; ++j) largest = x[j] > largest ? x[j] : largest;
  return largest;
}

/// sum of e^(x - largest): blocks in fp32, blocks added in double.
template <typename Isa>
[[gnu::always_inline]] inline double exponential_sum(const float* x, int64_t n, float largest) {
  constexpr int64_t kBlock = 2048;
  double total = 0;
  for (int64_t first = 0; first < n; first += kBlock) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = first; j < std::min(n, first + kBlock); ++j) sum += simd::exp<Isa>(x[j] - largest);
    total += sum;
  }
  return total;
}

template <typename Isa, typename T>
[[gnu::always_inline]] inline void write_gradient(const float* x, int64_t n, float largest, double sum,
                                                  int32_t label, float scale, T* gradient) {
  const float at_label = x[label];  // the gradient may be written over the logits
  const auto factor = static_cast<float>(scale / sum);
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) simd::store(gradient + j, simd::exp<Isa>(x[j] - largest) * factor);
  const double probability = std::exp(static_cast<double>(at_label) - largest) / sum;
  simd::store(gradient + label, static_cast<float>((probability - 1) * scale));
}

template <typename Isa, typename T>
[[gnu::always_inline]] inline void score_row(const CrossEntropyArgs& args, int64_t row, int64_t n,
                                             T* gradient) {
  const float* x = args.logits.data<float>() + row * n;
  const int32_t label = args.labels.data<int32_t>()[row];
  float& loss = args.losses.data<float>()[row];
  if (label == args.ignored) {
    loss = 0;
    if (gradient != nullptr) std::fill(gradient, gradient + n, T{});
    return;
  }
  const float largest = largest_of(x, n);
  const double sum = exponential_sum<Isa>(x, n, largest);
  loss = static_cast<float>(std::log(sum) + largest - x[label]);
  if (gradient != nullptr) {
    write_gradient<Isa>(x, n, largest, sum, label, args.gradient_scale, gradient);
  }
}

void check_labels(const CrossEntropyArgs& args, int64_t vocabulary) {
  const int32_t* labels = args.labels.data<int32_t>();
  for (int64_t row = 0; row < args.labels.elements(); ++row) {
    if (labels[row] != args.ignored && (labels[row] < 0 || labels[row] >= vocabulary)) {
      throw Error(fmt::format("label {}", row), fmt::format("{}", labels[row]),
                  fmt::format("{} or a token id from 0 to {}", args.ignored, vocabulary - 1));
    }
  }
}

}  // namespace

void cross_entropy(DeviceContext& device, const CrossEntropyArgs& args) {
  const int64_t n = columns_of("logits", args.logits), rows = rows_of("logits", args.logits);
  const bool with_gradient = args.gradient_scale != 0;
  check_dtype("logits", args.logits, DType::kF32);
  check_vector("labels", args.labels, rows, DType::kI32);
  check_vector("losses", args.losses, rows, DType::kF32);
  if (with_gradient) check_float("gradient", args.gradient);
  if (with_gradient) check_elements("gradient", args.gradient, rows * n);
  if (device.meta()) return;
  const KernelTimer timer(device.profile(), KernelKind::kCrossEntropy, 0,
                          bytes_of(args.logits, args.gradient));
  check_labels(args, n);
  dispatch_float(with_gradient ? args.gradient.dtype() : DType::kF32, [&](auto element) {
    using T = decltype(element);
    T* gradient = with_gradient ? args.gradient.data<T>() : nullptr;
    simd::parallel(
        rows,
        simd::row_grain(4 * n), [&](auto isa, int64_t begin, int64_t end) __attribute__((always_inline)) {
          for (int64_t row = begin; row < end; ++row) {
            score_row<decltype(isa)>(args, row, n, gradient == nullptr ? nullptr : gradient + row * n);
          }
        });
  });
}

}  // namespace aleph::kernels
