#include <algorithm>

#include "aleph/kernels/checks.h"
#include "aleph/kernels/norm/norm.h"
#include "aleph/kernels/norm/norm_rows.h"
#include "aleph/kernels/simd/simd.h"

// Norms on the CPU: checks, scratch, and the rows each thread takes.
namespace aleph::kernels {
namespace {

/// x [n] as fp32: x itself, or widened in `space`.
const float* as_fp32(const ConstTensorView& x, int64_t n, float* space) {
  if (x.dtype() == DType::kF32) return x.data<float>();
  dispatch_float(x.dtype(), [&]<typename T>(T) {
    const T* numbers = x.data<T>();
    simd::run_at(
        cpu_level(), [=](auto) __attribute__((always_inline)) {
#pragma omp simd
          for (int64_t j = 0; j < n; ++j) space[j] = simd::load(numbers + j);
        });
  });
  return space;
}

/// Ranges of rows in forward, one per thread.
int64_t forward_ranges(int64_t rows, int64_t n) {
  const int64_t grain = simd::row_grain(n);
  return std::min<int64_t>(num_threads(), (rows + grain - 1) / grain);
}

/// Weight and bias in fp32, and a row for each range.
int64_t forward_bytes(int64_t rows, int64_t n) {
  return (2 + forward_ranges(rows, n)) * n * static_cast<int64_t>(sizeof(float));
}

/// `space` has forward_bytes; weight and bias, which may be null, are in the dtype of the job.
void forward(norm::Forward job, int64_t rows, const ConstTensorView& weight, const ConstTensorView& bias,
             float* space) {
  const int64_t n = job.n, ranges = forward_ranges(rows, n);
  job.weight = as_fp32(weight, n, space);
  job.bias = bias ? as_fp32(bias, n, space + n) : nullptr;
  const norm::Kernels& kernels = kernels_of<norm::Levels>(cpu_level());
  parallel_for(ranges, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      kernels.forward(job, rows * i / ranges, rows * (i + 1) / ranges, space + (2 + i) * n);
    }
  });
}

/// Rows are dealt to slots by their number alone, and slots are added in order: threads do not matter. A slot
/// costs its zeros and its sum, which pass between the caches of cores: 64 rows make that little.
int64_t slots_of(int64_t rows) { return std::clamp<int64_t>(rows / 64, 1, 64); }

/// Slots, and the weight in fp32 behind them.
int64_t slot_bytes(int64_t rows, int64_t n, bool bias) {
  return (slots_of(rows) * (bias ? 2 : 1) + 1) * n * static_cast<int64_t>(sizeof(float));
}

/// Sums of the gradients of weight [n] and bias [n], which may be null, are added to.
struct Sums {
  float *dweight, *dbias;
};

void add_slots(const float* slots, int64_t count, int64_t n, const Sums& sums) {
  const int64_t width = sums.dbias == nullptr ? n : 2 * n;
  simd::parallel(
      n, std::max<int64_t>(64, simd::row_grain(count)),
      [=](auto, int64_t begin, int64_t end) __attribute__((always_inline)) {
        for (const float* slot = slots; slot < slots + count * width; slot += width) {
#pragma omp simd
          for (int64_t j = begin; j < end; ++j) sums.dweight[j] += slot[j];
          if (sums.dbias == nullptr) continue;
#pragma omp simd
          for (int64_t j = begin; j < end; ++j) sums.dbias[j] += slot[n + j];
        }
      });
}

/// `space` has slot_bytes; the weight is in the dtype of the job.
void backward(norm::Backward job, int64_t rows, const ConstTensorView& weight, const Sums& sums,
              float* space) {
  const int64_t n = job.n, count = slots_of(rows), width = sums.dbias == nullptr ? n : 2 * n;
  job.weight = as_fp32(weight, n, space + count * width);
  const norm::Kernels& kernels = kernels_of<norm::Levels>(cpu_level());
  const int64_t grain = std::max<int64_t>(1, count * simd::row_grain(n) / std::max<int64_t>(1, rows));
  parallel_for(count, grain, [&](int64_t begin, int64_t end) {
    for (int64_t slot = begin; slot < end; ++slot) {
      float* dweight = space + slot * width;
      std::fill(dweight, dweight + width, 0.0f);
      kernels.backward(job, rows * slot / count, rows * (slot + 1) / count, dweight,
                       sums.dbias == nullptr ? nullptr : dweight + n);
    }
  });
  add_slots(space, count, n, sums);
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
  const Buffer space = device.memory().allocate(forward_bytes(rows, n), MemoryTag::kWorkspace);
  if (device.meta()) return;
  const KernelTimer timer(device.profile(), KernelKind::kNorm, 0, bytes_of(args.x, args.y));
  forward({.dtype = args.x.dtype(),
           .x = args.x.raw(),
           .y = args.y.raw(),
           .mean = args.mean.data<float>(),
           .rstd = args.rstd.data<float>(),
           .n = n,
           .epsilon = args.epsilon},
          rows, args.weight, args.bias, reinterpret_cast<float*>(space.data()));
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
  backward({.dtype = args.x.dtype(),
            .x = args.x.raw(),
            .mean = args.mean.data<float>(),
            .rstd = args.rstd.data<float>(),
            .dy = args.dy.raw(),
            .dx = args.dx.raw(),
            .n = n},
           rows, args.weight, {args.dweight.data<float>(), args.dbias ? args.dbias.data<float>() : nullptr},
           reinterpret_cast<float*>(slots.data()));
}

void rms_norm_forward(DeviceContext& device, const RmsNormForwardArgs& args) {
  check_forward(args);
  const int64_t n = columns_of("x", args.x), rows = rows_of("x", args.x);
  const Buffer space = device.memory().allocate(forward_bytes(rows, n), MemoryTag::kWorkspace);
  if (device.meta()) return;
  const KernelTimer timer(device.profile(), KernelKind::kNorm, 0, bytes_of(args.x, args.y));
  forward({.dtype = args.x.dtype(),
           .x = args.x.raw(),
           .y = args.y.raw(),
           .rstd = args.rstd.data<float>(),
           .n = n,
           .epsilon = args.epsilon},
          rows, args.weight, {}, reinterpret_cast<float*>(space.data()));
}

void rms_norm_backward(DeviceContext& device, const RmsNormBackwardArgs& args) {
  check_backward(args);
  const int64_t n = columns_of("x", args.x), rows = rows_of("x", args.x);
  const Buffer slots = device.memory().allocate(slot_bytes(rows, n, false), MemoryTag::kWorkspace);
  if (device.meta()) return;
  const KernelTimer timer(device.profile(), KernelKind::kNorm, 0, bytes_of(args.x, args.dy, args.dx));
  backward({.dtype = args.x.dtype(),
            .x = args.x.raw(),
            .rstd = args.rstd.data<float>(),
            .dy = args.dy.raw(),
            .dx = args.dx.raw(),
            .n = n},
           rows, args.weight, {args.dweight.data<float>(), nullptr}, reinterpret_cast<float*>(slots.data()));
}

}  // namespace aleph::kernels
