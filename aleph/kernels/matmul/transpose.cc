#include "aleph/kernels/matmul/transpose.h"

#include <algorithm>
#include <cstring>

#include "aleph/kernels/checks.h"
#include "aleph/kernels/simd/simd.h"
#include "aleph/kernels/simd/transpose_block.h"

namespace aleph::kernels {
namespace {

using simd::kSide;
using simd::Lanes;

/// What one word of a block holds: one element, or two of one column.
template <typename Word>
constexpr int64_t kStacked = 4 / sizeof(Word);

[[gnu::always_inline]] inline void load_words(const uint32_t* x, int64_t, Lanes& words) {
  std::memcpy(&words, x, sizeof(words));
}
[[gnu::always_inline]] inline void load_words(const uint16_t* x, int64_t stride, Lanes& words) {
#pragma GCC unroll 16
  for (int64_t l = 0; l < kSide; ++l) words[l] = x[l] | static_cast<uint32_t>(x[stride + l]) << 16;
}

/// 16 columns of 16 (or 32) rows.
template <typename Word>
[[gnu::always_inline]] inline void transpose_block(const Word* x, int64_t columns, Word* y, int64_t rows) {
  Lanes words[kSide];
#pragma GCC unroll 16
  for (int64_t i = 0; i < kSide; ++i) load_words(x + i * kStacked<Word> * columns, columns, words[i]);
  simd::transpose_block(words);
#pragma GCC unroll 16
  for (int64_t i = 0; i < kSide; ++i) std::memcpy(y + i * rows, &words[i], sizeof(Lanes));
}

template <typename Word>
[[gnu::always_inline]] inline void transpose_edge(const Word* x, int64_t columns, Word* y, int64_t rows,
                                                  int64_t height, int64_t width) {
  for (int64_t j = 0; j < width; ++j) {
    for (int64_t i = 0; i < height; ++i) y[j * rows + i] = x[i * columns + j];
  }
}

/// y [columns, rows] = x [rows, columns], rows of x `stride` apart.
template <typename Word>
void transpose_words(const Word* x, int64_t stride, Word* y, int64_t rows, int64_t columns) {
  constexpr int64_t kHeight = kSide * kStacked<Word>;
  simd::parallel((rows + kHeight - 1) / kHeight, simd::row_grain(kHeight * columns),
                 [=](auto, int64_t begin, int64_t end) __attribute__((always_inline)) {
                   for (int64_t row = begin * kHeight; row < std::min(rows, end * kHeight); row += kHeight) {
                     const int64_t height = std::min(kHeight, rows - row);
                     for (int64_t column = 0; column < columns; column += kSide) {
                       const int64_t width = std::min(kSide, columns - column);
                       const Word* from = x + row * stride + column;
                       Word* to = y + column * rows + row;
                       if (height == kHeight && width == kSide)
                         transpose_block(from, stride, to, rows);
                       else
                         transpose_edge(from, stride, to, rows, height, width);
                     }
                   }
                 });
}

}  // namespace

void transpose(const ConstTensorView& x, int64_t first, const TensorView& y) {
  const int64_t rows = x.shape()[0], columns = y.shape()[0];
  check_shape("y", y, {columns, rows});
  check_dtype("y", y, x.dtype());
  ALEPH_CHECK(first >= 0 && first + columns <= x.shape()[1], "columns {}+{} of {}", first, columns,
              x.shape().to_string());
  const auto run = [&](auto word) {
    using Word = decltype(word);
    transpose_words(reinterpret_cast<const Word*>(x.raw()) + first, x.shape()[1],
                    reinterpret_cast<Word*>(y.raw()), rows, columns);
  };
  dtype_bytes(x.dtype()) == 4 ? run(uint32_t{}) : run(uint16_t{});
}

}  // namespace aleph::kernels
