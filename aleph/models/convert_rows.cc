#include "aleph/models/convert_rows.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "aleph/base/parallel.h"
#include "aleph/kernels/matmul/transpose.h"
#include "aleph/kernels/simd/simd.h"

namespace aleph::models {
namespace {

namespace simd = kernels::simd;

constexpr int64_t kGrain = 1 << 15;
constexpr int64_t kPieceRows = 64;  // turned over, then converted while they are in the cache

template <typename From, typename To>
void convert_range(const From* src, To* dst, int64_t n) {
  if constexpr (std::is_same_v<From, To>) {
    std::memcpy(dst, src, static_cast<size_t>(n) * sizeof(To));
  } else {
    simd::run_at(
        kernels::cpu_level(), [=](auto) __attribute__((always_inline)) {
#pragma omp simd
          for (int64_t i = 0; i < n; ++i) simd::store(dst + i, simd::load(src + i));
        });
  }
}

/// Calls body with pointers of the two C++ types.
template <typename Body>
void dispatch_pair(const ConstTensorView& src, const TensorView& dst, const Body& body) {
  dispatch_float(src.dtype(), [&](auto from) {
    dispatch_float(dst.dtype(), [&](auto to) { body(src.data<decltype(from)>(), dst.data<decltype(to)>()); });
  });
}

}  // namespace

void convert_elements(const ConstTensorView& src, const TensorView& dst) {
  ALEPH_CHECK(src.elements() == dst.elements(), "{} into {}", src.shape().to_string(),
              dst.shape().to_string());
  dispatch_pair(src, dst, [&](const auto* from, auto* to) {
    parallel_for(dst.elements(), kGrain,
                 [&](int64_t begin, int64_t end) { convert_range(from + begin, to + begin, end - begin); });
  });
}

void convert_transposed(const ConstTensorView& src, int64_t row_begin, const TensorView& dst) {
  const int64_t rows = dst.shape()[0], columns = dst.shape()[1];
  ALEPH_CHECK(src.shape()[0] == columns && row_begin >= 0 && row_begin + rows <= src.shape()[1],
              "rows {}+{} of {} transposed", row_begin, rows, src.shape().to_string());
  if (src.dtype() == dst.dtype()) return kernels::transpose(src, row_begin, dst);
  std::vector<std::byte> piece(
      static_cast<size_t>(std::min(rows, kPieceRows) * columns * dtype_bytes(src.dtype())));
  for (int64_t row = 0; row < rows; row += kPieceRows) {
    const TensorView dst_rows = dst.slice(row, std::min(kPieceRows, rows - row));
    const TensorView turned(piece.data(), dst_rows.shape(), src.dtype());
    kernels::transpose(src, row_begin + row, turned);
    convert_elements(turned, dst_rows);
  }
}

}  // namespace aleph::models
