// What a tokenizer is made of, and the files it is made from.
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "aleph/text/added_tokens.h"
#include "aleph/text/bpe_model.h"
#include "aleph/text/decoder.h"
#include "aleph/text/normalizer.h"
#include "aleph/text/post_processor.h"
#include "aleph/text/pre_tokenizer.h"

namespace aleph::text {

/// Scratch space for encode calls, kept between them: as many as ever ran at once.
class ScratchPool {
 public:
  std::unique_ptr<BpeScratch> take();
  void give_back(std::unique_ptr<BpeScratch> scratch);

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<BpeScratch>> free_;  // guarded by mutex_
};

struct SpecialNames {
  std::optional<std::string> bos, eos, pad, unk;
};

/// Immutable once loaded, apart from the pool.
struct TokenizerParts {
  explicit TokenizerParts(BpeModel bpe) : model(std::move(bpe)) {}

  std::unique_ptr<const Normalizer> normalizer;  ///< may be nullptr
  PreTokenizer pre_tokenizer;
  BpeModel model;
  AddedTokens added;
  PostProcessor post_processor;
  Decoder decoder;
  std::optional<int32_t> bos, eos, pad, unk;
  mutable ScratchPool pool;

  std::optional<int32_t> id(std::string_view token) const;
  /// nullptr where there is none.
  const std::string* token(int64_t id) const;
  void name_special(const SpecialNames& names);
  /// Where a text can be cut for encoding.
  Cuts cuts() const;
};

/// From the text of a tokenizer.json.
std::unique_ptr<TokenizerParts> parts_from_json(std::string_view json, const std::string& object);

/// What tokenizer_config.json and special_tokens_map.json in `directory` say; both may be missing.
struct TokenizerConfig {
  SpecialNames names;
  bool add_bos_token = false;
  bool add_prefix_space = false;
  std::vector<AddedToken> added;  ///< "added_tokens_decoder" by id, then "additional_special_tokens"
};
TokenizerConfig read_tokenizer_config(const std::filesystem::path& directory);

/// From vocab.json and merges.txt, with GPT-2's other parts.
std::unique_ptr<TokenizerParts> parts_from_gpt2_files(const std::filesystem::path& directory,
                                                      const TokenizerConfig& config);

}  // namespace aleph::text
