#include <algorithm>
#include <cmath>
#include <type_traits>

#include "aleph/kernels/checks.h"
#include "aleph/kernels/cross_entropy/cross_entropy.h"
#include "aleph/kernels/cross_entropy/logits.h"
#include "aleph/kernels/simd/simd.h"

namespace aleph::kernels {
namespace {

using logits::kChunk;
using logits::kLowest;

struct LogSum {
  float largest = kLowest;
  double sum = 0;  // of e^(x - largest)
};

/// A row whose exponentials are known: its gradient is written while the next row is read, as one waits for
/// memory and the other for arithmetic.
template <typename T>
struct ScannedRow {
  T* gradient = nullptr;          // null where there is none to write
  const float* values = nullptr;  // [vocabulary]: each exponential as it was computed; may be the gradient
  const float* maxima = nullptr;  // [chunks]: what it stands against
  LogSum total;
  int32_t label = 0;
  float at_label = 0, scale = 0;

  logits::Target target() const {
    if (gradient == nullptr) return {};
    return {reinterpret_cast<std::byte*>(gradient), static_cast<int64_t>(sizeof(T))};
  }
  /// gradient = probabilities times scale for the chunk that begins at `first`.
  void write(const logits::Kernels& kernels, int64_t first, int64_t n) const {
    if (gradient == nullptr) return;
    const int64_t count = std::min(kChunk, n - first);
    const double shrink = std::exp(static_cast<double>(maxima[first / kChunk]) - total.largest);
    const auto factor = static_cast<float>(scale / total.sum * shrink);
    kernels.scale(values + first, factor, dtype_of<T>(), reinterpret_cast<std::byte*>(gradient + first),
                  count);
    if (label < first || label >= first + count) return;
    const double probability = std::exp(static_cast<double>(at_label) - total.largest) / total.sum;
    simd::store(gradient + label, static_cast<float>((probability - 1) * scale));
  }
};

/// One pass: a chunk's exponentials, kept in values unless null, stand against the largest logit so far, kept
/// in maxima. Before a chunk is computed `before(first)` is called, which may write the chunk of `target`;
/// the next chunks come from memory meanwhile.
template <typename Before>
LogSum scan_row(const logits::Kernels& kernels, const float* x, int64_t n, float* values, float* maxima,
                const logits::Target& target, const Before& before) {
  LogSum total;
  for (int64_t first = 0; first < n; first += kChunk) {
    before(first);
    const int64_t count = std::min(kChunk, n - first);
    const float largest = kernels.largest(x + first, count, total.largest);
    total.sum *= std::exp(static_cast<double>(total.largest) - largest);
    total.largest = maxima[first / kChunk] = largest;
    total.sum += kernels.exponentials(x + first, count, largest, values == nullptr ? nullptr : values + first,
                                      target.at(first + kChunk));
  }
  return total;
}

/// The rows of one thread, in order. While one is scanned, the gradient of the one before is written: two
/// spaces for exponentials take turns.
template <typename T>
class RowScorer {
 public:
  static constexpr bool kInPlace = std::is_same_v<T, float>;  // exponentials stand where the gradient will

  static int64_t space_floats(int64_t n, bool with_gradient) {
    return 2 * (chunks(n) + (with_gradient && !kInPlace ? n : 0));
  }

  RowScorer(const CrossEntropyArgs& args, int64_t n, float* space)
      : args_(args), n_(n), maxima_(space), values_(space + 2 * chunks(n)) {}

  void score(int64_t row) {
    T* gradient = args_.gradient_scale != 0 ? args_.gradient.data<T>() + row * n_ : nullptr;
    const int32_t label = args_.labels.data<int32_t>()[row];
    float& loss = args_.losses.data<float>()[row];
    if (label == args_.ignored) {
      loss = 0;
      if (gradient != nullptr) std::fill(gradient, gradient + n_, T{});
      return;
    }
    const float* x = args_.logits.data<float>() + row * n_;
    const float at_label = x[label];  // the gradient may be written over the logits
    float *values = values_of(gradient), *maxima = maxima_ + turn_ * chunks(n_);
    const LogSum total = scan_row(kernels_, x, n_, values, maxima, before_.target(),
                                  [&](int64_t first) { before_.write(kernels_, first, n_); });
    loss = static_cast<float>(std::log(total.sum) + total.largest - at_label);
    before_ = {.gradient = gradient,
               .values = values,
               .maxima = maxima,
               .total = total,
               .label = label,
               .at_label = at_label,
               .scale = args_.gradient_scale};
    turn_ = 1 - turn_;
  }

  /// Writes the last gradient.
  void finish() {
    for (int64_t first = 0; first < n_; first += kChunk) before_.write(kernels_, first, n_);
    before_ = {};
  }

 private:
  static int64_t chunks(int64_t n) { return (n + kChunk - 1) / kChunk; }

  float* values_of(T* gradient) const {
    if constexpr (kInPlace) return gradient;
    return gradient == nullptr ? nullptr : values_ + turn_ * n_;
  }

  const CrossEntropyArgs& args_;
  int64_t n_;
  float *maxima_, *values_;
  const logits::Kernels& kernels_ = kernels_of<logits::Levels>(cpu_level());
  int turn_ = 0;
  ScannedRow<T> before_;
};

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
  const int64_t tasks = std::min<int64_t>(num_threads(), rows);
  dispatch_float(with_gradient ? args.gradient.dtype() : DType::kF32, [&](auto element) {
    using Scorer = RowScorer<decltype(element)>;
    const int64_t floats = Scorer::space_floats(n, with_gradient);
    const Buffer space =
        device.memory().allocate(tasks * floats * static_cast<int64_t>(sizeof(float)), MemoryTag::kWorkspace);
    if (device.meta()) return;
    const KernelTimer timer(device.profile(), KernelKind::kCrossEntropy, 0,
                            bytes_of(args.logits, args.gradient));
    check_labels(args, n);
    parallel_for(tasks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        Scorer scorer(args, n, reinterpret_cast<float*>(space.data()) + task * floats);
        for (int64_t row = rows * task / tasks; row < rows * (task + 1) / tasks; ++row) scorer.score(row);
        scorer.finish();
      }
    });
  });
}

}  // namespace aleph::kernels
