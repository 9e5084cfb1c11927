// The blocks of a transformer language model, built from its specification.
#pragma once

#include <span>
#include <vector>

#include "aleph/nn/block.h"
#include "aleph/nn/rotary_tables.h"

namespace aleph::nn {

/// The list of blocks with what they share. Parameters have fixed addresses for the life of the model.
class Model {
 public:
  struct Options {
    EmbeddingSpec embedding;
    std::vector<BlockSpec> blocks;
    HeadSpec head;
    int64_t max_seq = 0;  ///< longest sequence of a batch: size of the rotary tables
  };
  Model(DeviceContext& device, const Options& options);

  std::span<const std::unique_ptr<Block>> blocks() const { return blocks_; }
  const Options& options() const { return options_; }
  /// Every parameter once, in the order of first use.
  std::vector<autograd::Parameter*> parameters() const;

 private:
  const RotaryTable* rotary_table(DeviceContext& device, const BlockSpec& spec);

  Options options_;
  struct NamedTable {
    RotarySpec spec;
    std::unique_ptr<RotaryTable> table;
  };
  std::vector<NamedTable> tables_;
  BlockList blocks_;
};

}  // namespace aleph::nn
