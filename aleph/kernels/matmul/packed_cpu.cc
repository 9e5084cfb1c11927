// Products with a weight W [n, k] kept as panels of B = W^T: few rows of a stream them through registers,
// many rows run in the library on the same memory.
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "aleph/kernels/checks.h"
#include "aleph/kernels/elementwise/elementwise.h"
#include "aleph/kernels/matmul/matmul.h"
#include "aleph/kernels/matmul/panels.h"
#include "aleph/kernels/matmul/product.h"
#include "aleph/kernels/simd/simd.h"

namespace aleph::kernels {
namespace {

/// Up to this many rows of a, streaming the panels through registers beats the library.
constexpr int64_t kFewRows = 16;
constexpr int kRowTile = 4;

/// Where element (row j of the panel, step k) stands in a panel.
template <typename T>
int64_t panel_index(int64_t j, int64_t k) {
  constexpr int64_t kPair = 4 / sizeof(T);
  return k / kPair * kPair * kPanel + j * kPair + k % kPair;
}

int64_t panels_of(int64_t n) { return (n + kPanel - 1) / kPanel; }

/// Rows [j_begin, j_end) and steps [p_begin, p_end) of a panel that has `count` rows [count, k].
template <typename From, typename To>
void pack_elements(const From* rows, int64_t count, int64_t k, int64_t j_begin, int64_t j_end,
                   int64_t p_begin, int64_t p_end, To* panel) {
  for (int64_t j = j_begin; j < j_end; ++j) {
    for (int64_t p = p_begin; p < p_end; ++p) {
      simd::store(panel + panel_index<To>(j, p), j < count && p < k ? simd::load(rows + j * k + p) : 0.0f);
    }
  }
}

/// Steps of k that fill 32 bits move together: a transposition, tile by tile so that both sides stay in the
/// cache. Returns the steps that were moved.
template <typename T>
int64_t pack_words(const T* rows, int64_t count, int64_t k, T* panel) {
  constexpr int64_t kPair = 4 / sizeof(T), kTile = 16;
  const int64_t words = k / kPair;
  for (int64_t tile = 0; tile < words; tile += kTile) {
    const int64_t size = std::min(kTile, words - tile);
    for (int64_t j = 0; j < count; ++j) {
      const T* from = rows + j * k + tile * kPair;
      T* to = panel + (tile * kPanel + j) * kPair;
      for (int64_t p = 0; p < size; ++p) std::memcpy(to + p * kPanel * kPair, from + p * kPair, 4);
    }
  }
  return words * kPair;
}

template <typename From, typename To>
void pack_panel(const From* rows, int64_t count, int64_t k, To* panel) {
  const int64_t depth = padded_depth(k, dtype_of<To>());
  int64_t packed = 0;
  if constexpr (std::is_same_v<From, To>) packed = pack_words(rows, count, k, panel);
  pack_elements(rows, count, k, 0, count, packed, depth, panel);
  pack_elements(rows, count, k, count, kPanel, 0, depth, panel);
}

/// `rows_of_panel(panel, count, thread)` gives the rows of each panel, [count, k] of `from`.
template <typename RowsOfPanel>
void pack(DType from, int64_t k, const TensorView& storage, int64_t n, const RowsOfPanel& rows_of_panel) {
  const int64_t panels = panels_of(n), threads = std::min<int64_t>(num_threads(), panels);
  dispatch_float(from, [&](auto element) {
    using From = decltype(element);
    using To = std::conditional_t<std::is_same_v<From, BF16>, BF16, float>;
    To* to = storage.data<To>();
    const int64_t panel_elements = kPanel * padded_depth(k, storage.dtype());
    parallel_for(threads, 1, [&](int64_t begin, int64_t end) {
      for (int64_t panel = panels * begin / threads; panel < panels * end / threads; ++panel) {
        const int64_t count = std::min(kPanel, n - panel * kPanel);
        const std::byte* rows = rows_of_panel(panel, count, begin);
        pack_panel(reinterpret_cast<const From*>(rows), count, k, to + panel * panel_elements);
      }
    });
  });
}

template <typename T>
void unpack(const T* storage, int64_t n, int64_t k, float* weight) {
  const int64_t depth = padded_depth(k, dtype_of<T>());
  parallel_for(n, kPanel, [=](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const T* from = storage + row / kPanel * kPanel * depth;
      for (int64_t p = 0; p < k; ++p)
        weight[row * k + p] = simd::load(from + panel_index<T>(row % kPanel, p));
    }
  });
}

/// sums [kRows, 64] = a [kRows, depth] times one panel; a in fp32.
template <int kRows, typename Isa>
[[gnu::always_inline]] inline void multiply_panel(const float* a, const float* panel, int64_t depth,
                                                  float (*sums)[kPanel]) {
  float local[kRows][kPanel] = {};
  for (int64_t p = 0; p < depth; ++p) {
    for (int row = 0; row < kRows; ++row) {
      const float x = a[row * depth + p];
#pragma omp simd
      for (int64_t j = 0; j < kPanel; ++j) {
        local[row][j] = Isa::multiply_add(x, panel[p * kPanel + j], local[row][j]);
      }
    }
  }
  for (int row = 0; row < kRows; ++row) std::copy(local[row], local[row] + kPanel, sums[row]);
}

template <int kRows, typename Isa>
[[gnu::always_inline]] inline void multiply_panel(const float* a, const BF16* panel, int64_t depth,
                                                  float (*sums)[kPanel]) {
  const auto* pairs = reinterpret_cast<const uint32_t*>(panel);
  float local[kRows][kPanel] = {};
  for (int64_t p = 0; p < depth; p += 2) {
    for (int row = 0; row < kRows; ++row) {
      const float x0 = a[row * depth + p], x1 = a[row * depth + p + 1];
#pragma omp simd
      for (int64_t j = 0; j < kPanel; ++j) {
        const uint32_t pair = pairs[p / 2 * kPanel + j];
        const float sum = Isa::multiply_add(x0, std::bit_cast<float>(pair << 16), local[row][j]);
        local[row][j] = Isa::multiply_add(x1, std::bit_cast<float>(pair & 0xffff0000u), sum);
      }
    }
  }
  for (int row = 0; row < kRows; ++row) std::copy(local[row], local[row] + kPanel, sums[row]);
}

/// The same with a in bf16, two steps of k in one instruction. No prefetches: they take the place of loads
/// under way, and the hardware sees where the panels go.
template <int kRows>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16"))) void dot_panel(const BF16* a,
                                                                               const BF16* panel,
                                                                               int64_t depth,
                                                                               float (*sums)[kPanel]) {
  __m512 local[kRows][4] = {};
  for (int64_t p = 0; p < depth; p += 2) {
    const BF16* from = panel + p * kPanel;
    __m512bh weight[4];
    for (int j = 0; j < 4; ++j) {
      weight[j] = reinterpret_cast<__m512bh>(_mm512_loadu_si512(from + j * 32));
    }
    for (int row = 0; row < kRows; ++row) {
      int32_t pair;
      std::memcpy(&pair, a + row * depth + p, sizeof(pair));
      const auto x = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
      for (int j = 0; j < 4; ++j) local[row][j] = _mm512_dpbf16_ps(local[row][j], weight[j], x);
    }
  }
  for (int row = 0; row < kRows; ++row) {
    for (int j = 0; j < 4; ++j) _mm512_storeu_ps(sums[row] + 16 * j, local[row][j]);
  }
}

bool has_bf16_dot() { return cpu_level() == CpuLevel::kAvx512Bf16; }

/// Chooses the kernel by the type of a: bf16 for the dot instruction, fp32 for the others.
template <int kRows, typename T>
void multiply_rows(CpuLevel level, const float* a, const T* panel, int64_t depth, float (*sums)[kPanel]) {
  simd::run_at(
      level, [=](auto isa) __attribute__((always_inline)) {
        multiply_panel<kRows, decltype(isa)>(a, panel, depth, sums);
      });
}
template <int kRows>
void multiply_rows(CpuLevel, const BF16* a, const BF16* panel, int64_t depth, float (*sums)[kPanel]) {
  dot_panel<kRows>(a, panel, depth, sums);
}

template <typename A, typename T>
void multiply_some_rows(CpuLevel level, int64_t rows, const A* a, const T* panel, int64_t depth,
                        float (*sums)[kPanel]) {
  if (rows >= 4) return multiply_rows<4>(level, a, panel, depth, sums);
  if (rows == 3) return multiply_rows<3>(level, a, panel, depth, sums);
  if (rows == 2) return multiply_rows<2>(level, a, panel, depth, sums);
  multiply_rows<1>(level, a, panel, depth, sums);
}

template <typename C, typename Bias>
void write_sums(CpuLevel level, float* sums, const Bias* bias, C* c, int64_t count) {
  simd::run_at(
      level, [=](auto) __attribute__((always_inline)) {
        if (bias != nullptr) {
#pragma omp simd
          for (int64_t j = 0; j < count; ++j) sums[j] += simd::load(bias + j);
        }
#pragma omp simd
        for (int64_t j = 0; j < count; ++j) simd::store(c + j, sums[j]);
      });
}

/// a [m, depth] padded with zeros; T is the type of weight and bias.
template <typename A, typename T, typename C>
void stream_panels(const PackedMatmulArgs& args, const A* a, const T* bias, C* c) {
  const int64_t n = args.weight->rows(), depth = padded_depth(args.weight->columns(), dtype_of<T>());
  const int64_t m = rows_of("c", args.c);
  const T* storage = args.weight->storage().data<T>();
  const CpuLevel level = cpu_level();
  const int64_t grain = std::max<int64_t>(1, simd::kFlatGrain / (kPanel * depth));
  parallel_for(panels_of(n), grain, [=](int64_t begin, int64_t end) {
    float sums[kRowTile][kPanel];
    for (int64_t panel = begin; panel < end; ++panel) {
      const int64_t first = panel * kPanel, count = std::min(kPanel, n - first);
      for (int64_t row = 0; row < m; row += kRowTile) {
        const int64_t rows = std::min<int64_t>(kRowTile, m - row);
        multiply_some_rows(level, rows, a + row * depth, storage + first * depth, depth, sums);
        for (int64_t i = 0; i < rows; ++i) {
          write_sums(level, sums[i], bias == nullptr ? nullptr : bias + first, c + (row + i) * n + first,
                     count);
        }
      }
    }
  });
}

/// a widened or copied to [m, depth], zeros at the end of each row.
template <typename From, typename To>
void pad_rows(const From* a, int64_t m, int64_t k, int64_t depth, To* padded) {
  for (int64_t row = 0; row < m; ++row) {
    for (int64_t p = 0; p < depth; ++p) {
      simd::store(padded + row * depth + p, p < k ? simd::load(a + row * k + p) : 0.0f);
    }
  }
}

void multiply_few_rows(DeviceContext& device, const PackedMatmulArgs& args) {
  const int64_t m = rows_of("c", args.c), k = args.weight->columns(), depth = padded_depth(k, args.a.dtype());
  const DType dtype = args.a.dtype();
  const DType padded_dtype = dtype == DType::kBF16 && has_bf16_dot() ? DType::kBF16 : DType::kF32;
  const bool as_is = padded_dtype == dtype && depth == k;
  Tensor padded;
  if (!as_is) padded = Tensor(device.memory(), {m, depth}, padded_dtype, MemoryTag::kWorkspace);
  if (device.meta()) return;
  const KernelTimer timer(device.profile(), KernelKind::kMatmul,
                          product_operations(m, args.weight->rows(), k),
                          bytes_of(args.a, args.weight->storage(), args.c));
  const auto run = [&](auto a_type, auto weight_type, auto c_type) {
    using A = decltype(a_type);
    using T = decltype(weight_type);
    using C = decltype(c_type);
    if (!as_is) pad_rows(args.a.data<T>(), m, k, depth, padded.view().data<A>());
    stream_panels(args, (as_is ? args.a : padded.view()).template data<A>(),
                  args.bias ? args.bias.data<T>() : nullptr, args.c.data<C>());
  };
  if (dtype == DType::kF32) return run(float{}, float{}, float{});
  dispatch_float(args.c.dtype(), [&](auto c_type) {
    padded_dtype == DType::kBF16 ? run(BF16{}, BF16{}, c_type) : run(float{}, BF16{}, c_type);
  });
}

void multiply_blocked(DeviceContext& device, const PackedMatmulArgs& args) {
  const auto product = find_product({.m = rows_of("c", args.c),
                                     .n = args.weight->rows(),
                                     .k = args.weight->columns(),
                                     .layout = WeightLayout::kPanels,
                                     .input = args.a.dtype(),
                                     .output = args.c.dtype(),
                                     .bias = static_cast<bool>(args.bias),
                                     .threads = num_threads()});
  const Buffer scratch = device.memory().allocate(product->scratch_bytes(), MemoryTag::kWorkspace);
  if (device.meta()) return;
  const KernelTimer timer(
      device.profile(), KernelKind::kMatmul,
      product_operations(rows_of("c", args.c), args.weight->rows(), args.weight->columns()),
      bytes_of(args.a, args.weight->storage(), args.c));
  product->run(args.a.raw(), args.weight->storage().raw(), args.bias.raw(), args.c.raw(), scratch.data());
}

Tensor widened(DeviceContext& device, const ConstTensorView& x) {
  if (!x) return {};
  Tensor wide(device.memory(), x.shape(), DType::kF32, MemoryTag::kWorkspace);
  convert(device, x, wide.view());
  return wide;
}

/// Where the library has no blocked layouts: through a plain fp32 copy of the weight.
void multiply_unpacked(DeviceContext& device, const PackedMatmulArgs& args) {
  const int64_t n = args.weight->rows(), k = args.weight->columns();
  Tensor weight(device.memory(), {n, k}, DType::kF32, MemoryTag::kWorkspace);
  const Tensor a = widened(device, args.a), bias = widened(device, args.bias);
  Tensor c(device.memory(), args.c.shape(), DType::kF32, MemoryTag::kWorkspace);
  if (!device.meta()) {
    dispatch_float(args.weight->dtype(), [&](auto element) {
      unpack(args.weight->storage().data<decltype(element)>(), n, k, weight.view().data<float>());
    });
  }
  matmul(device,
         {.a = a.view(), .b = weight.view(), .transpose_b = true, .c = c.view(), .bias = bias.view()});
  convert(device, c.view(), args.c);
}

}  // namespace

namespace {

DType packed_dtype(DType dtype) { return dtype == DType::kBF16 ? DType::kBF16 : DType::kF32; }

}  // namespace

PackedWeight PackedWeight::from_storage(DeviceContext& device, const ConstTensorView& storage, int64_t n,
                                        int64_t k) {
  check_shape("storage", storage, panels_shape(n, k, storage.dtype()));
  PackedWeight weight(device, n, k, storage.dtype());
  convert(device, storage, weight.storage_.view());
  return weight;
}

PackedWeight::PackedWeight(DeviceContext& device, int64_t n, int64_t k, DType dtype) : n_(n), k_(k) {
  storage_ = Tensor(device.memory(), panels_shape(n, k, dtype), dtype, MemoryTag::kParameters);
}

PackedWeight::PackedWeight(DeviceContext& device, const ConstTensorView& weight)
    : PackedWeight(device, rows_of("weight", weight), columns_of("weight", weight),
                   packed_dtype(weight.dtype())) {
  check_float("weight", weight);
  if (device.meta()) return;
  const int64_t panel_bytes = kPanel * k_ * dtype_bytes(weight.dtype());
  pack(weight.dtype(), k_, storage_.view(), n_,
       [&](int64_t panel, int64_t, int64_t) { return weight.raw() + panel * panel_bytes; });
}

PackedWeight::PackedWeight(DeviceContext& device, const WeightRows& rows)
    : PackedWeight(device, rows.n, rows.k, packed_dtype(rows.dtype)) {
  const int64_t threads = std::min<int64_t>(num_threads(), panels_of(n_));
  Tensor staging(device.host_memory(), {threads, kPanel, k_}, rows.dtype, MemoryTag::kIoBuffers);
  if (device.meta()) return;
  pack(rows.dtype, k_, storage_.view(), n_, [&](int64_t panel, int64_t count, int64_t thread) {
    const TensorView staged = staging.view().slice(thread, 1).reshape({kPanel, k_}).slice(0, count);
    rows.read(panel * kPanel, staged);
    return staged.raw();
  });
}

void matmul(DeviceContext& device, const PackedMatmulArgs& args) {
  ALEPH_CHECK(args.weight != nullptr && *args.weight, "no weight");
  const int64_t n = args.weight->rows(), k = args.weight->columns();
  check_dtype("a", args.a, args.weight->dtype());
  if (args.c.dtype() != DType::kF32) check_dtype("c", args.c, args.a.dtype());
  ALEPH_CHECK(columns_of("a", args.a) == k && columns_of("c", args.c) == n &&
                  rows_of("a", args.a) == rows_of("c", args.c),
              "c {} = a {} times a packed weight [{}, {}] transposed", args.c.shape().to_string(),
              args.a.shape().to_string(), n, k);
  if (args.bias) check_vector("bias", args.bias, n, args.a.dtype());
  const int64_t m = rows_of("c", args.c);
  if (m == 0) return;
  if (m <= kFewRows) return multiply_few_rows(device, args);
  library_has_avx512() ? multiply_blocked(device, args) : multiply_unpacked(device, args);
}

}  // namespace aleph::kernels
