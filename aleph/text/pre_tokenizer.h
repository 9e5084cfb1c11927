// The "pre_tokenizer" of tokenizer.json: cuts text into the pieces that are encoded one by one.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "aleph/text/cuts.h"
#include "aleph/text/function_ref.h"

namespace aleph::text {

struct Piece {
  std::string_view text;
  bool at_start;  ///< the input began with it
};
using PieceSink = FunctionRef<void(const Piece&)>;

/// One step. Immutable; used by any number of threads.
class PreTokenizerStep {
 public:
  virtual ~PreTokenizerStep() = default;
  virtual void split(const Piece& piece, const PieceSink& sink) const = 0;
  /// Where some piece ends whatever stands around.
  virtual Cuts splits() const { return kNoCuts; }
  /// Where the pieces of a text are those of its two parts, one of them cut in two at most.
  virtual Cuts keeps() const { return splits(); }
};

/// Steps one after another, each on the pieces of the one before.
class PreTokenizer {
 public:
  /// Leaves text as one piece.
  PreTokenizer() = default;
  /// ByteLevel, Split, Digits, Metaspace, Whitespace, WhitespaceSplit, Punctuation, CharDelimiterSplit,
  /// Sequence. Throws Error naming `object` for others.
  PreTokenizer(const nlohmann::json& json, const std::string& object);

  /// Calls `sink` for the pieces of `piece` in order, without empty ones; their text lives for that call.
  void split(const Piece& piece, const PieceSink& sink) const { run(0, piece, sink); }

  /// Where the pieces of a text are those of its two parts.
  Cuts cuts() const;
  bool empty() const { return steps_.empty(); }

  /// True where pieces are raw bytes, yet to be spelled in GPT-2's alphabet (the last step is ByteLevel).
  bool yields_bytes() const { return yields_bytes_; }

 private:
  void run(size_t step, const Piece& piece, const PieceSink& sink) const;

  std::vector<std::unique_ptr<const PreTokenizerStep>> steps_;
  bool yields_bytes_ = false;
};

}  // namespace aleph::text
