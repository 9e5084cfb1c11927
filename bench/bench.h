// How every benchmark measures: warm up, repeat for a fixed time, print median and spread with what the case
// moves and computes, so that a line reads against the machine's ceilings.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "aleph/base/clock.h"

namespace aleph::bench {

/// What one run of a case costs.
struct Work {
  double operations = 0;  ///< floating-point operations
  double bytes = 0;       ///< read and written, each once
};

/// Runs cases whose name contains `filter` and prints one line each, or one JSON object per line.
class Bench {
 public:
  Bench(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
      if (std::string_view(argv[i]) == "--json") {
        json_ = true;
      } else {
        filter_ = argv[i];
      }
    }
    if (!json_)
      fmt::print("{:<44} {:>10} {:>10} {:>7} {:>10} {:>9}\n", "case", "median us", "best us", "spread",
                 "GFLOP/s", "GB/s");
  }

  bool wants(const std::string& name) const { return name.find(filter_) != std::string::npos; }

  template <typename Body>
  void run(const std::string& name, const Work& work, const Body& body) {
    if (!wants(name)) return;
    body();
    std::vector<double> seconds;
    const Stopwatch total;
    while (seconds.size() < 5 || (total.seconds() < kSeconds && seconds.size() < kMaxRuns)) {
      const Stopwatch watch;
      body();
      seconds.push_back(watch.seconds());
    }
    report(name, work, seconds);
  }

 private:
  static constexpr double kSeconds = 0.3;
  static constexpr size_t kMaxRuns = 1000;

  void report(const std::string& name, const Work& work, std::vector<double>& seconds) const {
    std::sort(seconds.begin(), seconds.end());
    const double median = seconds[seconds.size() / 2];
    const double spread = (seconds[seconds.size() * 3 / 4] - seconds[seconds.size() / 4]) / median;
    const double gflops = work.operations / median / 1e9, gigabytes = work.bytes / median / 1e9;
    if (json_) {
      fmt::print(
          "{{\"case\": \"{}\", \"median_us\": {:.2f}, \"best_us\": {:.2f}, \"spread\": {:.3f}, \"gflops\": "
          "{:.2f}, \"gb_per_s\": "
          "{:.2f}}}\n",
          name, median * 1e6, seconds[0] * 1e6, spread, gflops, gigabytes);
    } else {
      fmt::print("{:<44} {:>10.1f} {:>10.1f} {:>6.0f}% {:>10.1f} {:>9.1f}\n", name, median * 1e6,
                 seconds[0] * 1e6, spread * 100, gflops, gigabytes);
    }
  }

  std::string filter_;
  bool json_ = false;
};

}  // namespace aleph::bench
