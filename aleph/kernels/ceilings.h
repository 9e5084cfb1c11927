// What this machine does at best, measured with the kernels' own threads: the other side of every rate that a
// profile or a benchmark shows.
#pragma once

#include "aleph/tensor/device.h"
#include "aleph/tensor/tensor.h"

namespace aleph::kernels {

/// c [m, n] = a [m, k] b [k, n].
struct ProductSize {
  int64_t m = 0, n = 0, k = 0;
};

/// Operations per second of the library's product of two matrices of `dtype`: the best of repeated runs of
/// `seconds` in all. Books operands on the device.
double matmul_ceiling(DeviceContext& device, DType dtype, const ProductSize& size, double seconds);

/// Bytes per second of STREAM's triad, a = b + s c (McCalpin, 1995), over arrays that caches do not hold: the
/// best of repeated runs. Takes 96 MiB of its own.
double triad_ceiling(double seconds);

}  // namespace aleph::kernels
