// The tiled attention for one vector type V. Included once by each file that compiles for an instruction set,
// after its target pragma; everything here has internal linkage.
//
// V: Reg, kWidth, kRows x kColumns (registers of a product tile), load, load of BF16 and F16, store, set1,
// add, sub, mul, fma, max, exp2, sum, sum4 (of four registers), keep(v, bits): lanes whose bit is set, others
// 0.

#include "aleph/kernels/attention/attention_tiles.h"
#include "aleph/kernels/simd/transpose_block.h"

namespace aleph::kernels::attention {
namespace {

constexpr float kLog2E = 1.44269504f;
constexpr float kLowest = -3.0e38f;  // running maximum of a row that has seen no key
constexpr float kMasked = -std::numeric_limits<float>::infinity();

// ---- products of small matrices: C [m, n] (+)= A [m, k] B [k, n], n in vectors ----

enum class Layout { kRows, kColumns };  // A stands as [m, k], or as [k, m]
enum class Into { kAssign, kAdd };

template <typename V, int R, int C, Layout kLayout, Into kInto>
inline void product_registers(int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
                              int64_t ldc) {
  typename V::Reg sums[R][C];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) {
      sums[r][j] = kInto == Into::kAdd ? V::load(c + r * ldc + j * V::kWidth) : V::set1(0.0f);
    }
  }
  for (int64_t i = 0; i < k; ++i) {
    typename V::Reg row[C];
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) row[j] = V::load(b + j * V::kWidth);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const typename V::Reg factor = V::set1(kLayout == Layout::kColumns ? a[r] : a[r * lda]);
#pragma GCC unroll 8
      for (int j = 0; j < C; ++j) sums[r][j] = V::fma(factor, row[j], sums[r][j]);
    }
    a += kLayout == Layout::kColumns ? lda : 1;
    b += ldb;
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) V::store(c + r * ldc + j * V::kWidth, sums[r][j]);
  }
}

template <typename V, int R, int C, Layout kLayout, Into kInto>
inline void product_rest(int64_t m, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb,
                         float* c, int64_t ldc) {
  if constexpr (R > 0) {
    if (m == R) return product_registers<V, R, C, kLayout, kInto>(k, a, lda, b, ldb, c, ldc);
    product_rest<V, R - 1, C, kLayout, kInto>(m, k, a, lda, b, ldb, c, ldc);
  }
}

template <typename V, int C, Layout kLayout, Into kInto>
void product_columns(int64_t m, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
                     int64_t ldc) {
  for (; m >= V::kRows; m -= V::kRows) {
    product_registers<V, V::kRows, C, kLayout, kInto>(k, a, lda, b, ldb, c, ldc);
    a += kLayout == Layout::kColumns ? V::kRows : V::kRows * lda;
    c += V::kRows * ldc;
  }
  product_rest<V, V::kRows - 1, C, kLayout, kInto>(m, k, a, lda, b, ldb, c, ldc);
}

template <typename V, int C, Layout kLayout, Into kInto>
inline void product_last(int64_t vectors, int64_t m, int64_t k, const float* a, int64_t lda, const float* b,
                         int64_t ldb, float* c, int64_t ldc) {
  if constexpr (C > 0) {
    if (vectors == C) return product_columns<V, C, kLayout, kInto>(m, k, a, lda, b, ldb, c, ldc);
    product_last<V, C - 1, kLayout, kInto>(vectors, m, k, a, lda, b, ldb, c, ldc);
  }
}

template <typename V, Layout kLayout, Into kInto>
void product(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb,
             float* c, int64_t ldc) {
  int64_t vectors = (n + V::kWidth - 1) / V::kWidth;
  constexpr int64_t kStep = V::kColumns * V::kWidth;
  for (; vectors >= V::kColumns; vectors -= V::kColumns, b += kStep, c += kStep) {
    product_columns<V, V::kColumns, kLayout, kInto>(m, k, a, lda, b, ldb, c, ldc);
  }
  product_last<V, V::kColumns - 1, kLayout, kInto>(vectors, m, k, a, lda, b, ldb, c, ldc);
}

// ---- rows in and out ----

template <typename V, typename T>
inline void widen(const T* x, int64_t n, float* y) {
  int64_t i = 0;
  for (; i + V::kWidth <= n; i += V::kWidth) V::store(y + i, V::load(x + i));
  for (; i < n; ++i) y[i] = simd::load(x + i);
}

/// Keys or values [begin, begin + count) of a head, as fp32 [count, head_dim].
template <typename V, typename T>
void load_keys(const Problem& p, const Rows<const std::byte>& rows, int64_t batch, int64_t kv_head,
               int64_t begin, int64_t count, float* y) {
  for (int64_t j = 0; j < count; ++j) {
    widen<V>(rows.template row<T>(batch, begin + j, kv_head), p.head_dim, y + j * p.head_dim);
  }
}

/// y [16][ldy] = x [16][ldx] transposed.
inline void transpose_block(const float* x, int64_t ldx, float* y, int64_t ldy) {
  simd::Lanes rows[simd::kSide];
  for (int64_t i = 0; i < simd::kSide; ++i) std::memcpy(&rows[i], x + i * ldx, sizeof(rows[i]));
  simd::transpose_block(rows);
  for (int64_t i = 0; i < simd::kSide; ++i) std::memcpy(y + i * ldy, &rows[i], sizeof(rows[i]));
}

/// y [columns][kLanes] = x [kLanes][padded(columns)] transposed and scaled.
inline void transpose_lanes(const float* x, int64_t columns, float factor, float* y) {
  float block[simd::kSide * kLanes];
  for (int64_t d = 0; d < columns; d += simd::kSide) {
    for (int64_t l = 0; l < kLanes; l += simd::kSide) {
      transpose_block(x + l * padded(columns) + d, padded(columns), block + l, kLanes);
    }
    const int64_t count = std::min(simd::kSide, columns - d) * kLanes;
    for (int64_t i = 0; i < count; ++i) y[d * kLanes + i] = factor * block[i];
  }
}

/// Which query rows a block holds, and which keys they see.
struct Block {
  Block(const Problem& problem, int64_t kv_head_index, int64_t index)
      : p(problem), kv_head(kv_head_index), start(index * kLanes) {
    count = std::min(kLanes, p.rows() - start);
    const int64_t first = p.first + start / p.group, last = p.first + (start + count - 1) / p.group;
    key_begin = std::max<int64_t>(0, first - p.window + 1);
    key_end = std::min(p.keys, p.causal ? last + 1 : last + p.window);
  }
  int64_t query(int64_t lane) const { return (start + lane) / p.group; }
  int64_t head(int64_t lane) const { return kv_head * p.group + (start + lane) % p.group; }
  /// First lane at or after a position.
  int64_t lane_at(int64_t position) const {
    return std::clamp<int64_t>((position - p.first) * p.group - start, 0, kLanes);
  }
  /// Lanes [begin, end) see key j; both grow with j.
  int64_t lanes_begin(int64_t j) const { return lane_at(p.causal ? j : j - p.window + 1); }
  int64_t lanes_end(int64_t j) const { return lane_at(j + p.window); }

  /// scores [key_count, kLanes] of keys from `key` on: those no query sees become minus infinity.
  void mask(int64_t key, int64_t key_count, float* scores) const {
    if (lanes_begin(key + key_count - 1) == 0 && lanes_end(key) >= count) return;
    for (int64_t j = 0; j < key_count; ++j) {
      float* row = scores + j * kLanes;
      std::fill(row, row + lanes_begin(key + j), kMasked);
      std::fill(row + lanes_end(key + j), row + kLanes, kMasked);
    }
  }

  /// fp32 rows [kLanes][padded(head_dim)], zero where there is nothing.
  template <typename V, typename T>
  void load(const Rows<const std::byte>& rows, int64_t batch, float* y) const {
    const int64_t width = padded(p.head_dim);
    for (int64_t l = 0; l < kLanes; ++l) {
      float* row = y + l * width;
      if (l < count) widen<V>(rows.template row<T>(batch, query(l), head(l)), p.head_dim, row);
      std::fill(row + (l < count ? p.head_dim : 0), row + width, 0.0f);
    }
  }
  /// Rounds x [padded(head_dim)][kLanes], lane l times factors[l], to its rows.
  template <typename T>
  void store(const Rows<std::byte>& rows, int64_t batch, const float* x, const float* factors) const {
    for (int64_t l = 0; l < count; l += simd::kSide) {
      for (int64_t d = 0; d < p.head_dim; d += simd::kSide) {
        float block[simd::kSide * simd::kSide];
        transpose_block(x + d * kLanes + l, kLanes, block, simd::kSide);
        const int64_t elements = std::min(simd::kSide, p.head_dim - d);
        for (int64_t i = 0; i < std::min(simd::kSide, count - l); ++i) {
          T* row = rows.template row<T>(batch, query(l + i), head(l + i)) + d;
          for (int64_t e = 0; e < elements; ++e)
            simd::store(row + e, block[i * simd::kSide + e] * factors[l + i]);
        }
      }
    }
  }
  /// Keys of a tile that the same vectors of lanes see: no lane before `lane` sees any of them.
  struct Part {
    int64_t first, count, lane;
  };
  /// Calls `body(part)` for the parts of keys [key, key + key_count) in order.
  template <typename Body>
  void for_each_part(int64_t key, int64_t key_count, const Body& body) const {
    const auto lane_of = [&](int64_t j) { return lanes_begin(key + j) / kPad * kPad; };
    for (int64_t first = 0; first < key_count;) {
      int64_t end = std::min(key_count, first + kPad);
      while (end < key_count && lane_of(end) == 0) ++end;
      body(Part{first, end - first, lane_of(first)});
      first = end;
    }
  }
  int64_t statistic(int64_t batch, int64_t lane) const {
    return (batch * p.heads + head(lane)) * p.queries + query(lane);
  }

  const Problem& p;
  int64_t kv_head, start, count = 0, key_begin = 0, key_end = 0;
};

// ---- dropout: the draws of a tile as one bit per lane ----

/// Philox 4x32-10 at one counter per lane (aleph/base/random.h); words[r][lane].
inline void philox(const Problem& p, const uint64_t (&blocks)[kLanes], uint32_t (&words)[4][kLanes]) {
  for (int64_t l = 0; l < kLanes; ++l) {
    words[0][l] = static_cast<uint32_t>(blocks[l]);
    words[1][l] = static_cast<uint32_t>(blocks[l] >> 32);
    words[2][l] = static_cast<uint32_t>(p.random_step);
    words[3][l] = static_cast<uint32_t>(p.random_step >> 32);
  }
  uint32_t k0 = p.random_key[0], k1 = p.random_key[1];
  for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
    for (int64_t l = 0; l < kLanes; ++l) {
      const uint64_t p0 = uint64_t{0xD2511F53u} * words[0][l];
      const uint64_t p1 = uint64_t{0xCD9E8D57u} * words[2][l];
      words[0][l] = static_cast<uint32_t>(p1 >> 32) ^ words[1][l] ^ k0;
      words[1][l] = static_cast<uint32_t>(p1);
      words[2][l] = static_cast<uint32_t>(p0 >> 32) ^ words[3][l] ^ k1;
      words[3][l] = static_cast<uint32_t>(p0);
    }
  }
}

/// keep[j], bit l: lane l keeps key `key` + j. A lane's positions begin anywhere within a block of four
/// words, so bits of four neighbouring rows are shifted together.
inline void draw(const Block& block, int64_t batch, int64_t key, int64_t key_count, uint64_t* keep) {
  const Problem& p = block.p;
  uint64_t counters[kLanes], lanes_of_shift[4] = {};
  for (int64_t l = 0; l < kLanes; ++l) {
    const int64_t lane = std::min(l, block.count - 1);
    const auto position = static_cast<uint64_t>(block.statistic(batch, lane) * p.keys + key);
    counters[l] = position / 4;
    lanes_of_shift[position % 4] |= uint64_t{1} << l;
  }
  uint64_t drawn[kKeyTile + 8];
  for (int64_t row = 0; row < key_count + 3; row += 4) {
    uint32_t words[4][kLanes];
    philox(p, counters, words);
    for (int64_t r = 0; r < 4; ++r) {
      uint64_t bits = 0;
      for (int64_t l = 0; l < kLanes; ++l) {
        bits |= static_cast<uint64_t>((words[r][l] >> 8) >= p.threshold) << l;
      }
      drawn[row + r] = bits;
    }
    for (uint64_t& counter : counters) ++counter;
  }
  for (int64_t j = 0; j < key_count; ++j) {
    keep[j] = 0;
    for (int64_t shift = 0; shift < 4; ++shift) keep[j] |= drawn[j + shift] & lanes_of_shift[shift];
  }
}

// ---- forward ----

/// Hands out pieces of scratch, each aligned to a cache line.
class Scratch {
 public:
  explicit Scratch(float* data) : next_(data) {}
  float* floats(int64_t n) {
    float* piece = next_;
    next_ += padded(n);
    return piece;
  }
  uint64_t* words(int64_t n) { return reinterpret_cast<uint64_t*>(floats(2 * n)); }

 private:
  float* next_;
};

/// Softmax over keys that come tile by tile: maxima and sums per lane. Scores are in units of log 2.
template <typename V>
struct OnlineSoftmax {
  alignas(64) float maxima[kLanes], sums[kLanes], rescale[kLanes];

  OnlineSoftmax() {
    std::fill(maxima, maxima + kLanes, kLowest);
    std::fill(sums, sums + kLanes, 0.0f);
  }

  /// scores [count, kLanes] of the keys from `key` on become exp2(score - maximum); `rescale` is what earlier
  /// results shrink by.
  void step(const Block& block, int64_t key, int64_t count, float* scores) {
    alignas(64) float before[kLanes];
    std::copy(maxima, maxima + kLanes, before);
    block.for_each_part(key, count, [&](const Block::Part& part) { raise(part, scores); });
    for (int64_t l = 0; l < kLanes; l += V::kWidth) {
      const auto shrink = V::exp2(V::sub(V::load(before + l), V::load(maxima + l)));
      V::store(rescale + l, shrink);
      V::store(sums + l, V::mul(V::load(sums + l), shrink));
    }
    block.for_each_part(key, count, [&](const Block::Part& part) { weigh(part, scores); });
  }

 private:
  void raise(const Block::Part& part, const float* scores) {
    for (int64_t l = part.lane; l < kLanes; l += V::kWidth) {
      const float* column = scores + part.first * kLanes + l;
      auto top0 = V::load(maxima + l), top1 = top0;
      int64_t j = 0;
      for (; j + 2 <= part.count; j += 2) {
        top0 = V::max(top0, V::load(column + j * kLanes));
        top1 = V::max(top1, V::load(column + (j + 1) * kLanes));
      }
      if (j < part.count) top0 = V::max(top0, V::load(column + j * kLanes));
      V::store(maxima + l, V::max(top0, top1));
    }
  }
  void weigh(const Block::Part& part, float* scores) {
    for (int64_t j = part.first; j < part.first + part.count; ++j) {
      float* row = scores + j * kLanes;
#pragma GCC unroll 4
      for (int64_t l = part.lane; l < kLanes; l += V::kWidth) {
        const auto weight = V::exp2(V::sub(V::load(row + l), V::load(maxima + l)));
        V::store(row + l, weight);
        V::store(sums + l, V::add(V::load(sums + l), weight));
      }
    }
  }
};

/// rows [count, kLanes]: 0 where a bit is not set, else times `factor`.
template <typename V>
void drop(int64_t count, const uint64_t* keep, float factor, float* rows) {
  for (int64_t j = 0; j < count; ++j) {
    for (int64_t l = 0; l < kLanes; l += V::kWidth) {
      float* x = rows + j * kLanes + l;
      V::store(x, V::keep(V::mul(V::load(x), V::set1(factor)), keep[j] >> l));
    }
  }
}

/// rows [count, kLanes], lane by lane times factors.
template <typename V>
void scale_lanes(int64_t count, const float* factors, float* rows) {
  for (int64_t d = 0; d < count; ++d) {
    for (int64_t l = 0; l < kLanes; l += V::kWidth) {
      V::store(rows + d * kLanes + l, V::mul(V::load(rows + d * kLanes + l), V::load(factors + l)));
    }
  }
}

/// Calls `body(key, count)` for the tiles of the keys a block sees.
template <typename Body>
void for_each_tile(const Block& block, const Body& body) {
  for (int64_t key = block.key_begin; key < block.key_end;) {
    const int64_t end = std::min(block.key_end, (key / kKeyTile + 1) * kKeyTile);
    body(key, end - key);
    key = end;
  }
}

template <typename V, typename T>
void forward_block(const Problem& p, int64_t batch, int64_t kv_head, int64_t index, float* memory) {
  const Block block(p, kv_head, index);
  Scratch scratch(memory);
  const int64_t width = padded(p.head_dim);
  float* query = scratch.floats(kLanes * p.head_dim);
  float* result = scratch.floats(kLanes * width);
  float* scores = scratch.floats(kLanes * kKeyTile);
  float* keys = scratch.floats(std::max(kKeyTile, kLanes) * width);
  float* values = scratch.floats(kKeyTile * p.head_dim);
  uint64_t* keep = scratch.words(kKeyTile);

  block.template load<V, T>(p.q, batch, keys);
  transpose_lanes(keys, p.head_dim, p.scale * kLog2E, query);
  std::fill(result, result + kLanes * width, 0.0f);
  OnlineSoftmax<V> softmax;
  for_each_tile(block, [&](int64_t key, int64_t count) {
    load_keys<V, T>(p, p.k, batch, kv_head, key, count, keys);
    load_keys<V, T>(p, p.v, batch, kv_head, key, count, values);
    block.for_each_part(key, count, [&](const Block::Part& part) {
      product<V, Layout::kRows, Into::kAssign>(part.count, kLanes - part.lane, p.head_dim,
                                               keys + part.first * p.head_dim, p.head_dim, query + part.lane,
                                               kLanes, scores + part.first * kLanes + part.lane, kLanes);
    });
    block.mask(key, count, scores);
    softmax.step(block, key, count, scores);
    if (p.threshold > 0) {
      draw(block, batch, key, count, keep);
      drop<V>(count, keep, p.keep_scale, scores);
    }
    scale_lanes<V>(p.head_dim, softmax.rescale, result);
    block.for_each_part(key, count, [&](const Block::Part& part) {
      product<V, Layout::kColumns, Into::kAdd>(
          p.head_dim, kLanes - part.lane, part.count, values + part.first * p.head_dim, p.head_dim,
          scores + part.first * kLanes + part.lane, kLanes, result + part.lane, kLanes);
    });
  });
  float inverse[kLanes];
  for (int64_t l = 0; l < kLanes; ++l) inverse[l] = 1.0f / softmax.sums[l];
  block.template store<T>(p.out, batch, result, inverse);
  if (p.log_sums == nullptr) return;
  for (int64_t l = 0; l < block.count; ++l) {
    const double log_sum = softmax.maxima[l] * std::numbers::ln2 + std::log(double{softmax.sums[l]});
    p.log_sums[block.statistic(batch, l)] = static_cast<float>(log_sum);
  }
}

// ---- backward ----
// P = exp(S - log_sum), dP = dO V^T, dS = P (dP - D) with D = sum over head_dim of dO O.

/// What the backward products need of a block of queries.
template <typename V>
struct BackwardBlock {
  template <typename T>
  void load(const Block& block, int64_t batch) {
    const Problem& p = block.p;
    const int64_t width = padded(p.head_dim);
    block.template load<V, T>(p.result, batch, query);
    block.template load<V, T>(p.dout, batch, dout);
    for (int64_t l = 0; l < kLanes; ++l) {
      auto sum = V::set1(0.0f);
      for (int64_t d = 0; d < width; d += V::kWidth) {
        sum = V::fma(V::load(dout + l * width + d), V::load(query + l * width + d), sum);
      }
      deltas[l] = V::sum(sum);
      log_sums[l] = l < block.count ? p.given_log_sums[block.statistic(batch, l)] * kLog2E : 0.0f;
    }
    block.template load<V, T>(p.q, batch, query);
    transpose_lanes(query, p.head_dim, p.scale * kLog2E, query_lanes);
    transpose_lanes(dout, p.head_dim, 1.0f, dout_lanes);
  }

  float *query, *dout;              // [kLanes, padded(head_dim)]
  float *query_lanes, *dout_lanes;  // [head_dim, kLanes]; queries in units of log 2 / scale
  alignas(64) float deltas[kLanes], log_sums[kLanes];
};

/// Scratch of a backward tile.
template <typename V>
struct BackwardTile {
  BackwardTile(const Problem& p, float* memory) {
    Scratch scratch(memory);
    const int64_t width = padded(p.head_dim);
    queries.query = scratch.floats(kLanes * width);
    queries.dout = scratch.floats(kLanes * width);
    queries.query_lanes = scratch.floats(kLanes * p.head_dim);
    queries.dout_lanes = scratch.floats(kLanes * p.head_dim);
    dquery = scratch.floats(kLanes * width);
    keys = scratch.floats(kKeyTile * p.head_dim);
    values = scratch.floats(kKeyTile * p.head_dim);
    weights = scratch.floats(kKeyTile * kLanes);
    dscores = scratch.floats(kKeyTile * kLanes);
    keep = scratch.words(kKeyTile);
  }

  template <typename T>
  void load(const Problem& p, int64_t batch, int64_t kv_head, int64_t key, int64_t count) {
    load_keys<V, T>(p, p.k, batch, kv_head, key, count, keys);
    load_keys<V, T>(p, p.v, batch, kv_head, key, count, values);
  }

  /// weights and dscores of keys [key, key + count), which stand at row `offset` of keys and values.
  void scores(const Block& block, int64_t batch, int64_t key, int64_t count, int64_t offset) {
    const Problem& p = block.p;
    block.for_each_part(key, count, [&](const Block::Part& part) {
      multiply(part, p.head_dim, keys + offset * p.head_dim, queries.query_lanes, weights);
      multiply(part, p.head_dim, values + offset * p.head_dim, queries.dout_lanes, dscores);
    });
    block.mask(key, count, weights);
    if (p.threshold > 0) {
      draw(block, batch, key, count, keep);
      drop<V>(count, keep, p.keep_scale, dscores);
    }
    block.for_each_part(key, count, [&](const Block::Part& part) { weigh(part); });
    if (p.threshold > 0) drop<V>(count, keep, p.keep_scale, weights);
  }

  /// dquery gets what keys [key, key + count) give it.
  void add_to_queries(const Block& block, int64_t key, int64_t count) {
    const int64_t head_dim = block.p.head_dim;
    block.for_each_part(key, count, [&](const Block::Part& part) {
      product<V, Layout::kColumns, Into::kAdd>(
          head_dim, kLanes - part.lane, part.count, keys + part.first * head_dim, head_dim,
          dscores + part.first * kLanes + part.lane, kLanes, dquery + part.lane, kLanes);
    });
  }

  /// dk and dv, at the row of `key`, get what the block of queries gives them.
  void add_to_keys(const Block& block, int64_t key, int64_t count, float* dk, float* dv) {
    const int64_t width = padded(block.p.head_dim);
    block.for_each_part(key, count, [&](const Block::Part& part) {
      const int64_t lanes = std::max<int64_t>(0, block.count - part.lane);
      const int64_t at = part.first * kLanes + part.lane;
      product<V, Layout::kRows, Into::kAdd>(part.count, width, lanes, weights + at, kLanes,
                                            queries.dout + part.lane * width, width, dv + part.first * width,
                                            width);
      product<V, Layout::kRows, Into::kAdd>(part.count, width, lanes, dscores + at, kLanes,
                                            queries.query + part.lane * width, width, dk + part.first * width,
                                            width);
    });
  }

  BackwardBlock<V> queries;
  float *dquery, *keys, *values, *weights, *dscores;
  uint64_t* keep;

 private:
  /// result [kKeyTile, kLanes] = rows [keys, head_dim] lanes [head_dim, kLanes], of one part.
  static void multiply(const Block::Part& part, int64_t head_dim, const float* rows, const float* lanes,
                       float* result) {
    product<V, Layout::kRows, Into::kAssign>(part.count, kLanes - part.lane, head_dim,
                                             rows + part.first * head_dim, head_dim, lanes + part.lane,
                                             kLanes, result + part.first * kLanes + part.lane, kLanes);
  }

  void weigh(const Block::Part& part) {
    for (int64_t j = part.first; j < part.first + part.count; ++j) {
#pragma GCC unroll 4
      for (int64_t l = part.lane; l < kLanes; l += V::kWidth) {
        float *weight = weights + j * kLanes + l, *dscore = dscores + j * kLanes + l;
        const auto w = V::exp2(V::sub(V::load(weight), V::load(queries.log_sums + l)));
        V::store(weight, w);
        V::store(dscore, V::mul(w, V::sub(V::load(dscore), V::load(queries.deltas + l))));
      }
    }
  }
};

template <typename V, typename T>
void backward_block(const Problem& p, int64_t batch, int64_t kv_head, int64_t index, float* memory, float* dk,
                    float* dv) {
  const Block block(p, kv_head, index);
  const int64_t width = padded(p.head_dim);
  BackwardTile<V> tile(p, memory);
  tile.queries.template load<T>(block, batch);
  std::fill(tile.dquery, tile.dquery + kLanes * width, 0.0f);
  for_each_tile(block, [&](int64_t key, int64_t count) {
    tile.template load<T>(p, batch, kv_head, key, count);
    tile.scores(block, batch, key, count, 0);
    tile.add_to_queries(block, key, count);
    if (dk != nullptr) tile.add_to_keys(block, key, count, dk + key * width, dv + key * width);
  });
  float scales[kLanes];
  std::fill(scales, scales + kLanes, p.scale);
  block.template store<T>(p.dq, batch, tile.dquery, scales);
}

template <typename V, typename T>
void store_sums(const Problem& p, const Rows<std::byte>& target, int64_t batch, int64_t kv_head,
                int64_t begin, int64_t count, const float* sums, float factor) {
  for (int64_t j = 0; j < count; ++j) {
    T* row = target.template row<T>(batch, begin + j, kv_head);
    const float* sum = sums + j * padded(p.head_dim);
    for (int64_t d = 0; d < p.head_dim; ++d) simd::store(row + d, sum[d] * factor);
  }
}

template <typename V, typename T>
void backward_tile(const Problem& p, int64_t batch, int64_t kv_head, int64_t index, float* memory, float* dk,
                   float* dv) {
  const int64_t begin = index * kKeyTile, end = std::min(p.keys, begin + kKeyTile);
  const int64_t width = padded(p.head_dim);
  BackwardTile<V> tile(p, memory);
  tile.template load<T>(p, batch, kv_head, begin, end - begin);
  std::fill(dk, dk + (end - begin) * width, 0.0f);
  std::fill(dv, dv + (end - begin) * width, 0.0f);
  const int64_t first = p.causal ? begin : std::max<int64_t>(0, begin - p.window + 1);
  for (int64_t b = first * p.group / kLanes; b < p.blocks(); ++b) {
    const Block block(p, kv_head, b);
    const int64_t key = std::max(begin, block.key_begin);
    const int64_t count = std::min(end, block.key_end) - key;
    if (block.key_begin >= end) break;
    if (count <= 0) continue;
    tile.queries.template load<T>(block, batch);
    tile.scores(block, batch, key, count, key - begin);
    tile.add_to_keys(block, key, count, dk + (key - begin) * width, dv + (key - begin) * width);
  }
  store_sums<V, T>(p, p.dk, batch, kv_head, begin, end - begin, dk, p.scale);
  store_sums<V, T>(p, p.dv, batch, kv_head, begin, end - begin, dv, 1.0f);
}

// ---- decoding: one query position, keys and values streamed once; vectors run over head_dim ----

/// The last, partly filled vector of a row, 0 beyond its n - d elements.
template <typename V, typename T>
inline typename V::Reg load_part(const T* x, int64_t d, int64_t n) {
  alignas(64) float part[V::kWidth] = {};
  for (int64_t i = d; i < n; ++i) part[i - d] = simd::load(x + i);
  return V::load(part);
}

/// Calls `body(d, load)` for the vectors of a row of head_dim elements.
template <typename V, typename Body>
[[gnu::always_inline]] inline void for_each_vector(int64_t head_dim, const Body& body) {
  int64_t d = 0;
  for (; d + V::kWidth <= head_dim; d += V::kWidth) body(d, [d](const auto* x) { return V::load(x + d); });
  if (d < head_dim) body(d, [d, head_dim](const auto* x) { return load_part<V>(x, d, head_dim); });
}

/// Rows j ... j + 3 of keys or values; the last one again where there are fewer.
template <typename T>
struct FourRows {
  FourRows(const T* x, int64_t stride, int64_t j, int64_t count) {
    for (int64_t i = 0; i < 4; ++i) row[i] = x + std::min(j + i, count - 1) * stride;
  }
  const T* row[4];
};

/// scores[r * kDecodeTile + j] = query r . key j for R queries [R, width].
template <typename V, typename T, int R>
void decode_scores(const Problem& p, const T* keys, int64_t stride, int64_t count, const float* queries,
                   float* scores) {
  const int64_t width = padded(p.head_dim);
  for (int64_t j = 0; j < count; j += 4) {
    const FourRows<T> key(keys, stride, j, count);
    typename V::Reg sums[R][4];
    for (int r = 0; r < R; ++r) {
      for (int i = 0; i < 4; ++i) sums[r][i] = V::set1(0.0f);
    }
    for_each_vector<V>(
        p.head_dim, [&](int64_t d, auto load) __attribute__((always_inline)) {
#pragma GCC unroll 4
          for (int i = 0; i < 4; ++i) {
            const auto x = load(key.row[i]);
#pragma GCC unroll 4
            for (int r = 0; r < R; ++r) sums[r][i] = V::fma(V::load(queries + r * width + d), x, sums[r][i]);
          }
        });
    for (int r = 0; r < R; ++r) V::sum4(sums[r], scores + r * kDecodeTile + j);
  }
}

/// results [R, width] += weights [R, kDecodeTile] values; weights are 0 from count to the next multiple of 4.
template <typename V, typename T, int R>
void decode_values(const Problem& p, const T* values, int64_t stride, int64_t count, const float* weights,
                   float* results) {
  const int64_t width = padded(p.head_dim);
  for (int64_t j = 0; j < count; j += 4) {
    const FourRows<T> value(values, stride, j, count);
    typename V::Reg factors[R][4];
    for (int r = 0; r < R; ++r) {
      for (int i = 0; i < 4; ++i) factors[r][i] = V::set1(weights[r * kDecodeTile + j + i]);
    }
    for_each_vector<V>(
        p.head_dim, [&](int64_t d, auto load) __attribute__((always_inline)) {
          typename V::Reg sums[R];
#pragma GCC unroll 4
          for (int r = 0; r < R; ++r) sums[r] = V::load(results + r * width + d);
#pragma GCC unroll 4
          for (int i = 0; i < 4; ++i) {
            const auto x = load(value.row[i]);
#pragma GCC unroll 4
            for (int r = 0; r < R; ++r) sums[r] = V::fma(factors[r][i], x, sums[r]);
          }
#pragma GCC unroll 4
          for (int r = 0; r < R; ++r) V::store(results + r * width + d, sums[r]);
        });
  }
}

/// scores [count, filled up to vectors] become exp2(score - maximum); results shrink with the maximum.
template <typename V>
void decode_softmax(int64_t count, int64_t width, float* scores, float* maximum, float* sum, float* results) {
  const int64_t filled = padded(count);
  std::fill(scores + count, scores + filled, kMasked);
  alignas(64) float tops[V::kWidth];
  auto top = V::set1(*maximum);
  for (int64_t j = 0; j < filled; j += V::kWidth) top = V::max(top, V::load(scores + j));
  V::store(tops, top);
  const auto before = V::set1(*maximum);
  *maximum = *std::max_element(tops, tops + V::kWidth);
  top = V::set1(*maximum);
  auto total = V::set1(0.0f);
  for (int64_t j = 0; j < filled; j += V::kWidth) {
    const auto weight = V::exp2(V::sub(V::load(scores + j), top));
    V::store(scores + j, weight);
    total = V::add(total, weight);
  }
  const auto shrink = V::exp2(V::sub(before, top));
  V::store(tops, shrink);
  *sum = *sum * tops[0] + V::sum(total);
  if (tops[0] == 1.0f) return;
  for (int64_t d = 0; d < width; d += V::kWidth) {
    V::store(results + d, V::mul(V::load(results + d), shrink));
  }
}

/// Calls body<R>(row) over rows in steps of R = 4, 2, 1.
template <typename Body>
inline void for_row_groups(int64_t rows, const Body& body) {
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) body(std::integral_constant<int, 4>{}, r);
  if (r + 2 <= rows) {
    body(std::integral_constant<int, 2>{}, r);
    r += 2;
  }
  if (r < rows) body(std::integral_constant<int, 1>{}, r);
}

template <typename V, typename T>
void decode(const Problem& p, int64_t kv_head, int64_t begin, int64_t end, float* memory, float* partials,
            int64_t partial_stride) {
  const int64_t width = padded(p.head_dim);
  Scratch scratch(memory);
  float* queries = scratch.floats(p.group * width);
  float* results = scratch.floats(p.group * width);
  float* scores = scratch.floats(p.group * kDecodeTile);
  float* maxima = scratch.floats(p.group);
  float* sums = scratch.floats(p.group);
  std::fill(queries, queries + p.group * width, 0.0f);
  std::fill(results, results + p.group * width, 0.0f);
  std::fill(maxima, maxima + p.group, kLowest);
  std::fill(sums, sums + p.group, 0.0f);
  for (int64_t r = 0; r < p.group; ++r) {
    float* query = queries + r * width;
    widen<V>(p.q.template row<T>(0, 0, kv_head * p.group + r), p.head_dim, query);
    for (int64_t d = 0; d < p.head_dim; ++d) query[d] *= p.scale * kLog2E;
  }
  for (int64_t key = begin; key < end; key += kDecodeTile) {
    const int64_t count = std::min(kDecodeTile, end - key);
    const T* keys = p.k.template row<T>(0, key, kv_head);
    const T* values = p.v.template row<T>(0, key, kv_head);
    for_row_groups(p.group, [&](auto rows, int64_t r) {
      decode_scores<V, T, rows.value>(p, keys, p.k.token_stride, count, queries + r * width,
                                      scores + r * kDecodeTile);
    });
    for (int64_t r = 0; r < p.group; ++r) {
      decode_softmax<V>(count, width, scores + r * kDecodeTile, maxima + r, sums + r, results + r * width);
    }
    for_row_groups(p.group, [&](auto rows, int64_t r) {
      decode_values<V, T, rows.value>(p, values, p.v.token_stride, count, scores + r * kDecodeTile,
                                      results + r * width);
    });
  }
  for (int64_t r = 0; r < p.group; ++r) {
    float* partial = partials + r * partial_stride;
    partial[0] = maxima[r];
    partial[1] = sums[r];
    std::copy(results + r * width, results + (r + 1) * width, partial + kPad);
  }
}

template <typename V, typename T>
void decode_merge(const Problem& p, int64_t head, const float* partials, int64_t splits, float* total) {
  const int64_t stride = decode_partial(p.head_dim);
  float maximum = kLowest, sum = 0.0f;
  for (int64_t s = 0; s < splits; ++s) maximum = std::max(maximum, partials[s * stride]);
  std::fill(total, total + padded(p.head_dim), 0.0f);
  for (int64_t s = 0; s < splits; ++s) {
    const float* partial = partials + s * stride;
    const float factor = std::exp2(partial[0] - maximum);
    sum += factor * partial[1];
    for (int64_t d = 0; d < p.head_dim; ++d) total[d] += factor * partial[kPad + d];
  }
  T* row = p.out.template row<T>(0, 0, head);
  for (int64_t d = 0; d < p.head_dim; ++d) simd::store(row + d, total[d] / sum);
}

// ---- the table ----

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
