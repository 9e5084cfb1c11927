#include "aleph/train/run_data.h"

#include <algorithm>

#include "aleph/text/tokenizer.h"

namespace aleph::train {

namespace {

void check_vocabulary(const TokenStream& stream, int64_t vocab_size) {
  const auto largest = std::max_element(stream.tokens.begin(), stream.tokens.end());
  if (largest == stream.tokens.end() || *largest < vocab_size) return;
  throw Error("tokenizer", fmt::format("token id {}", *largest),
              fmt::format("ids below {}, the vocabulary of the model", vocab_size));
}

std::unique_ptr<TokenDataset> load_streams(const TrainConfig& config, MemoryLedger& ledger) {
  const text::Tokenizer tokenizer = text::Tokenizer::load(tokenizer_directory(config));
  DatasetOptions options{
      .files = config.data.files,
      .encode = [&](const text::TextPart& part,
                    const text::IdSink& sink) { return tokenizer.encode_part(part, sink); },
      .end_of_text = tokenizer.eos_id(),
      .eval_split = config.data.eval_files.empty() ? config.data.eval_split : 0,
      .ledger = &ledger};
  auto dataset = std::make_unique<TokenDataset>(load_dataset(options));
  if (!config.data.eval_files.empty()) {
    options.files = config.data.eval_files;
    dataset->eval = load_dataset(options).train;
  }
  return dataset;
}

}  // namespace

std::filesystem::path tokenizer_directory(const TrainConfig& config) {
  return config.data.tokenizer.empty() ? config.model : config.data.tokenizer;
}

RunData::RunData(const TrainConfig& config, const models::TransformerSpec& spec, const BatchShape& batch,
                 int64_t world_size, MemoryLedger& ledger)
    : dataset_(load_streams(config, ledger)) {
  check_vocabulary(dataset_->train, spec.embedding.vocab_size);
  check_vocabulary(dataset_->eval, spec.embedding.vocab_size);
  const DataLoader::Options options{.seq_len = config.data.seq_len,
                                    .batch = batch,
                                    .world_size = world_size,
                                    .order = config.data.order,
                                    .seed = config.seed,
                                    .ledger = &ledger};
  loader_ = std::make_unique<DataLoader>(dataset_->train.tokens, options);
  if (!dataset_->eval.tokens.empty())
    eval_loader_ =
        std::make_unique<EvalLoader>(dataset_->eval.tokens, config.data.seq_len, batch.micro_batch);
  total_steps_ = config.steps ? *config.steps : loader_->steps_of_epochs(config.epochs);
}

}  // namespace aleph::train
