// Speed of generation at batch 1 with a model's own weights: reading prompts, and one token after another.
//
//   infer_bench --model DIR [--dtype bf16|fp32] [--prompt N] [--context N]
//               [--filter TEXT] [--threads N] [--seconds S] [--json FILE]
//
// Percentages are of ceilings measured in turn with the cases: for prompts the library's products of the
// model's own shapes, for tokens reading memory far beyond the caches with all threads. Operations are those
// of the linear layers alone; bytes are those of the weights that a token passes.

#include <algorithm>
#include <atomic>
#include <numeric>
#include <string>
#include <vector>

#include "aleph/infer/model.h"
#include "aleph/io/json_file.h"
#include "aleph/kernels/matmul/matmul.h"
#include "aleph/kernels/simd/simd.h"
#include "aleph/models/registry.h"
#include "bench/bench.h"

namespace aleph::infer {
namespace {

namespace fs = std::filesystem;

/// Rows and columns of a weight.
struct Matrix {
  int64_t rows, columns;
};

std::vector<Matrix> block_matrices(const nn::BlockSpec& spec) {
  const int64_t hidden = spec.hidden_size, inner = spec.intermediate_size;
  return {{(spec.heads + 2 * spec.kv_heads) * spec.head_dim, hidden},
          {hidden, spec.heads * spec.head_dim},
          {spec.gated_mlp ? 2 * inner : inner, hidden},
          {hidden, inner}};
}

/// Elements of the weights in all blocks.
double block_elements(const models::TransformerSpec& spec) {
  double elements = 0;
  for (const nn::BlockSpec& block : spec.blocks)
    for (const Matrix& matrix : block_matrices(block))
      elements += static_cast<double>(matrix.rows * matrix.columns);
  return elements;
}

double head_elements(const models::TransformerSpec& spec) {
  return static_cast<double>(spec.head.vocab_size * spec.head.hidden_size);
}

void fill(const TensorView& view) {
  dispatch_float(view.dtype(), [&](auto element) {
    auto* values = view.data<decltype(element)>();
    parallel_for(view.elements(), 4096, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        values[i] = from_float<decltype(element)>(static_cast<float>(i % 61) / 61.0f - 0.5f);
    });
  });
}

/// The library's products of one block: x of `rows` rows by each weight, as it is or in panels, whichever is
/// faster.
class BlockProducts {
 public:
  BlockProducts(DeviceContext& device, const nn::BlockSpec& spec, DType dtype, int64_t rows)
      : device_(device) {
    for (const Matrix& matrix : block_matrices(spec)) {
      const auto tensor = [&](int64_t m, int64_t n) {
        Tensor values(device.memory(), {m, n}, dtype, MemoryTag::kWorkspace);
        fill(values.view());
        return values;
      };
      Product product{
          tensor(rows, matrix.columns), tensor(matrix.rows, matrix.columns), tensor(rows, matrix.rows), {}};
      const double plain = bench::measure(0.2, [&] { multiply(product); }).median;
      product.panels = kernels::PackedWeight(device, product.weight.view());
      if (bench::measure(0.2, [&] { multiply(product); }).median > plain) product.panels = {};
      operations_ += 2.0 * static_cast<double>(rows * matrix.rows * matrix.columns);
      products_.push_back(std::move(product));
    }
  }
  void run() {
    for (Product& product : products_) multiply(product);
  }
  double operations() const { return operations_; }

 private:
  struct Product {
    Tensor x, weight, y;
    kernels::PackedWeight panels;  ///< empty: the weight as it is
  };
  void multiply(Product& p) {
    if (p.panels)
      kernels::matmul(device_,
                      kernels::PackedMatmulArgs{.a = p.x.view(), .weight = &p.panels, .c = p.y.view()});
    else
      kernels::matmul(device_, {.a = p.x.view(), .b = p.weight.view(), .transpose_b = true, .c = p.y.view()});
  }

  DeviceContext& device_;
  std::vector<Product> products_;
  double operations_ = 0;
};

/// Reads 512 MiB with all threads.
class MemoryReader {
 public:
  explicit MemoryReader(DeviceContext& device)
      : memory_(device.memory(), {kWords}, DType::kF32, MemoryTag::kWorkspace) {
    fill(memory_.view());
  }
  void run() {
    constexpr int64_t kPiece = 1024, kLanes = 64;
    const float* words = memory_.view().data<float>();
    kernels::simd::parallel(
        kWords / kPiece, 64, [&](auto, int64_t begin, int64_t end) __attribute__((always_inline)) {
          float sums[kLanes] = {};
          for (int64_t i = begin * kPiece; i < end * kPiece; i += kLanes) {
#pragma omp simd
            for (int64_t j = 0; j < kLanes; ++j) sums[j] += words[i + j];
          }
          sink_ = sink_ + std::accumulate(sums, sums + kLanes, 0.0f);
        });
  }
  double bytes() const { return static_cast<double>(memory_.bytes()); }

 private:
  static constexpr int64_t kWords = int64_t{512} << 18;
  Tensor memory_;
  std::atomic<float> sink_ = 0;  // so that nothing is left out as useless
};

std::vector<int32_t> prompt_of(int64_t tokens, int64_t vocabulary) {
  std::vector<int32_t> ids(static_cast<size_t>(tokens));
  for (size_t i = 0; i < ids.size(); ++i)
    ids[i] = static_cast<int32_t>((i * 7919 + 17) % static_cast<size_t>(vocabulary));
  return ids;
}

class Cases {
 public:
  Cases(bench::Bench& bench, DeviceContext& device, Model& model, DType dtype)
      : bench_(bench),
        device_(device),
        model_(model),
        dtype_(dtype),
        reader_(device),
        ids_(prompt_of(model.capacity(), model.spec().embedding.vocab_size)),
        blocks_(block_elements(model.spec())),
        head_(head_elements(model.spec())) {}

  void prompt(int64_t tokens) {
    const double operations = 2 * (blocks_ * static_cast<double>(tokens) + head_);
    BlockProducts bound(device_, model_.spec().blocks.front(), dtype_, tokens);
    bench_.run_against(
        fmt::format("prompt of {} tokens", tokens), {.operations = operations, .dtype = dtype_},
        [&] {
          model_.truncate(0);
          forward(tokens);
        },
        {.operations = bound.operations()}, [&] { bound.run(); });
  }
  void token_behind(int64_t context) {
    model_.truncate(0);
    forward(context);
    const double bytes = (blocks_ + head_) * static_cast<double>(dtype_bytes(dtype_));
    bench_.run_against(
        fmt::format("a token behind {} tokens", context), {.bytes = bytes},
        [&] {
          model_.truncate(context);
          forward(1);
        },
        {.bytes = reader_.bytes()}, [&] { reader_.run(); });
  }

 private:
  void forward(int64_t tokens) { model_.forward(std::span(ids_).first(static_cast<size_t>(tokens))); }

  bench::Bench& bench_;
  DeviceContext& device_;
  Model& model_;
  DType dtype_;
  MemoryReader reader_;
  std::vector<int32_t> ids_;
  double blocks_, head_;
};

void run(int argc, char** argv) {
  const bench::Options options = bench::parse(
      argc, argv, {{"--model", ""}, {"--dtype", "bf16"}, {"--prompt", "512"}, {"--context", "128"}});
  const fs::path directory = options.own.at("--model");
  const DType dtype = options.own.at("--dtype") == "fp32" ? DType::kF32 : DType::kBF16;
  const int64_t prompt = std::max(1LL, std::atoll(options.own.at("--prompt").c_str()));
  const int64_t context = std::max(1LL, std::atoll(options.own.at("--context").c_str()));
  const models::TransformerSpec spec =
      models::read_spec(io::parse_json_file(directory / "config.json"), directory.string());
  const models::WeightSource weights = models::WeightSource::open(directory, spec);
  DeviceContext device({});
  bench::Bench bench("infer", options);
  Model model(device, spec, &weights, {.dtype = dtype, .capacity = std::max(prompt, context) + 1});
  Cases cases(bench, device, model, dtype);
  for (const int64_t tokens : {prompt / 32, prompt / 8, prompt}) cases.prompt(std::max<int64_t>(1, tokens));
  cases.token_behind(1);
  cases.token_behind(context);
  bench.write();
}

}  // namespace
}  // namespace aleph::infer

int main(int argc, char** argv) {
  return aleph::bench::main_of([&] { aleph::infer::run(argc, argv); });
}
