// What this machine does at best, measured with the kernels' own threads: the other side of every rate that a
// profile or a benchmark shows.
#pragma once

#include <span>

#include "aleph/kernels/matmul/matmul.h"
#include "aleph/tensor/device.h"
#include "aleph/tensor/tensor.h"

namespace aleph::kernels {

/// c [m, n] = a [m, k] times b [n, k] transposed, `count` times.
struct ProductSize {
  int64_t m = 0, n = 0, k = 0;
  double count = 1;
};

/// One such product by the library, with b in the layout that it multiplies fastest already. Books its
/// operands on the device.
class CeilingProduct {
 public:
  CeilingProduct(DeviceContext& device, DType dtype, const ProductSize& size);

  void run();
  /// Operations of one run.
  double operations() const;

 private:
  DeviceContext& device_;
  Tensor a_, c_;
  PackedWeight b_;
};

/// Operations per second of `sizes` together, each at the best of repeated runs. Takes about `seconds`. Books
/// the operands of one product at a time on the device.
double matmul_ceiling(DeviceContext& device, DType dtype, std::span<const ProductSize> sizes, double seconds);

/// STREAM's triad, a = b + s c (McCalpin, 1995). Books three arrays of 32 MiB, which caches do not hold, on
/// the device, or smaller ones where its budget has no more room.
class Triad {
 public:
  explicit Triad(DeviceContext& device);

  void run();
  /// Bytes that one run reads and writes.
  double bytes() const;

 private:
  Tensor a_, b_, c_;
};

/// Bytes per second of a triad: the best of repeated runs.
double triad_ceiling(DeviceContext& device, double seconds);

}  // namespace aleph::kernels
