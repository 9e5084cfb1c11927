// The model of a run: what it is, where its first values come from, how it is saved.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "aleph/base/log.h"
#include "aleph/models/transformer_spec.h"
#include "aleph/nn/transformer.h"
#include "aleph/train/config.h"
#include "aleph/zero/engine.h"

namespace aleph::train {

struct ModelSetup {
  std::string config;  ///< the text of config.json
  models::TransformerSpec spec;
  std::filesystem::path directory;  ///< whose weights training starts from; empty: random weights
};

/// Reads config.json of --model, or the file of --init. Throws Error naming file and key.
ModelSetup read_model_setup(const TrainConfig& config);

/// Throws Error where the model has no positions for `seq_len` tokens.
nn::Model::Options model_options(const models::TransformerSpec& spec, int64_t seq_len);

/// Fills the engine's parameters: from the checkpoint, tensor by tensor, or from random numbers that depend
/// on `seed` and the names of the parameters alone. Throws Error for weights that are not finite.
void load_weights(const ModelSetup& setup, zero::Engine& engine, DeviceContext& device, uint64_t seed,
                  Console& console);

struct SaveModelArgs {
  const ModelSetup& setup;
  zero::Engine& engine;
  DType dtype = DType::kF32;
  int64_t step = 0;                 ///< that the weights are from
  std::filesystem::path tokenizer;  ///< directory whose tokenizer files are copied
  std::filesystem::path output;
  io::SystemCalls* calls = nullptr;
};
/// Writes a Hugging Face directory: weights one parameter at a time, configurations, tokenizer. Throws Error
/// for weights that are not finite; what stood in the directory stays then.
void save_model(const SaveModelArgs& args);

/// Bytes of parameters, fp32 gradients, fp32 master weights (where parameters are not fp32 themselves) and
/// the optimizer's states.
int64_t model_state_bytes(const models::TransformerSpec& spec, DType dtype, const optim::UpdateRule& rule);

}  // namespace aleph::train
