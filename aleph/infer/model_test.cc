#include "aleph/infer/model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "aleph/base/error.h"
#include "aleph/base/random.h"
#include "aleph/infer/golden_testing.h"

namespace aleph::infer {
namespace {

constexpr WeightHome kHomes[] = {WeightHome::kDevice, WeightHome::kHost, WeightHome::kNvme};

std::vector<int32_t> random_ids(int64_t n, int64_t vocab_size, uint64_t seed) {
  const RandomStream random({.seed = seed});
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < n; ++i)
    ids.push_back(
        static_cast<int32_t>(random.below(static_cast<uint64_t>(vocab_size), static_cast<uint64_t>(i))));
  return ids;
}

std::vector<float> values_of(Tensor logits) {
  const auto span = logits.view().span<float>();
  return {span.begin(), span.end()};
}

class GoldenModelTest : public testing::TestWithParam<const char*> {};

TEST_P(GoldenModelTest, LogitsAreThoseOfTransformers) {
  const Golden golden(GetParam());
  const auto tensors = golden.tensors();
  const double bar = 10 * golden.expected().at("float32_vs_float64_relative").get<double>();
  DeviceContext device({});
  Model model(device, golden.spec, &golden.weights, {.capacity = 40});
  const ConstTensorView ids = tensors.tensor("input.input_ids"), expected = tensors.tensor("output.logits");
  for (int64_t row = 0; row < ids.shape()[0]; ++row) {
    const Tensor logits = model.forward_logits(ids.slice(row, 1).span<int32_t>());
    EXPECT_LT(relative_error(logits.view().span<float>(), expected.slice(row, 1).span<float>()), bar);
  }
}

TEST_P(GoldenModelTest, HomesOfWeightsChangeNoBit) {
  const Golden golden(GetParam());
  const std::vector<int32_t> ids = random_ids(33, golden.spec.embedding.vocab_size, 5);
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    std::vector<float> all, last;
    for (const WeightHome home : kHomes) {
      DeviceContext device({});
      Model model(device, golden.spec, &golden.weights, {.dtype = dtype, .home = home, .capacity = 40});
      const std::vector<float> logits = values_of(model.forward_logits(ids));
      model.truncate(7);
      const std::vector<float> next = values_of(model.forward(std::span(ids).subspan(7, 3)));
      if (home == WeightHome::kDevice) {
        all = logits;
        last = next;
      }
      EXPECT_EQ(std::memcmp(all.data(), logits.data(), all.size() * sizeof(float)), 0)
          << weight_home_flag(home);
      EXPECT_EQ(std::memcmp(last.data(), next.data(), last.size() * sizeof(float)), 0)
          << weight_home_flag(home);
    }
  }
}

TEST_P(GoldenModelTest, OneByOneIsAllAtOnce) {
  const Golden golden(GetParam());
  const double bar = 10 * golden.expected().at("float32_vs_float64_relative").get<double>();
  const std::vector<int32_t> ids = random_ids(29, golden.spec.embedding.vocab_size, 6);
  DeviceContext device({});
  Model model(device, golden.spec, &golden.weights, {.capacity = 40});
  const Tensor whole = model.forward_logits(ids);
  model.truncate(0);
  for (size_t i = 0; i < ids.size(); ++i) {
    const Tensor one = model.forward(std::span(ids).subspan(i, 1));
    EXPECT_LT(relative_error(one.view().span<float>(),
                             whole.view().slice(static_cast<int64_t>(i), 1).span<float>()),
              bar);
  }
  EXPECT_EQ(model.length(), 29);
}

TEST_P(GoldenModelTest, SixteenBitWeightsComeClose) {
  const Golden golden(GetParam());
  const std::vector<int32_t> ids = random_ids(20, golden.spec.embedding.vocab_size, 7);
  DeviceContext device({});
  Model exact(device, golden.spec, &golden.weights, {.capacity = 20});
  const std::vector<float> expected = values_of(exact.forward_logits(ids));
  // Rounding errors of the goldens' large weights grow by about a factor of twenty on the way.
  for (const auto& [dtype, bar] :
       {std::pair{DType::kF16, 0x1p-11 * 20}, std::pair{DType::kBF16, 0x1p-8 * 30}}) {
    Model rounded(device, golden.spec, &golden.weights, {.dtype = dtype, .capacity = 20});
    const double error = relative_error(values_of(rounded.forward_logits(ids)), expected);
    EXPECT_LT(error, bar) << dtype_name(dtype);
    EXPECT_GT(error, 0) << dtype_name(dtype);
  }
}

INSTANTIATE_TEST_SUITE_P(Goldens, GoldenModelTest, testing::ValuesIn(kGoldenNames));

TEST(ModelTest, LongPromptsRunInChunks) {
  const Golden golden("stories260K-hf");
  const std::vector<int32_t> ids = random_ids(Model::kChunk + 37, 512, 8);
  DeviceContext device({});
  Model model(device, golden.spec, &golden.weights, {.home = WeightHome::kNvme, .capacity = 512});
  const Tensor all = model.forward_logits(ids);
  model.truncate(0);
  const Tensor last = model.forward(ids);
  const int64_t n = static_cast<int64_t>(ids.size());
  EXPECT_LT(relative_error(last.view().span<float>(), all.view().slice(n - 1, 1).span<float>()), 1e-5);
}

TEST(ModelTest, StreamedWeightsNeedTwoUnitsOfDeviceMemory) {
  const Golden golden("stories260K-hf");
  const std::vector<int32_t> ids = random_ids(5, 512, 9);
  DeviceContext resident({}), streamed({});
  Model(resident, golden.spec, &golden.weights, {.capacity = 8}).forward(ids);
  Model(streamed, golden.spec, &golden.weights, {.home = WeightHome::kHost, .capacity = 8}).forward(ids);
  const int64_t all = resident.memory().ledger().peak(MemoryTag::kParameters);
  const int64_t part = streamed.memory().ledger().peak(MemoryTag::kParameters);
  EXPECT_LT(part, all * 2 / 5 + all / 10);
  EXPECT_GE(streamed.host_memory().ledger().peak(MemoryTag::kParameters),
            models::parameter_count(golden.spec) * 4);
  EXPECT_EQ(resident.memory().ledger().live(), 0);
  EXPECT_EQ(streamed.memory().ledger().live(), 0);
}

TEST(ModelTest, WhatCannotBeIsRefused) {
  const Golden golden("gpt2");
  DeviceContext device({});
  Model model(device, golden.spec, &golden.weights, {.capacity = 4});
  const std::vector<int32_t> too_large = {0, 256}, negative = {-1}, too_long(5);
  EXPECT_THROW(model.forward(too_large), Error);
  EXPECT_THROW(model.forward(negative), Error);
  EXPECT_THROW(model.forward(too_long), Error);
  EXPECT_EQ(model.length(), 0);
}

TEST(ModelTest, TheBudgetIsHard) {
  const Golden golden("stories260K-hf");
  DeviceContext device({.device_budget_bytes = 1 << 19});
  EXPECT_THROW(Model(device, golden.spec, &golden.weights, {.capacity = 8}), Error);
  EXPECT_EQ(device.memory().ledger().live(), 0);
}

/// Fails when a given parameter is read: a disk that breaks while the model runs.
class BrokenReader final : public models::ParameterReader {
 public:
  BrokenReader(const models::ParameterReader& reader, std::string name)
      : reader_(reader), name_(std::move(name)) {}
  void read_rows(const std::string& parameter, int64_t row_begin, const TensorView& dst) const override {
    if (parameter == name_) throw Error(name_, "an error while reading", "its values");
    reader_.read_rows(parameter, row_begin, dst);
  }
  void prefetch(const std::string&) const override {}
  void release(const std::string&) const override {}

 private:
  const models::ParameterReader& reader_;
  std::string name_;
};

TEST(ModelTest, FaultsOfFetchesArriveAtTheCaller) {
  const Golden golden("llama");
  const BrokenReader reader(golden.weights, "blocks.2.mlp.up.weight");
  DeviceContext device({});
  Model model(device, golden.spec, &reader, {.home = WeightHome::kNvme, .capacity = 8});
  const std::vector<int32_t> ids = {1, 2};
  EXPECT_THROW(model.forward(ids), Error);
}

}  // namespace
}  // namespace aleph::infer
