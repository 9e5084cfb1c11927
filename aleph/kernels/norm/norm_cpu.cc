#include <algorithm>
#include <cmath>
#include <type_traits>

#include "aleph/kernels/checks.h"
#include "aleph/kernels/norm/norm.h"
#include "aleph/kernels/simd/store_row.h"

// Layer norm and RMS norm are one computation: RMS norm leaves the mean at zero.
namespace aleph::kernels {
namespace {

enum class Norm : uint8_t { kLayer, kRms };

/// Calls `body(first, count, out)` for blocks of a row, out being the row y itself where it is fp32, and
/// rounds what it writes.
template <typename T, typename Body>
[[gnu::always_inline]] inline void by_blocks(CpuLevel level, T* y, int64_t n, const Body& body) {
  if constexpr (std::is_same_v<T, float>) {
    body(0, n, y);
  } else {
    constexpr int64_t kBlock = 1024;
    float out[kBlock];
    for (int64_t first = 0; first < n; first += kBlock) {
      const int64_t count = std::min(kBlock, n - first);
      body(first, count, out);
      simd::store_row(level, out, 1.0f, y + first, count);
    }
  }
}

template <typename T>
struct Forward {
  const T* x;
  const T* weight;
  const T* bias;  // may be null
  T* y;
  float* mean;  // null for RMS norm
  float* rstd;
  int64_t n;
  float epsilon;
  CpuLevel level = cpu_level();
};

template <Norm kNorm, typename Isa, typename T>
[[gnu::always_inline]] inline void normalize_row(const Forward<T>& job, int64_t row) {
  const int64_t n = job.n;
  const T *x = job.x + row * n, *weight = job.weight, *bias = job.bias;
  T* y = job.y + row * n;
  float mean = 0, square = 0;
  if constexpr (kNorm == Norm::kLayer) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < n; ++j) sum += simd::load(x + j);
    mean = sum / static_cast<float>(n);
    job.mean[row] = mean;
  }
#pragma omp simd reduction(+ : square)
  for (int64_t j = 0; j < n; ++j) {
    const float centered = simd::load(x + j) - mean;
    square += centered * centered;
  }
  const float rstd = 1.0f / std::sqrt(square / static_cast<float>(n) + job.epsilon);
  job.rstd[row] = rstd;
  by_blocks(
      job.level, y, n, [=](int64_t first, int64_t count, float* out) __attribute__((always_inline)) {
        if (bias != nullptr) {
#pragma omp simd
          for (int64_t j = 0; j < count; ++j) {
            const float normal = (simd::load(x + first + j) - mean) * rstd;
            out[j] = Isa::multiply_add(normal, simd::load(weight + first + j), simd::load(bias + first + j));
          }
        } else {
#pragma omp simd
          for (int64_t j = 0; j < count; ++j) {
            out[j] = (simd::load(x + first + j) - mean) * rstd * simd::load(weight + first + j);
          }
        }
      });
}

template <Norm kNorm, typename T>
void forward(const Forward<T>& job, int64_t rows) {
  simd::parallel(
      rows, simd::row_grain(job.n), [&](auto isa, int64_t begin, int64_t end) __attribute__((always_inline)) {
        for (int64_t row = begin; row < end; ++row) normalize_row<kNorm, decltype(isa)>(job, row);
      });
}

template <typename T>
struct Backward {
  const T* x;
  const float* weight;  // widened
  const float* mean;    // null for RMS norm
  const float* rstd;
  const T* dy;
  T* dx;
  float* dweight;
  float* dbias;  // may be null
  int64_t rows, n;
  CpuLevel level = cpu_level();
};

/// dx of one row; adds the row into dweight and, with kBias, dbias of its slot.
template <Norm kNorm, bool kBias, typename Isa, typename T>
[[gnu::always_inline]] inline void backward_row(const Backward<T>& job, int64_t row, float* dweight,
                                                float* dbias) {
  const int64_t n = job.n;
  const T *x = job.x + row * n, *dy = job.dy + row * n;
  T* dx = job.dx + row * n;
  const float mean = kNorm == Norm::kLayer ? job.mean[row] : 0.0f, rstd = job.rstd[row];
  const float* weight = job.weight;
  float sum = 0, product = 0;
#pragma omp simd reduction(+ : sum, product)
  for (int64_t j = 0; j < n; ++j) {
    const float upstream = simd::load(dy + j), g = upstream * weight[j];
    const float normal = (simd::load(x + j) - mean) * rstd;
    dweight[j] = Isa::multiply_add(upstream, normal, dweight[j]);
    if constexpr (kBias) dbias[j] += upstream;
    sum += g;
    product += g * normal;
  }
  const float mean_g = kNorm == Norm::kLayer ? sum / static_cast<float>(n) : 0.0f;
  const float mean_gx = product / static_cast<float>(n);
  by_blocks(
      job.level, dx, n, [=](int64_t first, int64_t count, float* out) __attribute__((always_inline)) {
#pragma omp simd
        for (int64_t j = 0; j < count; ++j) {
          const float g = simd::load(dy + first + j) * weight[first + j];
          const float normal = (simd::load(x + first + j) - mean) * rstd;
          out[j] = rstd * Isa::multiply_add(-normal, mean_gx, g - mean_g);
        }
      });
}

/// Rows are dealt to slots by their number alone, and slots are added in order: threads do not matter.
int64_t slots_of(int64_t rows) { return std::clamp<int64_t>(rows / 16, 1, 64); }

/// Slots, and the weight in fp32 behind them.
int64_t slot_bytes(int64_t rows, int64_t n, bool bias) {
  return (slots_of(rows) * (bias ? 2 : 1) + 1) * n * static_cast<int64_t>(sizeof(float));
}

/// The weight [n] as fp32 at `wide`.
template <typename T>
const float* widened(const T* weight, int64_t n, float* wide) {
  for (int64_t j = 0; j < n; ++j) wide[j] = simd::load(weight + j);
  return wide;
}

template <Norm kNorm, typename T>
void backward(const Backward<T>& job, float* slots) {
  const int64_t count = slots_of(job.rows), width = job.n * (job.dbias != nullptr ? 2 : 1);
  simd::parallel(
      count, std::max<int64_t>(1, count * simd::row_grain(job.n) / std::max<int64_t>(1, job.rows)),
      [&](auto isa, int64_t begin, int64_t end) __attribute__((always_inline)) {
        for (int64_t slot = begin; slot < end; ++slot) {
          float* dweight = slots + slot * width;
          std::fill(dweight, dweight + width, 0.0f);
          for (int64_t row = job.rows * slot / count; row < job.rows * (slot + 1) / count; ++row) {
            if (job.dbias != nullptr)
              backward_row<kNorm, true, decltype(isa)>(job, row, dweight, dweight + job.n);
            else
              backward_row<kNorm, false, decltype(isa)>(job, row, dweight, nullptr);
          }
        }
      });
  simd::parallel(
      job.n, std::max<int64_t>(64, simd::row_grain(count)),
      [&](auto, int64_t begin, int64_t end) __attribute__((always_inline)) {
        for (int64_t slot = 0; slot < count; ++slot) {
          const float* dweight = slots + slot * width;
#pragma omp simd
          for (int64_t j = begin; j < end; ++j) job.dweight[j] += dweight[j];
          if (job.dbias == nullptr) continue;
#pragma omp simd
          for (int64_t j = begin; j < end; ++j) job.dbias[j] += dweight[job.n + j];
        }
      });
}

template <typename Args>
void check_forward(const Args& args) {
  check_float("x", args.x);
  check_vector("weight", args.weight, columns_of("x", args.x), args.x.dtype());
  check_like("y", args.y, args.x);
  check_vector("rstd", args.rstd, rows_of("x", args.x), DType::kF32);
}

template <typename Args>
void check_backward(const Args& args) {
  const int64_t n = columns_of("x", args.x);
  check_float("x", args.x);
  check_vector("weight", args.weight, n, args.x.dtype());
  check_vector("rstd", args.rstd, rows_of("x", args.x), DType::kF32);
  check_like("dy", args.dy, args.x);
  check_like("dx", args.dx, args.x);
  check_vector("dweight", args.dweight, n, DType::kF32);
}

}  // namespace

void layer_norm_forward(DeviceContext& device, const LayerNormForwardArgs& args) {
  check_forward(args);
  const int64_t n = columns_of("x", args.x), rows = rows_of("x", args.x);
  if (args.bias) check_vector("bias", args.bias, n, args.x.dtype());
  check_vector("mean", args.mean, rows, DType::kF32);
  if (device.meta()) return;
  const KernelTimer timer(device.profile(), KernelKind::kNorm, 0, bytes_of(args.x, args.y));
  dispatch_float(args.x.dtype(), [&](auto element) {
    using T = decltype(element);
    const Forward<T> job{args.x.data<T>(),
                         args.weight.data<T>(),
                         args.bias ? args.bias.data<T>() : nullptr,
                         args.y.data<T>(),
                         args.mean.data<float>(),
                         args.rstd.data<float>(),
                         n,
                         args.epsilon};
    forward<Norm::kLayer>(job, rows);
  });
}

void layer_norm_backward(DeviceContext& device, const LayerNormBackwardArgs& args) {
  check_backward(args);
  const int64_t n = columns_of("x", args.x), rows = rows_of("x", args.x);
  check_vector("mean", args.mean, rows, DType::kF32);
  if (args.dbias) check_vector("dbias", args.dbias, n, DType::kF32);
  const Buffer slots =
      device.memory().allocate(slot_bytes(rows, n, static_cast<bool>(args.dbias)), MemoryTag::kWorkspace);
  if (device.meta()) return;
  const KernelTimer timer(device.profile(), KernelKind::kNorm, 0, bytes_of(args.x, args.dy, args.dx));
  dispatch_float(args.x.dtype(), [&](auto element) {
    using T = decltype(element);
    float* wide = reinterpret_cast<float*>(slots.data() + slots.bytes()) - n;
    const Backward<T> job{args.x.data<T>(),
                          widened(args.weight.data<T>(), n, wide),
                          args.mean.data<float>(),
                          args.rstd.data<float>(),
                          args.dy.data<T>(),
                          args.dx.data<T>(),
                          args.dweight.data<float>(),
                          args.dbias ? args.dbias.data<float>() : nullptr,
                          rows,
                          n};
    backward<Norm::kLayer>(job, reinterpret_cast<float*>(slots.data()));
  });
}

void rms_norm_forward(DeviceContext& device, const RmsNormForwardArgs& args) {
  check_forward(args);
  if (device.meta()) return;
  const KernelTimer timer(device.profile(), KernelKind::kNorm, 0, bytes_of(args.x, args.y));
  dispatch_float(args.x.dtype(), [&](auto element) {
    using T = decltype(element);
    const Forward<T> job{
        args.x.data<T>(),        args.weight.data<T>(),   nullptr,     args.y.data<T>(), nullptr,
        args.rstd.data<float>(), columns_of("x", args.x), args.epsilon};
    forward<Norm::kRms>(job, rows_of("x", args.x));
  });
}

void rms_norm_backward(DeviceContext& device, const RmsNormBackwardArgs& args) {
  check_backward(args);
  const int64_t n = columns_of("x", args.x), rows = rows_of("x", args.x);
  const Buffer slots = device.memory().allocate(slot_bytes(rows, n, false), MemoryTag::kWorkspace);
  if (device.meta()) return;
  const KernelTimer timer(device.profile(), KernelKind::kNorm, 0, bytes_of(args.x, args.dy, args.dx));
  dispatch_float(args.x.dtype(), [&](auto element) {
    using T = decltype(element);
    float* wide = reinterpret_cast<float*>(slots.data() + slots.bytes()) - n;
    const Backward<T> job{args.x.data<T>(),
                          widened(args.weight.data<T>(), n, wide),
                          nullptr,
                          args.rstd.data<float>(),
                          args.dy.data<T>(),
                          args.dx.data<T>(),
                          args.dweight.data<float>(),
                          nullptr,
                          rows,
                          n};
    backward<Norm::kRms>(job, reinterpret_cast<float*>(slots.data()));
  });
}

}  // namespace aleph::kernels
