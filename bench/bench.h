// How every benchmark measures and reports: warm up, repeat for a fixed time, print median and quartiles with
// the rates of what a case computes and moves, as a share of the ceilings of this machine measured in the
// same run.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "aleph/base/clock.h"
#include "aleph/base/error.h"
#include "aleph/base/json.h"
#include "aleph/base/parallel.h"
#include "aleph/kernels/ceilings.h"

namespace aleph::bench {

/// What one run of a case costs.
struct Work {
  double operations = 0;      ///< floating-point operations
  double bytes = 0;           ///< read and written, each once
  DType dtype = DType::kF32;  ///< of the operations: says which ceiling they have
  /// fp32 instructions beside them, each counted once for every number of its vector: exponentials,
  /// divisions and the like. They run at half the fp32 operations, as a multiply-add counts for two.
  double instructions = 0;
};

/// Flags of a benchmark: --filter TEXT, --threads N, --seconds S, --json FILE, and its own.
struct Options {
  std::string filter;  ///< only cases whose name contains it
  int threads = num_threads();
  double seconds = 0.3;  ///< per case
  std::string json;      ///< file for the results
  std::map<std::string, std::string> own;
};

/// `own`: further flags and their defaults.
inline Options parse(int argc, char** argv, std::map<std::string, std::string> own = {}) {
  Options options{.own = std::move(own)};
  for (int i = 1; i < argc; i += 2) {
    const std::string flag = argv[i];
    if (i + 1 == argc) throw UsageError(flag, "no value", "a value");
    const char* value = argv[i + 1];
    if (flag == "--filter") {
      options.filter = value;
    } else if (flag == "--threads") {
      options.threads = std::max(1, std::atoi(value));
    } else if (flag == "--seconds") {
      options.seconds = std::atof(value);
    } else if (flag == "--json") {
      options.json = value;
    } else if (const auto found = options.own.find(flag); found != options.own.end()) {
      found->second = value;
    } else {
      throw UsageError("option", "'" + flag + "'", "a flag that the head of the source names");
    }
  }
  set_num_threads(options.threads);
  return options;
}

struct Timing {
  double median, low, high;  ///< seconds: median and quartiles
};

inline Timing timing_of(std::vector<double> times) {
  std::sort(times.begin(), times.end());
  return {times[times.size() / 2], times[times.size() / 4], times[times.size() * 3 / 4]};
}

template <typename Body>
double seconds_of(const Body& body) {
  const Stopwatch watch;
  body();
  return watch.seconds();
}

template <typename Body>
Timing measure(double seconds, const Body& body) {
  std::vector<double> times;
  body();
  const Stopwatch total;
  while (times.size() < 5 || total.seconds() < seconds) times.push_back(seconds_of(body));
  return timing_of(std::move(times));
}

/// Both in turn, so that a machine that slows down slows both.
template <typename Body, typename Bound>
std::pair<Timing, Timing> measure_in_turn(double seconds, const Body& body, const Bound& bound) {
  std::vector<double> times, bounds;
  body();
  bound();
  const Stopwatch total;
  while (times.size() < 5 || total.seconds() < seconds) {
    times.push_back(seconds_of(body));
    bounds.push_back(seconds_of(bound));
  }
  return {timing_of(std::move(times)), timing_of(std::move(bounds))};
}

/// The same, each run twice and timed the second time: what the other left in caches, and has to be written
/// back, counts for neither.
template <typename Body, typename Bound>
std::pair<Timing, Timing> measure_settled(double seconds, const Body& body, const Bound& bound) {
  std::vector<double> times, bounds;
  const Stopwatch total;
  while (times.size() < 5 || total.seconds() < seconds) {
    body();
    times.push_back(seconds_of(body));
    bound();
    bounds.push_back(seconds_of(bound));
  }
  return {timing_of(std::move(times)), timing_of(std::move(bounds))};
}

/// What this machine does at best with these threads.
struct Ceilings {
  double fp32_operations = 0, bf16_operations = 0, bytes = 0;  ///< per second
};

/// The products of all layers of GPT-2 with 124 million parameters into its inner width, over 1,024 tokens.
inline constexpr kernels::ProductSize kUp{1024, 3072, 768, 12};

/// All products of that model over 1,024 tokens, and STREAM's triad.
inline Ceilings measure_ceilings(DeviceContext& device, double seconds) {
  constexpr kernels::ProductSize kSizes[] = {{1024, 2304, 768, 12},
                                             {1024, 768, 768, 12},
                                             kUp,
                                             {1024, 768, 3072, 12},
                                             {1024, 4096, 768, 50257.0 / 4096}};
  return {.fp32_operations = kernels::matmul_ceiling(device, DType::kF32, kSizes, 3 * seconds),
          .bf16_operations = kernels::matmul_ceiling(device, DType::kBF16, kSizes, 3 * seconds),
          .bytes = kernels::triad_ceiling(device, seconds)};
}

/// Runs cases, prints a line each, and writes them all as JSON at the end.
class Bench {
 public:
  Bench(std::string name, Options options) : name_(std::move(name)), options_(std::move(options)) {
    ceilings_ = measure_ceilings(device_, options_.seconds);
    fmt::print("{}, {} threads; ceilings: {:.0f} GFLOP/s fp32, {:.0f} GFLOP/s bf16, {:.1f} GB/s\n", name_,
               options_.threads, ceilings_.fp32_operations / 1e9, ceilings_.bf16_operations / 1e9,
               ceilings_.bytes / 1e9);
    fmt::print("{:<44} {:>10} {:>20} {:>9} {:>5} {:>9} {:>5} {:>6}\n", "case", "median us", "quartiles",
               "GFLOP/s", "%", "GB/s", "%", "bound");
  }

  const Options& options() const { return options_; }

  bool wants(const std::string& name) const { return name.find(options_.filter) != std::string::npos; }

  /// Measures `body` where the filter lets it.
  template <typename Body>
  void run(const std::string& name, const Work& work, const Body& body) {
    if (wants(name)) report(name, work, measure(options_.seconds, body), ceilings_);
  }
  /// Of a kernel that memory may bound: in turn with a triad, whose rate is the ceiling of its bytes.
  template <typename Body>
  void run_in_memory(const std::string& name, const Work& work, const Body& body) {
    if (!wants(name)) return;
    if (!triad_) triad_.emplace(device_);
    const auto [timing, triad] = measure_settled(options_.seconds, body, [&] { triad_->run(); });
    Ceilings ceilings = ceilings_;
    ceilings.bytes = triad_->bytes() / triad.median;
    report(name, work, timing, ceilings);
  }
  /// Of a kernel that arithmetic bounds: in turn with a product of matrices of its dtype, whose rate is the
  /// ceiling of its operations.
  template <typename Body>
  void run_in_cores(const std::string& name, const Work& work, const Body& body) {
    if (!wants(name)) return;
    kernels::CeilingProduct product(device_, work.dtype, kUp);
    const auto [timing, limit] = measure_settled(options_.seconds, body, [&] { product.run(); });
    const double rate = product.operations() / limit.median;
    Ceilings ceilings = ceilings_;
    if (work.dtype == DType::kF32) {
      ceilings.fp32_operations = rate;
    } else {
      ceilings.bf16_operations = rate;
    }
    report(name, work, timing, ceilings);
  }
  /// Measures `body` in turn with `bound`, whose rates are the ceilings of this case.
  template <typename Body, typename Bound>
  void run_against(const std::string& name, const Work& work, const Body& body, const Work& bound_work,
                   const Bound& bound) {
    if (!wants(name)) return;
    const auto [timing, limit] = measure_in_turn(options_.seconds, body, bound);
    const double operations = bound_work.operations / limit.median;
    report(name, work, timing, {operations, operations, bound_work.bytes / limit.median});
  }

  /// Writes the results to --json. Throws Error where it cannot.
  void write() const {
    if (options_.json.empty()) return;
    const Json document = {{"benchmark", name_},
                           {"threads", options_.threads},
                           {"fp32_gflops_ceiling", ceilings_.fp32_operations / 1e9},
                           {"bf16_gflops_ceiling", ceilings_.bf16_operations / 1e9},
                           {"gb_per_s_ceiling", ceilings_.bytes / 1e9},
                           {"results", results_}};
    std::ofstream file(options_.json);
    file << document.dump(2) << "\n";
    if (!file.flush()) throw Error(options_.json, "a write error", "a file that can be written");
  }

 private:
  void report(const std::string& name, const Work& work, const Timing& timing, const Ceilings& ceilings) {
    const double operations = work.operations / timing.median, bytes = work.bytes / timing.median;
    const double peak = work.dtype == DType::kF32 ? ceilings.fp32_operations : ceilings.bf16_operations;
    const auto share = [](double amount, double rate) { return amount > 0 ? amount / rate : 0; };
    const double compute =
        share(work.operations, peak) + share(2 * work.instructions, ceilings.fp32_operations);
    const double bound = std::max(compute, share(work.bytes, ceilings.bytes));
    const auto cell = [](double rate, double ceiling) {
      return rate > 0
                 ? fmt::format("{:>9.{}f} {:>4.0f}%", rate / 1e9, rate < 1e9 ? 4 : 1, 100 * rate / ceiling)
                 : fmt::format("{:>15}", "");
    };
    fmt::print("{:<44} {:>10.1f} {:>20} {} {} {:>5.0f}%\n", name, timing.median * 1e6,
               fmt::format("[{:.1f}, {:.1f}]", timing.low * 1e6, timing.high * 1e6), cell(operations, peak),
               cell(bytes, ceilings.bytes), 100 * bound / timing.median);
    std::fflush(stdout);
    Json result = {{"case", name},
                   {"median_seconds", timing.median},
                   {"lower_quartile_seconds", timing.low},
                   {"upper_quartile_seconds", timing.high},
                   {"gflops", operations / 1e9},
                   {"gb_per_s", bytes / 1e9}};
    result["bound_percent"] = 100 * bound / timing.median;
    if (operations > 0) {
      result["gflops_ceiling"] = peak / 1e9;
      result["gflops_percent"] = 100 * operations / peak;
    }
    if (bytes > 0) {
      result["gb_per_s_ceiling"] = ceilings.bytes / 1e9;
      result["gb_per_s_percent"] = 100 * bytes / ceilings.bytes;
    }
    results_.push_back(std::move(result));
  }

  std::string name_;
  Options options_;
  DeviceContext device_{{}};
  std::optional<kernels::Triad> triad_;  // of run_in_memory
  Ceilings ceilings_;
  Json results_ = Json::array();
};

/// The body of main: one line on standard error and status 1 where `run` fails.
template <typename Run>
int main_of(const Run& run) {
  try {
    run();
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}

}  // namespace aleph::bench
