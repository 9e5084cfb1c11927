// Every kernel over random shapes at odd addresses: close to its reference, the same bits for any number of
// threads, inputs left alone, nothing written beside outputs, outputs assigned where that is promised.
#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <limits>

#include "aleph/base/parallel.h"
#include "aleph/kernels/activation/activation.h"
#include "aleph/kernels/adamw/adamw.h"
#include "aleph/kernels/attention/attention.h"
#include "aleph/kernels/cross_entropy/cross_entropy.h"
#include "aleph/kernels/elementwise/elementwise.h"
#include "aleph/kernels/embedding/embedding.h"
#include "aleph/kernels/matmul/matmul.h"
#include "aleph/kernels/norm/norm.h"
#include "aleph/kernels/rotary/rotary.h"
#include "aleph/kernels/testing.h"

namespace aleph::kernels {
namespace {

constexpr size_t kFence = 192;
constexpr std::byte kCanary{0xa5};

/// A tensor between two fences, at an address that is aligned to its elements only.
class Fenced {
 public:
  enum class Role : uint8_t { kInput, kOutput, kInOut };

  Fenced(const Shape& shape, DType dtype, Role role, int64_t misalignment)
      : role_(role),
        offset_(kFence + static_cast<size_t>(misalignment * dtype_bytes(dtype))),
        bytes_(static_cast<size_t>(shape.elements() * dtype_bytes(dtype))),
        memory_(offset_ + bytes_ + kFence, kCanary),
        view_(memory_.data() + offset_, shape, dtype) {}
  Fenced(const Fenced&) = delete;
  Fenced& operator=(const Fenced&) = delete;

  Role role() const { return role_; }
  const TensorView& view() const { return view_; }
  std::vector<std::byte> content() const { return {view_.raw(), view_.raw() + bytes_}; }
  void restore(const std::vector<std::byte>& content) {
    std::copy(content.begin(), content.end(), view_.raw());
  }
  bool fences_stand() const {
    const auto is_canary = [](std::byte b) { return b == kCanary; };
    return std::all_of(memory_.begin(), memory_.begin() + static_cast<ptrdiff_t>(offset_), is_canary) &&
           std::all_of(memory_.end() - static_cast<ptrdiff_t>(kFence), memory_.end(), is_canary);
  }

 private:
  Role role_;
  size_t offset_, bytes_;
  std::vector<std::byte> memory_;
  TensorView view_;
};

/// The arguments of one call, drawn at random.
class Call {
 public:
  Call(uint64_t seed, DType dtype) : random_({.seed = seed}), dtype_(dtype) {}

  DType dtype() const { return dtype_; }
  int64_t from(int64_t least, int64_t most) {
    return least + static_cast<int64_t>(random_.below(static_cast<uint64_t>(most - least + 1), 2 * drawn_++));
  }
  bool coin() { return from(0, 1) == 1; }
  /// Sizes around the widths of registers and blocks, and anything else.
  int64_t size(int64_t most) {
    const int64_t sizes[] = {1, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129};
    const int64_t drawn = coin() ? sizes[from(0, 14)] : from(1, most);
    return std::min(drawn, most);
  }
  template <typename T>
  T one_of(std::initializer_list<T> all) {
    return all.begin()[from(0, static_cast<int64_t>(all.size()) - 1)];
  }

  TensorView input(const Shape& shape, DType dtype, double scale = 1) {
    return values(shape, dtype, Fenced::Role::kInput, scale);
  }
  TensorView input(const Shape& shape, double scale = 1) { return input(shape, dtype_, scale); }
  /// Above zero.
  TensorView positive(const Shape& shape, Fenced::Role role) {
    const TensorView view = values(shape, DType::kF32, role, 1);
    for (float& x : view.span<float>()) x = std::abs(x) + 0.01f;
    return view;
  }
  TensorView in_out(const Shape& shape, DType dtype, double scale = 1) {
    return values(shape, dtype, Fenced::Role::kInOut, scale);
  }
  /// Starts as NaN: what is assigned does not depend on it.
  TensorView output(const Shape& shape, DType dtype) {
    const TensorView view = make(shape, dtype, Fenced::Role::kOutput);
    std::memset(view.raw(), 0xff, static_cast<size_t>(view.bytes()));
    return view;
  }
  TensorView output(const Shape& shape) { return output(shape, dtype_); }
  TensorView ids(int64_t n, int64_t limit) {
    const TensorView view = make({n}, DType::kI32, Fenced::Role::kInput);
    for (int32_t& id : view.span<int32_t>()) id = static_cast<int32_t>(from(0, limit - 1));
    return view;
  }
  std::deque<Fenced>& tensors() { return tensors_; }

 private:
  TensorView make(const Shape& shape, DType dtype, Fenced::Role role) {
    return tensors_.emplace_back(shape, dtype, role, from(0, 3)).view();
  }
  TensorView values(const Shape& shape, DType dtype, Fenced::Role role, double scale) {
    const TensorView view = make(shape, dtype, role);
    const RandomStream stream({.seed = 3, .stream = static_cast<uint32_t>(drawn_++)});
    for (int64_t i = 0; i < view.elements(); ++i)
      put(view, i, scale * stream.normal(static_cast<uint64_t>(i)));
    return view;
  }

  RandomStream random_;
  DType dtype_;
  uint64_t drawn_ = 0;
  std::deque<Fenced> tensors_;
};

/// A kernel and its reference with arguments bound. `error`: of the result relative to its largest element,
/// in roundings of the storage type on top of 2e-5.
struct Bound {
  std::function<void(DeviceContext&)> fast;
  std::function<void()> reference;
  bool any_threads = true;  ///< the same bits for any number of threads
  double error = 4;
};

struct Kernel {
  const char* name;
  Bound (*bind)(Call& call);
};

const kernels::Activation kActivations[] = {
    Activation::kGelu, Activation::kGeluTanh, Activation::kQuickGelu,
    Activation::kSilu, Activation::kRelu,     Activation::kReluSquared,
    Activation::kTanh, Activation::kSigmoid,  Activation::kIdentity};

Bound bind_activation(Call& call) {
  const Shape shape{call.from(0, 9), call.size(150)};
  const Activation kind = kActivations[call.from(0, 8)];
  const ActivationForwardArgs args{.activation = kind, .x = call.input(shape, 3), .y = call.output(shape)};
  return {[=](DeviceContext& d) { activation_forward(d, args); },
          [=] { activation_forward_reference(args); }};
}
Bound bind_activation_backward(Call& call) {
  const Shape shape{call.from(0, 9), call.size(150)};
  ActivationBackwardArgs args{.activation = kActivations[call.from(0, 8)], .x = call.input(shape, 3)};
  args.dx = call.coin() ? call.in_out(shape, call.dtype()) : call.output(shape);
  args.dy =
      call.tensors().back().role() == Fenced::Role::kInOut ? ConstTensorView(args.dx) : call.input(shape);
  return {[=](DeviceContext& d) { activation_backward(d, args); },
          [=] { activation_backward_reference(args); }};
}
Bound bind_gated(Call& call) {
  const int64_t rows = call.from(0, 9), n = call.size(150);
  const GatedForwardArgs args{.activation = kActivations[call.from(0, 8)],
                              .x = call.input({rows, 2 * n}),
                              .y = call.output({rows, n})};
  return {[=](DeviceContext& d) { gated_forward(d, args); }, [=] { gated_forward_reference(args); }};
}
Bound bind_gated_backward(Call& call) {
  const int64_t rows = call.from(0, 9), n = call.size(150);
  const GatedBackwardArgs args{.activation = kActivations[call.from(0, 8)],
                               .x = call.input({rows, 2 * n}),
                               .dy = call.input({rows, n}),
                               .dx = call.output({rows, 2 * n})};
  return {[=](DeviceContext& d) { gated_backward(d, args); }, [=] { gated_backward_reference(args); }};
}

Bound bind_adam(Call& call) {
  const Shape shape{call.size(9000)};
  const AdamArgs args{.parameter = call.in_out(shape, DType::kF32),
                      .exp_avg = call.in_out(shape, DType::kF32, 0.1),
                      .exp_avg_sq = call.positive(shape, Fenced::Role::kInOut),
                      .gradient = call.input(shape, DType::kF32),
                      .parameter_16bit = call.dtype() == DType::kF32 ? TensorView() : call.output(shape),
                      .step = call.from(1, 1000),
                      .learning_rate = 0.01,
                      .weight_decay = call.coin() ? 0.1 : 0,
                      .decoupled_decay = call.coin(),
                      .bias_correction = call.coin(),
                      .gradient_scale = 0.25f};
  return {[=](DeviceContext& d) { adam_update(d, args); }, [=] { adam_update_reference(args); }};
}

AttentionSpec random_attention(Call& call) {
  const int64_t kv_heads = call.from(1, 3);
  AttentionSpec spec{.heads = kv_heads * call.from(1, 3),
                     .kv_heads = kv_heads,
                     .head_dim = call.one_of<int64_t>({1, 3, 8, 16, 17, 32, 40, 64, 80}),
                     .scale = 0.3f,
                     .mask = call.coin() ? AttentionMask::kCausal : AttentionMask::kBidirectional};
  if (call.coin()) spec.window = call.from(1, 40);
  return spec;
}
Bound bind_attention(Call& call) {
  const AttentionSpec spec = random_attention(call);
  const int64_t batch = call.from(1, 3), seq = call.size(70);
  const AttentionForwardArgs args{
      .spec = spec,
      .qkv = call.input({batch, seq, spec.heads + 2 * spec.kv_heads, spec.head_dim}),
      .out = call.output({batch, seq, spec.heads, spec.head_dim}),
      .log_sums = call.output({batch, spec.heads, seq}, DType::kF32)};
  return {[=](DeviceContext& d) { attention_forward(d, args); }, [=] { attention_forward_reference(args); },
          true, 8};
}
Bound bind_attention_backward(Call& call) {
  const AttentionSpec spec = random_attention(call);
  const int64_t batch = call.from(1, 2), seq = call.size(40);
  AttentionForwardArgs forward{.spec = spec,
                               .qkv = call.input({batch, seq, spec.heads + 2 * spec.kv_heads, spec.head_dim}),
                               .out = call.input({batch, seq, spec.heads, spec.head_dim}),
                               .log_sums = call.input({batch, spec.heads, seq}, DType::kF32)};
  attention_forward_reference(forward);
  const AttentionBackwardArgs args{.spec = spec,
                                   .qkv = forward.qkv,
                                   .out = forward.out,
                                   .log_sums = forward.log_sums,
                                   .dout = call.input(forward.out.shape()),
                                   .dqkv = call.output(forward.qkv.shape())};
  return {[=](DeviceContext& d) { attention_backward(d, args); }, [=] { attention_backward_reference(args); },
          true, 16};
}
Bound bind_cached_attention(Call& call) {
  AttentionSpec spec = random_attention(call);
  spec.mask = AttentionMask::kCausal;
  const int64_t tokens = call.from(1, 9), before = call.from(0, 60),
                capacity = tokens + before + call.from(0, 5);
  const CachedAttentionArgs args{.spec = spec,
                                 .q = call.input({tokens, spec.heads, spec.head_dim}),
                                 .keys = call.input({spec.kv_heads, capacity, spec.head_dim}),
                                 .values = call.input({spec.kv_heads, capacity, spec.head_dim}),
                                 .first_position = before,
                                 .out = call.output({tokens, spec.heads, spec.head_dim})};
  return {[=](DeviceContext& d) { attention_cached(d, args); }, [=] { attention_cached_reference(args); },
          true, 8};
}

Bound bind_cross_entropy(Call& call) {
  const int64_t rows = call.from(0, 9), n = call.size(300);
  const TensorView labels = call.ids(rows, n);
  for (int64_t i = 0; i < rows; ++i) {
    if (call.from(0, 3) == 0) labels.data<int32_t>()[i] = -100;
  }
  const CrossEntropyArgs args{.logits = call.input({rows, n}, DType::kF32, 4),
                              .labels = labels,
                              .losses = call.output({rows}, DType::kF32),
                              .gradient = call.output({rows, n}),
                              .gradient_scale = 0.5f};
  return {[=](DeviceContext& d) { cross_entropy(d, args); }, [=] { cross_entropy_reference(args); }};
}

Bound bind_convert(Call& call) {
  const Shape shape{call.from(0, 5), call.size(3000)};
  const TensorView x = call.input(shape),
                   y = call.output(shape, call.one_of({DType::kF32, DType::kBF16, DType::kF16}));
  return {[=](DeviceContext& d) { convert(d, x, y); },
          [=] {
            for (int64_t i = 0; i < x.elements(); ++i) put(y, i, get(x, i));
          },
          true, 0};
}
Bound bind_add(Call& call) {
  const Shape shape{call.size(5000)};
  const TensorView a = call.input(shape), b = call.input(shape), y = call.output(shape);
  return {[=](DeviceContext& d) { add(d, a, b, y); },
          [=] {
            for (int64_t i = 0; i < y.elements(); ++i) put(y, i, get(a, i) + get(b, i));
          }};
}
Bound bind_accumulate_and_scale(Call& call) {
  const Shape shape{call.size(5000)};
  const TensorView x = call.input(shape), y = call.in_out(shape, DType::kF32);
  return {[=](DeviceContext& d) {
            accumulate(d, x, y);
            scale(d, 0.37f, y);
          },
          [=] {
            for (int64_t i = 0; i < y.elements(); ++i) put(y, i, 0.37 * (get(y, i) + get(x, i)));
          }};
}
Bound bind_dropout(Call& call) {
  const Shape shape{call.from(0, 4), call.size(1000)};
  const DropoutArgs args{
      .x = call.input(shape), .y = call.output(shape), .probability = 0.3f, .key = {.seed = 5}};
  return {[=](DeviceContext& d) { dropout(d, args); }, [=] { dropout_reference(args); }};
}

Bound bind_embedding(Call& call) {
  const int64_t tokens = call.from(0, 40), vocabulary = call.from(1, 50), n = call.size(200);
  const bool adds = call.coin();
  const EmbeddingForwardArgs args{
      .ids = call.ids(tokens, vocabulary),
      .table = call.input({vocabulary, n}),
      .y = adds ? call.in_out({tokens, n}, call.dtype()) : call.output({tokens, n}),
      .accumulate = adds};
  return {[=](DeviceContext& d) { embedding_forward(d, args); }, [=] { embedding_forward_reference(args); }};
}
Bound bind_embedding_backward(Call& call) {
  const int64_t tokens = call.from(0, 40), vocabulary = call.from(1, 50), n = call.size(200);
  const EmbeddingBackwardArgs args{.ids = call.ids(tokens, vocabulary),
                                   .dy = call.input({tokens, n}),
                                   .dtable = call.in_out({vocabulary, n}, DType::kF32),
                                   .padding_id = call.from(-1, vocabulary - 1)};
  return {[=](DeviceContext& d) { embedding_backward(d, args); },
          [=] { embedding_backward_reference(args); }};
}

Bound bind_matmul(Call& call) {
  const int64_t m = call.size(90), k = call.size(90), n = call.size(90);
  const bool adds = call.coin();
  MatmulArgs args{.transpose_a = call.coin(), .transpose_b = call.coin(), .accumulate = adds};
  args.a = call.input(args.transpose_a ? Shape{k, m} : Shape{m, k});
  args.b = call.input(args.transpose_b ? Shape{n, k} : Shape{k, n});
  args.c =
      adds ? call.in_out({m, n}, DType::kF32) : call.output({m, n}, call.coin() ? DType::kF32 : call.dtype());
  if (!adds && call.coin()) args.bias = call.input({n});
  return {[=](DeviceContext& d) { matmul(d, args); }, [=] { matmul_reference(args); }, false};
}
Bound bind_packed_matmul(Call& call) {
  const DType dtype = call.dtype() == DType::kF16 ? DType::kF32 : call.dtype();
  const int64_t m = call.from(1, 24), k = call.size(140), n = call.size(140);
  const TensorView weight = call.input({n, k}, dtype), a = call.input({m, k}, dtype);
  const TensorView bias = call.coin() ? call.input({n}, dtype) : TensorView();
  const TensorView c = call.output({m, n}, call.coin() ? DType::kF32 : dtype);
  return {[=](DeviceContext& d) {
            const PackedWeight packed(d, weight);
            matmul(d, PackedMatmulArgs{.a = a, .weight = &packed, .c = c, .bias = bias});
          },
          [=] { matmul_reference({.a = a, .b = weight, .transpose_b = true, .c = c, .bias = bias}); }, false};
}
Bound bind_column_sum(Call& call) {
  const int64_t rows = call.from(0, 200), n = call.size(200);
  const ColumnSumArgs args{.x = call.input({rows, n}), .sums = call.in_out({n}, DType::kF32)};
  return {[=](DeviceContext& d) { column_sum(d, args); }, [=] { column_sum_reference(args); }};
}

Bound bind_layer_norm(Call& call) {
  const int64_t rows = call.from(0, 9), n = call.size(300);
  const LayerNormForwardArgs args{.x = call.input({rows, n}, 3),
                                  .weight = call.input({n}),
                                  .bias = call.coin() ? ConstTensorView(call.input({n})) : ConstTensorView(),
                                  .epsilon = 1e-3f,
                                  .y = call.output({rows, n}),
                                  .mean = call.output({rows}, DType::kF32),
                                  .rstd = call.output({rows}, DType::kF32)};
  return {[=](DeviceContext& d) { layer_norm_forward(d, args); },
          [=] { layer_norm_forward_reference(args); }};
}
Bound bind_layer_norm_backward(Call& call) {
  const int64_t rows = call.from(0, 40), n = call.size(300);
  const LayerNormBackwardArgs args{.x = call.input({rows, n}),
                                   .weight = call.input({n}),
                                   .mean = call.input({rows}, DType::kF32, 0.1),
                                   .rstd = call.positive({rows}, Fenced::Role::kInput),
                                   .dy = call.input({rows, n}),
                                   .dx = call.output({rows, n}),
                                   .dweight = call.in_out({n}, DType::kF32),
                                   .dbias = call.coin() ? call.in_out({n}, DType::kF32) : TensorView()};
  return {[=](DeviceContext& d) { layer_norm_backward(d, args); },
          [=] { layer_norm_backward_reference(args); }};
}
Bound bind_rms_norm(Call& call) {
  const int64_t rows = call.from(0, 9), n = call.size(300);
  const RmsNormForwardArgs args{.x = call.input({rows, n}, 3),
                                .weight = call.input({n}),
                                .y = call.output({rows, n}),
                                .rstd = call.output({rows}, DType::kF32)};
  return {[=](DeviceContext& d) { rms_norm_forward(d, args); }, [=] { rms_norm_forward_reference(args); }};
}
Bound bind_rms_norm_backward(Call& call) {
  const int64_t rows = call.from(0, 40), n = call.size(300);
  const RmsNormBackwardArgs args{.x = call.input({rows, n}),
                                 .weight = call.input({n}),
                                 .rstd = call.positive({rows}, Fenced::Role::kInput),
                                 .dy = call.input({rows, n}),
                                 .dx = call.output({rows, n}),
                                 .dweight = call.in_out({n}, DType::kF32)};
  return {[=](DeviceContext& d) { rms_norm_backward(d, args); }, [=] { rms_norm_backward_reference(args); }};
}

Bound bind_rotary(Call& call) {
  const int64_t tokens = call.from(0, 30), all_heads = call.from(1, 5), half = call.size(40),
                positions = call.from(1, 50);
  const int64_t head_dim = 2 * half + call.from(0, 5);
  const RotaryArgs args{.x = call.in_out({tokens, all_heads, head_dim}, call.dtype()),
                        .heads = call.from(0, all_heads),
                        .cosines = call.input({positions, half}, DType::kF32),
                        .sines = call.input({positions, half}, DType::kF32),
                        .positions = call.ids(tokens, positions),
                        .layout = call.coin() ? RotaryLayout::kHalves : RotaryLayout::kInterleaved,
                        .direction = call.coin() ? RotaryDirection::kForward : RotaryDirection::kBackward};
  return {[=](DeviceContext& d) { rotary(d, args); }, [=] { rotary_reference(args); }};
}

constexpr Kernel kKernels[] = {{"activation", bind_activation},
                               {"activation_backward", bind_activation_backward},
                               {"gated", bind_gated},
                               {"gated_backward", bind_gated_backward},
                               {"adam", bind_adam},
                               {"attention", bind_attention},
                               {"attention_backward", bind_attention_backward},
                               {"cached_attention", bind_cached_attention},
                               {"cross_entropy", bind_cross_entropy},
                               {"convert", bind_convert},
                               {"add", bind_add},
                               {"accumulate_and_scale", bind_accumulate_and_scale},
                               {"dropout", bind_dropout},
                               {"embedding", bind_embedding},
                               {"embedding_backward", bind_embedding_backward},
                               {"matmul", bind_matmul},
                               {"packed_matmul", bind_packed_matmul},
                               {"column_sum", bind_column_sum},
                               {"layer_norm", bind_layer_norm},
                               {"layer_norm_backward", bind_layer_norm_backward},
                               {"rms_norm", bind_rms_norm},
                               {"rms_norm_backward", bind_rms_norm_backward},
                               {"rotary", bind_rotary}};

using Contents = std::vector<std::vector<std::byte>>;

class KernelSweep : public ::testing::TestWithParam<std::tuple<Kernel, CpuLevel>> {
 protected:
  void SetUp() override { ::setenv("ALEPH_CPU", cpu_level_name(std::get<1>(GetParam())), 1); }
  void TearDown() override {
    ::unsetenv("ALEPH_CPU");
    set_num_threads(threads_);
  }

  static Contents contents(Call& call) {
    Contents all;
    for (const Fenced& tensor : call.tensors()) all.push_back(tensor.content());
    return all;
  }
  /// Sets all tensors to `start`, runs, and looks for what must not have happened.
  Contents run(Call& call, const Contents& start, const std::function<void()>& body) {
    for (size_t i = 0; i < start.size(); ++i) call.tensors()[i].restore(start[i]);
    body();
    Contents all = contents(call);
    for (size_t i = 0; i < start.size(); ++i) {
      const Fenced& tensor = call.tensors()[i];
      EXPECT_TRUE(tensor.fences_stand()) << "tensor " << i << " of " << tensor.view().shape().to_string();
      if (tensor.role() == Fenced::Role::kInput) {
        EXPECT_TRUE(all[i] == start[i]) << "input " << i << " changed";
      }
    }
    return all;
  }

  static void expect_near(Call& call, const Contents& found, double error) {
    for (size_t i = 0; i < found.size(); ++i) {
      const TensorView& expected = call.tensors()[i].view();
      if (call.tensors()[i].role() == Fenced::Role::kInput || expected.elements() == 0) continue;
      std::vector<std::byte> copy = found[i];
      const TensorView actual(copy.data(), expected.shape(), expected.dtype());
      double largest = 0;
      for (int64_t k = 0; k < expected.elements(); ++k)
        largest = std::max(largest, std::abs(get(expected, k)));
      // Kernels of 16-bit values keep fp32 beside them, whose error is that of what they were computed from.
      const double unit = std::max(testing::epsilon_of(expected.dtype()), testing::epsilon_of(call.dtype()));
      for (int64_t k = 0; k < expected.elements(); ++k)
        ASSERT_NEAR(get(actual, k), get(expected, k), (error * unit + 2e-5) * largest)
            << "tensor " << i << "[" << k << "] of " << expected.shape().to_string() << " "
            << dtype_name(expected.dtype());
    }
  }

  DeviceContext device_{DeviceContext::Options{}};
  int threads_ = num_threads();
};

TEST_P(KernelSweep, RandomShapesAtOddAddresses) {
  const Kernel kernel = std::get<0>(GetParam());
  for (uint64_t seed = 0; seed < 36; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    Call call(seed, testing::kFloats[seed % 3]);
    const Bound bound = kernel.bind(call);
    const Contents start = contents(call);
    set_num_threads(1);
    const Contents one = run(call, start, [&] { bound.fast(device_); });
    set_num_threads(bound.any_threads ? 3 : 1);
    const Contents again = run(call, start, [&] { bound.fast(device_); });
    ASSERT_TRUE(one == again) << "bits depend on threads, on the call, or on what stood in the outputs";
    run(call, start, bound.reference);
    expect_near(call, one, bound.error);
    if (HasFailure()) return;
  }
}

std::string sweep_name(const ::testing::TestParamInfo<std::tuple<Kernel, CpuLevel>>& sweep) {
  return fmt::format("{}_{}", std::get<0>(sweep.param).name, cpu_level_name(std::get<1>(sweep.param)));
}
INSTANTIATE_TEST_SUITE_P(Kernels, KernelSweep,
                         ::testing::Combine(::testing::ValuesIn(kKernels),
                                            ::testing::ValuesIn(testing::cpu_levels())),
                         sweep_name);

}  // namespace
}  // namespace aleph::kernels
