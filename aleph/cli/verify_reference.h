// The layout of a directory of reference outputs: expected.json and expected.safetensors beside a model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "aleph/checkpoint/safetensors.h"
#include "aleph/cli/verify_model.h"

namespace aleph::cli {

class Reference {
 public:
  /// Throws Error where the directory holds no reference outputs of a causal language model, or broken ones.
  explicit Reference(const std::filesystem::path& directory);

  const std::filesystem::path& directory() const { return directory_; }
  /// Tensor `name`, fp32 or int32, checked to have `shape`. Throws Error where it is missing or of another
  /// kind.
  std::span<const float> floats(const std::string& name, const Shape& shape) const;
  /// Names of all gradients, without "gradient.".
  std::vector<std::string> gradient_names() const;
  ReferenceBatch input() const;
  /// Batch `index` of the training curve.
  ReferenceBatch train_batch(size_t index) const;
  int64_t longest_sequence() const;

  double loss = 0;
  std::vector<double> losses;  ///< of the training curve
  CurveOptions curve;
  std::vector<int32_t> greedy_prompt, greedy_tokens;

 private:
  std::span<const int32_t> ints(const std::string& name, int rank) const;

  std::filesystem::path directory_;
  checkpoint::SafetensorsFile file_;
};

}  // namespace aleph::cli
