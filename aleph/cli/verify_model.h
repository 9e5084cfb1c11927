// What Aleph computes for the inputs of a directory of reference outputs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "aleph/comm/communicator.h"
#include "aleph/infer/model.h"
#include "aleph/models/transformer_spec.h"
#include "aleph/models/weights.h"
#include "aleph/nn/transformer.h"
#include "aleph/optim/update_rule.h"
#include "aleph/zero/engine.h"

namespace aleph::cli {

/// A named result, fp32 on the host.
struct NamedTensor {
  std::string name;
  Shape shape;
  std::vector<float> values;
};

/// Inputs of one batch, [rows, seq].
struct ReferenceBatch {
  std::span<const int32_t> ids;
  std::span<const int32_t> labels;  ///< as Hugging Face gives them: the model shifts; -100 is ignored
  int64_t rows = 0;
  int64_t seq = 0;
};

/// The optimizer that made the training curve.
struct CurveOptions {
  double learning_rate = 0;
  double weight_decay = 0;
  double clip = 0;
  optim::AdamOptions adam;
};

/// A model of a Hugging Face directory, ready to be compared. Everything on the device, without budgets.
class VerifyModel {
 public:
  /// `max_seq` is the longest sequence of what follows.
  VerifyModel(const std::filesystem::path& directory, DType dtype, int64_t max_seq,
              const CurveOptions& curve);

  const models::TransformerSpec& spec() const { return spec_; }

  struct Forward {
    NamedTensor logits, last_hidden;
    double loss = 0;  ///< mean per token
  };
  Forward forward(const ReferenceBatch& batch);
  /// Gradients of the mean loss, by checkpoint name.
  std::vector<NamedTensor> gradients(const ReferenceBatch& batch);
  /// One optimizer step, the `step`-th from 1; the mean loss before it.
  double train_step(const ReferenceBatch& batch, int64_t step);
  /// What `aleph generate` computes: the logits of one row, and the `count` most likely tokens after a
  /// prompt.
  NamedTensor inference_logits(std::span<const int32_t> ids);
  std::vector<int32_t> greedy(std::span<const int32_t> prompt, int64_t count);

 private:
  infer::Model inference_model();
  zero::LossSum backward(const ReferenceBatch& batch, int64_t step);

  DeviceContext device_{DeviceContext::Options{}};
  MemoryLedger nvme_{MemoryTier::kNvme, 0};
  comm::SelfCommunicator self_;
  CurveOptions curve_;
  DType dtype_;
  int64_t max_seq_;
  models::TransformerSpec spec_;
  models::WeightSource weights_;
  std::unique_ptr<optim::UpdateRule> rule_;
  std::unique_ptr<nn::Model> model_;
  std::unique_ptr<zero::Engine> engine_;
};

/// Targets of `batch`: the label of the next position, -100 at the end of a row.
std::vector<int32_t> shifted_labels(const ReferenceBatch& batch);

}  // namespace aleph::cli
