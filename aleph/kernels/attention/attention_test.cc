#include "aleph/kernels/attention/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "aleph/base/parallel.h"
#include "aleph/kernels/testing.h"

namespace aleph::kernels {
namespace {

using testing::epsilon_of;
using testing::expect_close;
using testing::expect_gradient;
using testing::expect_same_bits;
using testing::kFloats;

constexpr int64_t kNoWindow = std::numeric_limits<int64_t>::max();

/// Everything a training step of attention touches.
struct Case {
  AttentionSpec spec;
  int64_t batch = 1, seq = 1;
  DType dtype = DType::kF32;

  Shape fused() const { return {batch, seq, spec.heads + 2 * spec.kv_heads, spec.head_dim}; }
  Shape rows() const { return {batch, seq, spec.heads, spec.head_dim}; }
  Shape statistics() const { return {batch, spec.heads, seq}; }
  std::string name() const {
    return fmt::format("batch {} seq {} heads {}/{} head_dim {} {} {} window {} dropout {}", batch, seq,
                       spec.heads, spec.kv_heads, spec.head_dim, dtype_name(dtype),
                       spec.mask == AttentionMask::kCausal ? "causal" : "bidirectional", spec.window,
                       spec.dropout);
  }
};

/// Every (seq, head_dim), the other options in turn, so that each meets each.
std::vector<Case> sweep(float dropout) {
  constexpr int64_t kSeqs[] = {1, 7, 63, 64, 65, 200}, kHeadDims[] = {3, 8, 12, 64, 80};
  constexpr int64_t kHeads[][2] = {{1, 1}, {2, 2}, {3, 1}, {4, 2}, {6, 3}, {5, 5}, {6, 1}};
  constexpr int64_t kWindows[] = {kNoWindow, 8, 1, 500, 70};
  std::vector<Case> cases;
  for (const int64_t seq : kSeqs) {
    for (const int64_t head_dim : kHeadDims) {
      const size_t n = cases.size();
      cases.push_back(
          {.spec = {.heads = kHeads[n % 7][0],
                    .kv_heads = kHeads[n % 7][1],
                    .head_dim = head_dim,
                    .scale = 1.0f / std::sqrt(static_cast<float>(head_dim)),
                    .mask = n / 3 % 2 == 0 ? AttentionMask::kCausal : AttentionMask::kBidirectional,
                    .window = kWindows[(n + n / 5) % 5],
                    .dropout = dropout,
                    .dropout_key = {.seed = n, .purpose = RandomPurpose::kDropout, .step = n << 33}},
           .batch = n % 4 == 1 ? 2 : 1,
           .seq = seq,
           .dtype = kFloats[n % 3]});
    }
  }
  return cases;
}

/// How far results may move when each weight and each gradient of a score moves by `unit` of itself.
struct RoundingBounds {
  RoundingBounds(const AttentionSpec& spec, const ConstTensorView& qkv, const ConstTensorView& log_sums,
                 const ConstTensorView& result, const ConstTensorView& dout, double unit)
      : out(static_cast<size_t>(result.elements())), dqkv(static_cast<size_t>(qkv.elements())) {
    const int64_t batch = qkv.shape()[0], seq = qkv.shape()[1], n = spec.head_dim;
    const int64_t slots = spec.heads + 2 * spec.kv_heads;
    for (int64_t pair = 0; pair < batch * spec.heads * seq * seq && unit > 0; ++pair) {
      const int64_t j = pair % seq, i = pair / seq % seq, h = pair / seq / seq % spec.heads;
      const int64_t b = pair / seq / seq / spec.heads;
      if ((spec.mask == AttentionMask::kCausal && j > i) || std::abs(i - j) >= spec.window) continue;
      const int64_t kv = spec.heads + h / (spec.heads / spec.kv_heads);
      const int64_t q = ((b * seq + i) * slots + h) * n, k = ((b * seq + j) * slots + kv) * n;
      const int64_t v = k + spec.kv_heads * n, o = ((b * seq + i) * spec.heads + h) * n;
      double score = 0, dweight = 0, delta = 0;
      for (int64_t d = 0; d < n; ++d) {
        score += spec.scale * get(qkv, q + d) * get(qkv, k + d);
        dweight += get(dout, o + d) * get(qkv, v + d);
        delta += get(dout, o + d) * get(result, o + d);
      }
      const double keep = 1.0 / (1.0 - static_cast<double>(spec.dropout));  // of those dropped, too: a bound
      const double weight = unit * std::exp(score - get(log_sums, (b * spec.heads + h) * seq + i));
      const double dscore = spec.scale * weight * (keep * std::abs(dweight) + std::abs(delta));
      for (int64_t d = 0; d < n; ++d) {
        out[static_cast<size_t>(o + d)] += keep * weight * std::abs(get(qkv, v + d));
        dqkv[static_cast<size_t>(q + d)] += dscore * std::abs(get(qkv, k + d));
        dqkv[static_cast<size_t>(k + d)] += dscore * std::abs(get(qkv, q + d));
        dqkv[static_cast<size_t>(v + d)] += keep * weight * std::abs(get(dout, o + d));
      }
    }
  }

  std::vector<double> out, dqkv;
};

class AttentionTest : public testing::LevelTest {
 protected:
  void TearDown() override {
    omp_set_num_threads(threads_);
    LevelTest::TearDown();
  }

  struct Step {
    Tensor qkv, out, log_sums, dout, dqkv;
  };
  /// Random inputs and empty results.
  Step start(const Case& c, double scale = 1) {
    return {random(c.fused(), c.dtype, scale), empty(c.rows(), c.dtype), empty(c.statistics(), DType::kF32),
            random(c.rows(), c.dtype), empty(c.fused(), c.dtype)};
  }
  static AttentionForwardArgs forward_args(const Case& c, Step& step) {
    return {.spec = c.spec, .qkv = step.qkv.view(), .out = step.out.view(), .log_sums = step.log_sums.view()};
  }
  static AttentionBackwardArgs backward_args(const Case& c, Step& step) {
    return {.spec = c.spec,
            .qkv = step.qkv.view(),
            .out = step.out.view(),
            .log_sums = step.log_sums.view(),
            .dout = step.dout.view(),
            .dqkv = step.dqkv.view()};
  }
  void run(const Case& c, Step& step) {
    attention_forward(device_, forward_args(c, step));
    attention_backward(device_, backward_args(c, step));
  }

  /// Where the level multiplies in bf16: what rounding every weight and score gradient to bf16 may change.
  static RoundingBounds rounding_of(const Case& c, const Step& step) {
    const bool rounds = GetParam() == CpuLevel::kAvx512Bf16 && c.dtype == DType::kBF16;
    return RoundingBounds(c.spec, step.qkv.view(), step.log_sums.view(), step.out.view(), step.dout.view(),
                          rounds ? epsilon_of(DType::kBF16) : 0);
  }
  static void expect_within(const ConstTensorView& actual, const ConstTensorView& expected, double relative,
                            double absolute, const std::vector<double>& rounding, const char* what) {
    for (int64_t i = 0; i < actual.elements(); ++i) {
      const double e = get(expected, i);
      ASSERT_NEAR(get(actual, i), e, absolute + relative * std::abs(e) + rounding[static_cast<size_t>(i)])
          << what << "[" << i << "] of " << actual.shape().to_string();
    }
  }

  void check_forward(const Case& c) {
    SCOPED_TRACE(c.name());
    Step actual = start(c);
    Step expected{copy(actual.qkv), empty(c.rows(), c.dtype), empty(c.statistics(), DType::kF32), {}, {}};
    attention_forward(device_, forward_args(c, actual));
    attention_forward_reference(forward_args(c, expected));
    // A score is a sum of head_dim products of about 1, scaled to about 1; its error scales a probability.
    const double fp32 = 16 * std::sqrt(static_cast<double>(c.spec.head_dim)) * epsilon_of(DType::kF32);
    const RoundingBounds rounding = rounding_of(
        c, {copy(actual.qkv), copy(expected.out), copy(expected.log_sums), copy(actual.dout), {}});
    expect_within(actual.out.view(), expected.out.view(), 2 * epsilon_of(c.dtype), fp32, rounding.out, "out");
    expect_close(actual.log_sums.view(), expected.log_sums.view(), fp32, fp32, "log_sums");
  }

  void check_backward(const Case& c) {
    SCOPED_TRACE(c.name());
    Step actual = start(c);
    attention_forward_reference(forward_args(c, actual));
    Step expected{copy(actual.qkv), copy(actual.out), copy(actual.log_sums), copy(actual.dout),
                  empty(c.fused(), c.dtype)};
    attention_backward(device_, backward_args(c, actual));
    attention_backward_reference(backward_args(c, expected));
    // Sums over seq terms of about head_dim^(1/2) / seq each, in fp32.
    const double fp32 = 64 * static_cast<double>(c.spec.head_dim) * epsilon_of(DType::kF32);
    expect_within(actual.dqkv.view(), expected.dqkv.view(), 2 * epsilon_of(c.dtype), fp32,
                  rounding_of(c, expected).dqkv, "dqkv");
  }

  const int threads_ = omp_get_max_threads();
};

TEST_P(AttentionTest, ForwardMatchesTheReference) {
  for (const Case& c : sweep(0)) check_forward(c);
}

TEST_P(AttentionTest, BackwardMatchesTheReference) {
  for (const Case& c : sweep(0)) check_backward(c);
}

TEST_P(AttentionTest, DropoutDrawsWhatTheReferenceDraws) {
  for (const Case& c : sweep(0.3f)) {
    if (c.seq > 65) continue;
    check_forward(c);
    check_backward(c);
  }
}

TEST_P(AttentionTest, LongHeadsAndManyTiles) {
  for (const int64_t head_dim : {1, 129, 256}) {
    const Case c{.spec = {.heads = 2, .kv_heads = 1, .head_dim = head_dim, .scale = 0.07f, .window = 200},
                 .seq = 300,
                 .dtype = DType::kBF16};
    check_forward(c);
    check_backward(c);
  }
}

TEST_P(AttentionTest, WithoutDropoutTheKeyDoesNotMatter) {
  Case c{.spec = {.heads = 2, .kv_heads = 2, .head_dim = 16, .scale = 0.25f}, .batch = 2, .seq = 70};
  Step first = start(c);
  run(c, first);
  Step second = {copy(first.qkv), empty(c.rows(), c.dtype), empty(c.statistics(), DType::kF32),
                 copy(first.dout), empty(c.fused(), c.dtype)};
  c.spec.dropout_key = {.seed = 99, .purpose = RandomPurpose::kDropout};
  run(c, second);
  expect_same_bits(first.out.view(), second.out.view(), "out");
  expect_same_bits(first.dqkv.view(), second.dqkv.view(), "dqkv");
}

TEST_P(AttentionTest, DropoutKeepsTheMean) {
  const Case c{.spec = {.heads = 4,
                        .kv_heads = 4,
                        .head_dim = 4,
                        .mask = AttentionMask::kBidirectional,
                        .dropout = 0.4f,
                        .dropout_key = {.seed = 5, .purpose = RandomPurpose::kDropout}},
               .seq = 128};
  Step step = start(c, 0);
  for (float& x : step.qkv.view().span<float>()) x = 1.0f;
  attention_forward(device_, forward_args(c, step));
  double sum = 0;
  for (const float x : step.out.view().span<float>()) sum += x;
  const auto draws = static_cast<double>(c.spec.heads * c.seq * c.seq);
  EXPECT_NEAR(sum / static_cast<double>(step.out.shape().elements()), 1.0, 5 * std::sqrt(0.4 / 0.6 / draws));
}

TEST_P(AttentionTest, SameBitsForAnyNumberOfThreads) {
  for (const float dropout : {0.0f, 0.2f}) {
    for (const AttentionMask mask : {AttentionMask::kCausal, AttentionMask::kBidirectional}) {
      const Case c{.spec = {.heads = 3,
                            .kv_heads = 1,
                            .head_dim = 20,
                            .scale = 0.2f,
                            .mask = mask,
                            .window = dropout > 0 ? 90 : kNoWindow,
                            .dropout = dropout},
                   .seq = 333,
                   .dtype = DType::kBF16};
      Step one = start(c);
      omp_set_num_threads(1);  // backward by heads
      run(c, one);
      for (const int threads : {2, 3}) {  // backward by tiles
        Step many = {copy(one.qkv), empty(c.rows(), c.dtype), empty(c.statistics(), DType::kF32),
                     copy(one.dout), empty(c.fused(), c.dtype)};
        omp_set_num_threads(threads);
        run(c, many);
        expect_same_bits(one.out.view(), many.out.view(), "out");
        expect_same_bits(one.log_sums.view(), many.log_sums.view(), "log_sums");
        expect_same_bits(one.dqkv.view(), many.dqkv.view(), "dqkv");
      }
    }
  }
}

TEST_P(AttentionTest, HugeScoresStayFinite) {
  for (const DType dtype : kFloats) {
    const Case c{.spec = {.heads = 2, .kv_heads = 1, .head_dim = 8, .scale = 1}, .seq = 150, .dtype = dtype};
    Step step = start(c, 50);  // scores up to about 10^4, either sign
    run(c, step);
    for (const TensorView& view : {step.out.view(), step.log_sums.view(), step.dqkv.view()}) {
      for (int64_t i = 0; i < view.elements(); ++i) ASSERT_TRUE(std::isfinite(get(view, i))) << i;
    }
  }
  const Case c{.spec = {.heads = 2, .kv_heads = 1, .head_dim = 8, .scale = 0.3f}, .seq = 150};
  Step step = start(c, 1e5);  // up to 10^11, whose rounding alone would overflow an exponential
  attention_forward(device_, forward_args(c, step));
  for (const TensorView& view : {step.out.view(), step.log_sums.view()}) {
    for (int64_t i = 0; i < view.elements(); ++i) ASSERT_TRUE(std::isfinite(get(view, i))) << i;
  }
}

TEST_P(AttentionTest, NanReachesTheRowsThatSeeIt) {
  const Case c{.spec = {.heads = 1, .kv_heads = 1, .head_dim = 8}, .seq = 100};
  Step step = start(c);
  step.qkv.view().data<float>()[(60 * 3 + 1) * 8] = std::nanf("");  // key 60
  attention_forward(device_, forward_args(c, step));
  EXPECT_TRUE(std::isfinite(step.out.view().data<float>()[59 * 8]));
  EXPECT_TRUE(std::isnan(step.out.view().data<float>()[60 * 8]));
  EXPECT_TRUE(std::isnan(step.out.view().data<float>()[99 * 8]));
}

TEST_P(AttentionTest, EmptyBatchesDoNothing) {
  for (const auto& [batch, seq] : {std::pair<int64_t, int64_t>{0, 5}, {2, 0}}) {
    const Case c{.spec = {.heads = 2, .kv_heads = 1, .head_dim = 8}, .batch = batch, .seq = seq};
    Step step = start(c);
    run(c, step);
  }
}

// ---- generation ----

struct CachedCase {
  int64_t heads = 1, kv_heads = 1, head_dim = 8, first = 0, tokens = 1, window = kNoWindow;
  DType dtype = DType::kF32;
};

class CachedAttentionTest : public testing::LevelTest {
 protected:
  void check(const CachedCase& c) {
    SCOPED_TRACE(fmt::format("heads {}/{} head_dim {} first {} tokens {} window {} {}", c.heads, c.kv_heads,
                             c.head_dim, c.first, c.tokens, c.window, dtype_name(c.dtype)));
    const int64_t capacity = c.first + c.tokens + 3;
    const Tensor q = random({c.tokens, c.heads, c.head_dim}, c.dtype);
    const Tensor keys = random({c.kv_heads, capacity, c.head_dim}, c.dtype);
    const Tensor values = random({c.kv_heads, capacity, c.head_dim}, c.dtype);
    Tensor actual = empty(q.shape(), c.dtype), expected = empty(q.shape(), c.dtype);
    CachedAttentionArgs args{.spec = {.heads = c.heads,
                                      .kv_heads = c.kv_heads,
                                      .head_dim = c.head_dim,
                                      .scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim)),
                                      .window = c.window},
                             .q = q.view(),
                             .keys = keys.view(),
                             .values = values.view(),
                             .first_position = c.first,
                             .out = actual.view()};
    attention_cached(device_, args);
    args.out = expected.view();
    attention_cached_reference(args);
    Tensor magnitudes = copy(values), largest = empty(q.shape(), DType::kF64);
    for (int64_t i = 0; i < values.shape().elements(); ++i) {
      put(magnitudes.view(), i, std::abs(get(values.view(), i)));
    }
    args.values = magnitudes.view(), args.out = largest.view();
    attention_cached_reference(args);
    // Weights in bf16 move a result by at most a rounding of the mean magnitude of the values.
    const bool rounds = GetParam() == CpuLevel::kAvx512Bf16 && c.dtype == DType::kBF16 && c.tokens > 1;
    const double fp32 = 16 * std::sqrt(static_cast<double>(c.head_dim)) * epsilon_of(DType::kF32);
    for (int64_t i = 0; i < expected.shape().elements(); ++i) {
      const double e = get(expected.view(), i), weights = rounds ? get(largest.view(), i) : 0;
      ASSERT_NEAR(get(actual.view(), i), e,
                  fp32 + 2 * epsilon_of(c.dtype) * std::abs(e) + epsilon_of(DType::kBF16) * weights)
          << "out[" << i << "]";
    }
  }
};

TEST_P(CachedAttentionTest, MatchesTheReference) {
  constexpr int64_t kHeads[][2] = {{1, 1}, {2, 1}, {3, 1}, {4, 1}, {7, 1}, {6, 3}, {2, 2}};
  constexpr int64_t kFirst[] = {0, 4, 63, 64, 255, 256, 700}, kHeadDims[] = {3, 8, 12, 64, 80, 128};
  constexpr int64_t kTokens[] = {1, 1, 2, 70}, kWindows[] = {kNoWindow, 8, 1, 300};
  size_t n = 0;
  for (const int64_t first : kFirst) {
    for (const int64_t head_dim : kHeadDims) {
      for (const int64_t tokens : kTokens) {
        const auto [heads, kv_heads] = kHeads[n % 7];
        check({.heads = heads,
               .kv_heads = kv_heads,
               .head_dim = head_dim,
               .first = first,
               .tokens = tokens,
               .window = kWindows[n / 4 % 4],
               .dtype = kFloats[n % 3]});
        ++n;
      }
    }
  }
}

/// The last `tokens` rows of the full forward, from a cache filled with its keys and values.
TEST_P(CachedAttentionTest, ContinuesTheFullForward) {
  constexpr int64_t kSeq = 90, kHeads = 4, kKvHeads = 2, kHeadDim = 12, kSlots = kHeads + 2 * kKvHeads;
  const AttentionSpec spec{
      .heads = kHeads, .kv_heads = kKvHeads, .head_dim = kHeadDim, .scale = 0.3f, .window = 40};
  const Tensor qkv = random({1, kSeq, kSlots, kHeadDim}, DType::kF32);
  Tensor full = empty({1, kSeq, kHeads, kHeadDim}, DType::kF32),
         log_sums = empty({1, kHeads, kSeq}, DType::kF32);
  attention_forward(device_,
                    {.spec = spec, .qkv = qkv.view(), .out = full.view(), .log_sums = log_sums.view()});
  Tensor keys = empty({kKvHeads, kSeq, kHeadDim}, DType::kF32), values = empty(keys.shape(), DType::kF32);
  const float* fused = qkv.view().data<float>();
  for (int64_t h = 0; h < kKvHeads; ++h) {
    for (int64_t j = 0; j < kSeq; ++j) {
      const float* token = fused + j * kSlots * kHeadDim;
      float* key = keys.view().data<float>() + (h * kSeq + j) * kHeadDim;
      std::copy_n(token + (kHeads + h) * kHeadDim, kHeadDim, key);
      float* value = values.view().data<float>() + (h * kSeq + j) * kHeadDim;
      std::copy_n(token + (kHeads + kKvHeads + h) * kHeadDim, kHeadDim, value);
    }
  }
  for (const int64_t tokens : {1, 5, 90}) {
    const int64_t first = kSeq - tokens;
    Tensor q = empty({tokens, kHeads, kHeadDim}, DType::kF32), out = empty(q.shape(), DType::kF32);
    for (int64_t t = 0; t < tokens; ++t) {
      std::copy_n(fused + (first + t) * kSlots * kHeadDim, kHeads * kHeadDim,
                  q.view().data<float>() + t * kHeads * kHeadDim);
    }
    attention_cached(device_, {.spec = spec,
                               .q = q.view(),
                               .keys = keys.view(),
                               .values = values.view(),
                               .first_position = first,
                               .out = out.view()});
    const ConstTensorView rows(full.view().raw() + first * kHeads * kHeadDim * 4, q.shape(), DType::kF32);
    expect_close(out.view(), rows, 1e-5, 1e-5, "out");
  }
}

TEST_P(CachedAttentionTest, SameBitsForAnyNumberOfThreads) {
  const Tensor q = random({1, 4, 64}, DType::kBF16);
  const Tensor keys = random({2, 1000, 64}, DType::kBF16), values = random({2, 1000, 64}, DType::kBF16);
  Tensor one = empty(q.shape(), DType::kBF16), two = empty(q.shape(), DType::kBF16);
  CachedAttentionArgs args{.spec = {.heads = 4, .kv_heads = 2, .head_dim = 64, .scale = 0.125f},
                           .q = q.view(),
                           .keys = keys.view(),
                           .values = values.view(),
                           .first_position = 999,
                           .out = one.view()};
  const int threads = omp_get_max_threads();
  omp_set_num_threads(1);
  attention_cached(device_, args);
  omp_set_num_threads(2);
  args.out = two.view();
  attention_cached(device_, args);
  omp_set_num_threads(threads);
  expect_same_bits(one.view(), two.view(), "out");
}

INSTANTIATE_TEST_SUITE_P(Levels, AttentionTest, ::testing::ValuesIn(testing::cpu_levels()),
                         [](const auto& level) { return cpu_level_name(level.param); });
INSTANTIATE_TEST_SUITE_P(Levels, CachedAttentionTest, ::testing::ValuesIn(testing::cpu_levels()),
                         [](const auto& level) { return cpu_level_name(level.param); });

// ---- the reference itself, in double ----

using AttentionReferenceTest = testing::LevelTest;

TEST_P(AttentionReferenceTest, BackwardIsTheDerivativeOfForward) {
  for (const float dropout : {0.0f, 0.3f}) {
    for (const AttentionMask mask : {AttentionMask::kCausal, AttentionMask::kBidirectional}) {
      const AttentionSpec spec{.heads = 2,
                               .kv_heads = 1,
                               .head_dim = 3,
                               .scale = 0.5f,
                               .mask = mask,
                               .window = 4,
                               .dropout = dropout};
      const Tensor qkv = widened(random({2, 6, 4, 3}, DType::kF32));
      const Tensor dout = widened(random({2, 6, 2, 3}, DType::kF32));
      Tensor x = copy(qkv), out = empty(dout.shape(), DType::kF64), log_sums = empty({2, 2, 6}, DType::kF64);
      const auto loss = [&] {
        attention_forward_reference(
            {.spec = spec, .qkv = x.view(), .out = out.view(), .log_sums = log_sums.view()});
        double sum = 0;
        for (int64_t i = 0; i < out.shape().elements(); ++i) sum += get(out.view(), i) * get(dout.view(), i);
        return sum;
      };
      loss();
      Tensor dqkv = empty(qkv.shape(), DType::kF64);
      attention_backward_reference({.spec = spec,
                                    .qkv = qkv.view(),
                                    .out = out.view(),
                                    .log_sums = log_sums.view(),
                                    .dout = dout.view(),
                                    .dqkv = dqkv.view()});
      expect_gradient(x.view(), dqkv.view(), loss, "dqkv");
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Machine, AttentionReferenceTest, ::testing::Values(machine_cpu_level()));

// ---- promises around the numbers ----

TEST(AttentionBookingTest, PlanningBooksWhatARunUses) {
  for (const int64_t kv_heads : {1, 2, 4}) {
    testing::expect_same_booking([&](DeviceContext& device) {
      const AttentionSpec spec{.heads = 4, .kv_heads = kv_heads, .head_dim = 20, .dropout = 0.1f};
      const auto make = [&](const Shape& shape, DType dtype) {
        Tensor tensor(device.memory(), shape, dtype, MemoryTag::kActivations);
        if (!device.meta()) std::memset(tensor.view().raw(), 0, static_cast<size_t>(tensor.bytes()));
        return tensor;
      };
      const Tensor qkv = make({1, 300, 4 + 2 * kv_heads, 20}, DType::kBF16);
      Tensor out = make({1, 300, 4, 20}, DType::kBF16), log_sums = make({1, 4, 300}, DType::kF32);
      Tensor dqkv = make(qkv.shape(), DType::kBF16);
      attention_forward(device,
                        {.spec = spec, .qkv = qkv.view(), .out = out.view(), .log_sums = log_sums.view()});
      attention_backward(device, {.spec = spec,
                                  .qkv = qkv.view(),
                                  .out = out.view(),
                                  .log_sums = log_sums.view(),
                                  .dout = out.view(),
                                  .dqkv = dqkv.view()});
      const Tensor cache = make({kv_heads, 600, 20}, DType::kBF16), q = make({1, 4, 20}, DType::kBF16);
      Tensor row = make(q.shape(), DType::kBF16);
      attention_cached(device, {.spec = {.heads = 4, .kv_heads = kv_heads, .head_dim = 20},
                                .q = q.view(),
                                .keys = cache.view(),
                                .values = cache.view(),
                                .first_position = 599,
                                .out = row.view()});
    });
  }
}

TEST(AttentionBookingTest, ForwardScratchDoesNotGrowWithSeq) {
  const auto peak = [](int64_t seq) {
    DeviceContext device({.kind = DeviceKind::kMeta});
    const Tensor qkv(device.memory(), {1, seq, 3, 64}, DType::kBF16, MemoryTag::kActivations);
    Tensor out(device.memory(), {1, seq, 1, 64}, DType::kBF16, MemoryTag::kActivations);
    Tensor log_sums(device.memory(), {1, 1, seq}, DType::kF32, MemoryTag::kActivations);
    attention_forward(device, {.spec = {.heads = 1, .kv_heads = 1, .head_dim = 64},
                               .qkv = qkv.view(),
                               .out = out.view(),
                               .log_sums = log_sums.view()});
    return device.memory().ledger().peak(MemoryTag::kWorkspace);
  };
  EXPECT_EQ(peak(1 << 12), peak(1 << 20));
}

TEST(AttentionCheckTest, RefusesWhatDoesNotFit) {
  DeviceContext device({});
  const auto make = [&](const Shape& shape, DType dtype) {
    return Tensor(device.memory(), shape, dtype, MemoryTag::kActivations);
  };
  const Tensor qkv = make({1, 4, 4, 8}, DType::kF32);
  Tensor out = make({1, 4, 2, 8}, DType::kF32), log_sums = make({1, 2, 4}, DType::kF32);
  const AttentionForwardArgs good{.spec = {.heads = 2, .kv_heads = 1, .head_dim = 8},
                                  .qkv = qkv.view(),
                                  .out = out.view(),
                                  .log_sums = log_sums.view()};
  std::memset(out.view().raw(), 0, static_cast<size_t>(out.bytes()));
  const auto refuses = [&](const auto& change) {
    AttentionForwardArgs args = good;
    change(args);
    EXPECT_THROW(attention_forward(device, args), InternalError);
  };
  refuses([](auto& args) { args.spec.heads = 3; });
  refuses([](auto& args) { args.spec = {.heads = 3, .kv_heads = 2, .head_dim = 8}; });
  refuses([](auto& args) { args.spec.window = 0; });
  refuses([](auto& args) { args.spec.scale = 0; });
  refuses([](auto& args) { args.spec.scale = std::nanf(""); });
  refuses([](auto& args) { args.spec.dropout = 1; });
  refuses([](auto& args) { args.out = args.out.reshape({1, 2, 4, 8}); });
  refuses([](auto& args) { args.log_sums = args.log_sums.reshape({1, 4, 2}); });
  Tensor half = make({1, 4, 2, 8}, DType::kBF16);
  refuses([&](auto& args) { args.out = half.view(); });

  const Tensor cache = make({1, 4, 8}, DType::kF32), q = make({2, 2, 8}, DType::kF32);
  Tensor rows = make({2, 2, 8}, DType::kF32);
  EXPECT_THROW(attention_cached(device, {.spec = good.spec,
                                         .q = q.view(),
                                         .keys = cache.view(),
                                         .values = cache.view(),
                                         .first_position = 3,
                                         .out = rows.view()}),
               InternalError);
}

}  // namespace
}  // namespace aleph::kernels
