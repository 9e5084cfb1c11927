#include "aleph/train/training_state.h"

#include <map>
#include <vector>

#include "aleph/base/interrupt.h"
#include "aleph/base/json.h"
#include "aleph/base/text_util.h"
#include "aleph/checkpoint/training_checkpoint.h"
#include "aleph/models/spec_json.h"
#include "aleph/train/finite.h"

namespace aleph::train {

namespace {

constexpr int kFormat = 1;

// FNV-1a over the tokens: notices other data, not an attack.
uint64_t hash_tokens(std::span<const int32_t> tokens) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (int32_t token : tokens) hash = (hash ^ static_cast<uint32_t>(token)) * 0x100000001b3u;
  return hash;
}

std::vector<checkpoint::StatePiece> checkpoint_pieces(const zero::Engine& engine) {
  std::vector<checkpoint::StatePiece> pieces;
  for (const zero::Engine::StatePiece& piece : engine.state_pieces())
    pieces.push_back(
        {.name = piece.name, .dtype = DType::kF32, .begin = piece.begin, .elements = piece.elements});
  return pieces;
}

/// Throws Error unless the states in the checkpoint are those of the engine, of the same sizes.
void check_states(const checkpoint::CheckpointReader& reader, const zero::Engine& engine,
                  const std::string& object) {
  const char* expected = "a checkpoint of this model and optimizer";
  std::map<std::string, int64_t> missing;
  for (const zero::Engine::StatePiece& piece : engine.state_pieces()) missing[piece.name] = piece.whole;
  for (const checkpoint::StatePiece& tensor : reader.tensors()) {
    const auto state = missing.find(tensor.name);
    if (state == missing.end())
      throw Error(object, fmt::format("state {}", printable(tensor.name)), expected);
    if (tensor.elements != state->second || tensor.dtype != DType::kF32)
      throw Error(fmt::format("{}: {}", object, tensor.name),
                  fmt::format("{} elements of {}", tensor.elements, dtype_name(tensor.dtype)),
                  fmt::format("{} of fp32: {}", state->second, expected));
    missing.erase(state);
  }
  if (!missing.empty()) throw Error(object, "no state " + missing.begin()->first, expected);
}

std::string show(const Json& json, const std::string& key) {
  return json.contains(key) ? json_shown(json[key]) : "nothing";
}

/// The values in an object by their place, "model/head/tied", as JSON.
std::map<std::string, std::string> places_of(const Json& object) {
  std::map<std::string, std::string> places;
  const Json flat = object.flatten();
  for (const auto& [place, value] : flat.items())
    if (!place.empty()) places[place.substr(1)] = json_shown(value);
  return places;
}

}  // namespace

Fingerprint make_fingerprint(const TrainConfig& config, const models::TransformerSpec& spec,
                             const BatchShape& batch, const TokenStream& data) {
  const bool adam = config.optimizer.kind == OptimizerKind::kAdam;
  const Json fixed = {{"model", models::spec_json(spec)},
                      {"dtype", dtype_name(config.dtype)},
                      {"optimizer", adam ? "adam" : "sgd"},
                      {"seq-len", config.data.seq_len},
                      {"rows per step", batch.train_batch},
                      {"data-order", data_order_name(config.data.order)},
                      {"seed", config.seed},
                      {"training tokens", data.tokens.size()},
                      {"hash of the training tokens", hash_tokens(data.tokens)}};
  const Json other = {{"grad-accumulation", batch.gradient_accumulation},
                      {"lr", config.optimizer.learning_rate},
                      {"lr-schedule", optim::schedule_name(config.schedule)},
                      {"weight-decay", config.optimizer.weight_decay},
                      {"weight-decay-on", config.optimizer.decay_all ? "all" : "matrices"},
                      {"adam-betas", {config.optimizer.adam.betas.beta1, config.optimizer.adam.betas.beta2}},
                      {"adam-eps", config.optimizer.adam.epsilon},
                      {"grad-clip", config.grad_clip}};
  return {fixed.dump(), other.dump()};
}

namespace {

void check_fixed(const Json& now, const Json& saved, const std::string& object) {
  const std::map<std::string, std::string> here = places_of(now), there = places_of(saved);
  const auto at = [](const auto& places, const std::string& place) {
    const auto found = places.find(place);
    return found == places.end() ? "nothing" : found->second;
  };
  std::map<std::string, std::string> all = here;
  all.insert(there.begin(), there.end());
  for (const auto& [place, value] : all)
    if (at(here, place) != at(there, place))
      throw Error(fmt::format("{}: {}", object, printable(place)), at(there, place),
                  at(here, place) + " as in this run");
}

}  // namespace

void check_fingerprint(const Fingerprint& now, const Json& saved, const std::string& object,
                       Console& console) {
  check_fixed(Json::parse(now.fixed), json_object(saved, "fixed", object), object);
  const Json other_now = Json::parse(now.other), &other = json_object(saved, "other", object);
  for (const auto& [key, value] : other_now.items())
    if (show(other, key) != json_shown(value))
      console.note("note: {} is {} now; {} was saved with {}", key, json_shown(value), object,
                   show(other, key));
}

void save_checkpoint(const std::filesystem::path& output, zero::Engine& engine, const TrainingState& state,
                     const Fingerprint& fingerprint, io::SystemCalls* calls) {
  checkpoint::CheckpointWriter writer({.root = output, .step = state.step, .calls = calls});
  const std::vector<checkpoint::StatePiece> pieces = checkpoint_pieces(engine);
  writer.begin(pieces);
  engine.save_state([&](size_t index, int64_t offset, std::span<const float> data) {
    require_finite(view_of(data, {static_cast<int64_t>(data.size())}), state.step, pieces[index].name);
    writer.write(pieces[index].name, offset * static_cast<int64_t>(sizeof(float)), std::as_bytes(data));
  });
  writer.commit(
      {{"format", kFormat},
       {"step", state.step},
       {"updates", state.updates},
       {"loss", state.loss},
       {"loss_scaler", state.scaler.state()},
       {"run", {{"fixed", Json::parse(fingerprint.fixed)}, {"other", Json::parse(fingerprint.other)}}}});
}

TrainingState parse_training_state(const Json& saved, int64_t step, const TrainingState& start,
                                   const std::string& object) {
  if (const auto format = json_get<int64_t>(saved, "format", object); format != kFormat)
    throw Error(object, fmt::format("format {}", format), fmt::format("format {}", kFormat));
  TrainingState state = start;
  state.step = json_get<int64_t>(saved, "step", object);
  state.updates = json_get<int64_t>(saved, "updates", object);
  if (state.step != step || state.updates < 0 || state.updates > step)
    throw Error(object, fmt::format("step {} after {} updates", state.step, state.updates),
                fmt::format("step {} and no more updates than that", step));
  state.loss = json_get<double>(saved, "loss", object);
  state.scaler.load_state(json_object(saved, "loss_scaler", object), object.c_str());
  return state;
}

void load_checkpoint(const std::filesystem::path& directory, zero::Engine& engine, TrainingState& state,
                     const Fingerprint& fingerprint, Console& console, io::SystemCalls* calls) {
  const checkpoint::CheckpointReader reader(directory, calls);
  const std::string object = directory.string();
  const TrainingState saved = parse_training_state(reader.state(), reader.step(), state, object);
  check_fingerprint(fingerprint, json_object(reader.state(), "run", object), object, console);
  check_states(reader, engine, object);
  const std::vector<checkpoint::StatePiece> pieces = checkpoint_pieces(engine);
  engine.load_state([&](size_t index, int64_t offset, std::span<float> data) {
    stop_if_interrupted();
    const int64_t element = pieces[index].begin + offset;
    reader.read(pieces[index].name, element * static_cast<int64_t>(sizeof(float)),
                std::as_writable_bytes(data));
  });
  state = saved;
}

namespace {

/// What is wrong with a checkpoint; empty where every checksum is right.
std::string damage_of(const std::filesystem::path& directory, io::SystemCalls* calls) {
  try {
    checkpoint::CheckpointReader(directory, calls).verify();
    return {};
  } catch (const Error& error) {
    return error.what();
  }
}

}  // namespace

std::optional<std::filesystem::path> load_newest_checkpoint(const std::filesystem::path& output,
                                                            zero::Engine& engine, TrainingState& state,
                                                            const Fingerprint& fingerprint, Console& console,
                                                            io::SystemCalls* calls) {
  const std::vector<checkpoint::CheckpointInfo> found = checkpoint::find_checkpoints(output, calls);
  std::string newest_damage;
  for (auto one = found.rbegin(); one != found.rend(); ++one) {
    std::string damage = one->fault;
    try {
      if (damage.empty()) {
        load_checkpoint(one->path, engine, state, fingerprint, console, calls);
        return one->path;
      }
    } catch (const Error&) {
      damage = damage_of(one->path, calls);
      if (damage.empty()) throw;
    }
    console.warning(fmt::format("damaged checkpoint passed over: {}", damage));
    if (newest_damage.empty()) newest_damage = damage;
  }
  if (found.empty()) return std::nullopt;
  throw Error(fmt::format("--resume {}", output.string()),
              fmt::format("no checkpoint that is whole (the newest of {}: {})", found.size(), newest_damage),
              "one, or --overwrite to start again");
}

}  // namespace aleph::train
