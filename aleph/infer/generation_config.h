// What a model's generation_config.json asks for, and how flags override it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "aleph/infer/sampler.h"

namespace aleph::infer {

/// Keys that are absent or null are not set.
struct GenerationDefaults {
  std::optional<std::vector<int64_t>> eos_ids;
  std::optional<int64_t> bos_id;
  bool do_sample = false;
  std::optional<double> temperature, top_p, min_p, repetition_penalty;
  std::optional<int64_t> top_k;
};

/// `object` names the file in errors. Throws Error for values of the wrong type.
GenerationDefaults read_generation_config(const nlohmann::json& config, const std::string& object);
/// Of a model directory; nothing set where it has no generation_config.json.
GenerationDefaults load_generation_config(const std::filesystem::path& directory);

/// Sampling as the user asked for it; what is not set falls back to the model.
struct SamplingRequest {
  std::optional<double> temperature, top_p, min_p, repetition_penalty;
  std::optional<int64_t> top_k;
  uint64_t seed = 0;
};
/// The model's temperature, top-k, top-p and min-p count where its do_sample is true, with transformers'
/// defaults (temperature 1, top-k 50) for those it leaves out; otherwise generation is greedy.
SamplerOptions resolve_sampling(const SamplingRequest& request, const GenerationDefaults& defaults);

}  // namespace aleph::infer
