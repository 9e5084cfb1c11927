// What the process takes, seen from outside: never more than its budgets and a fixed rest, whatever is placed
// where, and while data is prepared.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "aleph/base/random.h"
#include "aleph/io/file.h"
#include "tests/support/arguments.h"
#include "tests/support/options.h"
#include "tests/support/tiny_run.h"

namespace aleph::tests {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kRest = 100'000'000;  // program, stacks, tokenizer

/// Anonymous memory of a process now; 0 where it is gone. Mapped file pages are the system's cache: they do
/// not count.
int64_t anonymous_bytes(pid_t pid) {
  std::ifstream status(fmt::format("/proc/{}/status", pid));
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("RssAnon:")) return std::stoll(line.substr(8)) * 1024;
  return 0;
}

struct Watched {
  ProgramResult result;
  int64_t peak = 0;
};

Watched run_watched(const std::vector<std::string>& arguments) {
  Watched watched;
  Program program(arguments);
  while (program.running()) {
    watched.peak = std::max(watched.peak, anonymous_bytes(program.pid()));
    ::usleep(500);
  }
  watched.result = program.wait();
  return watched;
}

/// GPT-2 of 3.3 million parameters: 53 MiB of states in fp32.
Arguments arguments_of(const TinyWorld& world, const Numerics& numerics, const Placed& placed,
                       const std::string& budget) {
  io::write_file_atomically(world / "middle.json",
                            R"({"model_type": "gpt2", "vocab_size": 280, "n_positions": 64, "n_embd": 256,
    "n_layer": 4, "n_head": 4, "bos_token_id": 272, "eos_token_id": 272})");
  Arguments all = world.arguments("run");
  for (const auto& [flag, value] : std::initializer_list<std::pair<const char*, std::string>>{
           {"--init", (world / "middle.json").string()},
           {"--seq-len", "64"},
           {"--batch-size", "4"},
           {"--steps", "3"},
           {"--dtype", dtype_name(numerics.dtype)},
           {"--grad-accumulation", std::to_string(numerics.accumulation)},
           {"--grad-clip", numerics.clip ? "1" : "0"},
           {"--offload-param", train::offload_name(placed.parameters)},
           {"--offload-optimizer", train::offload_name(placed.optimizer)},
           {"--offload-activations", train::offload_name(placed.activations)},
           {"--device-memory", budget},
           {"--host-memory", budget},
           {"--recompute", placed.recompute ? "on" : "off"},
           {"--prefetch", std::to_string(placed.prefetch)},
           {"--save-steps", "1"},
           {"--eval-split", "0.1"}})
    all = with(std::move(all), flag, value);
  return all + Arguments{"--overwrite"};
}

/// With all pairs of type, accumulation and clipping.
constexpr Numerics kNumerics[] = {
    {.dtype = DType::kF32, .accumulation = 1, .clip = true},
    {.dtype = DType::kBF16, .accumulation = 4, .clip = true},
    {.dtype = DType::kBF16, .accumulation = 1, .clip = false},
    {.dtype = DType::kF32, .accumulation = 4, .clip = false},
};

TEST(MemoryBudget, TheProcessStaysWithinBudgetsAndAFixedRest) {
  const TinyWorld world;
  size_t ran = 0;
  for (const Placed& placed : covering_placements()) {
    const Numerics& numerics = kNumerics[ran % std::size(kNumerics)];
    for (const int64_t mib : {24, 48, 96}) {
      SCOPED_TRACE(fmt::format("{} {} with {} MiB each", numerics.name(), placed.name(), mib));
      const Watched run = run_watched(arguments_of(world, numerics, placed, fmt::format("{}M", mib)));
      EXPECT_LE(run.peak, 2 * mib * kMiB + kRest);
      if (run.result.status == 1) {
        EXPECT_NE(run.result.err.find("memory plan: found"), std::string::npos) << run.result.err;
        continue;
      }
      EXPECT_EQ(run.result.status, 0) << run.result.err;
      ++ran;
      break;  // larger budgets are no harder
    }
  }
  EXPECT_GT(ran, 8u);
}

/// Lines of words, some of them long, that no tokenizer has seen before.
void write_text(const std::filesystem::path& path, int64_t bytes, bool lines) {
  std::ofstream out(path, std::ios::binary);
  const RandomStream random({.seed = 17});
  const char* kLetters = "etaoinshrdlucmfwyp";
  uint64_t at = 0;
  for (int64_t written = 0; written < bytes;) {
    std::string text;
    for (uint64_t word = 0; word < 12 + random.below(9, at += 2); ++word) {
      for (uint64_t i = 0; i <= random.below(8, at += 2); ++i) text += kLetters[random.below(18, at += 2)];
      text += ' ';
    }
    const std::string line = lines ? "{\"text\": \"" + text + "\"}\n" : text + ".\n";
    out << line;
    written += static_cast<int64_t>(line.size());
  }
}

TEST(MemoryBudget, PreparingMuchTextTakesItsTokensAndNoMore) {
  const TinyWorld world;
  for (const char* name : {"much.txt", "much.jsonl"}) {
    write_text(world / name, 12 * kMiB, std::string(name) == "much.jsonl");
    Arguments arguments = arguments_of(world, Numerics{}, Placed{}, "96M");
    arguments = with(with(arguments, "--data", (world / name).string()), "--eval-split", "0.0001");
    const Watched fits = run_watched(arguments);
    EXPECT_EQ(fits.result.status, 0) << fits.result.err;
    EXPECT_LE(fits.peak, 2 * 96 * kMiB + kRest);
    // All tokens are over this budget: refused as soon as it is full.
    const Watched refused = run_watched(with(arguments, "--host-memory", "16M"));
    EXPECT_EQ(refused.result.status, 1);
    EXPECT_NE(refused.result.err.find(
                  "--host-memory: found 16.0 MiB, expected more: with the tokens it takes at least 16.0 MiB"),
              std::string::npos)
        << refused.result.err;
    EXPECT_LE(refused.peak, 16 * kMiB + kRest / 2);
    std::printf("%s: peak %lld MiB, refused at %lld MiB\n", name, static_cast<long long>(fits.peak / kMiB),
                static_cast<long long>(refused.peak / kMiB));
  }
}

}  // namespace
}  // namespace aleph::tests
