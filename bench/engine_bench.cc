// engine_bench [--folder DIR] [--filter TEXT] [--threads N] [--seconds S] [--json FILE]: optimizer steps of a
// transformer of four layers of GPT-2's width (35 million parameters). In memory, as a share of the matrix
// products' ceiling; with states in host memory, or in swap files below DIR (default: the working directory),
// in turn with the same step in memory, as a share of its speed.

#include <memory>
#include <vector>

#include "aleph/base/random.h"
#include "aleph/zero/engine.h"
#include "bench/bench.h"

namespace aleph::zero {
namespace {

constexpr int64_t kVocabulary = 8192, kHidden = 768, kLayers = 4, kRows = 4, kSeq = 256;

nn::Model::Options model_options() {
  const nn::BlockSpec block{.hidden_size = kHidden,
                            .intermediate_size = 4 * kHidden,
                            .heads = 12,
                            .kv_heads = 12,
                            .head_dim = 64,
                            .attention_scale = 0.125f};
  return {.embedding = {.vocab_size = kVocabulary, .hidden_size = kHidden, .learned_positions = kSeq},
          .blocks = std::vector<nn::BlockSpec>(kLayers, block),
          .head = {.vocab_size = kVocabulary, .hidden_size = kHidden},
          .max_seq = kSeq};
}

/// Of the linear layers and the head, forward and backward.
constexpr double kProductsPerMicroBatch =
    6.0 * kRows * kSeq * kHidden * (kLayers * 12.0 * kHidden + kVocabulary);

std::vector<int32_t> random_ids() {
  const RandomStream stream({.seed = 1, .purpose = RandomPurpose::kDataOrder});
  std::vector<int32_t> ids(kRows * kSeq);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(stream.below(kVocabulary, i));
  return ids;
}

/// A training run that goes on, step by step.
class Run {
 public:
  Run(const std::string& folder, DType dtype, const Placement& placement, int64_t accumulation)
      : swap_({.directories = {folder}}),
        model_(device_, model_options()),
        rule_(optim::make_adam({})),
        engine_({.device = device_, .nvme = nvme_, .communicator = self_, .swap = &swap_}, model_, *rule_,
                {.placement = placement, .dtype = dtype, .accumulation = accumulation}),
        accumulation_(accumulation),
        ids_(random_ids()) {
    engine_.load_parameters(Engine::random_initializer(device_, 1));
  }

  void step() {
    for (int64_t i = 0; i < accumulation_; ++i)
      engine_.backward({.ids = ids_, .rows = kRows, .seq = kSeq}, i, steps_ * accumulation_ + i, 1);
    engine_.gradient_norm(1);
    engine_.update({.step = ++steps_, .learning_rate = 1e-4, .weight_decay = 0.1});
  }
  bench::Work work(DType dtype) const {
    return {.operations = kProductsPerMicroBatch * static_cast<double>(accumulation_), .dtype = dtype};
  }

 private:
  DeviceContext device_{{}};
  MemoryLedger nvme_{MemoryTier::kNvme, 0};
  comm::SelfCommunicator self_;
  SwapSpace swap_;
  nn::Model model_;
  std::unique_ptr<optim::UpdateRule> rule_;
  Engine engine_;
  int64_t accumulation_;
  int64_t steps_ = 0;
  std::vector<int32_t> ids_;
};

struct Case {
  std::string name;
  Placement placement;
  int64_t accumulation = 1;
};

std::vector<Case> cases() {
  constexpr auto kHost = MemoryTier::kHost, kNvme = MemoryTier::kNvme;
  return {{"recomputation", {.recompute = true}},
          {"optimizer on host", {.optimizer = kHost, .recompute = false}},
          {"all states on host",
           {.parameters = kHost, .optimizer = kHost, .activations = kHost, .recompute = false}},
          {"optimizer on NVMe, accumulation 4", {.optimizer = kNvme, .recompute = false}, 4},
          {"all states on NVMe, accumulation 4",
           {.parameters = kNvme, .optimizer = kNvme, .activations = kNvme, .recompute = false},
           4},
          {"no prefetch, all states on NVMe, accumulation 4",
           {.parameters = kNvme, .optimizer = kNvme, .activations = kNvme, .prefetch = 0, .recompute = false},
           4}};
}

void run_all(int argc, char** argv) {
  bench::Bench bench("engine", bench::parse(argc, argv, {{"--folder", "."}}));
  const std::string& folder = bench.options().own.at("--folder");
  const Placement in_memory{.recompute = false};
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const std::string type = dtype_name(dtype);
    if (bench.wants(type + " step")) {
      Run run(folder, dtype, in_memory, 1);
      bench.run(type + " step", run.work(dtype), [&] { run.step(); });
    }
    for (const Case& c : cases()) {
      const std::string name = fmt::format("{} {}", type, c.name);
      if (!bench.wants(name)) continue;
      Run run(folder, dtype, c.placement, c.accumulation), bound(folder, dtype, in_memory, c.accumulation);
      bench.run_against(
          name, run.work(dtype), [&] { run.step(); }, bound.work(dtype), [&] { bound.step(); });
    }
  }
  bench.write();
}

}  // namespace
}  // namespace aleph::zero

int main(int argc, char** argv) {
  return aleph::bench::main_of([&] { aleph::zero::run_all(argc, argv); });
}
