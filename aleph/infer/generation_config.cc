#include "aleph/infer/generation_config.h"

#include "aleph/base/error.h"
#include "aleph/base/json.h"
#include "aleph/io/json_file.h"
#include "aleph/models/config_reader.h"

namespace aleph::infer {

GenerationDefaults read_generation_config(const nlohmann::json& config, const std::string& object) {
  if (!config.is_object()) throw Error(object, "no JSON object", "a generation configuration");
  const models::ConfigReader reader(config, object);
  GenerationDefaults defaults;
  if (reader.has("eos_token_id")) defaults.eos_ids = reader.token_ids("eos_token_id", {});
  defaults.bos_id = reader.token_id("bos_token_id", std::nullopt);
  defaults.do_sample = reader.flag("do_sample", false);
  defaults.temperature = json_optional<double>(config, "temperature", object);
  defaults.top_p = json_optional<double>(config, "top_p", object);
  defaults.min_p = json_optional<double>(config, "min_p", object);
  defaults.top_k = json_optional<int64_t>(config, "top_k", object);
  defaults.repetition_penalty = json_optional<double>(config, "repetition_penalty", object);
  check_sampling(resolve_sampling({}, defaults), object);
  return defaults;
}

GenerationDefaults load_generation_config(const std::filesystem::path& directory) {
  const std::filesystem::path path = directory / "generation_config.json";
  if (!std::filesystem::exists(path)) return {};
  return read_generation_config(io::parse_json_file(path), path.string());
}

SamplerOptions resolve_sampling(const SamplingRequest& request, const GenerationDefaults& defaults) {
  SamplerOptions options;
  if (defaults.do_sample) {
    options.temperature = defaults.temperature.value_or(1);
    options.top_k = defaults.top_k.value_or(50);
    options.top_p = defaults.top_p.value_or(1);
    options.min_p = defaults.min_p.value_or(0);
  }
  options.temperature = request.temperature.value_or(options.temperature);
  options.top_k = request.top_k.value_or(options.top_k);
  options.top_p = request.top_p.value_or(options.top_p);
  options.min_p = request.min_p.value_or(options.min_p);
  options.repetition_penalty = request.repetition_penalty.value_or(defaults.repetition_penalty.value_or(1));
  options.seed = request.seed;
  return options;
}

}  // namespace aleph::infer
