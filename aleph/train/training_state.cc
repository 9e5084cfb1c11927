#include "aleph/train/training_state.h"

#include <map>
#include <vector>

#include "aleph/base/interrupt.h"
#include "aleph/base/json.h"
#include "aleph/checkpoint/training_checkpoint.h"
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

// Every piece must be there with the size it had; a missing or longer one means another model or optimizer.
void check_pieces(const checkpoint::CheckpointReader& reader,
                  const std::vector<checkpoint::StatePiece>& pieces, const std::string& object) {
  std::map<std::string, int64_t> found;
  for (const checkpoint::StatePiece& tensor : reader.tensors()) found[tensor.name] = tensor.elements;
  for (const checkpoint::StatePiece& piece : pieces) {
    const auto tensor = found.find(piece.name);
    if (tensor == found.end())
      throw Error(object, "no state " + piece.name, "a checkpoint of this model and optimizer");
    if (tensor->second < piece.begin + piece.elements)
      throw Error(fmt::format("{}: {}", object, piece.name), fmt::format("{} elements", tensor->second),
                  fmt::format("at least {}: a checkpoint of this model", piece.begin + piece.elements));
  }
}

std::string show(const Json& json, const std::string& key) {
  return json.contains(key) ? json[key].dump() : "nothing";
}

}  // namespace

Fingerprint make_fingerprint(const TrainConfig& config, const BatchShape& batch, const TokenStream& data) {
  const bool adam = config.optimizer.kind == OptimizerKind::kAdam;
  const Json fixed = {{"dtype", dtype_name(config.dtype)},
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

void check_fingerprint(const Fingerprint& now, const Json& saved, const std::string& object,
                       Console& console) {
  const Json fixed = saved.value("fixed", Json::object()), other = saved.value("other", Json::object());
  const Json fixed_now = Json::parse(now.fixed), other_now = Json::parse(now.other);
  for (const auto& [key, value] : fixed_now.items())
    if (show(fixed, key) != value.dump())
      throw Error(fmt::format("{}: {}", object, key), show(fixed, key), value.dump() + " as in this run");
  for (const auto& [key, value] : other_now.items())
    if (show(other, key) != value.dump())
      console.note("note: {} is {} now; {} was saved with {}", key, value.dump(), object, show(other, key));
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

void load_checkpoint(const std::filesystem::path& directory, zero::Engine& engine, TrainingState& state,
                     const Fingerprint& fingerprint, Console& console, io::SystemCalls* calls) {
  const checkpoint::CheckpointReader reader(directory, calls);
  const std::string object = directory.string();
  const Json& saved = reader.state();
  if (const auto format = json_get<int64_t>(saved, "format", object); format != kFormat)
    throw Error(object, fmt::format("format {}", format), fmt::format("format {}", kFormat));
  check_fingerprint(fingerprint, saved.value("run", Json::object()), object, console);
  const std::vector<checkpoint::StatePiece> pieces = checkpoint_pieces(engine);
  check_pieces(reader, pieces, object);
  engine.load_state([&](size_t index, int64_t offset, std::span<float> data) {
    stop_if_interrupted();
    const int64_t element = pieces[index].begin + offset;
    reader.read(pieces[index].name, element * static_cast<int64_t>(sizeof(float)),
                std::as_writable_bytes(data));
  });
  state.step = json_get<int64_t>(saved, "step", object);
  state.updates = json_get<int64_t>(saved, "updates", object);
  state.loss = json_get<double>(saved, "loss", object);
  state.scaler.load_state(saved.value("loss_scaler", Json()), object.c_str());
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
