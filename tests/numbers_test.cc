// Numbers that stop being numbers: the run says where, and what was good stays.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "aleph/base/json.h"
#include "aleph/checkpoint/safetensors.h"
#include "aleph/checkpoint/training_checkpoint.h"
#include "aleph/io/file.h"
#include "tests/support/arguments.h"
#include "tests/support/tiny_run.h"

namespace aleph::tests {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;

class Numbers : public ::testing::Test {
 protected:
  explicit Numbers(TinyWorld::Family family = TinyWorld::Family::kGpt2) : world_(family) {}
  Arguments arguments(const std::string& output) const {
    return world_.arguments(output) + Arguments{"--quiet"};
  }
  std::vector<int64_t> checkpoints(const std::string& output) const {
    std::vector<int64_t> steps;
    for (const auto& one : checkpoint::list_checkpoints(world_ / output)) {
      checkpoint::CheckpointReader(one.path).verify();
      steps.push_back(one.step);
    }
    return steps;
  }
  /// A run that stops with one line.
  std::string failure(const Arguments& run) const {
    const ProgramResult result = run_program(run);
    expect_one_line(result, 1, "");
    return result.err;
  }
  /// A model of the world in "model", and where its weights stand in the file.
  fs::path trained_model() const {
    EXPECT_EQ(run_program(with(arguments("model"), "--steps", "2")).status, 0);
    return world_ / "model";
  }
  Arguments from_model(const std::string& output, const fs::path& model) const {
    Arguments all = arguments(output);
    const auto init = std::find(all.begin(), all.end(), "--init");
    *init = "--model";
    *std::next(init) = model.string();
    return all;
  }

  TinyWorld world_;
};

class LlamaNumbers : public Numbers {
 protected:
  LlamaNumbers() : Numbers(TinyWorld::Family::kLlama) {}
};

/// Writes over the first element of each row of a tensor, `even` and `odd` by the number of the row, as a
/// program without checksums would.
void put_in_rows(const fs::path& weights, const std::string& tensor, float even, float odd) {
  std::string bytes = read_bytes(weights);
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), sizeof(header));
  const Json json = parse_json(std::string_view(bytes).substr(8, header), "header");
  const auto begin = json.at(tensor).at("data_offsets").at(0).get<uint64_t>();
  ASSERT_EQ(json.at(tensor).at("dtype"), "F32");
  const auto rows = json.at(tensor).at("shape").at(0).get<uint64_t>();
  const auto row_bytes = 4 * json.at(tensor).at("shape").at(1).get<uint64_t>();
  for (uint64_t row = 0; row < rows; ++row)
    std::memcpy(bytes.data() + 8 + header + begin + row * row_bytes, row % 2 == 0 ? &even : &odd,
                sizeof(even));
  const std::string_view key = checkpoint::kChecksumKey;
  if (const size_t at = bytes.find(key); at < header) bytes.replace(at, key.size(), key.size(), 'x');
  io::write_file_atomically(weights, bytes);
}

void put_in_rows(const fs::path& weights, const std::string& tensor, float value) {
  put_in_rows(weights, tensor, value, value);
}

TEST_F(Numbers, AnAbsurdRateStopsWithStepParameterAndAdvice) {
  for (const char* dtype : {"fp32", "bf16"}) {
    for (const Arguments& more : {Arguments{}, Arguments{"--grad-clip", "0"}}) {
      const std::string output = dtype + std::to_string(more.size());
      const std::string line =
          failure(with(with(arguments(output), "--lr", "1e30"), "--steps", "50") +
                  Arguments{"--dtype", dtype, "--save-steps", "1", "--save-total-limit", "1"} + more);
      EXPECT_THAT(line, AllOf(ContainsRegex("step [0-9]+: "), HasSubstr("infinity or NaN"),
                              HasSubstr("a lower --lr")));
      EXPECT_THAT(line, ContainsRegex("gradient of (embedding|blocks|head)"));
      EXPECT_EQ(checkpoints(output).size(), 1u) << "the last good one stays: " << line;
      EXPECT_FALSE(fs::exists(world_ / output / "training_run.json"));
      EXPECT_FALSE(fs::exists(world_ / output / "model.safetensors"));
    }
  }
}

TEST_F(Numbers, WeightsThatAreNotFiniteAreNoPlaceToStart) {
  const fs::path model = trained_model();
  const std::string good = read_bytes(model / "model.safetensors");
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    io::write_file_atomically(model / "model.safetensors", good);
    put_in_rows(model / "model.safetensors", "transformer.h.1.mlp.c_fc.weight", bad);
    for (const char* dtype : {"fp32", "bf16", "fp16"})
      EXPECT_THAT(failure(from_model("out", model) + Arguments{"--dtype", dtype}),
                  AllOf(HasSubstr("blocks.1.mlp.up.weight"),
                        HasSubstr("found infinity or NaN, expected finite weights")));
  }
}

/// Logits of plus and minus 2.4e38: every one is finite, every gradient is, and their difference is not.
TEST_F(LlamaNumbers, ALossThatIsNotFiniteStopsWhereAllGradientsAre) {
  const fs::path model = trained_model();
  put_in_rows(model / "model.safetensors", "model.embed_tokens.weight", 1000);
  put_in_rows(model / "model.safetensors", "lm_head.weight", 5e37f, -5e37f);
  EXPECT_THAT(failure(from_model("out", model)),
              AllOf(HasSubstr("step 1: loss: found inf, expected "), HasSubstr("a lower --lr")));
  EXPECT_FALSE(fs::exists(world_ / "out" / "model.safetensors"));
}

TEST_F(Numbers, AModelThatOverflowsAtAnyScaleStopsAtTheFloor) {
  const fs::path model = trained_model();
  put_in_rows(model / "model.safetensors", "transformer.h.1.mlp.c_fc.weight", 1e30f);  // infinity in fp16
  const Arguments run =
      with(from_model("out", model), "--steps", "200") + Arguments{"--dtype", "fp16", "--save-steps", "1"};
  EXPECT_THAT(failure(run),
              AllOf(ContainsRegex("step 18: gradient of .*: found infinity or NaN at the smallest "
                                  "loss scale, 1, expected --dtype bf16, or finite numbers"),
                    HasSubstr("a lower --lr")));
  EXPECT_EQ(checkpoints("out").back(), 17) << "skipped steps change no weights";
}

TEST_F(Numbers, AHundredOverflowsInARowStopAFixedScale) {
  const Arguments run = with(arguments("out"), "--steps", "300") +
                        Arguments{"--dtype", "fp16", "--loss-scale", "1e30", "--save-steps", "40"};
  EXPECT_THAT(failure(run),
              ContainsRegex("step 100: gradient of .* infinity or NaN in 100 steps in a row, expected "
                            "a smaller --loss-scale, "));
  EXPECT_EQ(checkpoints("out"), (std::vector<int64_t>{40, 80}));
  EXPECT_EQ(log_values(world_ / "out.jsonl", "step").size(), 99u);
  EXPECT_THAT(failure(run + Arguments{"--resume"}), HasSubstr("step 100: "))
      << "the row goes on where it was saved";
}

}  // namespace
}  // namespace aleph::tests
