#include <algorithm>
#include <optional>

#include "aleph/kernels/checks.h"
#include "aleph/kernels/elementwise/elementwise.h"
#include "aleph/kernels/matmul/matmul.h"
#include "aleph/kernels/matmul/panels.h"
#include "aleph/kernels/matmul/product.h"
#include "aleph/kernels/matmul/transpose.h"
#include "aleph/kernels/simd/simd.h"

namespace aleph::kernels {
namespace {

int64_t inner_size(const MatmulArgs& args) {
  return args.transpose_a ? rows_of("a", args.a) : columns_of("a", args.a);
}

void check_product(const MatmulArgs& args) {
  const int64_t n = columns_of("c", args.c), m = rows_of("c", args.c), k = inner_size(args);
  check_float("a", args.a);
  check_dtype("b", args.b, args.a.dtype());
  if (args.c.dtype() != DType::kF32) check_dtype("c", args.c, args.a.dtype());
  ALEPH_CHECK(args.c.elements() == 0 ||
                  (args.a.elements() == m * k && columns_of("a", args.a) == (args.transpose_a ? m : k) &&
                   args.b.elements() == k * n && columns_of("b", args.b) == (args.transpose_b ? k : n)),
              "c {} = a {}{} times b {}{}", args.c.shape().to_string(), args.a.shape().to_string(),
              args.transpose_a ? " transposed" : "", args.b.shape().to_string(),
              args.transpose_b ? " transposed" : "");
  if (args.bias) check_vector("bias", args.bias, n, args.a.dtype());
  ALEPH_CHECK(!args.accumulate || (args.c.dtype() == DType::kF32 && !args.bias),
              "accumulate needs c in fp32 and no bias");
}

/// What is left of a product over nothing.
void empty_sum(DeviceContext& device, const MatmulArgs& args) {
  if (args.accumulate) return;
  zero(device, args.c);
  if (!args.bias || device.meta()) return;
  for (int64_t row = 0; row < rows_of("c", args.c); ++row) {
    convert(device, args.bias, args.c.reshape({rows_of("c", args.c), args.bias.elements()}).slice(row, 1));
  }
}

/// The product as the operands stand.
void multiply_plain(DeviceContext& device, const MatmulArgs& args, ProductKey key) {
  key.transpose_a = args.transpose_a;
  key.layout = args.transpose_b ? WeightLayout::kColumns : WeightLayout::kRows;
  const auto product = find_product(key);
  const Buffer scratch = device.memory().allocate(product->scratch_bytes(), MemoryTag::kWorkspace);
  if (device.meta()) return;
  const KernelTimer timer(device.profile(), KernelKind::kMatmul, product_operations(key.m, key.n, key.k),
                          bytes_of(args.a, args.b, args.c));
  product->run(args.a.raw(), args.b.raw(), args.bias.raw(), args.c.raw(), scratch.data());
}

/// Largest copies of operands: of b whole, of a part by part.
constexpr int64_t kPanelBytes = int64_t{80} << 20, kTurnedBytes = int64_t{16} << 20;

/// Rows [row, row + m) of c; b stands in panels.
void multiply_rows(DeviceContext& device, const MatmulArgs& args, const ProductKey& key, int64_t row,
                   const ConstTensorView& panels) {
  Tensor turned;
  if (args.transpose_a)
    turned = Tensor(device.memory(), {key.m, key.k}, args.a.dtype(), MemoryTag::kWorkspace);
  const auto product = find_product(key);
  const Buffer scratch = device.memory().allocate(product->scratch_bytes(), MemoryTag::kWorkspace);
  if (device.meta()) return;
  if (turned) transpose(args.a.reshape({key.k, rows_of("c", args.c)}), row, turned.view());
  const std::byte* a = turned ? turned.view().raw() : args.a.raw();
  product->run(a, panels.raw(), args.bias.raw(), args.c.raw() + row * key.n * dtype_bytes(args.c.dtype()),
               scratch.data());
}

/// Through copies of b in panels and of a turned over: what the library would reorder itself, slower.
void multiply_reordered(DeviceContext& device, const MatmulArgs& args, ProductKey key) {
  const int64_t m = key.m, turned_row = kPanel * key.k * dtype_bytes(key.input);
  const int64_t rows = args.transpose_a ? std::max<int64_t>(1, kTurnedBytes / turned_row) * kPanel : m;
  std::optional<KernelTimer> timer;
  if (!device.meta()) {
    timer.emplace(device.profile(), KernelKind::kMatmul, product_operations(m, key.n, key.k),
                  bytes_of(args.a, args.b, args.c));
  }
  Tensor panels(device.memory(), panels_shape(key.n, key.k, key.input), key.input, MemoryTag::kWorkspace);
  if (!device.meta()) pack_panels(args.b.reshape({key.k, key.n}), panels.view());
  key.layout = WeightLayout::kPanels;
  for (int64_t row = 0; row < m; row += rows) {
    key.m = std::min(rows, m - row);
    multiply_rows(device, args, key, row, panels.view());
  }
}

/// Row-major operands that are wanted column by column, as in y = x W^T, the library reorders as fast itself.
/// Few rows do not pay for copies.
bool pays_to_reorder(const MatmulArgs& args, const ProductKey& key) {
  constexpr int64_t kManyRows = 64;
  const int64_t bytes = panels_shape(key.n, key.k, key.input).elements() * dtype_bytes(key.input);
  return !args.transpose_b && key.m >= kManyRows && bytes <= kPanelBytes && library_has_avx512();
}

void multiply(DeviceContext& device, const MatmulArgs& args) {
  const ProductKey key{.m = rows_of("c", args.c),
                       .n = columns_of("c", args.c),
                       .k = inner_size(args),
                       .input = args.a.dtype(),
                       .output = args.c.dtype(),
                       .bias = static_cast<bool>(args.bias),
                       .accumulate = args.accumulate,
                       .threads = num_threads()};
  pays_to_reorder(args, key) ? multiply_reordered(device, args, key) : multiply_plain(device, args, key);
}

Tensor widen(DeviceContext& device, const ConstTensorView& x) {
  if (!x) return {};
  Tensor wide(device.memory(), x.shape(), DType::kF32, MemoryTag::kWorkspace);
  convert(device, x, wide.view());
  return wide;
}

/// For storage types the library does not multiply: operands in fp32, the result rounded once.
void multiply_widened(DeviceContext& device, const MatmulArgs& args) {
  const Tensor a = widen(device, args.a), b = widen(device, args.b), bias = widen(device, args.bias);
  MatmulArgs wide = args;
  wide.a = a.view();
  wide.b = b.view();
  wide.bias = bias.view();
  if (args.c.dtype() == DType::kF32) return multiply(device, wide);
  Tensor c(device.memory(), args.c.shape(), DType::kF32, MemoryTag::kWorkspace);
  wide.c = c.view();
  multiply(device, wide);
  convert(device, c.view(), args.c);
}

constexpr int64_t kColumnBlock = 64;

/// sums[0 ... count) += columns of x; blocks of rows are summed apart, which keeps long sums accurate.
template <typename T>
[[gnu::always_inline]] inline void sum_columns(const T* x, int64_t rows, int64_t stride, int64_t count,
                                               float* sums) {
  constexpr int64_t kRowBlock = 64;
  float total[kColumnBlock] = {};
  for (int64_t first = 0; first < rows; first += kRowBlock) {
    float block[kColumnBlock] = {};
    for (int64_t row = first; row < std::min(rows, first + kRowBlock); ++row) {
      const T* values = x + row * stride;
#pragma omp simd
      for (int64_t j = 0; j < count; ++j) block[j] += simd::load(values + j);
    }
#pragma omp simd
    for (int64_t j = 0; j < count; ++j) total[j] += block[j];
  }
#pragma omp simd
  for (int64_t j = 0; j < count; ++j) sums[j] += total[j];
}

}  // namespace

void matmul(DeviceContext& device, const MatmulArgs& args) {
  check_product(args);
  if (args.c.elements() == 0) return;
  if (inner_size(args) == 0) return empty_sum(device, args);
  const bool native =
      args.a.dtype() == DType::kF32 || (args.a.dtype() == DType::kBF16 && library_has_avx512());
  native ? multiply(device, args) : multiply_widened(device, args);
}

void column_sum(DeviceContext& device, const ColumnSumArgs& args) {
  const int64_t n = columns_of("x", args.x), rows = rows_of("x", args.x);
  check_float("x", args.x);
  check_vector("sums", args.sums, n, DType::kF32);
  if (device.meta()) return;
  const KernelTimer timer(device.profile(), KernelKind::kElementwise, 0, bytes_of(args.x));
  dispatch_float(args.x.dtype(), [&](auto element) {
    const auto* x = args.x.data<decltype(element)>();
    float* sums = args.sums.data<float>();
    const int64_t blocks = (n + kColumnBlock - 1) / kColumnBlock;
    simd::parallel(
        blocks, simd::row_grain(rows * kColumnBlock),
        [=](auto, int64_t begin, int64_t end) __attribute__((always_inline)) {
          for (int64_t block = begin; block < end; ++block) {
            const int64_t first = block * kColumnBlock;
            sum_columns(x + first, rows, n, std::min(kColumnBlock, n - first), sums + first);
          }
        });
  });
}

}  // namespace aleph::kernels
