// aleph info: what a model, checkpoint, tokenizer or data file holds.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <string_view>

#include "aleph/base/error.h"
#include "aleph/base/json.h"
#include "aleph/base/text_util.h"
#include "aleph/checkpoint/model_files.h"
#include "aleph/checkpoint/training_checkpoint.h"
#include "aleph/cli/commands.h"
#include "aleph/cli/tools.h"
#include "aleph/io/file.h"
#include "aleph/io/json_file.h"
#include "aleph/models/registry.h"
#include "aleph/text/tokenizer.h"
#include "aleph/text/utf8.h"
#include "aleph/train/dataset.h"
#include "aleph/train/deepspeed_config.h"

namespace aleph::cli {
namespace {

namespace fs = std::filesystem;
using Values = std::vector<std::string>;
constexpr int64_t kLargestText = int64_t{4} << 30;
constexpr size_t kLookedAt = size_t{64} << 10;  // bytes that decide what a file is

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

/// False where the files have no checksums. Throws Error for damage.
bool verify_all(const checkpoint::ModelFiles& files) {
  for (const checkpoint::SafetensorsFile& file : files.files())
    for (const checkpoint::TensorInfo& tensor : file.tensors()) file.verify(tensor.name);
  return std::all_of(files.files().begin(), files.files().end(),
                     [](const auto& file) { return file.has_checksums(); });
}

void show_model(const fs::path& directory, const InfoOptions& options) {
  const fs::path config = directory / "config.json";
  show_spec(models::read_spec(io::parse_json_file(config), config.string()));
  const checkpoint::ModelFiles files = checkpoint::ModelFiles::open(directory);
  row("weights", fmt::format("{} in {} file{}", format_bytes(files.total_bytes()), files.files().size(),
                             files.files().size() == 1 ? "" : "s"));
  for (const checkpoint::SafetensorsFile& file : files.files()) show_tensors(file, options.tensors);
  row("  checksums", verify_all(files) ? "all right" : "none");
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

/// Has one of the keys that DeepSpeed files begin with, or nearly: then what is wrong with it is worth
/// saying.
bool looks_like_deepspeed(const Json& json) {
  const std::vector<std::string> keys = {"train_batch_size",
                                         "train_micro_batch_size_per_gpu",
                                         "gradient_accumulation_steps",
                                         "optimizer",
                                         "scheduler",
                                         "fp16",
                                         "bf16",
                                         "zero_optimization",
                                         "aleph"};
  const auto items = json.items();
  return json.is_object() && std::any_of(items.begin(), items.end(), [&](const auto& item) {
           return !nearest_name(item.key(), keys).empty();
         });
}

void show_deepspeed(const fs::path& path) {
  train::TrainConfig config;
  train::read_deepspeed_file(path, config);
  row("DeepSpeed file", path.string());
  for (const auto& [name, source] : config.sources) row("  " + name, "from " + source);
  for (const std::string& note : config.notes) row("  note", note);
}

void show_json(const fs::path& path) {
  const Json json = io::parse_json_file(path);
  if (json.is_object() && json.contains("model_type"))
    return show_spec(models::read_spec(json, path.string()));
  if (json.is_object() && json.contains("model")) return show_tokenizer(path);
  try {
    show_deepspeed(path);
  } catch (const Error&) {
    if (looks_like_deepspeed(json)) throw;
    throw Error(path.string(), "JSON of no known kind",
                "a model's config.json, a tokenizer.json or a DeepSpeed file");
  }
}

/// The first bytes of a file.
std::string beginning(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw Error(path.string(), "no readable file", "a directory or file");
  std::string bytes(kLookedAt, '\0');
  in.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  bytes.resize(static_cast<size_t>(in.gcount()));
  return bytes;
}

/// A zero byte, or more than one in ten that are neither UTF-8 nor printed.
bool is_binary(std::string_view bytes) {
  size_t strange = 0;
  for (size_t i = 0; i < bytes.size();) {
    const text::Utf8Char one = text::utf8_at(bytes, i);
    if (one.code == 0) return true;
    const bool layout = (one.code >= '\t' && one.code <= '\r') || one.code == 0x1b;
    if (one.code < ' ' && !layout) ++strange;
    i += static_cast<size_t>(one.length);
  }
  return 10 * strange > bytes.size();
}

/// What binary files of others begin with.
std::string kind_of(std::string_view bytes) {
  constexpr std::pair<std::string_view, const char*> kKinds[] = {
      {"GGUF", "gguf: a model of llama.cpp"},
      {"PK\x03\x04", "zip: what torch.save and numpy.savez write, too"},
      {"\x1f\x8b", "gzip: compressed"},
      {"\x28\xb5\x2f\xfd", "zstd: compressed"}};
  for (const auto& [magic, kind] : kKinds) {
    if (bytes.starts_with(magic)) return kind;
  }
  return "";
}

/// Version, tensors and metadata of a GGUF file, little-endian after the first four bytes.
void show_gguf_header(std::string_view bytes) {
  const auto number = [&](size_t at, size_t size) {
    uint64_t value = 0;
    for (size_t i = 0; i < size; ++i) value |= uint64_t{static_cast<uint8_t>(bytes[at + i])} << (8 * i);
    return std::to_string(value);
  };
  if (bytes.size() < 24) return;
  row("  version", number(4, 4));
  row("  tensors", number(8, 8));
  row("  metadata entries", number(16, 8));
}

void show_binary(const fs::path& path, std::string_view bytes) {
  const std::string kind = kind_of(bytes);
  std::error_code unknown;
  const auto found = fs::file_size(path, unknown);
  const std::string size = unknown ? "unknown size" : format_bytes(static_cast<int64_t>(found));
  if (kind.empty()) {
    throw Error(path.string(), fmt::format("a binary file ({}) of no known kind", size),
                "a model, checkpoint, tokenizer, safetensors, DeepSpeed or text file");
  }
  row("binary file", path.string());
  row("  size", size);
  row("  kind", kind);
  if (bytes.starts_with("GGUF")) show_gguf_header(bytes);
  row("  note", "not read by aleph: weights come from safetensors");
}

/// What a tokenizer makes of the text of a file that is trained on: of .jsonl, the text of each line.
void show_tokens(const fs::path& path, const std::string& content, const std::string& tokenizer_path) {
  const text::Tokenizer tokenizer = text::Tokenizer::load(tokenizer_path);
  size_t bytes = 0, tokens = 0;
  const auto count = [&](std::string_view text) {
    bytes += text.size();
    tokens += tokenizer.encode(text, {.add_special_tokens = false}).size();
  };
  if (path.extension() == ".jsonl") {
    train::for_each_document(path, count);
  } else {
    count(content);
  }
  const double per_token = static_cast<double>(bytes) / static_cast<double>(std::max<size_t>(tokens, 1));
  row("  tokens", fmt::format("{} ({:.2f} bytes a token)", tokens, per_token));
}

void show_text(const fs::path& path, const InfoOptions& options) {
  const std::string content = io::read_file(path, kLargestText);
  row("text", path.string());
  row("  bytes", std::to_string(content.size()));
  row("  lines", std::to_string(std::count(content.begin(), content.end(), '\n')));
  if (!options.tokenizer.empty()) show_tokens(path, content, options.tokenizer);
}

void show_directory(const fs::path& path, const InfoOptions& options) {
  if (fs::exists(path / "manifest.json")) return show_checkpoint(path, options);
  if (fs::exists(path / "config.json")) return show_model(path, options);
  if (has_tokenizer(path)) return show_tokenizer(path);
  const std::vector<checkpoint::CheckpointInfo> checkpoints = checkpoint::list_checkpoints(path);
  if (!checkpoints.empty()) return show_checkpoint(checkpoints.back().path, options);
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
  if (!fs::is_directory(path) && !fs::is_regular_file(path))
    throw Error(path.string(), "a pipe or device", "a directory or file");
  if (fs::is_directory(path)) {
    show_directory(path, options);
  } else if (path.extension() == ".safetensors") {
    row("safetensors", path.string());
    show_tensors(checkpoint::SafetensorsFile::open(path), options.tensors);
  } else if (path.extension() == ".json") {
    show_json(path);
  } else if (const std::string bytes = beginning(path); is_binary(bytes)) {
    show_binary(path, bytes);
  } else {
    show_text(path, options);
  }
  return kDone;
}

}  // namespace aleph::cli
