// Matrix products. Every linear layer, forward and backward, is one of these.
//
//   forward   y  = x W^T + bias   matmul({.a = x, .b = W, .transpose_b = true, .c = y, .bias = bias})
//   backward  dx = dy W           matmul({.a = dy, .b = W, .c = dx})
//             dW += dy^T x        matmul({.a = dy, .transpose_a = true, .b = x, .c = dW, .accumulate = true})
#pragma once

#include <functional>

#include "aleph/tensor/device.h"
#include "aleph/tensor/tensor.h"

namespace aleph::kernels {

/// c [m, n] = op(a) op(b) + bias, or c += op(a) op(b) with `accumulate`. Leading dimensions of a view fold
/// into rows: [batch, seq, k] counts as [batch * seq, k]. Sums are fp32 for every storage type.
struct MatmulArgs {
  ConstTensorView a;  ///< [m, k], or [k, m] with transpose_a; fp32, bf16 or fp16
  bool transpose_a = false;
  ConstTensorView b;  ///< [k, n], or [n, k] with transpose_b; dtype of a
  bool transpose_b = false;
  TensorView c;             ///< [m, n]; dtype of a, or fp32
  ConstTensorView bias;     ///< optional [n]; dtype of a
  bool accumulate = false;  ///< only with c in fp32
};
void matmul(DeviceContext& device, const MatmulArgs& args);
void matmul_reference(const MatmulArgs& args);

/// sums[j] += sum over rows of x[i, j], in a fixed order: the gradient of a bias.
struct ColumnSumArgs {
  ConstTensorView x;  ///< [rows, n]; fp32, bf16 or fp16
  TensorView sums;    ///< [n]; fp32
};
void column_sum(DeviceContext& device, const ColumnSumArgs& args);
void column_sum_reference(const ColumnSumArgs& args);

/// A weight [n, k] that is brought piece by piece.
struct WeightRows {
  int64_t n = 0, k = 0;
  DType dtype = DType::kF32;
  /// Fills dst [rows, k] with the rows from `row_begin` on. Called from several threads at once.
  std::function<void(int64_t row_begin, const TensorView& dst)> read;
};

/// A weight [n, k] reordered once for many products with few rows (inference). Owns its memory in the device
/// pool.
class PackedWeight {
 public:
  PackedWeight() = default;
  /// Copies `weight` ([n, k]; fp32 or bf16; fp16 is widened to fp32) into the layout products run on.
  PackedWeight(DeviceContext& device, const ConstTensorView& weight);
  /// The same of rows that are read a panel at a time and packed while the cache has them; the buffers for
  /// that are of the host pool.
  PackedWeight(DeviceContext& device, const WeightRows& rows);
  /// Copies the storage of a packed [n, k] that was kept elsewhere: no more than a transfer.
  static PackedWeight from_storage(DeviceContext& device, const ConstTensorView& storage, int64_t n,
                                   int64_t k);

  int64_t rows() const { return n_; }
  int64_t columns() const { return k_; }
  DType dtype() const { return storage_.dtype(); }
  ConstTensorView storage() const { return storage_.view(); }
  explicit operator bool() const { return static_cast<bool>(storage_); }

 private:
  /// Storage alone.
  PackedWeight(DeviceContext& device, int64_t n, int64_t k, DType dtype);

  Tensor storage_;
  int64_t n_ = 0, k_ = 0;
};

/// c [m, n] = a [m, k] weight^T + bias.
struct PackedMatmulArgs {
  ConstTensorView a;  ///< [m, k]; dtype of the weight
  const PackedWeight* weight = nullptr;
  TensorView c;          ///< [m, n]; dtype of a, or fp32
  ConstTensorView bias;  ///< optional [n]; dtype of a
};
void matmul(DeviceContext& device, const PackedMatmulArgs& args);

}  // namespace aleph::kernels
