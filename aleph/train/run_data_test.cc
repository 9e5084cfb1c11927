// Text files to steps, models in and out of directories, and loss on held-out text.
#include "aleph/train/run_data.h"

#include <gmock/gmock.h>

#include <cmath>

#include "aleph/text/tokenizer.h"
#include "aleph/train/evaluation.h"
#include "aleph/train/model_setup.h"
#include "aleph/train/runtime.h"
#include "aleph/train/testing.h"

namespace aleph::train {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::random_text;

class RunDataTest : public ::testing::Test {
 protected:
  RunData load() {
    return RunData(config_, read_model_setup(config_).spec, resolve_batch(config_, 1), 1, ledger_);
  }
  std::string fault() {
    return fault_of([&] { load(); });
  }
  std::vector<int32_t> encoded(const std::string& text) const {
    return text::Tokenizer::load(tokenizer_directory(config_)).encode(text, {.add_special_tokens = false});
  }

  testing::SmallWorld world_;
  TrainConfig config_ = world_.config();
  MemoryLedger ledger_{MemoryTier::kHost, 0};
};

std::vector<int32_t> ids_of(const TokenStream& stream) {
  return {stream.tokens.begin(), stream.tokens.end()};
}

TEST_F(RunDataTest, TokensAreThoseOfTheTokenizer) {
  RunData data = load();
  EXPECT_EQ(ids_of(data.train()), encoded(random_text(300)));
  EXPECT_EQ(data.train().documents, 1);
  EXPECT_EQ(data.train().bytes, static_cast<int64_t>(random_text(300).size()));
  EXPECT_TRUE(data.eval().tokens.empty());
  EXPECT_EQ(data.eval_loader(), nullptr);
  EXPECT_EQ(data.bytes(), ledger_.live());
  EXPECT_EQ(data.bytes(), 2 * 4096) << "a page of tokens, a page for the order of rows";
  EXPECT_EQ(data.total_steps(), 4);
}

TEST_F(RunDataTest, EpochsGiveStepsWhereNoneAreGiven) {
  config_.steps.reset();
  for (const double epochs : {0.01, 0.5, 1.0, 2.5}) {
    config_.epochs = epochs;
    RunData data = load();
    const double exact = epochs * static_cast<double>(data.train().tokens.size() / 16) / 2;
    EXPECT_EQ(data.total_steps(), std::max<int64_t>(1, static_cast<int64_t>(std::ceil(exact - 1e-9))))
        << epochs;
  }
}

TEST_F(RunDataTest, TheTailOrOtherFilesAreHeldOut) {
  config_.data.eval_split = 0.25;
  const RunData split = load();
  std::vector<int32_t> together = ids_of(split.train());
  together.insert(together.end(), split.eval().tokens.begin(), split.eval().tokens.end());
  EXPECT_EQ(together, encoded(random_text(300))) << "cut at a line end: tokens do not change";
  EXPECT_NEAR(static_cast<double>(split.eval().bytes), 0.25 * static_cast<double>(random_text(300).size()),
              60);
  ASSERT_NE(split.eval_loader(), nullptr);
  config_.data.eval_files = {world_.write("held out.txt", random_text(50, 9))};
  const RunData files = load();
  EXPECT_EQ(ids_of(files.eval()), encoded(random_text(50, 9)));
  EXPECT_EQ(ids_of(files.train()), encoded(random_text(300))) << "then the split does not count";
}

TEST_F(RunDataTest, DocumentsAreDividedByTheEndOfText) {
  config_.data.files = {
      world_.write("a.jsonl", "{\"text\": \"the wind\"}\r\n\r\n{\"id\": 3, \"text\": \"the ring\"}\r\n"),
      world_ / "text.txt"};
  const RunData data = load();
  std::vector<int32_t> expected = encoded("the wind");
  const int32_t end = *text::Tokenizer::load(tokenizer_directory(config_)).eos_id();
  for (const std::string& text : {std::string("the ring"), random_text(300)}) {
    expected.push_back(end);
    const std::vector<int32_t> ids = encoded(text);
    expected.insert(expected.end(), ids.begin(), ids.end());
  }
  EXPECT_EQ(ids_of(data.train()), expected);
  EXPECT_EQ(data.train().documents, 3);
}

TEST_F(RunDataTest, SaysWhatDoesNotFit) {
  world_.write("config.json", R"({"model_type": "gpt2", "vocab_size": 100, "n_positions": 32, "n_embd": 24,
                                  "n_layer": 1, "n_head": 2})");
  EXPECT_THAT(fault(), AllOf(HasSubstr("tokenizer: found token id"), HasSubstr("ids below 100")));
  config_ = testing::SmallWorld().config();
  EXPECT_THAT(fault(), HasSubstr("config.json: found No such file")) << "a world that is gone";
  testing::SmallWorld world;
  config_ = world.config();
  config_.data.files = {world.write("short.txt", "the wind")};
  EXPECT_THAT(fault(), HasSubstr("training data: found"));
  config_ = world.config();
  config_.data.eval_files = {world.write("short.txt", "ring")};
  EXPECT_THAT(fault(), HasSubstr("evaluation data: found"));
  config_.data.eval_files = {world.write("empty.txt", "")};
  EXPECT_THAT(fault(), HasSubstr("empty.txt: found no text"));
  config_ = world.config();
  config_.data.tokenizer = world / "nowhere";
  EXPECT_THAT(fault(), HasSubstr("nowhere"));
}

TEST_F(RunDataTest, TheModelsOwnTokenizerIsUsedUnlessAnotherIsGiven) {
  config_.model = "somewhere";
  EXPECT_EQ(tokenizer_directory(config_), config_.data.tokenizer);
  config_.data.tokenizer.clear();
  EXPECT_EQ(tokenizer_directory(config_), "somewhere");
}

/// A model of the small world on an engine.
class SmallEngine {
 public:
  explicit SmallEngine(const TrainConfig& config)
      : runtime_(config),
        setup_(read_model_setup(config)),
        model_(runtime_.device(), model_options(setup_.spec, 16)),
        rule_(make_update_rule(config)),
        engine_(runtime_.engine_context(), model_, *rule_, {.dtype = config.dtype}) {
    Console quiet({.quiet = true});
    load_weights(setup_, engine_, runtime_.device(), config.seed, quiet);
  }
  std::map<std::string, std::vector<std::byte>> weights() {
    std::map<std::string, std::vector<std::byte>> all;
    engine_.for_each_parameter([&](const autograd::Parameter& parameter, const ConstTensorView& values) {
      all[parameter.name].assign(values.raw(), values.raw() + values.bytes());
    });
    return all;
  }
  zero::Engine& engine() { return engine_; }
  const ModelSetup& setup() const { return setup_; }

 private:
  Runtime runtime_;
  ModelSetup setup_;
  nn::Model model_;
  std::unique_ptr<optim::UpdateRule> rule_;
  zero::Engine engine_;
};

TEST_F(RunDataTest, ASavedModelLoadsBitForBit) {
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    config_ = world_.config();
    config_.dtype = dtype;
    const std::filesystem::path output = world_ / dtype_name(dtype);
    std::filesystem::create_directories(output);
    SmallEngine first(config_);
    save_model({.setup = first.setup(),
                .engine = first.engine(),
                .dtype = dtype,
                .tokenizer = tokenizer_directory(config_),
                .output = output});
    EXPECT_TRUE(std::filesystem::exists(output / "vocab.json")) << "the tokenizer goes with the model";
    config_.init_config.clear();
    config_.model = output;
    config_.data.tokenizer.clear();
    config_.seed = 99;
    SmallEngine second(config_);
    EXPECT_EQ(second.setup().spec, first.setup().spec);
    EXPECT_EQ(second.weights(), first.weights());
    EXPECT_EQ(ids_of(load().train()), encoded(random_text(300)));
  }
}

TEST_F(RunDataTest, ModelsThatCannotBeReadAreNamed) {
  config_.init_config = world_ / "none.json";
  EXPECT_THAT(fault_of([&] { read_model_setup(config_); }), HasSubstr("none.json"));
  config_.init_config = world_.write("broken.json", "{\"model_type\": ");
  EXPECT_THAT(fault_of([&] { read_model_setup(config_); }), HasSubstr("broken.json"));
  config_.model = world_ / "";
  config_.init_config.clear();
  EXPECT_THAT(fault_of([&] { SmallEngine engine(config_); }), HasSubstr("safetensors"));
  const models::TransformerSpec spec = read_model_setup(world_.config()).spec;
  EXPECT_THAT(fault_of([&] { model_options(spec, 33); }),
              HasSubstr("--seq-len: found 33, expected at most 32"));
  EXPECT_EQ(model_options(spec, 32).max_seq, 32);
}

TEST_F(RunDataTest, EvaluationIsTheMeanOverAllTargets) {
  SmallEngine small(config_);
  const RunData data = load();
  for (const int64_t micro_batch : {1, 2, 3, 1000}) {
    const EvalLoader loader(data.train().tokens, 16, micro_batch);
    const EvalRecord record = evaluate(small.engine(), loader, 16, 0.3);
    double sum = 0;
    for (int64_t row = 0; row < loader.rows(); ++row) {
      const auto ids =
          std::span<const int32_t>(data.train().tokens).subspan(static_cast<size_t>(16 * row), 16);
      sum += small.engine().evaluate({.ids = ids, .rows = 1, .seq = 16}).loss_sum;
    }
    EXPECT_EQ(record.tokens, 15 * loader.rows());
    EXPECT_NEAR(record.loss, sum / static_cast<double>(record.tokens), 1e-6);
    EXPECT_NEAR(record.loss, std::log(280.0), 0.2) << "an untrained model knows nothing";
    EXPECT_DOUBLE_EQ(record.nats_per_byte, 0.3 * record.loss);
    EXPECT_GT(record.seconds, 0);
  }
}

}  // namespace
}  // namespace aleph::train
