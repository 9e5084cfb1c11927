#include "aleph/infer/placement.h"

#include <gtest/gtest.h>

#include "aleph/base/error.h"
#include "aleph/infer/generate.h"
#include "aleph/infer/golden_testing.h"

namespace aleph::infer {
namespace {

constexpr WeightHome kHomes[] = {WeightHome::kDevice, WeightHome::kHost, WeightHome::kNvme};

std::string fault_of(const PlacementRequest& request) {
  try {
    choose_placement(request);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(PlacementTest, WhatWasMeasuredIsEnough) {
  const Golden golden("stories260K-hf");
  const std::vector<int32_t> prompt(300, 7);
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    for (const WeightHome home : kHomes) {
      const PlacementRequest request{
          .spec = &golden.spec, .dtype = dtype, .prompt_tokens = 300, .capacity = 320};
      const MemoryNeed need = measure_memory(request, home);
      DeviceContext device({.device_budget_bytes = need.device_bytes, .host_budget_bytes = need.host_bytes});
      Model model(device, golden.spec, &golden.weights, {.dtype = dtype, .home = home, .capacity = 320});
      EXPECT_EQ(generate(model, prompt, {.max_tokens = 21}).tokens.size(), 21u);
      // How far streamed weights are loaded ahead depends on the drive.
      EXPECT_GT(device.memory().ledger().peak(), need.device_bytes * 3 / 4);
    }
  }
}

TEST(PlacementTest, TakesTheFirstHomeThatFits) {
  const Golden golden("stories260K-hf");
  PlacementRequest request{.spec = &golden.spec, .prompt_tokens = 8, .capacity = 16};
  EXPECT_EQ(choose_placement(request).home, WeightHome::kDevice);
  const MemoryNeed resident = measure_memory(request, WeightHome::kDevice);
  const MemoryNeed host = measure_memory(request, WeightHome::kHost);
  EXPECT_LT(host.device_bytes, resident.device_bytes);
  request.device_budget_bytes = resident.device_bytes - 1;
  EXPECT_EQ(choose_placement(request).home, WeightHome::kHost);
  request.system_bytes = host.device_bytes + host.host_bytes - 1;
  EXPECT_EQ(choose_placement(request).home, WeightHome::kNvme);
}

TEST(PlacementTest, RefusalsSayWhatHelps) {
  const Golden golden("stories260K-hf");
  PlacementRequest request{
      .spec = &golden.spec, .prompt_tokens = 8, .capacity = 16, .home = WeightHome::kDevice};
  request.device_budget_bytes = measure_memory(request, WeightHome::kDevice).device_bytes - 1;
  const std::string fault = fault_of(request);
  EXPECT_NE(fault.find("--offload-param none"), std::string::npos) << fault;
  EXPECT_NE(fault.find("--offload-param cpu needs"), std::string::npos) << fault;
  EXPECT_NE(fault.find("--device-memory"), std::string::npos) << fault;
  EXPECT_EQ(fault.find('\n'), std::string::npos);
  request.home.reset();
  request.device_budget_bytes = 4096;
  EXPECT_NE(fault_of(request).find("--max-tokens"), std::string::npos);
}

}  // namespace
}  // namespace aleph::infer
