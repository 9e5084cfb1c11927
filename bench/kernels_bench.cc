// kernels_bench [--filter TEXT] [--threads N] [--seconds S] [--json FILE]: every CPU kernel at the sizes of a
// small GPT (1024 tokens, hidden 768).

#include "aleph/kernels/activation/activation.h"
#include "aleph/kernels/adamw/adamw.h"
#include "aleph/kernels/cross_entropy/cross_entropy.h"
#include "aleph/kernels/elementwise/elementwise.h"
#include "aleph/kernels/embedding/embedding.h"
#include "aleph/kernels/matmul/matmul.h"
#include "aleph/kernels/matmul/transpose.h"
#include "aleph/kernels/norm/norm.h"
#include "aleph/kernels/rotary/rotary.h"
#include "bench/bench.h"

namespace aleph::kernels {
namespace {

constexpr int64_t kTokens = 1024, kHidden = 768, kInner = 3072, kVocabulary = 50257;

Tensor normal(DeviceContext& device, const Shape& shape, DType dtype, double spread = 1) {
  Tensor wide(device.memory(), shape, DType::kF32, MemoryTag::kActivations);
  const RandomStream stream({.seed = static_cast<uint64_t>(shape.elements())});
  float* values = wide.view().data<float>();
  for (int64_t i = 0; i < shape.elements(); ++i) {
    values[i] = static_cast<float>(spread) * stream.normal(static_cast<uint64_t>(i));
  }
  Tensor tensor(device.memory(), shape, dtype, MemoryTag::kActivations);
  convert(device, wide.view(), tensor.view());
  return tensor;
}

Tensor ids(DeviceContext& device, int64_t count, int64_t limit) {
  Tensor tensor(device.memory(), {count}, DType::kI32, MemoryTag::kActivations);
  const RandomStream stream({.seed = 5});
  for (int64_t i = 0; i < count; ++i) {
    tensor.view().data<int32_t>()[i] =
        static_cast<int32_t>(stream.below(static_cast<uint64_t>(limit), static_cast<uint64_t>(i)));
  }
  return tensor;
}

struct Linear {
  const char* name;
  int64_t tokens, in, out;
};

/// The products of a linear layer: y = x W^T, dx = dy W, dW += dy^T x.
void bench_linear(bench::Bench& bench, DeviceContext& device, DType dtype, const Linear& layer) {
  const std::string name =
      fmt::format("{} {} {}x{}x{} ", layer.name, dtype_name(dtype), layer.tokens, layer.in, layer.out);
  if (!bench.wants("linear " + name)) return;
  const double operations = 2.0 * static_cast<double>(layer.tokens * layer.in * layer.out);
  const Tensor x = normal(device, {layer.tokens, layer.in}, dtype),
               weight = normal(device, {layer.out, layer.in}, dtype);
  const Tensor dy = normal(device, {layer.tokens, layer.out}, dtype);
  Tensor y(device.memory(), {layer.tokens, layer.out}, dtype, MemoryTag::kActivations);
  Tensor dx(device.memory(), {layer.tokens, layer.in}, dtype, MemoryTag::kActivations);
  Tensor dweight = normal(device, {layer.out, layer.in}, DType::kF32);
  bench.run("linear " + name + "y", {operations, 0, dtype},
            [&] { matmul(device, {.a = x.view(), .b = weight.view(), .transpose_b = true, .c = y.view()}); });
  bench.run("linear " + name + "dx", {operations, 0, dtype},
            [&] { matmul(device, {.a = dy.view(), .b = weight.view(), .c = dx.view()}); });
  bench.run("linear " + name + "dw", {operations, 0, dtype}, [&] {
    matmul(device,
           {.a = dy.view(), .transpose_a = true, .b = x.view(), .c = dweight.view(), .accumulate = true});
  });
}

/// The linear layers of a small GPT, and its head over a piece of the tokens.
void bench_matmul(bench::Bench& bench, DeviceContext& device, DType dtype) {
  for (const Linear& layer : {Linear{"qkv", kTokens, kHidden, 3 * kHidden},
                              {"out", kTokens, kHidden, kHidden},
                              {"up", kTokens, kHidden, kInner},
                              {"down", kTokens, kInner, kHidden},
                              {"head", 128, kHidden, kVocabulary},
                              {"head", 256, kHidden, kVocabulary},
                              {"head", 512, kHidden, kVocabulary},
                              {"head", 1024, kHidden, kVocabulary}}) {
    bench_linear(bench, device, dtype, layer);
  }
}

/// Many weights in turn, so that they come from memory as in generation.
void bench_packed(bench::Bench& bench, DeviceContext& device, DType dtype) {
  constexpr int kWeights = 24;
  if (!bench.wants("packed")) return;
  std::vector<PackedWeight> weights;
  const Tensor weight = normal(device, {kInner, kHidden}, dtype);
  for (int i = 0; i < kWeights; ++i) weights.emplace_back(device, weight.view());
  for (const int64_t m : {1, 2, 4, 8, 12, 16, 17, 24, 32, 64, 256, 1024}) {
    const Tensor a = normal(device, {m, kHidden}, dtype);
    Tensor c = normal(device, {m, kInner}, dtype);
    size_t turn = 0;
    bench.run(fmt::format("packed {} {}x{}x{}", dtype_name(dtype), m, kHidden, kInner),
              {2.0 * static_cast<double>(m * kHidden * kInner), static_cast<double>(weight.bytes()), dtype},
              [&] { matmul(device, {.a = a.view(), .weight = &weights[turn++ % kWeights], .c = c.view()}); });
  }
}

void bench_norm(bench::Bench& bench, DeviceContext& device, DType dtype) {
  const Tensor x = normal(device, {kTokens, kHidden}, dtype), weight = normal(device, {kHidden}, dtype);
  Tensor y = normal(device, {kTokens, kHidden}, dtype), dweight = normal(device, {kHidden}, DType::kF32);
  Tensor mean = normal(device, {kTokens}, DType::kF32), rstd = normal(device, {kTokens}, DType::kF32);
  Tensor dbias = normal(device, {kHidden}, DType::kF32);
  const auto bytes = static_cast<double>(x.bytes());
  const std::string size = fmt::format(" {} {}x{}", dtype_name(dtype), kTokens, kHidden);
  bench.run_in_memory("layer_norm_forward" + size, {0, 2 * bytes}, [&] {
    layer_norm_forward(device, {.x = x.view(),
                                .weight = weight.view(),
                                .bias = weight.view(),
                                .y = y.view(),
                                .mean = mean.view(),
                                .rstd = rstd.view()});
  });
  Tensor dx = normal(device, {kTokens, kHidden}, dtype);
  bench.run_in_memory("layer_norm_backward" + size, {0, 3 * bytes}, [&] {
    layer_norm_backward(device, {.x = x.view(),
                                 .weight = weight.view(),
                                 .mean = mean.view(),
                                 .rstd = rstd.view(),
                                 .dy = y.view(),
                                 .dx = dx.view(),
                                 .dweight = dweight.view(),
                                 .dbias = dbias.view()});
  });
  bench.run_in_memory("rms_norm_forward" + size, {0, 2 * bytes}, [&] {
    rms_norm_forward(device, {.x = x.view(), .weight = weight.view(), .y = y.view(), .rstd = rstd.view()});
  });
  bench.run_in_memory("column_sum" + size, {0, bytes},
                      [&] { column_sum(device, {.x = x.view(), .sums = dweight.view()}); });
}

/// Vector instructions for each element, counted in the AVX-512 loops: of the function, and of its slope.
/// Storage adds two to widen a bf16 number and two to round it.
struct Counted {
  Activation activation;
  const char* name;
  double forward, backward;
};
constexpr Counted kActivations[] = {{Activation::kGelu, "gelu", 40, 41},
                                    {Activation::kGeluTanh, "gelu_tanh", 22, 29},
                                    {Activation::kSilu, "silu", 18, 20},
                                    {Activation::kRelu, "relu", 1, 2}};

void bench_activation(bench::Bench& bench, DeviceContext& device, DType dtype) {
  const Tensor x = normal(device, {kTokens, kInner}, dtype, 2), dy = normal(device, {kTokens, kInner}, dtype);
  Tensor y = normal(device, {kTokens, kInner}, dtype), half = normal(device, {kTokens, kInner / 2}, dtype);
  const auto bytes = static_cast<double>(x.bytes());
  const std::string size = fmt::format(" {} {}x{}", dtype_name(dtype), kTokens, kInner);
  const double storage = dtype == DType::kF32 ? 0 : 2, elements = static_cast<double>(kTokens * kInner);
  const auto work = [&](double tensors, double instructions) {
    return bench::Work{.bytes = tensors * bytes, .instructions = instructions * elements};
  };
  for (const Counted& c : kActivations) {
    bench.run_in_memory(c.name + std::string("_forward") + size, work(2, c.forward + 2 * storage), [&] {
      activation_forward(device, {.activation = c.activation, .x = x.view(), .y = y.view()});
    });
    bench.run_in_memory(c.name + std::string("_backward") + size, work(3, c.backward + 1 + 3 * storage), [&] {
      activation_backward(device,
                          {.activation = c.activation, .x = x.view(), .dy = dy.view(), .dx = y.view()});
    });
  }
  const auto [activation, name, forward, backward] = kActivations[2];
  bench.run_in_memory("gated_silu_forward" + size, work(1.5, (forward + 1 + 3 * storage) / 2),
                      [&] { gated_forward(device, {.x = x.view(), .y = half.view()}); });
  bench.run_in_memory("gated_silu_backward" + size, work(2.5, (backward + 3 + 5 * storage) / 2),
                      [&] { gated_backward(device, {.x = x.view(), .dy = half.view(), .dx = y.view()}); });
}

void bench_tokens(bench::Bench& bench, DeviceContext& device, DType dtype) {
  const Tensor table = normal(device, {kVocabulary, kHidden}, dtype),
               tokens = ids(device, kTokens, kVocabulary);
  Tensor y = normal(device, {kTokens, kHidden}, dtype);
  Tensor dtable(device.memory(), {kVocabulary, kHidden}, DType::kF32, MemoryTag::kGradients);
  zero(device, dtable.view());
  const auto bytes = static_cast<double>(y.bytes());
  const std::string size = fmt::format(" {} {}x{}", dtype_name(dtype), kTokens, kHidden);
  bench.run_in_memory("embedding_forward" + size, {0, 2 * bytes}, [&] {
    embedding_forward(device, {.ids = tokens.view(), .table = table.view(), .y = y.view()});
  });
  bench.run_in_memory("embedding_backward" + size, {0, bytes + 8.0 * kTokens * kHidden}, [&] {
    embedding_backward(device, {.ids = tokens.view(), .dy = y.view(), .dtable = dtable.view()});
  });
  const Tensor positions = ids(device, kTokens, kTokens), angles = normal(device, {kTokens, 32}, DType::kF32);
  bench.run_in_memory("rotary" + size, {0, 2 * bytes}, [&] {
    rotary(device, {.x = y.view().reshape({kTokens, 12, 64}),
                    .heads = 12,
                    .cosines = angles.view(),
                    .sines = angles.view(),
                    .positions = positions.view()});
  });
}

void bench_loss(bench::Bench& bench, DeviceContext& device) {
  constexpr int64_t kRows = 128;
  const Tensor logits = normal(device, {kRows, kVocabulary}, DType::kF32),
               labels = ids(device, kRows, kVocabulary);
  Tensor losses = normal(device, {kRows}, DType::kF32),
         gradient = normal(device, {kRows, kVocabulary}, DType::kBF16);
  const auto bytes = static_cast<double>(logits.bytes());
  CrossEntropyArgs args{.logits = logits.view(), .labels = labels.view(), .losses = losses.view()};
  const double elements = static_cast<double>(logits.shape().elements());
  // An element: maximum, difference, exponential (10), sum; its gradient: scale and rounding.
  bench.run_in_memory("cross_entropy 128x50257", {.bytes = bytes, .instructions = 13 * elements},
                      [&] { cross_entropy(device, args); });
  args.gradient = gradient.view(), args.gradient_scale = 1;
  bench.run_in_memory("cross_entropy gradient bf16 128x50257",
                      {.bytes = 1.5 * bytes, .instructions = 16 * elements},
                      [&] { cross_entropy(device, args); });
}

void bench_flat(bench::Bench& bench, DeviceContext& device) {
  constexpr int64_t kCount = int64_t{16} << 20;
  Tensor a = normal(device, {kCount}, DType::kF32), b = normal(device, {kCount}, DType::kF32);
  Tensor c(device.memory(), {kCount}, DType::kF32, MemoryTag::kActivations);
  Tensor d(device.memory(), {kCount}, DType::kF32, MemoryTag::kActivations);
  Tensor half(device.memory(), {kCount}, DType::kBF16, MemoryTag::kActivations);
  Tensor half3(device.memory(), {kCount}, DType::kBF16, MemoryTag::kActivations);
  Tensor half2(device.memory(), {kCount}, DType::kF16, MemoryTag::kActivations);
  zero(device, c.view());
  zero(device, d.view());
  constexpr double kElements = kCount;
  bench.run_in_memory("convert fp32 to bf16 16M", {0, 6 * kElements},
                      [&] { convert(device, b.view(), half.view()); });
  bench.run_in_memory("convert bf16 to fp32 16M", {0, 6 * kElements},
                      [&] { convert(device, half.view(), c.view()); });
  bench.run_in_memory("convert fp32 to fp16 16M", {0, 6 * kElements},
                      [&] { convert(device, b.view(), half2.view()); });
  bench.run_in_memory("convert fp16 to fp32 16M", {0, 6 * kElements},
                      [&] { convert(device, half2.view(), c.view()); });
  bench.run_in_memory("transpose fp32 4096x4096", {0, 8 * kElements}, [&] {
    transpose(b.view().reshape({4096, 4096}), 0, c.view().reshape({4096, 4096}));
  });
  bench.run_in_memory("transpose bf16 4096x4096", {0, 4 * kElements}, [&] {
    transpose(half.view().reshape({4096, 4096}), 0, half3.view().reshape({4096, 4096}));
  });
  bench.run_in_memory("zero 64 MiB", {0, 4 * kElements}, [&] { zero(device, c.view()); });
  bench.run_in_memory("add fp32 16M", {0, 12 * kElements},
                      [&] { add(device, b.view(), c.view(), d.view()); });
  bench.run_in_memory("accumulate bf16 16M", {0, 10 * kElements},
                      [&] { accumulate(device, half.view(), c.view()); });
  bench.run_in_memory("scale fp32 16M", {0, 8 * kElements}, [&] { scale(device, 1.0f, c.view()); });
  bench.run_in_memory("sum_of_squares 16M", {0, 4 * kElements}, [&] { sum_of_squares(device, b.view()); });
  bench.run_in_memory("dropout bf16 16M", {0, 4 * kElements},
                      [&] { dropout(device, {.x = half.view(), .y = half.view(), .probability = 0.1f}); });
}

/// The update of a GPT-2 of 124 million parameters.
void bench_update(bench::Bench& bench, DeviceContext& device) {
  constexpr int64_t kCount = 124'439'808;
  if (!bench.wants("adam_update fp32 124M") && !bench.wants("adam_update bf16 124M")) return;
  std::array<Tensor, 4> states;
  for (Tensor& state : states) {
    state = Tensor(device.memory(), {kCount}, DType::kF32, MemoryTag::kOptimizer);
    zero(device, state.view());
  }
  Tensor narrow(device.memory(), {kCount}, DType::kBF16, MemoryTag::kParameters);
  for (const bool copies : {false, true}) {
    bench.run_in_memory(copies ? "adam_update bf16 124M" : "adam_update fp32 124M",
                        {0, static_cast<double>(kCount) * (copies ? 30 : 28)}, [&] {
                          adam_update(device, {.parameter = states[0].view(),
                                               .exp_avg = states[1].view(),
                                               .exp_avg_sq = states[2].view(),
                                               .gradient = states[3].view(),
                                               .parameter_16bit = copies ? narrow.view() : TensorView()});
                        });
  }
}

void run_all(int argc, char** argv) {
  bench::Bench bench("kernels", bench::parse(argc, argv));
  DeviceContext device({});
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    bench_matmul(bench, device, dtype);
    bench_packed(bench, device, dtype);
    bench_norm(bench, device, dtype);
    bench_activation(bench, device, dtype);
    bench_tokens(bench, device, dtype);
  }
  bench_loss(bench, device);
  bench_flat(bench, device);
  bench_update(bench, device);
  bench.write();
}

}  // namespace
}  // namespace aleph::kernels

int main(int argc, char** argv) {
  return aleph::bench::main_of([&] { aleph::kernels::run_all(argc, argv); });
}
