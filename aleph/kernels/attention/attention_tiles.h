// Inside of the CPU attention: one problem for all three forms, and the table of what each instruction set
// provides. A tile of scores stands transposed, [key, lane]: the vectors run over up to kLanes query rows of
// one key-value head, (query, head of its group) in order, so that keys and values are read as they are
// stored, softmax needs no horizontal sums, and the heads of a group share every key they read.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "aleph/kernels/simd/simd.h"
#include "aleph/tensor/dtype.h"

namespace aleph::kernels::attention {

inline constexpr int64_t kLanes = 64;        ///< query rows of a block
inline constexpr int64_t kKeyTile = 128;     ///< keys of a tile; tiles start at multiples of it
inline constexpr int64_t kStage = 48;        ///< keys whose scores and gradients stay in the first cache
inline constexpr int64_t kDecodeTile = 256;  ///< keys of a tile of the decoding pass
inline constexpr int64_t kPad = 16;  ///< floats of the widest vector: rows of scratch are padded to it

/// Two bf16 numbers that are neighbours along the dimension a product sums over, the first in the low half.
/// Also read where they are stored as BF16.
struct Pair {
  uint32_t bits;
};

inline constexpr int64_t padded(int64_t n) { return (n + kPad - 1) / kPad * kPad; }

/// Rows of head_dim elements by (batch, token, head); strides in elements.
template <typename Byte>
struct Rows {
  Byte* data = nullptr;
  int64_t batch_stride = 0, token_stride = 0, head_stride = 0;

  template <typename T>
  auto row(int64_t batch, int64_t token, int64_t head) const {
    using Element = std::conditional_t<std::is_const_v<Byte>, const T, T>;
    return reinterpret_cast<Element*>(data) + batch * batch_stride + token * token_stride +
           head * head_stride;
  }
};

struct Problem {
  DType dtype = DType::kF32;
  int64_t batch = 0, queries = 0, keys = 0;  ///< query t stands at position first + t
  int64_t first = 0;
  int64_t heads = 0, kv_heads = 0, group = 0, head_dim = 0;
  int64_t window = 0;  ///< at most keys
  bool causal = false;
  float scale = 1;
  Rows<const std::byte> q, k, v;
  Rows<std::byte> out;
  float* log_sums = nullptr;  ///< [batch, heads, queries]; null where nobody asks

  // Dropout: an element stays where the upper 24 bits of its word are at least `threshold`.
  uint32_t threshold = 0;
  float keep_scale = 1;
  std::array<uint32_t, 2> random_key{};
  uint64_t random_step = 0;

  // Backward.
  Rows<const std::byte> result, dout;
  const float* given_log_sums = nullptr;
  Rows<std::byte> dq, dk, dv;

  int64_t rows() const { return queries * group; }
  int64_t blocks() const { return (rows() + kLanes - 1) / kLanes; }
  int64_t key_tiles() const { return (keys + kKeyTile - 1) / kKeyTile; }
};

/// A block of queries of one key-value head.
struct Task {
  int64_t batch = 0, kv_head = 0, block = 0;
};

/// Keys a split of the decoding pass reads: depends on the problem only, at most 64 splits.
inline int64_t decode_split(int64_t visible) {
  constexpr int64_t kMostSplits = 64;
  const int64_t even = (visible + kMostSplits - 1) / kMostSplits;
  return even <= kDecodeTile ? kDecodeTile : padded(even);
}

// Floats of scratch per thread.
int64_t forward_scratch(int64_t head_dim);
int64_t backward_scratch(int64_t head_dim);
int64_t decode_scratch(int64_t head_dim, int64_t group);
/// Floats of one (head, split): maximum, sum, weighted values.
inline int64_t decode_partial(int64_t head_dim) { return kPad + padded(head_dim); }

/// What one instruction set computes. Scratch comes uninitialised.
struct Kernels {
  /// Results of a block. Meanwhile asks for the rows of `next`, unless null.
  void (*forward)(const Problem& problem, const Task& task, const Task* next, float* scratch);
  /// dq of a block; with dk, dv ([keys, padded(head_dim)], sums so far) also adds what the block gives them.
  /// Asks for the rows of `next` as forward does.
  void (*backward_block)(const Problem& problem, const Task& task, const Task* next, float* scratch,
                         float* dk, float* dv);
  /// dk and dv of one key tile from all blocks in order; dk, dv: [kKeyTile, padded(head_dim)] scratch.
  void (*backward_tile)(const Problem& problem, int64_t batch, int64_t kv_head, int64_t tile, float* scratch,
                        float* dk, float* dv);
  /// Rounds rows of dk or dv sums to their tensor.
  void (*store_sums)(const Problem& problem, const Rows<std::byte>& target, int64_t batch, int64_t kv_head,
                     int64_t begin, int64_t count, const float* sums, float factor);
  /// One query: keys [begin, end) for the group of kv_head; partials [group, decode_partial].
  void (*decode)(const Problem& problem, int64_t kv_head, int64_t begin, int64_t end, float* scratch,
                 float* partials, int64_t partial_stride);
  /// One query: merges the splits of a head and rounds the result.
  void (*decode_merge)(const Problem& problem, int64_t head, const float* partials, int64_t splits,
                       float* scratch);
};

/// Those of each level, for kernels_of (simd.h).
struct Levels {
  static const Kernels& portable();
  static const Kernels& avx2();
  static const Kernels& avx512();
  static const Kernels& avx512_bf16();  ///< rounds weights and score gradients of bf16 tensors to bf16
};

}  // namespace aleph::kernels::attention
