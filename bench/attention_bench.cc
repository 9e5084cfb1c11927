// Speed of attention on the CPU: median of repeated calls, spread between the quartiles, and the rate counted
// in the products that exact attention needs (masked scores do not count). Decoding counts the bytes of keys
// and values instead.
//
//   attention_bench [--threads N] [--seconds S] [--json FILE]

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "aleph/base/json.h"
#include "aleph/base/parallel.h"
#include "aleph/base/random.h"
#include "aleph/kernels/attention/attention.h"
#include "aleph/kernels/simd/simd.h"

namespace aleph::kernels {
namespace {

struct Options {
  int threads = 1;
  double seconds = 0.5;  ///< per case
  std::string json;
};

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

struct Timing {
  double median, low, high;  ///< seconds: median and quartiles
};

template <typename Body>
Timing measure(double seconds, const Body& body) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> times;
  body();
  const auto begin = Clock::now();
  while (times.size() < 5 || std::chrono::duration<double>(Clock::now() - begin).count() < seconds) {
    const auto start = Clock::now();
    body();
    times.push_back(std::chrono::duration<double>(Clock::now() - start).count());
  }
  std::sort(times.begin(), times.end());
  return {times[times.size() / 2], times[times.size() / 4], times[times.size() * 3 / 4]};
}

class Report {
 public:
  void add(const std::string& name, const Timing& timing, double work, const char* unit) {
    const double rate = work / timing.median * 1e-9;
    fmt::print("{:<44} {:>10.1f} us  [{:.1f}, {:.1f}]  {:>7.1f} {}\n", name, timing.median * 1e6,
               timing.low * 1e6, timing.high * 1e6, rate, unit);
    std::fflush(stdout);
    results_.push_back({{"name", name},
                        {"median_seconds", timing.median},
                        {"lower_quartile_seconds", timing.low},
                        {"upper_quartile_seconds", timing.high},
                        {"rate", rate},
                        {"unit", unit}});
  }
  void write(const Options& options) const {
    if (options.json.empty()) return;
    const aleph::Json document = {{"benchmark", "attention"},
                                  {"threads", options.threads},
                                  {"cpu_level", cpu_level_name(cpu_level())},
                                  {"results", results_}};
    std::ofstream file(options.json);
    file << document.dump(2) << "\n";
    if (!file.flush()) throw Error(options.json, "a write error", "a file that can be written");
  }

 private:
  aleph::Json results_ = aleph::Json::array();
};

void run_training(DeviceContext& device, const Case& c, const Options& options, Report& report) {
  const Tensor qkv = random_tensor(device, {c.batch, c.seq, c.heads + 2 * c.kv_heads, c.head_dim}, c.dtype);
  const Tensor dout = random_tensor(device, {c.batch, c.seq, c.heads, c.head_dim}, c.dtype);
  Tensor out = random_tensor(device, dout.shape(), c.dtype),
         dqkv = random_tensor(device, qkv.shape(), c.dtype);
  Tensor log_sums = random_tensor(device, {c.batch, c.heads, c.seq}, DType::kF32);
  const double product = 2 * c.visible_scores() * static_cast<double>(c.head_dim);
  report.add(
      "forward " + c.name,
      measure(options.seconds,
              [&] {
                attention_forward(
                    device,
                    {.spec = c.spec(), .qkv = qkv.view(), .out = out.view(), .log_sums = log_sums.view()});
              }),
      2 * product, "GFLOP/s");
  report.add("backward " + c.name,
             measure(options.seconds,
                     [&] {
                       attention_backward(device, {.spec = c.spec(),
                                                   .qkv = qkv.view(),
                                                   .out = out.view(),
                                                   .log_sums = log_sums.view(),
                                                   .dout = dout.view(),
                                                   .dqkv = dqkv.view()});
                     }),
             5 * product, "GFLOP/s");
}

void run_decode(DeviceContext& device, const DecodeCase& c, const Options& options, Report& report) {
  const Tensor keys = random_tensor(device, {c.kv_heads, c.keys, c.head_dim}, c.dtype);
  const Tensor values = random_tensor(device, keys.shape(), c.dtype);
  const Tensor q = random_tensor(device, {1, c.heads, c.head_dim}, c.dtype);
  Tensor out = random_tensor(device, q.shape(), c.dtype);
  const AttentionSpec spec{.heads = c.heads, .kv_heads = c.kv_heads, .head_dim = c.head_dim, .scale = 0.1f};
  report.add("decode " + c.name,
             measure(options.seconds,
                     [&] {
                       attention_cached(device, {.spec = spec,
                                                 .q = q.view(),
                                                 .keys = keys.view(),
                                                 .values = values.view(),
                                                 .first_position = c.keys - 1,
                                                 .out = out.view()});
                     }),
             static_cast<double>(keys.bytes() + values.bytes()), "GB/s");
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; i += 2) {
    const std::string_view flag = argv[i];
    if (i + 1 == argc) throw UsageError(std::string(flag), "no value", "a value");
    if (flag == "--threads")
      options.threads = std::max(1, std::atoi(argv[i + 1]));
    else if (flag == "--seconds")
      options.seconds = std::atof(argv[i + 1]);
    else if (flag == "--json")
      options.json = argv[i + 1];
    else
      throw UsageError("option", "'" + std::string(flag) + "'", "--threads, --seconds or --json");
  }
  return options;
}

void run(int argc, char** argv) {
  const Options options = parse(argc, argv);
  aleph::set_num_threads(options.threads);
  fmt::print("attention, {} threads, {}\n", options.threads, cpu_level_name(cpu_level()));
  DeviceContext device({});
  Report report;
  for (const Case& c : cases()) run_training(device, c, options, report);
  for (const DecodeCase& c : decode_cases()) run_decode(device, c, options, report);
  report.write(options);
}

}  // namespace
}  // namespace aleph::kernels

int main(int argc, char** argv) try {
  aleph::kernels::run(argc, argv);
  return 0;
} catch (const std::exception& error) {
  fmt::print(stderr, "{}\n", error.what());
  return 1;
}
