// The "normalizer" of tokenizer.json: changes text before it is split.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "aleph/text/cuts.h"

namespace aleph::text {

/// Immutable; used by any number of threads.
class Normalizer {
 public:
  virtual ~Normalizer() = default;
  /// Bytes that are not UTF-8 are kept as they are.
  virtual std::string apply(std::string_view text) const = 0;
  /// The same for a text whose beginning is another's matter: nothing is put before it.
  virtual std::string apply_rest(std::string_view text) const { return apply(text); }
  /// Where apply(a + b) = apply(a) + apply_rest(b), and the end of a and the beginning of b stay what they
  /// are, but for the space itself.
  virtual Cuts cuts() const { return kNoCuts; }
  /// True where apply would surely change nothing; lets long texts pass without a copy.
  virtual bool leaves(std::string_view /*text*/) const { return false; }
};

/// Sequence, Prepend, Replace, NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, Nmt, ByteLevel; nullptr
/// for null. Throws Error naming `object` for others.
std::unique_ptr<const Normalizer> make_normalizer(const nlohmann::json& json, const std::string& object);

}  // namespace aleph::text
