#include <algorithm>
#include <cmath>
#include <type_traits>

#include "aleph/kernels/checks.h"
#include "aleph/kernels/cross_entropy/cross_entropy.h"
#include "aleph/kernels/simd/math.h"
#include "aleph/kernels/simd/store_row.h"

namespace aleph::kernels {
namespace {

constexpr int64_t kChunk = 2048;     // logits that share a maximum
constexpr float kLowest = -3.0e38f;  // maximum before the first logit

/// The largest of x and `largest`.
[[gnu::always_inline]] inline float raised(const float* x, int64_t n, float largest) {
#pragma omp simd reduction(max : largest)
  for (int64_t j = 0; j < n; ++j) largest = x[j] > largest ? x[j] : largest;
  return largest;
}

/// Returns the sum of e^(x - largest), largest at least as large as every x; keeps each in y unless null.
template <typename Isa>
[[gnu::always_inline]] inline float exponentials(const float* x, int64_t n, float largest, float* y) {
  float sum = 0;
  if (y == nullptr) {
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < n; ++j) sum += simd::exp_of_negative<Isa>(x[j] - largest);
    return sum;
  }
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < n; ++j) {
    const float e = simd::exp_of_negative<Isa>(x[j] - largest);
    y[j] = e;
    sum += e;
  }
  return sum;
}

/// What a thread needs for a row: each exponential as it was computed, and the maximum of its chunk.
struct RowScratch {
  float* values;  // [vocabulary]; null where no gradient is asked for
  float* maxima;  // [chunks]
};

struct LogSum {
  float largest = kLowest;
  double sum = 0;  // of e^(x - largest)
};

/// One pass: a chunk's exponentials stand against the largest logit so far.
template <typename Isa>
[[gnu::always_inline]] inline LogSum scan_row(const float* x, int64_t n, const RowScratch& scratch) {
  LogSum total;
  for (int64_t first = 0; first < n; first += kChunk) {
    const int64_t count = std::min(kChunk, n - first);
    const float before = total.largest;
    total.largest = raised(x + first, count, before);
    total.sum *= std::exp(static_cast<double>(before) - total.largest);
    total.sum += exponentials<Isa>(x + first, count, total.largest,
                                   scratch.values == nullptr ? nullptr : scratch.values + first);
    scratch.maxima[first / kChunk] = total.largest;
  }
  return total;
}

/// gradient = probabilities times scale, from the exponentials of scan_row, which may stand in its place.
template <typename T>
void write_gradient(CpuLevel level, const RowScratch& scratch, int64_t n, const LogSum& total, float scale,
                    T* gradient) {
  for (int64_t first = 0; first < n; first += kChunk) {
    const int64_t count = std::min(kChunk, n - first);
    const double shrink = std::exp(static_cast<double>(scratch.maxima[first / kChunk]) - total.largest);
    const auto factor = static_cast<float>(scale / total.sum * shrink);
    simd::store_row(level, scratch.values + first, factor, gradient + first, count);
  }
}

template <typename T>
void score_row(CpuLevel level, const CrossEntropyArgs& args, int64_t row, int64_t n, RowScratch scratch,
               T* gradient) {
  const float* x = args.logits.data<float>() + row * n;
  const int32_t label = args.labels.data<int32_t>()[row];
  float& loss = args.losses.data<float>()[row];
  if (label == args.ignored) {
    loss = 0;
    if (gradient != nullptr) std::fill(gradient, gradient + n, T{});
    return;
  }
  if constexpr (std::is_same_v<T, float>) scratch.values = gradient;
  const float at_label = x[label];  // the gradient may be written over the logits
  LogSum total;
  simd::run_at(
      level, [&, x, n ](auto isa)
                 __attribute__((always_inline)) { total = scan_row<decltype(isa)>(x, n, scratch); });
  loss = static_cast<float>(std::log(total.sum) + total.largest - at_label);
  if (gradient == nullptr) return;
  write_gradient(level, scratch, n, total, args.gradient_scale, gradient);
  const double probability = std::exp(static_cast<double>(at_label) - total.largest) / total.sum;
  simd::store(gradient + label, static_cast<float>((probability - 1) * args.gradient_scale));
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
  const int64_t tasks = std::min<int64_t>(num_threads(), rows), chunks = (n + kChunk - 1) / kChunk;
  const bool keeps = with_gradient && args.gradient.dtype() != DType::kF32;  // fp32 is kept in its place
  const int64_t floats = chunks + (keeps ? n : 0);
  const Buffer buffer =
      device.memory().allocate(tasks * floats * static_cast<int64_t>(sizeof(float)), MemoryTag::kWorkspace);
  if (device.meta()) return;
  const KernelTimer timer(device.profile(), KernelKind::kCrossEntropy, 0,
                          bytes_of(args.logits, args.gradient));
  check_labels(args, n);
  const CpuLevel level = cpu_level();
  dispatch_float(with_gradient ? args.gradient.dtype() : DType::kF32, [&](auto element) {
    using T = decltype(element);
    T* gradient = with_gradient ? args.gradient.data<T>() : nullptr;
    parallel_for(tasks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        float* maxima = reinterpret_cast<float*>(buffer.data()) + task * floats;
        const RowScratch scratch{keeps ? maxima + chunks : nullptr, maxima};
        for (int64_t row = rows * task / tasks; row < rows * (task + 1) / tasks; ++row) {
          score_row(level, args, row, n, scratch, gradient == nullptr ? nullptr : gradient + row * n);
        }
      }
    });
  });
}

}  // namespace aleph::kernels
