// Generates text with a Hugging Face directory: load, encode, choose tokens, show them as they come.
//
//   generate DIR PROMPT
#include "aleph/infer/generate.h"

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>

#include "aleph/base/error.h"
#include "aleph/io/json_file.h"
#include "aleph/models/registry.h"
#include "aleph/text/tokenizer.h"

namespace aleph::examples {
namespace {

constexpr int64_t kMaxTokens = 64;

void generate(const std::filesystem::path& directory, const std::string& prompt) {
  const std::filesystem::path config = directory / "config.json";
  const models::TransformerSpec spec = models::read_spec(io::parse_json_file(config), config.string());
  const text::Tokenizer tokenizer = text::Tokenizer::load(directory);
  const models::WeightSource weights = models::WeightSource::open(directory, spec);

  const std::vector<int32_t> ids = tokenizer.encode(prompt);
  const int64_t capacity = infer::sequence_capacity(static_cast<int64_t>(ids.size()), kMaxTokens, spec);
  DeviceContext device({});
  infer::Model model(device, spec, &weights, {.dtype = weights.stored_dtype(), .capacity = capacity});

  text::IncrementalDecoder decoder = tokenizer.incremental_decoder(/*skip_special=*/true);
  for (const int32_t id : ids) fmt::print("{}", decoder.push(id));
  const infer::GenerateOptions options{.sampling = {.temperature = 0.8, .top_p = 0.95, .seed = 1},
                                       .max_tokens = kMaxTokens,
                                       .eos_ids = spec.eos_ids};
  const infer::GenerateResult result = infer::generate(model, ids, options, [&](int32_t id) {
    fmt::print("{}", decoder.push(id));
    std::fflush(stdout);
    return true;
  });
  fmt::print("{}\n", decoder.finish());
  fmt::print(stderr, "{} tokens, {:.1f} tokens/s\n", result.tokens.size(), result.tokens_per_second());
}

}  // namespace
}  // namespace aleph::examples

int main(int argc, char** argv) {
  if (argc != 3) {
    fmt::print(stderr, "usage: generate DIR PROMPT\n");
    return 2;
  }
  try {
    aleph::examples::generate(argv[1], argv[2]);
  } catch (const std::exception& error) {
    fmt::print(stderr, "generate: {}\n", error.what());
    return 1;
  }
  return 0;
}
