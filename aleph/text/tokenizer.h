// Text to token ids and back: byte-pair encoding as Hugging Face's `tokenizers` library does it
// (github.com/huggingface/tokenizers), read from tokenizer.json or from GPT-2's vocab.json and merges.txt.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "aleph/text/cuts.h"
#include "aleph/text/function_ref.h"

namespace aleph::text {

/// A part of a text that is encoded bit by bit.
struct TextPart {
  std::string_view text;
  bool begins = true;  ///< nothing comes before it
  bool ends = true;    ///< nothing comes after it
};
using IdSink = FunctionRef<void(std::span<const int32_t>)>;

class DecodePipeline;
struct TokenizerParts;

struct EncodeOptions {
  bool add_special_tokens = true;  ///< apply the post-processor's template (begin and end tokens)
  bool parse_special = true;  ///< special tokens written in the text become their ids; else they are text
};

/// Turns ids into text one at a time. Returned text is whole UTF-8 characters; bytes of an unfinished one are
/// held back. All pieces and finish() together are Tokenizer::decode of all ids. Where a decoder has byte
/// tokens ("<0xE4>"), a run of them is held back until it ends, since its end decides whether it is text.
/// Keeps a reference to its tokenizer.
class IncrementalDecoder {
 public:
  IncrementalDecoder(IncrementalDecoder&&) noexcept;
  IncrementalDecoder& operator=(IncrementalDecoder&&) noexcept;
  ~IncrementalDecoder();

  /// The text that is certain now; may be empty. Ids without a token are passed over.
  std::string push(int32_t id);
  /// What is left, unfinished characters as U+FFFD. Starts anew afterwards.
  std::string finish();

 private:
  friend class Tokenizer;
  IncrementalDecoder(const TokenizerParts& parts, bool skip_special, bool lossless);

  void push(int32_t id, std::string& out);

  const TokenizerParts* parts_;
  bool skip_special_;
  std::unique_ptr<DecodePipeline> pipeline_;
};

/// A loaded tokenizer. Moves only. All const methods may be called from several threads at once.
class Tokenizer {
 public:
  /// From a directory with tokenizer.json, or with vocab.json and merges.txt, or from a tokenizer.json
  /// itself. Names of special tokens come from tokenizer_config.json and special_tokens_map.json beside it.
  /// Throws Error for files that are missing, broken or ask for something unsupported (which is named).
  static Tokenizer load(const std::filesystem::path& dir_or_file);
  /// From the text of a tokenizer.json; `object` names it in errors.
  static Tokenizer from_json(std::string_view json, const std::string& object);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// Any bytes are accepted. Bytes that are not UTF-8 are pieces of their own: a byte-level tokenizer keeps
  /// them exactly, others treat each as an unknown character.
  std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options = {}) const;

  /// Encodes the beginning of `part`, as far as what follows the part cannot change its ids, and returns how
  /// many bytes that are: all where the part ends the text, and 0 where there is no such place. The rest,
  /// with more text behind it, makes the next part. All ids together are encode(whole text,
  /// {.add_special_tokens = false}); `sink` gets them in order, some thousands at a time.
  size_t encode_part(const TextPart& part, const IdSink& sink) const;
  /// The places at which encode_part cuts. Where there are none, a text has to be given as one part.
  const Cuts& cuts() const { return cuts_; }

  /// Text, always valid UTF-8: bytes that are not become U+FFFD, as in the reference. Ids without a token are
  /// passed over. `skip_special` leaves special tokens out.
  std::string decode(std::span<const int32_t> ids, bool skip_special = false) const;
  /// The exact bytes: for byte-level tokenizers decode_bytes(encode(x, {.add_special_tokens = false})) == x
  /// for any bytes x (where there is no normalizer and no prefix space).
  std::string decode_bytes(std::span<const int32_t> ids, bool skip_special = false) const;
  IncrementalDecoder incremental_decoder(bool skip_special = false) const;

  /// 1 + the largest id. There may be ids without a token below it.
  int64_t vocab_size() const;
  /// The token as the vocabulary spells it ("Ġthe"), or nothing.
  std::optional<std::string> token(int32_t id) const;
  std::optional<int32_t> id(std::string_view token) const;
  /// True for special tokens, which decode(ids, true) leaves out.
  bool is_special(int32_t id) const;

  /// Of the special tokens that the files beside the tokenizer name, where the vocabulary has them.
  std::optional<int32_t> bos_id() const;
  std::optional<int32_t> eos_id() const;
  std::optional<int32_t> pad_id() const;
  std::optional<int32_t> unk_id() const;

 private:
  explicit Tokenizer(std::unique_ptr<TokenizerParts> parts);
  std::string decode_all(std::span<const int32_t> ids, bool skip_special, bool lossless) const;

  std::unique_ptr<TokenizerParts> parts_;
  Cuts cuts_;
};

}  // namespace aleph::text
