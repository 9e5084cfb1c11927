// Checked access to the keys of a config.json, shared by the families.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "aleph/kernels/activation/activation.h"
#include "aleph/models/transformer_spec.h"

namespace aleph::models {

/// Largest values that are taken for serious: products of any of them fit 64 bits.
struct SizeLimits {
  static constexpr int64_t kLayers = 1 << 10;
  static constexpr int64_t kWidth = 1 << 22;
  static constexpr int64_t kHeads = 1 << 16;
  static constexpr int64_t kVocabulary = 1 << 26;
  static constexpr int64_t kPositions = 1 << 28;
};

/// Every method throws Error naming file, key, what was found and what is expected. Keys that are missing
/// take the fallback; null does too, except for token ids, where it means none.
class ConfigReader {
 public:
  /// Keeps references: both arguments live longer.
  ConfigReader(const nlohmann::json& config, const std::string& object)
      : config_(&config), object_(&object) {}

  bool has(const char* key) const;  ///< present and not null
  /// A whole number in [1, largest].
  int64_t size(const char* key, int64_t fallback, int64_t largest) const;
  /// As size, under transformers' common name for it where the family's own is missing.
  int64_t size(const char* key, const char* alias, int64_t fallback, int64_t largest) const;
  bool flag(const char* key, bool fallback) const;
  /// A finite number above 0.
  double positive(const char* key, double fallback) const;
  /// A probability in [0, 1).
  float dropout(const char* key, float fallback) const;
  kernels::Activation activation(const char* key, const std::string& fallback) const;
  std::optional<int64_t> token_id(const char* key, std::optional<int64_t> fallback) const;
  /// An id, or a list of ids.
  std::vector<int64_t> token_ids(const char* key, std::vector<int64_t> fallback) const;

  [[noreturn]] void fail(const std::string& key, const std::string& found, const std::string& expected) const;
  const nlohmann::json& json() const { return *config_; }
  const std::string& object() const { return *object_; }

 private:
  const nlohmann::json* config_;
  const std::string* object_;
};

/// Hugging Face's name of an activation; nothing where the name is not known.
std::optional<kernels::Activation> find_activation(const std::string& name);
/// The first of them.
const char* activation_name(kernels::Activation activation);

/// Throws Error unless `heads` divides `hidden`.
int64_t head_dim_of(const ConfigReader& reader, int64_t hidden, int64_t heads);

/// What GPT-2 and GPT-Neo call their values, read and checked.
struct GptValues {
  int64_t vocab_size = 0, positions = 0, hidden = 0, intermediate = 0, heads = 0, head_dim = 0;
  float embedding_dropout = 0;
};
/// Layer norms, biased linears, learned positions, tied head: what both have in common. `block` is repeated
/// `layers` times with its sizes filled in.
TransformerSpec gpt_spec(const ConfigReader& reader, const GptValues& values, nn::BlockSpec block,
                         int64_t layers);

}  // namespace aleph::models
