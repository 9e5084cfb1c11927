// The tiled attention for one vector type V. Included once by each file that compiles for an instruction set,
// after its target pragma; everything here and in what it includes has internal linkage.
//
// V: Reg, kWidth, kRows x kColumns (registers of a product tile), load, load of BF16 and F16, store, set1,
// add, sub, mul, fma, max, exp2, sum, sum4 (of four registers), keep(v, bits): lanes whose bit is set, others
// 0. One that multiplies pairs of bf16 has, of a register of Pairs: load, set1 and fma; and round(v, w), the
// bf16 of two registers one after the other, store_halves and store_zipped.
#pragma once

#include "aleph/kernels/attention/attention_backward-inl.h"
#include "aleph/kernels/attention/attention_decode-inl.h"
#include "aleph/kernels/attention/attention_forward-inl.h"

namespace aleph::kernels::attention {
namespace {

/// Calls kernel<T> for the dtype of the problem.
template <typename Body>
inline void with_dtype(const Problem& p, const Body& body) {
  if (p.dtype == DType::kBF16) return body(BF16{});
  if (p.dtype == DType::kF16) return body(F16{});
  body(float{});
}

template <typename V>
constexpr Kernels kKernels = {
    .forward =
        [](const Problem& p, int64_t batch, int64_t kv_head, int64_t block, float* scratch) {
          with_dtype(p, [&]<typename T>(T) { forward_block<V, T>(p, batch, kv_head, block, scratch); });
        },
    .backward_block =
        [](const Problem& p, int64_t batch, int64_t kv_head, int64_t block, float* scratch, float* dk,
           float* dv) {
          with_dtype(p,
                     [&]<typename T>(T) { backward_block<V, T>(p, batch, kv_head, block, scratch, dk, dv); });
        },
    .backward_tile =
        [](const Problem& p, int64_t batch, int64_t kv_head, int64_t tile, float* scratch, float* dk,
           float* dv) {
          with_dtype(p,
                     [&]<typename T>(T) { backward_tile<V, T>(p, batch, kv_head, tile, scratch, dk, dv); });
        },
    .store_sums =
        [](const Problem& p, const Rows<std::byte>& target, int64_t batch, int64_t kv_head, int64_t begin,
           int64_t count, const float* sums, float factor) {
          with_dtype(p, [&]<typename T>(T) {
            store_sums<V, T>(p, target, batch, kv_head, begin, count, sums, factor);
          });
        },
    .decode =
        [](const Problem& p, int64_t kv_head, int64_t begin, int64_t end, float* scratch, float* partials,
           int64_t stride) {
          with_dtype(p,
                     [&]<typename T>(T) { decode<V, T>(p, kv_head, begin, end, scratch, partials, stride); });
        },
    .decode_merge =
        [](const Problem& p, int64_t head, const float* partials, int64_t splits, float* scratch) {
          with_dtype(p, [&]<typename T>(T) { decode_merge<V, T>(p, head, partials, splits, scratch); });
        },
};

}  // namespace
}  // namespace aleph::kernels::attention
