// Compares a model with reference outputs, line by line.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>
#include <utility>

#include "aleph/base/parallel.h"
#include "aleph/base/start_threads.h"
#include "aleph/checkpoint/safetensors.h"
#include "aleph/cli/commands.h"
#include "aleph/cli/verify_model.h"
#include "aleph/cli/verify_reference.h"
#include "aleph/io/json_file.h"
#include "aleph/models/registry.h"

namespace aleph::cli {

namespace {

/// Largest relative errors that pass.
struct Bars {
  double outputs = 1e-4;    ///< logits, last hidden state, loss
  double gradients = 1e-4;  ///< each of them
  double curve = 1e-3;      ///< losses of the training steps
};

// 16-bit types: about one and a half times the errors of torch itself on the same models.
Bars bars_of(DType dtype) {
  if (dtype == DType::kF32) return {};
  if (dtype == DType::kF16) return {.outputs = 1e-2, .gradients = 5e-2, .curve = 1e-2};
  return {.outputs = 6e-2, .gradients = 3e-1, .curve = 1e-2};
}

double norm(std::span<const float> x) {
  double sum = 0;
  for (const float value : x) sum += static_cast<double>(value) * static_cast<double>(value);
  return std::sqrt(sum);
}

/// ‖x - y‖ / ‖y‖ in double. Where y is zero its norm is `scale`.
double relative_error(std::span<const float> x, std::span<const float> y, double scale = 0) {
  double difference = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    const double d = static_cast<double>(x[i]) - static_cast<double>(y[i]);
    difference += d * d;
  }
  if (difference == 0) return 0;
  const double own = norm(y);
  return std::sqrt(difference) / (own > 0 ? own : scale);
}

std::vector<float> to_floats(const std::vector<double>& values) { return {values.begin(), values.end()}; }

/// Prints a title and a line per check, and counts those that fail. Quiet: of those alone.
class CheckList {
 public:
  CheckList(std::string title, bool quiet) : title_(std::move(title)), quiet_(quiet) {
    if (!quiet_) print_title();
  }
  void error(const std::string& what, double relative, double bar) {
    const bool ok = relative <= bar;  // false for NaN
    line(fmt::format("{:<64} {:.2e}  bar {:.0e}", what, relative, bar), ok);
  }
  void fact(const std::string& what, bool ok) { line(what, ok); }
  void detail(const std::string& what, double relative) {
    print_title();
    fmt::print("        {:<62} {:.2e}\n", what, relative);
  }
  int failures() const { return failures_; }

 private:
  void line(const std::string& text, bool ok) {
    failures_ += ok ? 0 : 1;
    if (ok && quiet_) return;
    print_title();
    fmt::print("  {:<6}{}\n", ok ? "ok" : "FAIL", text);
  }
  void print_title() {
    if (!title_.empty()) fmt::print("{}\n", std::exchange(title_, {}));
  }

  std::string title_;  // empty: printed
  bool quiet_;
  int failures_ = 0;
};

/// One directory against its reference.
class Verification {
 public:
  Verification(const std::filesystem::path& directory, const VerifyOptions& options)
      : options_(options),
        bars_(bars_of(options.dtype)),
        reference_(directory),
        model_(directory, options.dtype, reference_.longest_sequence(), reference_.curve),
        checks_(fmt::format("{}: {}, {} parameters, {}", directory.string(), model_.spec().family,
                            models::parameter_count(model_.spec()), dtype_name(options.dtype)),
                options.quiet) {}

  int run() {
    check_config();
    check_outputs();
    check_gradients();
    check_greedy();
    check_curve();
    if (!options_.dump.empty()) dump();
    return checks_.failures();
  }

 private:
  void check_config() {
    const std::filesystem::path file = reference_.directory() / "config.v5.json";
    if (!std::filesystem::exists(file)) return;
    const bool same = models::read_spec(io::parse_json_file(file), file.string()) == model_.spec();
    checks_.fact(same ? "config.json and config.v5.json give the same specification"
                      : "config.json and config.v5.json give different specifications",
                 same);
  }

  void check_outputs() {
    outputs_ = model_.forward(reference_.input());
    for (const NamedTensor* tensor : {&outputs_.logits, &outputs_.last_hidden})
      checks_.error(tensor->name.substr(std::string("output.").size()),
                    relative_error(tensor->values, reference_.floats(tensor->name, tensor->shape)),
                    bars_.outputs);
    check_inference_logits();
    checks_.error("loss", std::abs(outputs_.loss - reference_.loss) / std::abs(reference_.loss),
                  bars_.outputs);
  }

  // The first row again, computed as `aleph generate` does.
  void check_inference_logits() {
    const ReferenceBatch input = reference_.input();
    const NamedTensor row = model_.inference_logits(input.ids.first(static_cast<size_t>(input.seq)));
    const std::span<const float> all = reference_.floats("output.logits", outputs_.logits.shape);
    checks_.error("logits of inference", relative_error(row.values, all.first(row.values.size())),
                  bars_.outputs);
  }

  void check_gradients() {
    gradients_ = model_.gradients(reference_.input());
    std::string worst;
    double largest = -1, scale = 0;
    // A gradient that is zero in exact arithmetic has no size of its own: the largest of the others counts.
    for (const NamedTensor& tensor : gradients_)
      scale = std::max(scale, norm(reference_.floats("gradient." + tensor.name, tensor.shape)));
    for (NamedTensor& tensor : gradients_) {
      const std::string name = "gradient." + tensor.name;
      const double error = relative_error(tensor.values, reference_.floats(name, tensor.shape), scale);
      if (options_.verbose) checks_.detail(name, error);
      if (!(error <= largest)) {
        largest = error;
        worst = tensor.name;
      }
      tensor.name = name;
    }
    checks_.error(fmt::format("{} gradients, worst: {}", gradients_.size(), worst), largest, bars_.gradients);
    const size_t expected = reference_.gradient_names().size();
    if (expected != gradients_.size())
      checks_.fact(fmt::format("{} gradients where the reference has {}", gradients_.size(), expected),
                   false);
  }

  void check_greedy() {
    greedy_ = model_.greedy(reference_.greedy_prompt, static_cast<int64_t>(reference_.greedy_tokens.size()));
    const auto equal = std::mismatch(greedy_.begin(), greedy_.end(), reference_.greedy_tokens.begin(),
                                     reference_.greedy_tokens.end());
    const auto same = static_cast<size_t>(equal.first - greedy_.begin());
    // Rounding to 16 bits may turn a close decision: only fp32 must agree to the end.
    const bool must = options_.dtype == DType::kF32;
    checks_.fact(fmt::format("greedy tokens: the first {} of {} equal{}", same,
                             reference_.greedy_tokens.size(), must ? "" : " (no bar for 16-bit types)"),
                 !must || same == reference_.greedy_tokens.size());
  }

  void check_curve() {
    for (size_t i = 0; i < reference_.losses.size(); ++i)
      losses_.push_back(model_.train_step(reference_.train_batch(i), static_cast<int64_t>(i) + 1));
    checks_.error(fmt::format("losses of {} AdamW steps", losses_.size()),
                  relative_error(to_floats(losses_), to_floats(reference_.losses)), bars_.curve);
  }

  void dump() {
    std::vector<NamedTensor> tensors = std::move(gradients_);
    tensors.push_back(std::move(outputs_.logits));
    tensors.push_back(std::move(outputs_.last_hidden));
    tensors.push_back({"output.loss", Shape{1}, {static_cast<float>(outputs_.loss)}});
    tensors.push_back({"train.losses", Shape{static_cast<int64_t>(losses_.size())}, to_floats(losses_)});
    std::vector<checkpoint::TensorEntry> entries;
    for (const NamedTensor& tensor : tensors) entries.push_back({tensor.name, DType::kF32, tensor.shape});
    const Shape greedy_shape{static_cast<int64_t>(greedy_.size())};
    entries.push_back({"greedy.tokens", DType::kI32, greedy_shape});
    checkpoint::SafetensorsWriter writer(options_.dump, entries);
    for (NamedTensor& tensor : tensors)
      writer.write(tensor.name, view_of(std::span(tensor.values), tensor.shape));
    writer.write("greedy.tokens", view_of(std::span(greedy_), greedy_shape));
    writer.finish();
  }

  const VerifyOptions& options_;
  Bars bars_;
  Reference reference_;
  VerifyModel model_;
  CheckList checks_;
  VerifyModel::Forward outputs_;
  std::vector<NamedTensor> gradients_;
  std::vector<int32_t> greedy_;
  std::vector<double> losses_;
};

// With several directories a broken one is a failure among others; alone it is the command's error.
int verify_directory(const std::filesystem::path& directory, const VerifyOptions& options) {
  try {
    return Verification(directory, options).run();
  } catch (const Error& error) {
    if (options.directories.size() == 1) throw;
    fmt::print("{}:\n  FAIL  {}\n", directory.string(), error.what());
    return 1;
  }
}

}  // namespace

int verify_command(const VerifyOptions& options) {
  if (options.directories.empty()) throw UsageError("verify", "no directory", "DIR...");
  if (!options.dump.empty() && options.directories.size() > 1)
    throw UsageError("--dump", fmt::format("{} directories", options.directories.size()), "one directory");
  if (options.threads) set_num_threads(static_cast<int>(*options.threads));
  start_threads();
  int failures = 0;
  for (const std::filesystem::path& directory : options.directories) {
    failures += verify_directory(directory, options);
    std::fflush(stdout);
  }
  fmt::print("{}\n", failures == 0 ? "all checks passed"
                                   : fmt::format("{} check{} failed", failures, failures == 1 ? "" : "s"));
  return failures == 0 ? kDone : kWorldsFault;
}

}  // namespace aleph::cli
