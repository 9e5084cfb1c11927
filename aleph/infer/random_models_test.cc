// Random models of every family: what inference computes is what training computes, token for token.
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "aleph/base/json.h"
#include "aleph/base/random.h"
#include "aleph/infer/model.h"
#include "aleph/models/registry.h"
#include "aleph/nn/transformer.h"

namespace aleph::infer {
namespace {

using models::TransformerSpec;

/// Random values by parameter, for both sides.
class RandomWeights final : public models::ParameterReader {
 public:
  RandomWeights(const TransformerSpec& spec, uint64_t seed) {
    for (const models::NamedShape& parameter : models::parameter_shapes(spec)) {
      const RandomStream random({.seed = seed, .stream = stable_hash(parameter.name)});
      std::vector<float>& all = values_[parameter.name];
      const bool norm = parameter.name.find("norm.weight") != std::string::npos;
      for (int64_t i = 0; i < parameter.shape.elements(); ++i)
        all.push_back((norm ? 1.0f : 0.0f) + 0.3f * random.normal(static_cast<uint64_t>(i)));
    }
  }
  void read_rows(const std::string& parameter, int64_t row_begin, const TensorView& dst) const override {
    const int64_t columns = dst.shape().rank() == 1 ? 1 : dst.shape()[1];
    const float* from = values_.at(parameter).data() + row_begin * columns;
    dispatch_float(dst.dtype(), [&](auto type) {
      auto* to = dst.data<decltype(type)>();
      for (int64_t i = 0; i < dst.elements(); ++i) to[i] = from_float<decltype(type)>(from[i]);
    });
  }
  void prefetch(const std::string& /*parameter*/) const override {}
  void release(const std::string& /*parameter*/) const override {}
  void round_to(DType dtype) {
    dispatch_float(dtype, [&](auto type) {
      for (auto& [name, all] : values_) {
        for (float& x : all) x = to_float(from_float<decltype(type)>(x));
      }
    });
  }
  std::vector<float>& of(const std::string& parameter) { return values_.at(parameter); }

 private:
  std::map<std::string, std::vector<float>> values_;
};

struct Case {
  const char* name;
  const char* config;
};

const Case kCases[] = {
    {"Gpt2", R"({"model_type": "gpt2", "n_embd": 20, "n_head": 5, "n_layer": 2, "n_positions": 50,
                 "vocab_size": 33, "n_inner": 13, "scale_attn_by_inverse_layer_idx": true})"},
    {"Gpt2Untied", R"({"model_type": "gpt2", "n_embd": 14, "n_head": 1, "n_layer": 1, "n_positions": 50,
                       "vocab_size": 70, "activation_function": "gelu", "tie_word_embeddings": false})"},
    {"GptNeo", R"({"model_type": "gpt_neo", "hidden_size": 18, "num_heads": 3, "num_layers": 3,
                   "max_position_embeddings": 50, "vocab_size": 31, "window_size": 4,
                   "attention_types": [[["local", "global"], 1], [["local"], 1]]})"},
    {"Llama", R"({"model_type": "llama", "hidden_size": 24, "intermediate_size": 29, "num_hidden_layers": 2,
                  "num_attention_heads": 6, "num_key_value_heads": 2, "vocab_size": 41,
                  "max_position_embeddings": 50})"},
    {"LlamaOddHeads", R"({"model_type": "llama", "hidden_size": 15, "intermediate_size": 7, "head_dim": 6,
                          "num_hidden_layers": 2, "num_attention_heads": 3, "num_key_value_heads": 1,
                          "vocab_size": 130, "max_position_embeddings": 50, "attention_bias": true,
                          "mlp_bias": true, "tie_word_embeddings": true,
                          "rope_scaling": {"rope_type": "linear", "factor": 3.0}})"},
    {"LlamaStretched", R"({"model_type": "llama", "hidden_size": 16, "intermediate_size": 64,
                           "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 17,
                           "max_position_embeddings": 50, "rope_theta": 500.0,
                           "rope_scaling": {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0,
                             "high_freq_factor": 4.0, "original_max_position_embeddings": 16}})"}};

constexpr int64_t kSeq = 37;

class RandomModels : public ::testing::TestWithParam<Case> {
 protected:
  RandomModels() {
    const RandomStream random({.seed = 8});
    for (uint64_t i = 0; i < kSeq; ++i)
      ids_.push_back(
          static_cast<int32_t>(random.below(static_cast<uint64_t>(spec_.embedding.vocab_size), 2 * i)));
  }

  /// [seq, vocabulary] of the blocks that training runs.
  std::vector<float> trained_logits() {
    nn::Model model(
        device_, {.embedding = spec_.embedding, .blocks = spec_.blocks, .head = spec_.head, .max_seq = kSeq});
    for (autograd::Parameter* parameter : model.parameters())
      parameter->value = view_of<float>(std::span(weights_.of(parameter->name)), parameter->shape);
    std::vector<int32_t> positions(kSeq), targets(kSeq, -100);
    for (size_t i = 0; i < kSeq; ++i) positions[i] = static_cast<int32_t>(i);
    std::vector<float> logits(static_cast<size_t>(kSeq * spec_.embedding.vocab_size));
    nn::Pass pass{.op = {.device = device_},
                  .batch = {.ids = view_of<int32_t>(std::span(ids_), {1, kSeq}),
                            .positions = view_of<int32_t>(std::span(positions), {kSeq}),
                            .targets = view_of<int32_t>(std::span(targets), {1, kSeq})}};
    pass.logits = view_of<float>(std::span(logits), {1, kSeq, spec_.embedding.vocab_size});
    autograd::Variable hidden;
    for (const auto& block : model.blocks()) hidden = block->forward(pass, hidden);
    return logits;
  }
  void expect_row(const float* found, const std::vector<float>& expected, int64_t row, double tolerance) {
    const int64_t n = spec_.embedding.vocab_size;
    double largest = 1;
    for (int64_t v = 0; v < n; ++v)
      largest = std::max(largest, std::abs(static_cast<double>(expected[static_cast<size_t>(row * n + v)])));
    for (int64_t v = 0; v < n; ++v)
      ASSERT_NEAR(found[v], expected[static_cast<size_t>(row * n + v)], tolerance * largest)
          << "token " << row << " " << v;
  }

  DeviceContext device_{DeviceContext::Options{}};
  TransformerSpec spec_ = models::read_spec(parse_json(GetParam().config, "config"), "config");
  RandomWeights weights_{spec_, 3};
  std::vector<int32_t> ids_;
};

TEST_P(RandomModels, LogitsAreThoseOfTraining) {
  const std::vector<float> expected = trained_logits();
  for (const WeightHome home : {WeightHome::kDevice, WeightHome::kHost}) {
    Model model(device_, spec_, &weights_, {.home = home, .capacity = kSeq});
    const Tensor all = model.forward_logits(ids_);
    for (int64_t row = 0; row < kSeq; ++row)
      expect_row(all.view().data<float>() + row * spec_.embedding.vocab_size, expected, row, 2e-5);
  }
}

TEST_P(RandomModels, AnyCutOfASequenceGivesTheSameTokens) {
  const std::vector<float> expected = trained_logits();
  Model model(device_, spec_, &weights_, {.capacity = kSeq});
  const RandomStream random({.seed = 12});
  uint64_t drawn = 0;
  for (int trial = 0; trial < 8; ++trial) {
    // Goes back to somewhere and on from there, in pieces.
    const auto kept =
        static_cast<int64_t>(random.below(static_cast<uint64_t>(model.length()) + 1, 2 * drawn++));
    model.truncate(kept);
    EXPECT_EQ(model.length(), kept);
    for (int64_t begin = kept; begin < kSeq;) {
      const auto count =
          static_cast<int64_t>(random.below(static_cast<uint64_t>(kSeq - begin), 2 * drawn++)) + 1;
      const Tensor logits =
          model.forward(std::span(ids_).subspan(static_cast<size_t>(begin), static_cast<size_t>(count)));
      begin += count;
      expect_row(logits.view().data<float>(), expected, begin - 1, 2e-5);
    }
    EXPECT_EQ(model.length(), kSeq);
  }
}

TEST_P(RandomModels, HalfIsOnlyStoredAndBfloatComesClose) {
  for (const DType dtype : {DType::kF16, DType::kBF16}) {
    weights_.round_to(dtype);
    const std::vector<float> expected = trained_logits();
    Model model(device_, spec_, &weights_, {.dtype = dtype, .capacity = kSeq});
    const Tensor all = model.forward_logits(ids_);
    for (int64_t row = 0; row < kSeq; ++row)
      expect_row(all.view().data<float>() + row * spec_.embedding.vocab_size, expected, row,
                 dtype == DType::kF16 ? 2e-5 : 0.2);
  }
}

INSTANTIATE_TEST_SUITE_P(Families, RandomModels, ::testing::ValuesIn(kCases),
                         [](const auto& random_case) { return std::string(random_case.param.name); });

}  // namespace
}  // namespace aleph::infer
