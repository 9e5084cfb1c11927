// Speed of tokenizers on one thread: median of repeated calls, quartiles, and megabytes of text a second.
//
//   tokenizer_bench [--tokenizer DIR] [--text FILE] [--seconds S] [--json FILE]
//
// Without a tokenizer and a text it takes GPT-2's and the excerpts in tests/data/tokenizers.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "aleph/base/error.h"
#include "aleph/base/json.h"
#include "aleph/io/file.h"
#include "aleph/text/bpe_trainer.h"
#include "aleph/text/tokenizer.h"

namespace aleph::text {
namespace {

namespace fs = std::filesystem;

struct Options {
  fs::path tokenizer = fs::path(ALEPH_BENCH_DATA) / "tokenizers" / "gpt2";
  std::string text;
  double seconds = 1;  ///< per case
  std::string json;
};

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
  void add(const std::string& name, const Timing& timing, size_t bytes) {
    const double rate = static_cast<double>(bytes) / timing.median * 1e-6;
    fmt::print("{:<36} {:>10.1f} us  [{:.1f}, {:.1f}]  {:>7.1f} MB/s\n", name, timing.median * 1e6,
               timing.low * 1e6, timing.high * 1e6, rate);
    std::fflush(stdout);
    results_.push_back({{"name", name},
                        {"bytes", bytes},
                        {"median_seconds", timing.median},
                        {"lower_quartile_seconds", timing.low},
                        {"upper_quartile_seconds", timing.high},
                        {"rate", rate},
                        {"unit", "MB/s"}});
  }
  void write(const Options& options) const {
    if (options.json.empty()) return;
    const Json document = {{"benchmark", "tokenizer"},
                           {"threads", 1},
                           {"tokenizer", options.tokenizer.string()},
                           {"results", results_}};
    std::ofstream file(options.json);
    file << document.dump(2) << "\n";
    if (!file.flush()) throw Error(options.json, "a write error", "a file that can be written");
  }

 private:
  Json results_ = Json::array();
};

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size() - 1) + 1;
    lines.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  return lines;
}

/// Adds up what calls return, so that none is left out as useless.
class Sink {
 public:
  void take(size_t value) { sum_ = sum_ + value; }

 private:
  volatile size_t sum_ = 0;
};

void run_text(const Tokenizer& tokenizer, const std::string& name, const std::string& text,
              const Options& options, Report& report) {
  Sink sink;
  report.add("encode " + name, measure(options.seconds, [&] { sink.take(tokenizer.encode(text).size()); }),
             text.size());
  const std::vector<std::string_view> lines = lines_of(text);
  report.add("encode " + name + ", line by line",
             measure(options.seconds,
                     [&] {
                       for (const std::string_view line : lines) sink.take(tokenizer.encode(line).size());
                     }),
             text.size());
  const std::vector<int32_t> ids = tokenizer.encode(text);
  report.add("decode " + name, measure(options.seconds, [&] { sink.take(tokenizer.decode(ids).size()); }),
             text.size());
  report.add("decode " + name + ", id by id",
             measure(options.seconds,
                     [&] {
                       auto decoder = tokenizer.incremental_decoder();
                       for (const int32_t id : ids) sink.take(decoder.push(id).size());
                       sink.take(decoder.finish().size());
                     }),
             text.size());
  report.add("train 2048 tokens on " + name,
             measure(options.seconds,
                     [&] {
                       BpeTrainer trainer({.vocab_size = 2048});
                       trainer.add_text(text);
                       sink.take(trainer.train().tokens.size());
                     }),
             text.size());
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; i += 2) {
    const std::string_view flag = argv[i];
    if (i + 1 == argc) throw UsageError(std::string(flag), "no value", "a value");
    if (flag == "--tokenizer")
      options.tokenizer = argv[i + 1];
    else if (flag == "--text")
      options.text = argv[i + 1];
    else if (flag == "--seconds")
      options.seconds = std::atof(argv[i + 1]);
    else if (flag == "--json")
      options.json = argv[i + 1];
    else
      throw UsageError("option", "'" + std::string(flag) + "'", "--tokenizer, --text, --seconds or --json");
  }
  return options;
}

void run(int argc, char** argv) {
  const Options options = parse(argc, argv);
  fmt::print("tokenizer {}, 1 thread\n", options.tokenizer.string());
  const Tokenizer tokenizer = Tokenizer::load(options.tokenizer);
  const fs::path texts = fs::path(ALEPH_BENCH_DATA) / "tokenizers" / "texts";
  const std::vector<fs::path> files =
      options.text.empty() ? std::vector<fs::path>{texts / "shakespeare.txt", texts / "udhr.txt"}
                           : std::vector<fs::path>{options.text};
  Report report;
  for (const fs::path& file : files) {
    const std::string text = io::read_file(file, int64_t{1} << 30);
    if (text.empty()) throw Error(file.string(), "an empty file", "text");
    run_text(tokenizer, file.filename().string(), text, options, report);
  }
  report.write(options);
}

}  // namespace
}  // namespace aleph::text

int main(int argc, char** argv) try {
  aleph::text::run(argc, argv);
  return 0;
} catch (const std::exception& error) {
  fmt::print(stderr, "{}\n", error.what());
  return 1;
}
