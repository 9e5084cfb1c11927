// The tiled attention for one vector type V. Included once by each file that compiles for an instruction set,
// after its target pragma; what is compiled here and in the -inl.h files it includes has internal linkage.
//
// V is a vector of simd/vector.h with kRows x kColumns, the registers of a product tile. One that multiplies
// pairs of bf16 has, of a register of Pairs: load, set1 and fma; and to_pairs(v, w), the bf16 of two
// registers one after the other, load_halves, store_halves and store_zipped.
#pragma once

#include "aleph/kernels/attention/attention_backward-inl.h"
#include "aleph/kernels/attention/attention_decode-inl.h"
#include "aleph/kernels/attention/attention_forward-inl.h"

namespace aleph::kernels::attention {
namespace {

template <typename V>
constexpr Kernels kKernels = {
    .forward =
        [](const Problem& p, const Task& task, const Task* next, float* scratch) {
          dispatch_float(p.dtype, [&]<typename T>(T) { forward_block<V, T>(p, task, next, scratch); });
        },
    .backward_block =
        [](const Problem& p, const Task& task, const Task* next, float* scratch, float* dk, float* dv) {
          dispatch_float(p.dtype,
                         [&]<typename T>(T) { backward_block<V, T>(p, task, next, scratch, dk, dv); });
        },
    .backward_tile =
        [](const Problem& p, int64_t batch, int64_t kv_head, int64_t tile, float* scratch, float* dk,
           float* dv) {
          dispatch_float(
              p.dtype, [&]<typename T>(T) { backward_tile<V, T>(p, batch, kv_head, tile, scratch, dk, dv); });
        },
    .store_sums =
        [](const Problem& p, const Rows<std::byte>& target, int64_t batch, int64_t kv_head, int64_t begin,
           int64_t count, const float* sums, float factor) {
          dispatch_float(p.dtype, [&]<typename T>(T) {
            store_sums<V, T>(p, target, batch, kv_head, begin, count, sums, factor);
          });
        },
    .decode =
        [](const Problem& p, int64_t kv_head, int64_t begin, int64_t end, float* scratch, float* partials,
           int64_t stride) {
          dispatch_float(p.dtype, [&]<typename T>(T) {
            decode<V, T>(p, kv_head, begin, end, scratch, partials, stride);
          });
        },
    .decode_merge =
        [](const Problem& p, int64_t head, const float* partials, int64_t splits, float* scratch) {
          dispatch_float(p.dtype,
                         [&]<typename T>(T) { decode_merge<V, T>(p, head, partials, splits, scratch); });
        },
};

}  // namespace
}  // namespace aleph::kernels::attention
