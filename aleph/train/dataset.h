// Text to rows of token ids. Which rows a step sees is a pure function of the step, so a resumed run sees
// exactly what an uninterrupted one would.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "aleph/tensor/booked_array.h"
#include "aleph/text/tokenizer.h"
#include "aleph/train/config.h"

namespace aleph::train {

/// Text to token ids, without special tokens, part by part: text::Tokenizer::encode_part.
using Encoder = std::function<size_t(const text::TextPart&, const text::IdSink&)>;

/// Documents one after another, as one stream.
struct TokenStream {
  BookedArray<int32_t> tokens;
  int64_t bytes = 0;  ///< of the text that the tokens stand for, invalid UTF-8 as it stands in the file
  int64_t documents = 0;

  /// eval_nats_per_byte = mean loss per token * tokens_per_byte.
  double tokens_per_byte() const {
    return bytes == 0 ? 0 : static_cast<double>(tokens.size()) / static_cast<double>(bytes);
  }
};

struct TokenDataset {
  TokenStream train;
  TokenStream eval;  ///< empty without eval_split
};

struct DatasetOptions {
  std::span<const std::filesystem::path> files;
  Encoder encode;
  std::optional<int32_t> end_of_text;  ///< put between documents
  double eval_split = 0;               ///< in [0, 1)
  MemoryLedger* ledger = nullptr;      ///< that tokens, and text while it is encoded, are booked in
};

/// Reads .txt (the whole file is one document) and .jsonl (one document a line, its "text"). The tail
/// `eval_split` of the text, by bytes and cut at the end of a line or document, becomes `eval`. Invalid UTF-8
/// is replaced by U+FFFD. Throws Error for a file that is missing, empty or of another kind, and for a line
/// that is not an object with a "text" (with its number). Files are read in pieces: of the text, no more is
/// in memory than the encoder needs at once. Throws Interrupted when interrupted().
TokenDataset load_dataset(const DatasetOptions& options);

/// Calls `visit` with the "text" of each line of a .jsonl file in order, repaired as load_dataset does it.
/// Throws Error as it does.
void for_each_document(const std::filesystem::path& path, const std::function<void(std::string_view)>& visit);

/// Rows of seq_len tokens, the short rest is not used. The model predicts token j + 1 of a row from its first
/// j + 1, so a row has seq_len - 1 targets.
class DataLoader {
 public:
  struct Options {
    int64_t seq_len = 0;
    BatchShape batch;
    int64_t world_size = 1;
    DataOrder order = DataOrder::kSequential;
    uint64_t seed = 0;
    MemoryLedger* ledger = nullptr;  ///< that the order of rows is booked in
  };
  /// Keeps a reference to the tokens. Throws Error where they do not fill one optimizer step.
  DataLoader(std::span<const int32_t> tokens, const Options& options);

  /// Fills [micro_batch, seq_len]. Steps and micro-steps are counted from 0. Rank r's micro-step m holds the
  /// rows a single rank would have at micro-step m * world_size + r. After the last row the next epoch
  /// begins, in the same batch where it does not divide.
  void fill(int64_t step, int64_t micro_step, int64_t rank, std::span<int32_t> rows);

  /// Of memory, taken by the order of rows.
  int64_t bytes() const { return permutation_.bytes(); }
  int64_t rows_per_step() const { return options_.batch.train_batch; }
  int64_t tokens_per_step() const { return rows_per_step() * options_.seq_len; }
  /// Optimizer steps that cover `epochs` passes over the rows, rounded up.
  int64_t steps_of_epochs(double epochs) const;

 private:
  int64_t row_at(int64_t position);

  std::span<const int32_t> tokens_;
  Options options_;
  int64_t rows_;
  int64_t shuffled_epoch_ = -1;
  BookedArray<int32_t> permutation_;  // of shuffled_epoch_
};

/// The rows of an evaluation, in order from the start; the last batch may be smaller.
class EvalLoader {
 public:
  /// Throws Error where the tokens do not fill one row.
  EvalLoader(std::span<const int32_t> tokens, int64_t seq_len, int64_t micro_batch);
  int64_t batches() const { return (rows_ + micro_batch_ - 1) / micro_batch_; }
  int64_t rows() const { return rows_; }
  /// [rows of this batch, seq_len], a view of the tokens.
  std::span<const int32_t> batch(int64_t index) const;

 private:
  std::span<const int32_t> tokens_;
  int64_t seq_len_;
  int64_t micro_batch_;
  int64_t rows_;
};

}  // namespace aleph::train
