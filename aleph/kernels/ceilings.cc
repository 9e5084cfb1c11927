#include "aleph/kernels/ceilings.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "aleph/base/clock.h"
#include "aleph/kernels/checks.h"
#include "aleph/kernels/elementwise/elementwise.h"
#include "aleph/kernels/matmul/matmul.h"
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

}  // namespace

double matmul_ceiling(DeviceContext& device, DType dtype, const ProductSize& size, double seconds) {
  Tensor a(device.memory(), {size.m, size.k}, dtype, MemoryTag::kWorkspace);
  Tensor b(device.memory(), {size.k, size.n}, dtype, MemoryTag::kWorkspace);
  Tensor c(device.memory(), {size.m, size.n}, dtype, MemoryTag::kWorkspace);
  zero(device, a.view());
  zero(device, b.view());
  const double best =
      best_seconds(seconds, [&] { matmul(device, {.a = a.view(), .b = b.view(), .c = c.view()}); });
  return product_operations(size.m, size.n, size.k) / best;
}

double triad_ceiling(double seconds) {
  constexpr int64_t kCount = int64_t{8} << 20;
  std::vector<float> a(kCount), b(kCount, 1.0f), c(kCount, 2.0f);
  const double best = best_seconds(seconds, [&, pa = a.data(), pb = b.data(), pc = c.data()] {
    simd::parallel(
        kCount, simd::kFlatGrain, [=](auto, int64_t begin, int64_t end) __attribute__((always_inline)) {
#pragma omp simd
          for (int64_t i = begin; i < end; ++i) pa[i] = pb[i] + 3.0f * pc[i];
        });
  });
  return 3.0 * static_cast<double>(kCount * static_cast<int64_t>(sizeof(float))) / best;
}

}  // namespace aleph::kernels
