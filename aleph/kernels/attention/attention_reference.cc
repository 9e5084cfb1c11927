// Attention in plain loops and double. Also takes fp64 tensors, for numerical derivatives.
#include <algorithm>
#include <cmath>
#include <vector>

#include "aleph/kernels/attention/attention.h"
#include "aleph/kernels/reference.h"

namespace aleph::kernels {
namespace {

/// Queries, keys and values of one (batch, head) of a fused projection, as element offsets.
struct FusedHead {
  FusedHead(const AttentionSpec& spec, const ConstTensorView& qkv, int64_t batch_index, int64_t head_index)
      : seq(qkv.shape()[1]),
        head_dim(spec.head_dim),
        slots(spec.heads + 2 * spec.kv_heads),
        batch(batch_index),
        head(head_index),
        kv_head(spec.heads + head_index / (spec.heads / spec.kv_heads)),
        heads(spec.heads),
        kv_heads(spec.kv_heads) {}
  int64_t q(int64_t i) const { return ((batch * seq + i) * slots + head) * head_dim; }
  int64_t k(int64_t j) const { return ((batch * seq + j) * slots + kv_head) * head_dim; }
  int64_t v(int64_t j) const { return k(j) + kv_heads * head_dim; }
  int64_t out(int64_t i) const { return ((batch * seq + i) * heads + head) * head_dim; }
  int64_t statistic(int64_t i) const { return (batch * heads + head) * seq + i; }

  int64_t seq, head_dim, slots, batch, head, kv_head, heads, kv_heads;
};

bool sees(const AttentionSpec& spec, int64_t i, int64_t j) {
  return (spec.mask == AttentionMask::kBidirectional || j <= i) && std::abs(i - j) < spec.window;
}

double dot(const ConstTensorView& a, int64_t at_a, const ConstTensorView& b, int64_t at_b, int64_t n) {
  double sum = 0;
  for (int64_t d = 0; d < n; ++d) sum += get(a, at_a + d) * get(b, at_b + d);
  return sum;
}

/// 0 where dropped, 1 / (1 - p) where kept.
double keep_factor(const AttentionSpec& spec, const RandomStream& stream, int64_t position) {
  if (spec.dropout == 0) return 1;
  return stream.uniform(static_cast<uint64_t>(position)) >= spec.dropout
             ? 1.0 / (1.0 - static_cast<double>(spec.dropout))
             : 0.0;
}

/// Softmax of scores in place; minus infinity gives 0. Returns the log of the denominator.
double softmax(std::vector<double>& scores) {
  const double top = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (double& score : scores) sum += score = std::exp(score - top);
  for (double& score : scores) score /= sum;
  return top + std::log(sum);
}

template <typename Body>
void for_each_head(const AttentionSpec& spec, const ConstTensorView& qkv, const Body& body) {
  for (int64_t b = 0; b < qkv.shape()[0]; ++b) {
    for (int64_t h = 0; h < spec.heads; ++h) body(FusedHead(spec, qkv, b, h));
  }
}

void add_scaled(std::vector<double>& sums, int64_t at, double factor, const ConstTensorView& x, int64_t at_x,
                int64_t n) {
  for (int64_t d = 0; d < n; ++d) sums[static_cast<size_t>(at + d)] += factor * get(x, at_x + d);
}

}  // namespace

void attention_forward_reference(const AttentionForwardArgs& args) {
  const AttentionSpec& spec = args.spec;
  const RandomStream stream(spec.dropout_key);
  for_each_head(spec, args.qkv, [&](const FusedHead& head) {
    for (int64_t i = 0; i < head.seq; ++i) {
      std::vector<double> weights(static_cast<size_t>(head.seq), -HUGE_VAL);
      for (int64_t j = 0; j < head.seq; ++j) {
        if (!sees(spec, i, j)) continue;
        weights[static_cast<size_t>(j)] =
            spec.scale * dot(args.qkv, head.q(i), args.qkv, head.k(j), spec.head_dim);
      }
      put(args.log_sums, head.statistic(i), softmax(weights));
      std::vector<double> sums(static_cast<size_t>(spec.head_dim));
      for (int64_t j = 0; j < head.seq; ++j) {
        if (!sees(spec, i, j)) continue;
        const double keep = keep_factor(spec, stream, head.statistic(i) * head.seq + j);
        add_scaled(sums, 0, keep * weights[static_cast<size_t>(j)], args.qkv, head.v(j), spec.head_dim);
      }
      for (int64_t d = 0; d < spec.head_dim; ++d)
        put(args.out, head.out(i) + d, sums[static_cast<size_t>(d)]);
    }
  });
}

void attention_backward_reference(const AttentionBackwardArgs& args) {
  const AttentionSpec& spec = args.spec;
  const RandomStream stream(spec.dropout_key);
  std::vector<double> sums(static_cast<size_t>(args.qkv.elements()));
  for_each_head(spec, args.qkv, [&](const FusedHead& head) {
    for (int64_t i = 0; i < head.seq; ++i) {
      const double delta = dot(args.dout, head.out(i), args.out, head.out(i), spec.head_dim);
      const double log_sum = get(args.log_sums, head.statistic(i));
      for (int64_t j = 0; j < head.seq; ++j) {
        if (!sees(spec, i, j)) continue;
        const double score = spec.scale * dot(args.qkv, head.q(i), args.qkv, head.k(j), spec.head_dim);
        const double weight = std::exp(score - log_sum);
        const double keep = keep_factor(spec, stream, head.statistic(i) * head.seq + j);
        const double dweight = keep * dot(args.dout, head.out(i), args.qkv, head.v(j), spec.head_dim);
        const double dscore = spec.scale * weight * (dweight - delta);
        add_scaled(sums, head.q(i), dscore, args.qkv, head.k(j), spec.head_dim);
        add_scaled(sums, head.k(j), dscore, args.qkv, head.q(i), spec.head_dim);
        add_scaled(sums, head.v(j), keep * weight, args.dout, head.out(i), spec.head_dim);
      }
    }
  });
  for (int64_t i = 0; i < args.dqkv.elements(); ++i) put(args.dqkv, i, sums[static_cast<size_t>(i)]);
}

void attention_cached_reference(const CachedAttentionArgs& args) {
  const AttentionSpec& spec = args.spec;
  const int64_t capacity = args.keys.shape()[1], group = spec.heads / spec.kv_heads;
  for (int64_t t = 0; t < args.q.shape()[0]; ++t) {
    for (int64_t h = 0; h < spec.heads; ++h) {
      const int64_t row = (t * spec.heads + h) * spec.head_dim, position = args.first_position + t;
      std::vector<double> weights(static_cast<size_t>(position + 1), -HUGE_VAL);
      const auto key = [&](int64_t j) { return (h / group * capacity + j) * spec.head_dim; };
      for (int64_t j = 0; j <= position; ++j) {
        if (!sees(spec, position, j)) continue;
        weights[static_cast<size_t>(j)] = spec.scale * dot(args.q, row, args.keys, key(j), spec.head_dim);
      }
      softmax(weights);
      std::vector<double> sums(static_cast<size_t>(spec.head_dim));
      for (int64_t j = 0; j <= position; ++j) {
        if (!sees(spec, position, j)) continue;
        add_scaled(sums, 0, weights[static_cast<size_t>(j)], args.values, key(j), spec.head_dim);
      }
      for (int64_t d = 0; d < spec.head_dim; ++d) put(args.out, row + d, sums[static_cast<size_t>(d)]);
    }
  }
}

}  // namespace aleph::kernels
