// Attention on the CPU: checks, scratch, and the order in which threads take blocks.
#include <algorithm>
#include <cmath>

#include "aleph/base/parallel.h"
#include "aleph/kernels/attention/attention.h"
#include "aleph/kernels/attention/attention_tiles.h"
#include "aleph/kernels/checks.h"

namespace aleph::kernels {
namespace {

using attention::Kernels;
using attention::kKeyTile;
using attention::padded;
using attention::Problem;
using attention::Rows;
using attention::Task;

void check_spec(const AttentionSpec& spec) {
  ALEPH_CHECK(spec.heads > 0 && spec.kv_heads > 0 && spec.heads % spec.kv_heads == 0,
              "{} query heads over {} key-value heads", spec.heads, spec.kv_heads);
  ALEPH_CHECK(spec.head_dim > 0, "head_dim {}", spec.head_dim);
  ALEPH_CHECK(spec.scale > 0, "scale {}", spec.scale);
  ALEPH_CHECK(spec.window > 0, "window {}", spec.window);
  ALEPH_CHECK(spec.dropout >= 0 && spec.dropout < 1, "dropout {}", spec.dropout);
}

Problem problem_of(const AttentionSpec& spec, DType dtype, int64_t keys) {
  Problem problem{.dtype = dtype,
                  .keys = keys,
                  .heads = spec.heads,
                  .kv_heads = spec.kv_heads,
                  .group = spec.heads / spec.kv_heads,
                  .head_dim = spec.head_dim,
                  .window = std::min(spec.window, std::max<int64_t>(1, keys)),
                  .causal = spec.mask == AttentionMask::kCausal,
                  .scale = spec.scale};
  if (spec.dropout > 0) {
    const RandomStream stream(spec.dropout_key);
    problem.threshold = static_cast<uint32_t>(std::ceil(static_cast<double>(spec.dropout) * 0x1p24));
    problem.keep_scale = static_cast<float>(1.0 / (1.0 - static_cast<double>(spec.dropout)));
    problem.random_key = stream.key();
    problem.random_step = stream.high();
  }
  return problem;
}

/// Part of a [batch, seq, slots, head_dim] tensor that begins at `slot`.
template <typename Byte>
Rows<Byte> slots_of(const BasicView<Byte>& view, int64_t slot) {
  const int64_t head_dim = view.shape()[3], token = view.shape()[2] * head_dim;
  return {view.raw() + slot * head_dim * dtype_bytes(view.dtype()), view.shape()[1] * token, token, head_dim};
}

/// A training problem over qkv [batch, seq, heads + 2 kv_heads, head_dim].
Problem fused_problem(const AttentionSpec& spec, const ConstTensorView& qkv, const ConstTensorView& out,
                      const ConstTensorView& log_sums) {
  check_spec(spec);
  check_float("qkv", qkv);
  ALEPH_CHECK(qkv.shape().rank() == 4, "qkv is {}", qkv.shape().to_string());
  const int64_t batch = qkv.shape()[0], seq = qkv.shape()[1];
  check_shape("qkv", qkv, {batch, seq, spec.heads + 2 * spec.kv_heads, spec.head_dim});
  check_shape("out", out, {batch, seq, spec.heads, spec.head_dim});
  check_dtype("out", out, qkv.dtype());
  check_shape("log_sums", log_sums, {batch, spec.heads, seq});
  check_dtype("log_sums", log_sums, DType::kF32);
  Problem problem = problem_of(spec, qkv.dtype(), seq);
  problem.batch = batch;
  problem.queries = seq;
  problem.q = slots_of(qkv, 0);
  problem.k = slots_of(qkv, spec.heads);
  problem.v = slots_of(qkv, spec.heads + spec.kv_heads);
  return problem;
}

/// Scratch for up to `tasks` tasks at once, `floats` each.
class ThreadScratch {
 public:
  ThreadScratch(DeviceContext& device, int64_t tasks, int64_t floats)
      : threads_(std::min<int64_t>(num_threads(), tasks)),
        floats_(padded(floats)),
        buffer_(device.memory().allocate(threads_ * floats_ * static_cast<int64_t>(sizeof(float)),
                                         MemoryTag::kWorkspace)) {}

  /// Calls `body(task, scratch)` for all tasks, each thread taking neighbours.
  template <typename Body>
  void run(int64_t tasks, const Body& body) const {
    const int64_t threads = std::min(threads_, tasks);
    parallel_for(threads, 1, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        float* scratch = reinterpret_cast<float*>(buffer_.data()) + t * floats_;
        for (int64_t i = tasks * t / threads; i < tasks * (t + 1) / threads; ++i) body(i, scratch);
      }
    });
  }

 private:
  int64_t threads_, floats_;
  Buffer buffer_;
};

/// Pairs the first with the last: neighbours then cost the same in total although causal blocks grow.
int64_t balanced(int64_t i, int64_t n) { return i % 2 == 0 ? i / 2 : n - 1 - i / 2; }

/// Task i of all blocks of all heads in order, and with the blocks of a head balanced.
Task task_of(const Problem& p, int64_t i) {
  const int64_t unit = i / p.blocks();
  return {unit / p.kv_heads, unit % p.kv_heads, i % p.blocks()};
}
Task balanced_task(const Problem& p, int64_t i) {
  Task task = task_of(p, i);
  task.block = balanced(task.block, p.blocks());
  return task;
}

/// Pairs of a query and a key it sees, over all batches and heads.
double visible_pairs(const Problem& p) {
  double pairs = 0;
  for (int64_t t = 0; t < p.queries; ++t) {
    const int64_t position = p.first + t;
    const int64_t begin = std::max<int64_t>(0, position - p.window + 1);
    const int64_t end = p.causal ? position + 1 : std::min(p.keys, position + p.window);
    pairs += static_cast<double>(end - begin);
  }
  return pairs * static_cast<double>(p.batch * p.heads);
}

/// Times one call; each product of queries and keys costs 2 head_dim operations a pair.
KernelTimer timer_of(DeviceContext& device, const Problem& problem, int products, double bytes) {
  return {device.profile(), KernelKind::kAttention,
          2.0 * products * static_cast<double>(problem.head_dim) * visible_pairs(problem), bytes};
}

void run_forward(DeviceContext& device, const Problem& problem) {
  const int64_t tasks = problem.batch * problem.kv_heads * problem.blocks();
  const ThreadScratch scratch(device, tasks, attention::forward_scratch(problem.head_dim));
  if (device.meta()) return;
  const Kernels& kernels = kernels_of<attention::Levels>(cpu_level());
  scratch.run(tasks, [&](int64_t i, float* memory) {
    const Task task = balanced_task(problem, i), next = balanced_task(problem, i + 1);
    kernels.forward(problem, task, i + 1 < tasks ? &next : nullptr, memory);
  });
}

/// One thread per (batch, key-value head): five products per tile; dk and dv of all keys are summed in
/// scratch.
void backward_by_head(DeviceContext& device, const Problem& problem) {
  const int64_t units = problem.batch * problem.kv_heads;
  const int64_t sums = problem.keys * padded(problem.head_dim);
  const ThreadScratch scratch(device, units, attention::backward_scratch(problem.head_dim) + 2 * sums);
  if (device.meta()) return;
  const Kernels& kernels = kernels_of<attention::Levels>(cpu_level());
  scratch.run(units, [&](int64_t unit, float* memory) {
    const int64_t blocks = problem.blocks();
    float *dk = memory, *dv = memory + sums;
    std::fill(memory, memory + 2 * sums, 0.0f);
    for (int64_t i = unit * blocks; i < (unit + 1) * blocks; ++i) {
      const Task task = task_of(problem, i), next = task_of(problem, i + 1);
      kernels.backward_block(problem, task, i + 1 < units * blocks ? &next : nullptr, memory + 2 * sums, dk,
                             dv);
    }
    const int64_t batch = unit / problem.kv_heads, kv_head = unit % problem.kv_heads;
    kernels.store_sums(problem, problem.dk, batch, kv_head, 0, problem.keys, dk, problem.scale);
    kernels.store_sums(problem, problem.dv, batch, kv_head, 0, problem.keys, dv, 1.0f);
  });
}

/// Two passes, dq by query blocks, dk and dv by key tiles: seven products per tile, but as many tasks as
/// tiles. Adds in the same order as backward_by_head, so both give the same bits.
void backward_by_tile(DeviceContext& device, const Problem& problem) {
  const int64_t units = problem.batch * problem.kv_heads;
  const int64_t blocks = problem.blocks(), tiles = problem.key_tiles();
  const int64_t sums = kKeyTile * padded(problem.head_dim);
  const ThreadScratch scratch(device, units * std::max(blocks, tiles),
                              attention::backward_scratch(problem.head_dim) + 2 * sums);
  if (device.meta()) return;
  const Kernels& kernels = kernels_of<attention::Levels>(cpu_level());
  scratch.run(units * blocks, [&](int64_t i, float* memory) {
    const Task task = balanced_task(problem, i), next = balanced_task(problem, i + 1);
    kernels.backward_block(problem, task, i + 1 < units * blocks ? &next : nullptr, memory, nullptr, nullptr);
  });
  scratch.run(units * tiles, [&](int64_t i, float* memory) {
    const int64_t unit = i / tiles;
    kernels.backward_tile(problem, unit / problem.kv_heads, unit % problem.kv_heads,
                          balanced(i % tiles, tiles), memory + 2 * sums, memory, memory + sums);
  });
}

/// One query: each task reads a split of the keys of one key-value head; then the splits of a head are
/// merged.
void run_decode(DeviceContext& device, const Problem& problem) {
  const int64_t begin = std::max<int64_t>(0, problem.keys - problem.window);
  const int64_t split = attention::decode_split(problem.keys - begin);
  const int64_t splits = (problem.keys - begin + split - 1) / split;
  const int64_t partial = attention::decode_partial(problem.head_dim);
  const int64_t tasks = problem.kv_heads * splits;
  const Buffer partials = device.memory().allocate(
      problem.heads * splits * partial * static_cast<int64_t>(sizeof(float)), MemoryTag::kWorkspace);
  const ThreadScratch scratch(device, tasks, attention::decode_scratch(problem.head_dim, problem.group));
  if (device.meta()) return;
  const Kernels& kernels = kernels_of<attention::Levels>(cpu_level());
  auto* results = reinterpret_cast<float*>(partials.data());  // [heads, splits, partial]
  scratch.run(tasks, [&](int64_t i, float* memory) {
    const int64_t kv_head = i / splits, s = i % splits;
    kernels.decode(problem, kv_head, begin + s * split, std::min(problem.keys, begin + (s + 1) * split),
                   memory, results + (kv_head * problem.group * splits + s) * partial, splits * partial);
  });
  scratch.run(problem.heads, [&](int64_t head, float* memory) {
    kernels.decode_merge(problem, head, results + head * splits * partial, splits, memory);
  });
}

}  // namespace

namespace attention {

// The most of what operands in fp32 and in pairs of bf16 take; lanes of pairs are padded, too.

int64_t forward_scratch(int64_t head_dim) {
  const int64_t width = padded(head_dim), lanes = padded(width / 2) * kLanes, tile = kLanes * kKeyTile;
  const int64_t singles = (2 * kLanes + 2 * kKeyTile) * width + tile;
  const int64_t pairs = lanes + (kLanes + kKeyTile) * width + tile + tile / 2;
  return std::max(singles, pairs) + 2 * kKeyTile;
}

int64_t backward_scratch(int64_t head_dim) {
  const int64_t width = padded(head_dim), lanes = padded(width / 2) * kLanes, tile = kLanes * kKeyTile;
  const int64_t singles = (5 * kLanes + 2 * kKeyTile) * width + 2 * tile;
  const int64_t pairs =
      2 * lanes + (2 * kLanes + kKeyTile + kKeyTile / 2) * width + tile + tile / 2 + 2 * kStage * kLanes;
  return std::max(singles, pairs) + 2 * kKeyTile;
}

int64_t decode_scratch(int64_t head_dim, int64_t group) {
  return group * (2 * padded(head_dim) + kDecodeTile) + 2 * padded(group);
}

}  // namespace attention

void attention_forward(DeviceContext& device, const AttentionForwardArgs& args) {
  Problem problem = fused_problem(args.spec, args.qkv, args.out, args.log_sums);
  problem.out = slots_of(args.out, 0);
  problem.log_sums = args.log_sums.data<float>();
  const KernelTimer timer = timer_of(device, problem, 2, bytes_of(args.qkv, args.out));
  run_forward(device, problem);
}

void attention_backward(DeviceContext& device, const AttentionBackwardArgs& args) {
  Problem problem = fused_problem(args.spec, args.qkv, args.out, args.log_sums);
  check_like("dout", args.dout, args.out);
  check_like("dqkv", args.dqkv, args.qkv);
  problem.result = slots_of(args.out, 0);
  problem.dout = slots_of(args.dout, 0);
  problem.given_log_sums = args.log_sums.data<float>();
  problem.dq = slots_of(args.dqkv, 0);
  problem.dk = slots_of(args.dqkv, args.spec.heads);
  problem.dv = slots_of(args.dqkv, args.spec.heads + args.spec.kv_heads);
  const KernelTimer timer = timer_of(device, problem, 5, bytes_of(args.qkv, args.out, args.dout, args.dqkv));
  const int64_t units = problem.batch * problem.kv_heads, threads = num_threads();
  const int64_t rounds = (units + threads - 1) / threads;
  if (5 * rounds * threads <= 7 * units) {
    backward_by_head(device, problem);
  } else {
    backward_by_tile(device, problem);
  }
}

void attention_cached(DeviceContext& device, const CachedAttentionArgs& args) {
  const AttentionSpec& spec = args.spec;
  check_spec(spec);
  check_float("q", args.q);
  ALEPH_CHECK(spec.mask == AttentionMask::kCausal && spec.dropout == 0,
              "cached attention is causal, dropout {}", spec.dropout);
  ALEPH_CHECK(args.q.shape().rank() == 3 && args.keys.shape().rank() == 3, "q is {}, keys are {}",
              args.q.shape().to_string(), args.keys.shape().to_string());
  const int64_t tokens = args.q.shape()[0], capacity = args.keys.shape()[1], head_dim = spec.head_dim;
  check_shape("q", args.q, {tokens, spec.heads, head_dim});
  check_shape("keys", args.keys, {spec.kv_heads, capacity, head_dim});
  check_dtype("keys", args.keys, args.q.dtype());
  check_like("values", args.values, args.keys);
  check_like("out", args.out, args.q);
  ALEPH_CHECK(args.first_position >= 0 && args.first_position + tokens <= capacity,
              "positions {}+{} in a cache of {}", args.first_position, tokens, capacity);
  Problem problem = problem_of(spec, args.q.dtype(), args.first_position + tokens);
  problem.batch = 1;
  problem.queries = tokens;
  problem.first = args.first_position;
  problem.q = {args.q.raw(), 0, spec.heads * head_dim, head_dim};
  problem.k = {args.keys.raw(), 0, head_dim, capacity * head_dim};
  problem.v = {args.values.raw(), 0, head_dim, capacity * head_dim};
  problem.out = {args.out.raw(), 0, spec.heads * head_dim, head_dim};
  const auto seen = static_cast<double>(problem.keys) / static_cast<double>(capacity);
  const KernelTimer timer =
      timer_of(device, problem, 2, bytes_of(args.q, args.out) + seen * bytes_of(args.keys, args.values));
  if (tokens == 1) {
    run_decode(device, problem);
  } else {
    run_forward(device, problem);
  }
}

}  // namespace aleph::kernels
