#include "aleph/train/model_setup.h"

#include <optional>

#include "aleph/base/interrupt.h"
#include "aleph/base/json.h"
#include "aleph/io/file.h"
#include "aleph/models/registry.h"
#include "aleph/models/weights.h"
#include "aleph/train/finite.h"

namespace aleph::train {

namespace {

constexpr int64_t kMaxConfigBytes = int64_t{16} << 20;

void read_weight(const models::WeightSource& files, const ModelSetup& setup,
                 const autograd::Parameter& parameter, const TensorView& values) {
  files.read(parameter.name, values);
  files.release(parameter.name);
  if (all_finite(values)) return;
  throw Error(fmt::format("{}: {}", setup.directory.string(), parameter.name), "infinity or NaN",
              "finite weights to start from");
}

}  // namespace

ModelSetup read_model_setup(const TrainConfig& config) {
  const bool random = config.model.empty();
  const std::filesystem::path file = random ? config.init_config : models::config_file(config.model);
  ModelSetup setup{.config = io::read_file(file, kMaxConfigBytes), .spec = {}, .directory = config.model};
  setup.spec = models::read_spec(parse_json(setup.config, file.string()), file.string());
  return setup;
}

nn::Model::Options model_options(const models::TransformerSpec& spec, int64_t seq_len) {
  const int64_t positions = spec.embedding.learned_positions;
  if (positions > 0 && seq_len > positions)
    throw Error("--seq-len", std::to_string(seq_len),
                fmt::format("at most {}, the positions of the model", positions));
  return {.embedding = spec.embedding, .blocks = spec.blocks, .head = spec.head, .max_seq = seq_len};
}

void load_weights(const ModelSetup& setup, zero::Engine& engine, DeviceContext& device, uint64_t seed,
                  Console& console) {
  std::optional<models::WeightSource> files;
  if (!setup.directory.empty()) {
    files = models::WeightSource::open(setup.directory, setup.spec);
    for (const std::string& note : files->notes()) console.line("note: " + note);
  }
  const zero::ParameterSource random = zero::Engine::random_initializer(device, seed);
  engine.load_parameters([&](const autograd::Parameter& parameter, const TensorView& values) {
    stop_if_interrupted();
    files ? read_weight(*files, setup, parameter, values) : random(parameter, values);
  });
}

void save_model(const SaveModelArgs& args) {
  const Json config = parse_json(args.setup.config, "config.json");
  models::ModelSaver saver({.directory = args.output,
                            .spec = &args.setup.spec,
                            .config = &config,
                            .dtype = args.dtype,
                            .source = args.setup.directory,
                            .tokenizer = args.tokenizer,
                            .calls = args.calls});
  args.engine.for_each_parameter([&](const autograd::Parameter& parameter, const ConstTensorView& values) {
    require_finite(values, args.step, parameter.name);
    saver.write(parameter.name, values);
  });
  saver.finish();
}

int64_t model_state_bytes(const models::TransformerSpec& spec, DType dtype, const optim::UpdateRule& rule) {
  const auto fp32_states =
      static_cast<int64_t>(rule.state_names().size()) + 1 + (dtype == DType::kF32 ? 0 : 1);
  return models::parameter_count(spec) * (dtype_bytes(dtype) + 4 * fp32_states);
}

}  // namespace aleph::train
