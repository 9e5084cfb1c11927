#include "aleph/infer/placement.h"

#include <algorithm>
#include <vector>

#include "aleph/base/error.h"
#include "aleph/base/text_util.h"
#include "aleph/infer/model.h"

namespace aleph::infer {
namespace {

constexpr std::array kHomes = {WeightHome::kDevice, WeightHome::kHost, WeightHome::kNvme};

bool fits(const MemoryNeed& need, const PlacementRequest& request) {
  return request.device_budget_bytes == 0 || need.device_bytes <= request.device_budget_bytes;
}

bool fits_system(const MemoryNeed& need, const PlacementRequest& request) {
  return request.system_bytes == 0 || need.device_bytes + need.host_bytes <= request.system_bytes;
}

/// "parameters 80.0 MiB, kv_cache 4.0 MiB", largest first.
std::string by_tag(const MemoryNeed& need) {
  std::vector<size_t> order;
  for (size_t tag = 0; tag < kMemoryTags; ++tag)
    if (need.device_by_tag[tag] > 0) order.push_back(tag);
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return need.device_by_tag[a] > need.device_by_tag[b]; });
  std::string text;
  for (const size_t tag : order)
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", memory_tag_name(static_cast<MemoryTag>(tag)),
                        format_bytes(need.device_by_tag[tag]));
  return text;
}

/// The flag that would make it fit.
std::string advice(const PlacementRequest& request, WeightHome refused) {
  for (const WeightHome home : kHomes) {
    if (home == refused) continue;
    const MemoryNeed need = measure_memory(request, home);
    if (fits(need, request))
      return fmt::format("--offload-param {} needs {}", weight_home_flag(home),
                         format_bytes(need.device_bytes));
  }
  return "a shorter prompt or smaller --max-tokens may help";
}

[[noreturn]] void refuse(const PlacementRequest& request, WeightHome home, const MemoryNeed& need) {
  throw Error("device memory",
              fmt::format("{} needed with --offload-param {} ({})", format_bytes(need.device_bytes),
                          weight_home_flag(home), by_tag(need)),
              fmt::format("at most the {} of --device-memory ({})", format_bytes(request.device_budget_bytes),
                          advice(request, home)));
}

}  // namespace

MemoryNeed measure_memory(const PlacementRequest& request, WeightHome home) {
  DeviceContext device({.kind = DeviceKind::kMeta});
  Model model(device, *request.spec, nullptr,
              {.dtype = request.dtype, .home = home, .capacity = request.capacity});
  const int64_t prompt = std::clamp<int64_t>(request.prompt_tokens, 1, request.capacity);
  model.forward(std::vector<int32_t>(static_cast<size_t>(prompt)));
  if (model.length() < request.capacity) {
    model.skip(request.capacity - model.length() - 1);  // the last token has the longest row of scores
    model.forward(std::vector<int32_t>(1));
  }
  MemoryNeed need{.device_bytes = device.memory().ledger().peak(),
                  .host_bytes = device.host_memory().ledger().peak()};
  for (size_t tag = 0; tag < kMemoryTags; ++tag)
    need.device_by_tag[tag] = device.memory().ledger().peak(static_cast<MemoryTag>(tag));
  return need;
}

Placement choose_placement(const PlacementRequest& request) {
  if (request.home) {
    const MemoryNeed need = measure_memory(request, *request.home);
    if (!fits(need, request)) refuse(request, *request.home, need);
    return {*request.home, need};
  }
  for (const WeightHome home : kHomes) {
    const MemoryNeed need = measure_memory(request, home);
    if (fits(need, request) && (home == WeightHome::kNvme || fits_system(need, request))) return {home, need};
  }
  refuse(request, WeightHome::kNvme, measure_memory(request, WeightHome::kNvme));
}

}  // namespace aleph::infer
