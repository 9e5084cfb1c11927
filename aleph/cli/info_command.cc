// aleph info: what a model, checkpoint, tokenizer or data file holds.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>

#include "aleph/base/error.h"
#include "aleph/base/json.h"
#include "aleph/base/text_util.h"
#include "aleph/checkpoint/model_files.h"
#include "aleph/checkpoint/training_checkpoint.h"
#include "aleph/cli/commands.h"
#include "aleph/cli/tools.h"
#include "aleph/io/file.h"
#include "aleph/models/registry.h"
#include "aleph/text/tokenizer.h"
#include "aleph/train/deepspeed_config.h"

namespace aleph::cli {
namespace {

namespace fs = std::filesystem;
using Values = std::vector<std::string>;
constexpr int64_t kLargestText = int64_t{4} << 30;

struct InfoOptions {
  bool tensors = false;
  std::string tokenizer;
};

CommandSyntax syntax(InfoOptions& options) {
  return {.name = "aleph info",
          .summary = "Show what a model, checkpoint, tokenizer, safetensors, DeepSpeed or text file holds.",
          .flags = {{.name = "tensors",
                     .group = "Flags",
                     .value = "",
                     .help = "list every tensor",
                     .arity = Flag::Arity::kSwitch,
                     .set = [&options](const Values&, const std::string&) { options.tensors = true; }},
                    {.name = "tokenizer",
                     .group = "Flags",
                     .value = "DIR",
                     .help = "count the tokens of a text with it",
                     .set = [&options](const Values& values,
                                       const std::string&) { options.tokenizer = values.at(0); }}},
          .positional = "DIR|FILE",
          .examples = {"aleph info smollm2-135m-instruct --tensors"}};
}

void row(const std::string& name, const std::string& value) { fmt::print("{:<22}{}\n", name, value); }

int64_t elements(const checkpoint::TensorInfo& info) {
  int64_t product = 1;
  for (const int64_t size : info.shape) product *= size;
  return product;
}

void show_tensors(const checkpoint::SafetensorsFile& file, bool list) {
  std::map<std::string, int64_t> by_dtype;
  int64_t parameters = 0;
  for (const checkpoint::TensorInfo& info : file.tensors()) {
    by_dtype[info.dtype] += info.bytes;
    parameters += elements(info);
  }
  row("  tensors", fmt::format("{}, {} elements", file.tensors().size(), parameters));
  for (const auto& [dtype, bytes] : by_dtype) row("  " + dtype, format_bytes(bytes));
  if (!list) return;
  for (const checkpoint::TensorInfo& info : file.tensors())
    fmt::print("    {:<60} {}\n", info.name, info.to_string());
}

void show_spec(const models::TransformerSpec& spec) {
  const nn::BlockSpec& block = spec.blocks.front();
  row("architecture", spec.family);
  row("layers", std::to_string(spec.blocks.size()));
  row("hidden size", std::to_string(block.hidden_size));
  row("heads", fmt::format("{} ({} for keys and values) of {}", block.heads, block.kv_heads, block.head_dim));
  row("mlp size", fmt::format("{}{}", block.intermediate_size, block.gated_mlp ? ", gated" : ""));
  row("vocabulary", fmt::format("{}{}", spec.embedding.vocab_size, spec.head.tied ? ", tied" : ""));
  row("context", std::to_string(spec.max_positions));
}

void show_tokenizer(const fs::path& path) {
  const text::Tokenizer tokenizer = text::Tokenizer::load(path);
  const auto name = [&](const std::optional<int32_t>& id) {
    return id ? fmt::format("{} ({})", tokenizer.token(*id).value_or("?"), *id) : std::string("none");
  };
  row("tokenizer", fmt::format("{} tokens", tokenizer.vocab_size()));
  row("  begin, end, pad", fmt::format("{}, {}, {}", name(tokenizer.bos_id()), name(tokenizer.eos_id()),
                                       name(tokenizer.pad_id())));
}

bool has_tokenizer(const fs::path& directory) {
  return fs::exists(directory / "tokenizer.json") || fs::exists(directory / "vocab.json");
}

void show_model(const fs::path& directory, const InfoOptions& options) {
  const fs::path config = directory / "config.json";
  show_spec(models::read_spec(parse_json_file(config), config.string()));
  const checkpoint::ModelFiles files = checkpoint::ModelFiles::open(directory);
  row("weights", fmt::format("{} in {} file{}", format_bytes(files.total_bytes()), files.files().size(),
                             files.files().size() == 1 ? "" : "s"));
  for (const checkpoint::SafetensorsFile& file : files.files()) show_tensors(file, options.tensors);
  if (has_tokenizer(directory)) show_tokenizer(directory);
}

void show_checkpoint(const fs::path& directory, const InfoOptions& options) {
  const checkpoint::CheckpointReader reader(directory);
  int64_t total = 0;
  for (const auto& tensor : reader.tensors()) total += tensor.elements;
  row("training checkpoint", fmt::format("step {}, {} rank{}", reader.step(), reader.world_size(),
                                         reader.world_size() == 1 ? "" : "s"));
  row("  tensors", fmt::format("{}, {} elements", reader.tensors().size(), total));
  reader.verify();
  row("  checksums", "all right");
  if (!options.tensors) return;
  for (const auto& tensor : reader.tensors()) fmt::print("    {:<60} {}\n", tensor.name, tensor.elements);
}

void show_json(const fs::path& path) {
  const Json json = parse_json_file(path);
  if (json.is_object() && json.contains("model_type"))
    return show_spec(models::read_spec(json, path.string()));
  if (json.is_object() && json.contains("model")) return show_tokenizer(path);
  train::TrainConfig config;
  train::read_deepspeed_file(path, config);
  row("DeepSpeed file", path.string());
  for (const auto& [name, source] : config.sources) row("  " + name, "from " + source);
  for (const std::string& note : config.notes) row("  note", note);
}

void show_text(const fs::path& path, const InfoOptions& options) {
  const std::string text = io::read_file(path, kLargestText);
  row("text", path.string());
  row("  bytes", std::to_string(text.size()));
  row("  lines", std::to_string(std::count(text.begin(), text.end(), '\n')));
  if (options.tokenizer.empty()) return;
  const size_t tokens =
      text::Tokenizer::load(options.tokenizer).encode(text, {.add_special_tokens = false}).size();
  row("  tokens",
      fmt::format("{} ({:.2f} bytes a token)", tokens,
                  static_cast<double>(text.size()) / static_cast<double>(std::max<size_t>(tokens, 1))));
}

void show_directory(const fs::path& path, const InfoOptions& options) {
  if (fs::exists(path / "manifest.json")) return show_checkpoint(path, options);
  if (fs::exists(path / "config.json")) return show_model(path, options);
  if (has_tokenizer(path)) return show_tokenizer(path);
  throw Error(path.string(), "none of config.json, manifest.json, tokenizer.json, vocab.json",
              "a model, training checkpoint or tokenizer");
}

}  // namespace

CommandSyntax info_syntax() {
  InfoOptions options;
  return syntax(options);
}

int info_command(const Values& arguments) {
  InfoOptions options;
  const Values paths = parse_flags(syntax(options), arguments);
  if (paths.size() != 1)
    throw UsageError("aleph info", fmt::format("{} paths", paths.size()), "one directory or file");
  const fs::path path = paths[0];
  if (!fs::exists(path)) throw Error(path.string(), "nothing", "a directory or file");
  if (fs::is_directory(path)) {
    show_directory(path, options);
  } else if (path.extension() == ".safetensors") {
    row("safetensors", path.string());
    show_tensors(checkpoint::SafetensorsFile::open(path), options.tensors);
  } else if (path.extension() == ".json") {
    show_json(path);
  } else {
    show_text(path, options);
  }
  return kDone;
}

}  // namespace aleph::cli
