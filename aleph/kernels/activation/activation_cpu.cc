// Activations on the CPU: checks, and the numbers each thread takes.
#include <algorithm>

#include "aleph/kernels/activation/activation.h"
#include "aleph/kernels/activation/activation_rows.h"
#include "aleph/kernels/checks.h"
#include "aleph/kernels/simd/simd.h"

namespace aleph::kernels {
namespace {

constexpr int64_t kBlock = 512;         // of a row: a long one has work for many threads
constexpr int64_t kGrain = 8 * kBlock;  // numbers of a task, so that starting it pays

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
  const activation::Kernels& kernels = kernels_of<activation::Levels>(cpu_level());
  const int64_t size = dtype_bytes(args.x.dtype());
  parallel_for(args.x.elements(), kGrain, [&](int64_t begin, int64_t end) {
    kernels.forward({args.activation, args.x.dtype()}, args.x.raw() + begin * size,
                    args.y.raw() + begin * size, end - begin);
  });
}

void activation_backward(DeviceContext& device, const ActivationBackwardArgs& args) {
  check_float("x", args.x);
  check_like("dy", args.dy, args.x);
  check_like("dx", args.dx, args.x);
  if (device.meta()) return;
  const KernelTimer timer(device.profile(), KernelKind::kActivation, 0, bytes_of(args.x, args.dy, args.dx));
  const activation::Kernels& kernels = kernels_of<activation::Levels>(cpu_level());
  const int64_t size = dtype_bytes(args.x.dtype());
  parallel_for(args.x.elements(), kGrain, [&](int64_t begin, int64_t end) {
    kernels.backward({args.activation, args.x.dtype()}, args.x.raw() + begin * size,
                     args.dy.raw() + begin * size, args.dx.raw() + begin * size, end - begin);
  });
}

void gated_forward(DeviceContext& device, const GatedForwardArgs& args) {
  check_gated(args.x, args.y, "y");
  if (device.meta()) return;
  const KernelTimer timer(device.profile(), KernelKind::kActivation, 0, bytes_of(args.x, args.y));
  const activation::Kernels& kernels = kernels_of<activation::Levels>(cpu_level());
  const int64_t n = columns_of("y", args.y), size = dtype_bytes(args.x.dtype());
  for_row_blocks(rows_of("y", args.y), n, [&](int64_t row, int64_t begin, int64_t count) {
    const std::byte* gate = args.x.raw() + (row * 2 * n + begin) * size;
    kernels.gated_forward({args.activation, args.x.dtype()}, gate, gate + n * size,
                          args.y.raw() + (row * n + begin) * size, count);
  });
}

void gated_backward(DeviceContext& device, const GatedBackwardArgs& args) {
  check_gated(args.x, args.dy, "dy");
  check_like("dx", args.dx, args.x);
  if (device.meta()) return;
  const KernelTimer timer(device.profile(), KernelKind::kActivation, 0, bytes_of(args.x, args.dy, args.dx));
  const activation::Kernels& kernels = kernels_of<activation::Levels>(cpu_level());
  const int64_t n = columns_of("dy", args.dy), size = dtype_bytes(args.x.dtype());
  for_row_blocks(rows_of("dy", args.dy), n, [&](int64_t row, int64_t begin, int64_t count) {
    const int64_t at = (row * 2 * n + begin) * size, up = n * size;
    kernels.gated_backward({args.activation, args.x.dtype()}, args.x.raw() + at, args.x.raw() + at + up,
                           args.dy.raw() + (row * n + begin) * size, args.dx.raw() + at,
                           args.dx.raw() + at + up, count);
  });
}

}  // namespace aleph::kernels
