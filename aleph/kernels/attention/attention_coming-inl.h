// What the next block will read and this one will write, asked for while this one computes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "aleph/kernels/attention/attention_block-inl.h"

namespace aleph::kernels::attention {
namespace {

/// Rows of tensors, asked for a few lines at a time between products: the arithmetic hides the waiting, and a
/// core has only some twenty lines under way.
class ComingRows {
 public:
  /// The rows that a block of queries has in a tensor whose heads lie side by side.
  template <typename T, typename Byte>
  void add_queries(const Rows<Byte>& rows, const Block& block, int64_t batch) {
    const int64_t group = block.p.group, begin = block.start / group;
    const int64_t end = (block.start + block.count - 1) / group + 1;
    add<T>(rows, batch, block.kv_head * group, begin, end, group * block.p.head_dim);
  }
  /// Rows of keys [begin, end).
  template <typename T, typename Byte>
  void add_keys(const Rows<Byte>& rows, const Block& block, int64_t batch, int64_t begin, int64_t end) {
    add<T>(rows, batch, block.kv_head, begin, end, block.p.head_dim);
  }

  void ask() {
    for (int64_t bytes = kAtOnce; bytes > 0 && at_ < count_;) {
      Range& range = ranges_[at_];
      for (int64_t at = 0; at < range.bytes; at += kLine) {
        if (range.write) {
          __builtin_prefetch(range.row + at, 1, kSecondCache);
        } else {
          __builtin_prefetch(range.row + at, 0, kSecondCache);
        }
      }
      bytes -= range.bytes;
      range.row += range.stride;
      if (--range.rows == 0) ++at_;
    }
  }

 private:
  static constexpr int kMost = 10;        // backward: q, dout, the result, twice k and v, three gradients
  static constexpr int kSecondCache = 2;  // the first is full of operands
  static constexpr int64_t kLine = 64, kAtOnce = 12 * kLine;

  template <typename T, typename Byte>
  void add(const Rows<Byte>& rows, int64_t batch, int64_t head, int64_t begin, int64_t end, int64_t length) {
    if (begin >= end) return;
    ALEPH_CHECK(count_ < kMost);
    constexpr auto kSize = static_cast<int64_t>(sizeof(T));
    const auto* first = reinterpret_cast<const char*>(rows.template row<T>(batch, begin, head));
    ranges_[count_++] = {first, rows.token_stride * kSize, length * kSize, end - begin,
                         !std::is_const_v<Byte>};
  }

  struct Range {
    const char* row;
    int64_t stride, bytes, rows;  // bytes between rows, bytes of a row
    bool write;
  };
  Range ranges_[kMost];
  int count_ = 0, at_ = 0;
};

/// Adds the keys and values that the task `next` reads and `block`, of `task`, does not.
template <typename T>
void add_new_keys(ComingRows& coming, const Block& block, const Task& task, const Block& next_block,
                  const Task& next) {
  const bool same = task.batch == next.batch && task.kv_head == next.kv_head;
  const int64_t begin = next_block.key_begin, end = next_block.key_end;
  const int64_t before = same ? std::min(end, block.key_begin) : end, after = std::max(begin, block.key_end);
  for (const auto& rows : {block.p.k, block.p.v}) {
    coming.add_keys<T>(rows, next_block, next.batch, begin, before);
    if (same) coming.add_keys<T>(rows, next_block, next.batch, after, end);
  }
}

}  // namespace
}  // namespace aleph::kernels::attention
