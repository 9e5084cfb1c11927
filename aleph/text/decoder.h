// The "decoder" of tokenizer.json: tokens to text, piece by piece as they come.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "aleph/text/function_ref.h"
#include "aleph/text/regex.h"

namespace aleph::text {

/// Takes text and whether it begins a new token (else it continues the last one).
using TokenSink = FunctionRef<void(std::string_view text, bool begins)>;

/// One step on its way through a sequence of tokens.
class DecodeStage {
 public:
  virtual ~DecodeStage() = default;
  virtual void push(std::string_view text, bool begins, const TokenSink& sink) = 0;
  /// Passes on what is held back and starts anew.
  virtual void finish(const TokenSink& sink) = 0;
};

/// All steps, ready for one sequence of tokens. Keeps references into its decoder.
class DecodePipeline {
 public:
  explicit DecodePipeline(std::vector<std::unique_ptr<DecodeStage>> stages) : stages_(std::move(stages)) {}
  /// Appends the text that is certain after `token`.
  void push(std::string_view token, std::string& out) { run(0, token, true, out); }
  void finish(std::string& out);

 private:
  void run(size_t stage, std::string_view text, bool begins, std::string& out);

  std::vector<std::unique_ptr<DecodeStage>> stages_;
};

/// Immutable; used by any number of threads.
class Decoder {
 public:
  /// Tokens with spaces between them.
  Decoder();
  /// ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace, BPEDecoder, Sequence. Throws Error naming
  /// `object` for others.
  Decoder(const nlohmann::json& json, const std::string& object);
  Decoder(Decoder&&) noexcept;
  Decoder& operator=(Decoder&&) noexcept;
  ~Decoder();

  /// With `lossless`, bytes that are not UTF-8 come out as they are, else as U+FFFD.
  std::unique_ptr<DecodePipeline> start(bool lossless) const;

  struct Step;

 private:
  std::vector<Step> steps_;
};

}  // namespace aleph::text
