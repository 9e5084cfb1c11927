#include "aleph/kernels/checks.h"
#include "aleph/kernels/matmul/matmul.h"
#include "aleph/kernels/reference.h"

namespace aleph::kernels {

void matmul_reference(const MatmulArgs& args) {
  const int64_t n = columns_of("c", args.c), m = rows_of("c", args.c);
  const int64_t k = args.transpose_a ? rows_of("a", args.a) : columns_of("a", args.a);
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = args.accumulate ? get(args.c, i * n + j) : 0;
      if (args.bias) sum += get(args.bias, j);
      for (int64_t p = 0; p < k; ++p) {
        sum += get(args.a, args.transpose_a ? p * m + i : i * k + p) *
               get(args.b, args.transpose_b ? j * k + p : p * n + j);
      }
      put(args.c, i * n + j, sum);
    }
  }
}

void column_sum_reference(const ColumnSumArgs& args) {
  const int64_t n = columns_of("x", args.x), rows = rows_of("x", args.x);
  for (int64_t j = 0; j < n; ++j) {
    double sum = get(args.sums, j);
    for (int64_t i = 0; i < rows; ++i) sum += get(args.x, i * n + j);
    put(args.sums, j, sum);
  }
}

}  // namespace aleph::kernels
