#include "aleph/kernels/ceilings.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "aleph/base/clock.h"
#include "aleph/kernels/checks.h"
#include "aleph/kernels/simd/simd.h"

namespace aleph::kernels {
namespace {

/// The shortest of the runs of `body` that fit `seconds`, after one that does not count.
template <typename Body>
double best_seconds(double seconds, const Body& body) {
  body();
  double best = std::numeric_limits<double>::infinity();
  const Stopwatch total;
  do {
    const Stopwatch watch;
    body();
    best = std::min(best, watch.seconds());
  } while (total.seconds() < seconds);
  return best;
}

/// Not zero: what is multiplied makes processors warm.
Tensor filled(DeviceContext& device, const Shape& shape, DType dtype) {
  Tensor tensor(device.memory(), shape, dtype, MemoryTag::kWorkspace);
  std::memset(tensor.view().raw(), 0x3c, static_cast<size_t>(tensor.bytes()));  // 0.011 in fp32 and bf16
  return tensor;
}

}  // namespace

CeilingProduct::CeilingProduct(DeviceContext& device, DType dtype, const ProductSize& size)
    : device_(device),
      a_(filled(device, {size.m, size.k}, dtype)),
      c_(device.memory(), {size.m, size.n}, dtype, MemoryTag::kWorkspace),
      b_(device, filled(device, {size.n, size.k}, dtype).view()) {}

void CeilingProduct::run() {
  matmul(device_, PackedMatmulArgs{.a = a_.view(), .weight = &b_, .c = c_.view()});
}

double CeilingProduct::operations() const {
  return product_operations(c_.shape()[0], c_.shape()[1], a_.shape()[1]);
}

double matmul_ceiling(DeviceContext& device, DType dtype, std::span<const ProductSize> sizes,
                      double seconds) {
  double operations = 0, best = 0;
  for (const ProductSize& size : sizes) {
    CeilingProduct product(device, dtype, size);
    operations += size.count * product.operations();
    best += size.count * best_seconds(seconds / static_cast<double>(sizes.size()), [&] { product.run(); });
  }
  return operations / best;
}

Triad::Triad(DeviceContext& device) {
  constexpr int64_t kLargest = int64_t{32} << 20, kFloat = sizeof(float);
  const MemoryLedger& ledger = device.memory().ledger();
  const int64_t room = ledger.budget() == 0 ? 3 * kLargest : ledger.budget() - ledger.live();
  const int64_t count = std::min(kLargest, std::max<int64_t>(room / 4, 1 << 16)) / kFloat;
  for (Tensor* tensor : {&a_, &b_, &c_}) *tensor = filled(device, {count}, DType::kF32);
}

void Triad::run() {
  float* const a = a_.view().data<float>();
  const float *b = b_.view().data<float>(), *c = c_.view().data<float>();
  simd::parallel(
      a_.shape().elements(),
      simd::kFlatGrain, [=](auto, int64_t begin, int64_t end) __attribute__((always_inline)) {
#pragma omp simd
        for (int64_t i = begin; i < end; ++i) a[i] = b[i] + 3.0f * c[i];
      });
}

double Triad::bytes() const { return 3.0 * static_cast<double>(a_.bytes()); }

double triad_ceiling(DeviceContext& device, double seconds) {
  Triad triad(device);
  return triad.bytes() / best_seconds(seconds, [&] { triad.run(); });
}

}  // namespace aleph::kernels
