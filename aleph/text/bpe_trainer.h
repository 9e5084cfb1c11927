// Training of byte-level BPE vocabularies: the algorithm of Hugging Face's BpeTrainer on GPT-2's pieces.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace aleph::text {

struct BpeTrainerOptions {
  int64_t vocab_size = 2048;                                    ///< special tokens and the 256 bytes included
  std::vector<std::string> special_tokens = {"<|endoftext|>"};  ///< get the first ids, in this order
  int64_t min_frequency = 0;                                    ///< pairs that are rarer are not merged
  int64_t model_max_length = 1024;                              ///< written to tokenizer_config.json
};

/// A trained vocabulary. The first special token is begin, end and unknown token.
struct TrainedBpe {
  std::vector<std::string> tokens;                  ///< by id, bytes in GPT-2's alphabet ("Ġthe")
  std::vector<std::pair<int32_t, int32_t>> merges;  ///< pairs of ids, by rank
  BpeTrainerOptions options;

  /// Writes tokenizer.json, vocab.json, merges.txt and tokenizer_config.json, as Hugging Face reads them.
  /// Creates the directory. Throws Error when a file cannot be written.
  void save(const std::filesystem::path& directory) const;
};

/// Counts words, then merges the most frequent pair again and again (ties: the smaller pair of ids).
/// Deterministic.
class BpeTrainer {
 public:
  /// Throws Error for a vocabulary that cannot hold the bytes and special tokens.
  explicit BpeTrainer(const BpeTrainerOptions& options);
  BpeTrainer(BpeTrainer&&) noexcept;
  BpeTrainer& operator=(BpeTrainer&&) noexcept;
  ~BpeTrainer();

  /// Adds one text, of any bytes; words never span two texts.
  void add_text(std::string_view text);
  /// Stops early where no pair is left to merge.
  TrainedBpe train() const;

 private:
  struct Words;
  BpeTrainerOptions options_;
  std::unique_ptr<Words> words_;
};

/// The whole way at once.
TrainedBpe train_bpe(std::span<const std::string_view> texts, const BpeTrainerOptions& options = {});

}  // namespace aleph::text
