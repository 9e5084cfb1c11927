#include <algorithm>

#include "aleph/kernels/checks.h"
#include "aleph/kernels/norm/norm.h"
#include "aleph/kernels/norm/norm_rows.h"
#include "aleph/kernels/simd/simd.h"

// Norms on the CPU: checks, scratch, and the rows each thread takes.
namespace aleph::kernels {
namespace {

const norm::Kernels& kernels_of(CpuLevel level) {
#if defined(__x86_64__)
  if (level >= CpuLevel::kAvx512) return norm::avx512_kernels();
  if (level == CpuLevel::kAvx2) return norm::avx2_kernels();
#endif
  return norm::portable_kernels();
}

void forward(const norm::Forward& job, int64_t rows) {
  const norm::Kernels& kernels = kernels_of(cpu_level());
  parallel_for(rows, simd::row_grain(job.n),
               [&](int64_t begin, int64_t end) { kernels.forward(job, begin, end); });
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
  float* wide = space + count * width;
  dispatch_float(job.dtype, [&]<typename T>(T) {
    for (int64_t j = 0; j < n; ++j) wide[j] = simd::load(weight.data<T>() + j);
  });
  job.weight = wide;
  const norm::Kernels& kernels = kernels_of(cpu_level());
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
  if (device.meta()) return;
  const KernelTimer timer(device.profile(), KernelKind::kNorm, 0, bytes_of(args.x, args.y));
  forward({.dtype = args.x.dtype(),
           .x = args.x.raw(),
           .weight = args.weight.raw(),
           .bias = args.bias ? args.bias.raw() : nullptr,
           .y = args.y.raw(),
           .mean = args.mean.data<float>(),
           .rstd = args.rstd.data<float>(),
           .n = n,
           .epsilon = args.epsilon},
          rows);
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
  if (device.meta()) return;
  const KernelTimer timer(device.profile(), KernelKind::kNorm, 0, bytes_of(args.x, args.y));
  forward({.dtype = args.x.dtype(),
           .x = args.x.raw(),
           .weight = args.weight.raw(),
           .y = args.y.raw(),
           .rstd = args.rstd.data<float>(),
           .n = columns_of("x", args.x),
           .epsilon = args.epsilon},
          rows_of("x", args.x));
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
