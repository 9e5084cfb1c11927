// The library behind matrix products (oneDNN), wrapped so that one file includes it.
#pragma once

#include <compare>
#include <cstdint>
#include <memory>

#include "aleph/tensor/device.h"
#include "aleph/tensor/tensor.h"

namespace aleph::kernels {

/// How the second operand lies in memory.
enum class WeightLayout : uint8_t {
  kRows,     ///< [k, n] row-major
  kColumns,  ///< [n, k] row-major, that is [k, n] transposed
  kPanels,   ///< PackedWeight storage
};

/// Everything a compiled product depends on, besides pointers.
struct ProductKey {
  int64_t m = 0, n = 0, k = 0;
  bool transpose_a = false;
  WeightLayout layout = WeightLayout::kRows;
  DType input = DType::kF32;   ///< of a, b and bias: fp32 or bf16
  DType output = DType::kF32;  ///< of c
  bool bias = false;
  bool accumulate = false;
  int threads = 0;
  auto operator<=>(const ProductKey&) const = default;
};

/// A product compiled for one key. Immutable; safe to share between threads.
class Product {
 public:
  explicit Product(const ProductKey& key);
  ~Product();

  int64_t scratch_bytes() const;
  /// `bias` may be null when the key has none; `scratch` has scratch_bytes.
  void run(const std::byte* a, const std::byte* b, const std::byte* bias, std::byte* c,
           std::byte* scratch) const;

 private:
  struct Library;
  std::unique_ptr<Library> library_;
};

/// The product for `key`, compiled on first use (0.2 ms) and kept while it is among the last few hundred
/// used.
std::shared_ptr<const Product> find_product(const ProductKey& key);

/// True where the library multiplies bf16, and panels (panels.h), itself.
bool library_has_avx512();

}  // namespace aleph::kernels
