// What the process takes, seen from outside: never more than its budgets and a fixed rest, whatever is placed
// where, and while data is prepared.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "aleph/base/random.h"
#include "aleph/io/file.h"
#include "tests/support/options.h"
#include "tests/support/program.h"
#include "tests/support/tiny_run.h"

namespace aleph::tests {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kRest = 100 * kMiB;  // program, stacks, tokenizer

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
std::vector<std::string> arguments_of(const TinyWorld& world, const Placed& placed,
                                      const std::string& budget) {
  io::write_file_atomically(world / "middle.json",
                            R"({"model_type": "gpt2", "vocab_size": 280, "n_positions": 64, "n_embd": 256,
    "n_layer": 4, "n_head": 4, "bos_token_id": 272, "eos_token_id": 272})");
  std::vector<std::string> all = world.arguments("run");
  const auto set = [&](const char* flag, const std::string& value) {
    *std::next(std::find(all.begin(), all.end(), flag)) = value;
  };
  set("--init", (world / "middle.json").string());
  set("--seq-len", "64");
  set("--batch-size", "4");
  set("--steps", "3");
  set("--offload-param", train::offload_name(placed.parameters));
  set("--offload-optimizer", train::offload_name(placed.optimizer));
  set("--offload-activations", train::offload_name(placed.activations));
  for (const std::string& more :
       {std::string("--device-memory"), budget, std::string("--host-memory"), budget,
        std::string("--recompute"), std::string(placed.recompute ? "on" : "off"), std::string("--prefetch"),
        std::to_string(placed.prefetch), std::string("--save-steps"), std::string("1"),
        std::string("--eval-split"), std::string("0.1"), std::string("--overwrite")})
    all.push_back(more);
  return all;
}

TEST(MemoryBudget, TheProcessStaysWithinBudgetsAndAFixedRest) {
  const TinyWorld world;
  int ran = 0;
  for (const Placed& placed : covering_placements()) {
    for (const int64_t mib : {24, 48, 96}) {
      SCOPED_TRACE(placed.name() + fmt::format(" with {} MiB each", mib));
      const Watched run = run_watched(arguments_of(world, placed, fmt::format("{}M", mib)));
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
  EXPECT_GT(ran, 8);
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
    std::vector<std::string> arguments = arguments_of(world, Placed{}, "96M");
    *std::next(std::find(arguments.begin(), arguments.end(), "--data")) = (world / name).string();
    *std::next(std::find(arguments.begin(), arguments.end(), "--eval-split")) = "0.0001";
    const Watched fits = run_watched(arguments);
    EXPECT_EQ(fits.result.status, 0) << fits.result.err;
    EXPECT_LE(fits.peak, 2 * 96 * kMiB + kRest);
    // All tokens are over this budget: refused as soon as it is full.
    *std::next(std::find(arguments.begin(), arguments.end(), "--host-memory")) = "16M";
    const Watched refused = run_watched(arguments);
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
