#include "aleph/models/transformer_spec.h"

#include <fmt/format.h>

namespace aleph::models {
namespace {

/// Collects names under one prefix.
class Collector {
 public:
  explicit Collector(std::string prefix) : prefix_(std::move(prefix)) {}

  void norm(const std::string& name, int64_t n, nn::NormKind kind) {
    add(name + ".weight", Shape{n});
    if (kind == nn::NormKind::kLayerNorm) add(name + ".bias", Shape{n});
  }
  void linear(const std::string& name, int64_t out, int64_t in, bool bias) {
    add(name + ".weight", Shape{out, in});
    if (bias) add(name + ".bias", Shape{out});
  }
  void add(const std::string& name, const Shape& shape) { shapes_.push_back({prefix_ + name, shape}); }
  std::vector<NamedShape> take() { return std::move(shapes_); }

 private:
  std::string prefix_;
  std::vector<NamedShape> shapes_;
};

void append(std::vector<NamedShape>& all, std::vector<NamedShape> part) {
  all.insert(all.end(), std::make_move_iterator(part.begin()), std::make_move_iterator(part.end()));
}

}  // namespace

std::vector<NamedShape> embedding_shapes(const TransformerSpec& spec) {
  const nn::EmbeddingSpec& embedding = spec.embedding;
  Collector shapes("embedding.");
  shapes.add("tokens.weight", Shape{embedding.vocab_size, embedding.hidden_size});
  if (embedding.learned_positions > 0)
    shapes.add("positions.weight", Shape{embedding.learned_positions, embedding.hidden_size});
  return shapes.take();
}

std::vector<NamedShape> block_shapes(const TransformerSpec& spec, int64_t index) {
  const nn::BlockSpec& block = spec.blocks.at(static_cast<size_t>(index));
  const int64_t hidden = block.hidden_size, inner = block.intermediate_size;
  Collector shapes(fmt::format("blocks.{}.", index));
  shapes.norm("attention_norm", hidden, block.norm);
  shapes.linear("attention.qkv", (block.heads + 2 * block.kv_heads) * block.head_dim, hidden, block.qkv_bias);
  shapes.linear("attention.output", hidden, block.heads * block.head_dim, block.attention_output_bias);
  shapes.norm("mlp_norm", hidden, block.norm);
  shapes.linear("mlp.up", block.gated_mlp ? 2 * inner : inner, hidden, block.mlp_bias);
  shapes.linear("mlp.down", hidden, inner, block.mlp_bias);
  return shapes.take();
}

std::vector<NamedShape> head_shapes(const TransformerSpec& spec) {
  const nn::HeadSpec& head = spec.head;
  Collector shapes("head.");
  shapes.norm("norm", head.hidden_size, head.norm);
  if (!head.tied) shapes.add("output.weight", Shape{head.vocab_size, head.hidden_size});
  if (head.output_bias) shapes.add("output.bias", Shape{head.vocab_size});
  return shapes.take();
}

std::vector<NamedShape> parameter_shapes(const TransformerSpec& spec) {
  std::vector<NamedShape> all = embedding_shapes(spec);
  for (int64_t i = 0; i < static_cast<int64_t>(spec.blocks.size()); ++i) append(all, block_shapes(spec, i));
  append(all, head_shapes(spec));
  return all;
}

int64_t parameter_count(const TransformerSpec& spec) {
  int64_t count = 0;
  for (const NamedShape& parameter : parameter_shapes(spec)) count += parameter.shape.elements();
  return count;
}

}  // namespace aleph::models
