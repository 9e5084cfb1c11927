#include <cstring>

#include "aleph/kernels/checks.h"
#include "aleph/kernels/embedding/embedding.h"
#include "aleph/kernels/simd/prefetch.h"
#include "aleph/kernels/simd/simd.h"

namespace aleph::kernels {
namespace {

void check_ids(const ConstTensorView& ids, int64_t vocabulary) {
  const int32_t* id = ids.data<int32_t>();
  for (int64_t token = 0; token < ids.elements(); ++token) {
    if (id[token] < 0 || id[token] >= vocabulary) {
      throw Error(fmt::format("token {}", token), fmt::format("id {}", id[token]),
                  fmt::format("an id from 0 to {}", vocabulary - 1));
    }
  }
}

/// ids [tokens], rows [tokens, n], table [vocabulary, n].
void check_lookup(const ConstTensorView& ids, const ConstTensorView& rows, const ConstTensorView& table) {
  check_float("table", table);
  check_float("rows", rows);
  ALEPH_CHECK(table.shape().rank() == 2 && columns_of("rows", rows) == table.shape()[1],
              "rows are {}, table is {}", rows.shape().to_string(), table.shape().to_string());
  check_vector("ids", ids, rows_of("rows", rows), DType::kI32);
}

/// Rows of the table lie anywhere: each is asked for this many tokens before it is needed.
constexpr int64_t kAhead = 2;

template <typename T>
void gather(const EmbeddingForwardArgs& args, int64_t n) {
  const int32_t* ids = args.ids.data<int32_t>();
  const T* table = args.table.data<T>();
  T* y = args.y.data<T>();
  simd::parallel(
      args.ids.elements(),
      simd::row_grain(n), [&](auto, int64_t begin, int64_t end) __attribute__((always_inline)) {
        for (int64_t token = begin; token < end; ++token) {
          const T* from = table + ids[token] * n;
          T* to = y + token * n;
          if (token + kAhead < end) simd::prefetch(table + ids[token + kAhead] * n, n);
          if (!args.accumulate) {
            std::memcpy(to, from, static_cast<size_t>(n) * sizeof(T));
            continue;
          }
#pragma omp simd
          for (int64_t j = 0; j < n; ++j) simd::store(to + j, simd::load(to + j) + simd::load(from + j));
        }
      });
}

/// Each task owns a range of columns and walks all tokens in order: no two tasks meet, and the order of sums
/// does not depend on how many there are.
template <typename T>
void scatter_add(const EmbeddingBackwardArgs& args, int64_t n) {
  const int64_t tokens = args.ids.elements();
  const int32_t* ids = args.ids.data<int32_t>();
  const T* dy = args.dy.data<T>();
  float* dtable = args.dtable.data<float>();
  simd::parallel(
      n, std::max<int64_t>(64, simd::row_grain(tokens)),
      [&](auto, int64_t begin, int64_t end) __attribute__((always_inline)) {
        for (int64_t token = 0; token < tokens; ++token) {
          if (token + kAhead < tokens)
            simd::prefetch<1>(dtable + ids[token + kAhead] * n + begin, end - begin);
          if (ids[token] == args.padding_id) continue;
          float* to = dtable + ids[token] * n;
          const T* from = dy + token * n;
#pragma omp simd
          for (int64_t j = begin; j < end; ++j) to[j] += simd::load(from + j);
        }
      });
}

}  // namespace

void embedding_forward(DeviceContext& device, const EmbeddingForwardArgs& args) {
  check_lookup(args.ids, args.y, args.table);
  check_dtype("y", args.y, args.table.dtype());
  if (device.meta()) return;
  const KernelTimer timer(device.profile(), KernelKind::kEmbedding, 0, 2 * bytes_of(args.y));
  check_ids(args.ids, args.table.shape()[0]);
  dispatch_float(args.table.dtype(),
                 [&](auto element) { gather<decltype(element)>(args, args.table.shape()[1]); });
}

void embedding_backward(DeviceContext& device, const EmbeddingBackwardArgs& args) {
  check_lookup(args.ids, args.dy, args.dtable);
  check_dtype("dtable", args.dtable, DType::kF32);
  if (device.meta()) return;
  const KernelTimer timer(device.profile(), KernelKind::kEmbedding, 0,
                          bytes_of(args.dy) + 8.0 * static_cast<double>(args.dy.elements()));
  check_ids(args.ids, args.dtable.shape()[0]);
  dispatch_float(args.dy.dtype(),
                 [&](auto element) { scatter_add<decltype(element)>(args, args.dtable.shape()[1]); });
}

}  // namespace aleph::kernels
