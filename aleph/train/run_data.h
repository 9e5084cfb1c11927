// The text of a run as tokens: tokenizer, training stream, held-out stream and the loaders over them.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "aleph/models/transformer_spec.h"
#include "aleph/train/config.h"
#include "aleph/train/dataset.h"

namespace aleph::train {

/// Keeps the tokens that the loaders read. Moves only.
class RunData {
 public:
  /// Reads and encodes all files; everything is booked in `ledger` as it grows. Throws Error for text that is
  /// missing or too short, for tokens that the model does not have, and where the budget does not hold them;
  /// Interrupted when interrupted().
  RunData(const TrainConfig& config, const models::TransformerSpec& spec, const BatchShape& batch,
          int64_t world_size, MemoryLedger& ledger);

  const TokenStream& train() const { return dataset_->train; }
  const TokenStream& eval() const { return dataset_->eval; }
  DataLoader& loader() { return *loader_; }
  /// nullptr where nothing is held out.
  const EvalLoader* eval_loader() const { return eval_loader_.get(); }
  /// Booked: of tokens and the order of rows.
  int64_t bytes() const { return train().tokens.bytes() + eval().tokens.bytes() + loader_->bytes(); }
  int64_t total_steps() const { return total_steps_; }

 private:
  std::unique_ptr<TokenDataset> dataset_;
  std::unique_ptr<DataLoader> loader_;
  std::unique_ptr<EvalLoader> eval_loader_;
  int64_t total_steps_ = 0;
};

/// The directory whose tokenizer a run uses: --tokenizer, or that of the model.
std::filesystem::path tokenizer_directory(const TrainConfig& config);

}  // namespace aleph::train
