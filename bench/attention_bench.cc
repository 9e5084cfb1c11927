// Speed of attention on the CPU: median of repeated calls, spread between the quartiles, and the rate counted
// in the products that exact attention needs (masked scores do not count). Decoding counts the bytes of keys
// and values instead.
//
//   attention_bench [--filter TEXT] [--threads N] [--seconds S] [--json FILE]

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "aleph/base/random.h"
#include "aleph/kernels/attention/attention.h"
#include "aleph/kernels/simd/simd.h"
#include "bench/bench.h"

namespace aleph::kernels {
namespace {

struct Case {
  std::string name;
  int64_t batch, seq, heads, kv_heads, head_dim;
  DType dtype = DType::kF32;
  AttentionMask mask = AttentionMask::kBidirectional;
  float dropout = 0;
  int64_t window = std::numeric_limits<int64_t>::max();

  AttentionSpec spec() const {
    return {.heads = heads,
            .kv_heads = kv_heads,
            .head_dim = head_dim,
            .scale = 1.0f / std::sqrt(static_cast<float>(head_dim)),
            .mask = mask,
            .window = window,
            .dropout = dropout};
  }
  double visible_scores() const {
    double pairs = 0;
    for (int64_t i = 0; i < seq; ++i) {
      const int64_t last =
          mask == AttentionMask::kCausal ? i : std::min(seq - 1, i + std::min(window, seq) - 1);
      pairs += static_cast<double>(last - std::max<int64_t>(0, i - std::min(window, seq) + 1) + 1);
    }
    return pairs * static_cast<double>(batch * heads);
  }
};

const std::vector<Case>& cases() {
  constexpr auto kCausal = AttentionMask::kCausal;
  static const std::vector<Case> all = {
      {"1024 d64", 1, 1024, 4, 4, 64},
      {"1024 d64 bf16", 1, 1024, 4, 4, 64, DType::kBF16},
      {"1024 d64 causal", 1, 1024, 4, 4, 64, DType::kF32, kCausal},
      {"1024 d64 bf16 causal", 1, 1024, 4, 4, 64, DType::kBF16, kCausal},
      {"1024 d64 bf16 causal one head", 1, 1024, 1, 1, 64, DType::kBF16, kCausal},
      {"1024 d128 bf16 causal 8/2", 1, 1024, 8, 2, 128, DType::kBF16, kCausal},
      {"1024 d80 bf16 causal", 1, 1024, 4, 4, 80, DType::kBF16, kCausal},
      {"128 d64 bf16", 8, 128, 4, 4, 64, DType::kBF16},
      {"4x256 d64 causal 12 heads", 4, 256, 12, 12, 64, DType::kF32, kCausal},
      {"4x256 d64 bf16 causal 12 heads", 4, 256, 12, 12, 64, DType::kBF16, kCausal},
      {"1024 d64 dropout 0.1", 1, 1024, 4, 4, 64, DType::kF32, AttentionMask::kBidirectional, 0.1f},
      {"4096 d64 window 256", 1, 4096, 2, 2, 64, DType::kF32, kCausal, 0, 256},
  };
  return all;
}

struct DecodeCase {
  std::string name;
  int64_t keys, heads, kv_heads, head_dim;
  DType dtype;
};

const std::vector<DecodeCase>& decode_cases() {
  static const std::vector<DecodeCase> all = {
      {"16384 d64 fp32 8/8", 16384, 8, 8, 64, DType::kF32},
      {"16384 d128 bf16 8/8", 16384, 8, 8, 128, DType::kBF16},
      {"16384 d128 fp16 8/8", 16384, 8, 8, 128, DType::kF16},
      {"16384 d128 bf16 32/8", 16384, 32, 8, 128, DType::kBF16},
      {"512 d64 bf16 12/12", 512, 12, 12, 64, DType::kBF16},
  };
  return all;
}

Tensor random_tensor(DeviceContext& device, const Shape& shape, DType dtype) {
  Tensor tensor(device.memory(), shape, dtype, MemoryTag::kActivations);
  const RandomStream stream({.seed = 1});
  dispatch_float(dtype, [&]<typename T>(T) {
    T* values = tensor.view().data<T>();
    for (int64_t i = 0; i < shape.elements(); ++i) {
      values[i] = from_float<T>(stream.uniform(static_cast<uint64_t>(i)) * 2 - 1);
    }
  });
  return tensor;
}

// Instructions for each visible score: forward maximum, difference, scale and exp2 (9), sum; backward scale
// with difference and exp2 (9), difference, product.
constexpr double kForward = 13, kBackward = 12;

void run_training(bench::Bench& bench, DeviceContext& device, const Case& c) {
  const Tensor qkv = random_tensor(device, {c.batch, c.seq, c.heads + 2 * c.kv_heads, c.head_dim}, c.dtype);
  const Tensor dout = random_tensor(device, {c.batch, c.seq, c.heads, c.head_dim}, c.dtype);
  Tensor out = random_tensor(device, dout.shape(), c.dtype),
         dqkv = random_tensor(device, qkv.shape(), c.dtype);
  Tensor log_sums = random_tensor(device, {c.batch, c.heads, c.seq}, DType::kF32);
  const double product = 2 * c.visible_scores() * static_cast<double>(c.head_dim);
  bench.run_in_cores(
      "forward " + c.name,
      {.operations = 2 * product, .dtype = c.dtype, .instructions = kForward * c.visible_scores()}, [&] {
        attention_forward(
            device, {.spec = c.spec(), .qkv = qkv.view(), .out = out.view(), .log_sums = log_sums.view()});
      });
  bench.run_in_cores(
      "backward " + c.name,
      {.operations = 5 * product, .dtype = c.dtype, .instructions = kBackward * c.visible_scores()}, [&] {
        attention_backward(device, {.spec = c.spec(),
                                    .qkv = qkv.view(),
                                    .out = out.view(),
                                    .log_sums = log_sums.view(),
                                    .dout = dout.view(),
                                    .dqkv = dqkv.view()});
      });
}

void run_decode(bench::Bench& bench, DeviceContext& device, const DecodeCase& c) {
  const Tensor keys = random_tensor(device, {c.kv_heads, c.keys, c.head_dim}, c.dtype);
  const Tensor values = random_tensor(device, keys.shape(), c.dtype);
  const Tensor q = random_tensor(device, {1, c.heads, c.head_dim}, c.dtype);
  Tensor out = random_tensor(device, q.shape(), c.dtype);
  const AttentionSpec spec{.heads = c.heads, .kv_heads = c.kv_heads, .head_dim = c.head_dim, .scale = 0.1f};
  bench.run_in_memory("decode " + c.name, {.bytes = static_cast<double>(keys.bytes() + values.bytes())}, [&] {
    attention_cached(device, {.spec = spec,
                              .q = q.view(),
                              .keys = keys.view(),
                              .values = values.view(),
                              .first_position = c.keys - 1,
                              .out = out.view()});
  });
}

void run(int argc, char** argv) {
  bench::Bench bench("attention", bench::parse(argc, argv));
  DeviceContext device({});
  for (const Case& c : cases()) run_training(bench, device, c);
  for (const DecodeCase& c : decode_cases()) run_decode(bench, device, c);
  bench.write();
}

}  // namespace
}  // namespace aleph::kernels

int main(int argc, char** argv) {
  return aleph::bench::main_of([&] { aleph::kernels::run(argc, argv); });
}
