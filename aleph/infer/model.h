// A transformer that generates: fused steps without a tape, over a cache of keys and values.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "aleph/infer/kv_cache.h"
#include "aleph/infer/weight_units.h"
#include "aleph/models/transformer_spec.h"
#include "aleph/models/weights.h"
#include "aleph/nn/rotary_tables.h"
#include "aleph/tensor/device.h"

namespace aleph::infer {

/// One sequence on one device. The same bits whichever home the weights have. Rows of the embedding are read
/// from the reader as they are needed.
class Model {
 public:
  struct Options {
    DType dtype = DType::kF32;  ///< weights are rounded to it; fp16 computes in fp32
    WeightHome home = WeightHome::kDevice;
    int64_t capacity = 0;  ///< longest sequence, in tokens
  };
  /// Keeps references to device and reader (null only on a meta device). Throws Error where memory does not
  /// suffice or weights cannot be read.
  Model(DeviceContext& device, models::TransformerSpec spec, const models::ParameterReader* reader,
        const Options& options);
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  /// Appends tokens to the sequence, in pieces of kChunk; gives the logits after the last one: [vocabulary],
  /// fp32. Throws Error for ids outside the vocabulary and beyond the capacity.
  Tensor forward(std::span<const int32_t> ids);
  /// Starts a new sequence with `ids`; gives the logits after each: [seq, vocabulary], fp32.
  Tensor forward_logits(std::span<const int32_t> ids);
  /// Forgets all but the first `length` tokens.
  void truncate(int64_t length);
  /// On a meta device: counts tokens as if they had been appended.
  void skip(int64_t tokens);

  /// Tokens that pass the blocks together.
  static constexpr int64_t kChunk = 256;

  int64_t length() const { return length_; }
  int64_t capacity() const { return cache_.capacity(); }
  const models::TransformerSpec& spec() const { return spec_; }
  /// Seconds spent waiting for weights so far.
  double stall_seconds() const { return units_.stall_seconds(); }

 private:
  enum class HeadRows : uint8_t { kNone, kLast, kAll };
  void check(std::span<const int32_t> ids) const;
  /// One chunk; writes logits [rows, vocabulary] of the rows asked for.
  void run_chunk(std::span<const int32_t> ids, HeadRows rows, const TensorView& logits);
  Tensor embed(std::span<const int32_t> ids);
  /// From the stored dtype to that of computation.
  Tensor widened(Tensor rows);
  void read_embedding(const char* parameter, int64_t row, const TensorView& dst);
  void attention(const nn::BlockSpec& spec, const BlockWeights& weights, int64_t layer,
                 const TensorView& hidden);
  void mlp(const nn::BlockSpec& spec, const BlockWeights& weights, const TensorView& hidden);
  void head(const ConstTensorView& hidden, const TensorView& logits);
  void rotate(const nn::RotarySpec& spec, const TensorView& qkv, int64_t heads);
  Tensor normalize(nn::NormKind kind, float epsilon, const NormWeights& norm, const ConstTensorView& x);
  Tensor project(const LinearWeights& linear, const ConstTensorView& x);
  Tensor activations(const Shape& shape) const;

  DeviceContext& device_;
  models::TransformerSpec spec_;
  const models::ParameterReader* reader_;
  DType stored_, compute_;
  WeightLoader loader_;
  NormWeights head_norm_;
  Tensor head_bias_;
  std::vector<std::pair<nn::RotarySpec, nn::RotaryTable>> rotary_;
  KvCache cache_;
  WeightUnits units_;  // last: a fetch may still run when the others go
  int64_t length_ = 0;
};

}  // namespace aleph::infer
