#include "aleph/kernels/matmul/product.h"

#include <map>
#include <mutex>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>

#include "aleph/base/error.h"
#include "aleph/base/system_memory.h"
#include "aleph/kernels/simd/simd.h"

namespace aleph::kernels {
namespace {

using Memory = dnnl::memory;
using MemoryDesc = dnnl::memory::desc;

Memory::data_type library_dtype(DType dtype) {
  return dtype == DType::kBF16 ? Memory::data_type::bf16 : Memory::data_type::f32;
}

/// A matrix [rows, columns], stored row-major or, transposed, column-major.
MemoryDesc matrix(int64_t rows, int64_t columns, bool transposed, DType dtype) {
  const Memory::dims strides = transposed ? Memory::dims{1, rows} : Memory::dims{columns, 1};
  return MemoryDesc({rows, columns}, library_dtype(dtype), strides);
}

MemoryDesc weight(const ProductKey& key) {
  if (key.layout != WeightLayout::kPanels) {
    return matrix(key.k, key.n, key.layout == WeightLayout::kColumns, key.input);
  }
  const auto tag = key.input == DType::kBF16 ? Memory::format_tag::BA16a64b2a : Memory::format_tag::BA16a64b;
  return MemoryDesc({key.k, key.n}, library_dtype(key.input), tag);
}

const dnnl::engine& cpu_engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

dnnl::matmul::primitive_desc describe(const ProductKey& key) {
  const MemoryDesc a = matrix(key.m, key.k, key.transpose_a, key.input);
  const MemoryDesc c = matrix(key.m, key.n, false, key.output);
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (key.accumulate) {
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    attributes.set_post_ops(sum);
  }
  const dnnl::matmul::desc description =
      key.bias ? dnnl::matmul::desc(a, weight(key), matrix(1, key.n, false, key.input), c)
               : dnnl::matmul::desc(a, weight(key), c);
  return {description, attributes, cpu_engine()};
}

Memory wrap(const MemoryDesc& description, const std::byte* data) {
  return Memory(description, cpu_engine(), const_cast<std::byte*>(data));  // NOLINT: the library's signature
}

/// Compiled products by key; the least recently used one leaves when there are too many.
class ProductCache {
 public:
  std::shared_ptr<const Product> find(const ProductKey& key) {
    {
      std::lock_guard lock(mutex_);
      const auto entry = entries_.find(key);
      if (entry != entries_.end()) {
        entry->second.last_use = ++uses_;
        return entry->second.product;
      }
    }
    auto product = std::make_shared<const Product>(key);
    std::lock_guard lock(mutex_);
    if (entries_.size() >= kCapacity) drop_oldest();
    return entries_.try_emplace(key, Entry{std::move(product), ++uses_}).first->second.product;
  }

 private:
  static constexpr size_t kCapacity = 512;
  struct Entry {
    std::shared_ptr<const Product> product;
    uint64_t last_use;
  };

  void drop_oldest() {  // requires mutex_
    auto oldest = entries_.begin();
    for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
      if (entry->second.last_use < oldest->second.last_use) oldest = entry;
    }
    entries_.erase(oldest);
  }

  std::mutex mutex_;
  std::map<ProductKey, Entry> entries_;  // guarded by mutex_
  uint64_t uses_ = 0;                    // guarded by mutex_
};

}  // namespace

struct Product::Library {
  explicit Library(const ProductKey& key) : description(describe(key)), primitive(description) {}
  dnnl::matmul::primitive_desc description;
  dnnl::matmul primitive;
};

namespace {

// oneDNN does not look whether it got the memory that its code generator asks for.
constexpr int64_t kGeneratorBytes = int64_t{8} << 20;

[[noreturn]] void report(const dnnl::error& error, const std::string& what) {
  if (error.status == dnnl_out_of_memory) throw std::bad_alloc();
  ALEPH_CHECK(false, "oneDNN: {} for {}", error.what(), what);
  throw;
}

}  // namespace

Product::Product(const ProductKey& key) {
  require_address_space(kGeneratorBytes, "code for matrix products");
  try {
    library_ = std::make_unique<Library>(key);
  } catch (const dnnl::error& error) {
    report(error, fmt::format("a product of {} x {} x {}", key.m, key.k, key.n));
  }
}
Product::~Product() = default;

int64_t Product::scratch_bytes() const {
  return static_cast<int64_t>(library_->description.scratchpad_desc().get_size());
}

void Product::run(const std::byte* a, const std::byte* b, const std::byte* bias, std::byte* c,
                  std::byte* scratch) const try {
  const dnnl::matmul::primitive_desc& description = library_->description;
  std::unordered_map<int, Memory> arguments = {
      {DNNL_ARG_SRC, wrap(description.src_desc(), a)},
      {DNNL_ARG_WEIGHTS, wrap(description.weights_desc(), b)},
      {DNNL_ARG_DST, wrap(description.dst_desc(), c)},
      {DNNL_ARG_SCRATCHPAD, wrap(description.scratchpad_desc(), scratch)}};
  if (bias != nullptr)
    arguments.emplace(DNNL_ARG_BIAS, wrap(description.query_md(dnnl::query::weights_md, 1), bias));
  dnnl::stream stream(cpu_engine());
  library_->primitive.execute(stream, arguments);
  stream.wait();
} catch (const dnnl::error& error) {
  report(error, "running a product");
}

std::shared_ptr<const Product> find_product(const ProductKey& key) {
  static ProductCache cache;
  return cache.find(key);
}

bool library_has_avx512() { return cpu_level() >= CpuLevel::kAvx512; }

}  // namespace aleph::kernels
