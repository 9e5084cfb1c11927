#include "aleph/checkpoint/model_files.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <utility>

#include "aleph/base/error.h"
#include "aleph/base/json.h"
#include "aleph/base/text_util.h"
#include "aleph/io/file.h"
#include "aleph/io/json_file.h"

namespace aleph::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr const char* kWholeFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";
constexpr int64_t kMaxTokenizerBytes = int64_t{1} << 30;

constexpr std::array kTokenizerFiles = {
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.model",
    "chat_template.jinja",
    "generation_config.json",
    "added_tokens.json",
    "vocab.txt",
    "spiece.model",
};

/// A file name inside the directory: nothing that leads out of it, or cannot be shown in one line.
bool plain_shard_name(const std::string& name) {
  return name.size() <= 255 && name.ends_with(".safetensors") && !name.starts_with('.') &&
         name.find('/') == std::string::npos && printable(name, name.size()) == name;
}

/// Tensor names by shard.
std::map<std::string, std::vector<std::string>> read_index(const fs::path& path) {
  const Json index = io::parse_json_file(path);
  const std::string object = path.string();
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object())
    throw Error(object, "no object 'weight_map'", "an index that maps tensors to files");
  std::map<std::string, std::vector<std::string>> shards;
  for (const auto& [tensor, file] : index["weight_map"].items()) {
    if (!file.is_string() || !plain_shard_name(file.get_ref<const std::string&>()))
      throw Error(fmt::format("{}: tensor '{}'", object, printable(tensor)), json_shown(file),
                  "the name of a .safetensors file in the same directory");
    shards[file.get<std::string>()].push_back(tensor);
  }
  return shards;
}

std::string shard_name(size_t index, size_t count) {
  return count == 1 ? kWholeFile : fmt::format("model-{:05}-of-{:05}.safetensors", index + 1, count);
}

/// model-DDDDD-of-DDDDD.safetensors
bool is_shard_name(const std::string& name) {
  constexpr std::string_view kPattern = "model-00000-of-00000.safetensors";
  return std::equal(name.begin(), name.end(), kPattern.begin(), kPattern.end(), [](char c, char pattern) {
    return pattern == '0' ? c >= '0' && c <= '9' : c == pattern;
  });
}

/// Cuts the list so that no shard exceeds the limit unless a single tensor does.
std::vector<std::vector<TensorEntry>> cut_shards(const std::vector<TensorEntry>& entries, int64_t max_bytes) {
  std::vector<std::vector<TensorEntry>> shards(1);
  int64_t bytes = 0;
  for (const TensorEntry& entry : entries) {
    if (!shards.back().empty() && bytes + entry.bytes() > max_bytes) {
      shards.emplace_back();
      bytes = 0;
    }
    shards.back().push_back(entry);
    bytes += entry.bytes();
  }
  return shards;
}

}  // namespace

ModelFiles ModelFiles::open(const fs::path& directory) {
  std::error_code error;
  if (!fs::is_directory(directory, error))
    throw Error(directory.string(), "no directory", "a model directory");
  ModelFiles model;
  model.directory_ = directory.string();
  if (fs::exists(directory / kWholeFile, error)) {
    model.add_all(directory / kWholeFile);
  } else if (fs::exists(directory / kIndexFile, error)) {
    model.add_shards(directory / kIndexFile);
  } else {
    const bool pickled = fs::exists(directory / "pytorch_model.bin", error) ||
                         fs::exists(directory / "pytorch_model.bin.index.json", error);
    throw Error(directory.string(), pickled ? "weights as pytorch_model.bin only" : "no weights",
                fmt::format("{} or {}", kWholeFile, kIndexFile));
  }
  return model;
}

void ModelFiles::add_all(const fs::path& path) {
  files_.push_back(SafetensorsFile::open(path));
  for (const TensorInfo& tensor : files_.back().tensors()) {
    names_.push_back(tensor.name);
    where_.emplace(tensor.name, 0);
  }
}

void ModelFiles::add_shards(const fs::path& index) {
  for (const auto& [file, tensors] : read_index(index)) {
    const fs::path path = index.parent_path() / file;
    std::error_code error;
    if (!fs::exists(path, error))
      throw Error(path.string(), "no such file", fmt::format("the shard that {} names", index.string()));
    files_.push_back(SafetensorsFile::open(path));
    for (const std::string& tensor : tensors) {
      if (!files_.back().contains(tensor))
        throw Error(path.string(), "no tensor '" + printable(tensor) + "'",
                    fmt::format("it there, as {} says", index.string()));
      where_.emplace(tensor, files_.size() - 1);
    }
    for (const TensorInfo& tensor : files_.back().tensors()) {
      const auto found = where_.find(tensor.name);
      if (found != where_.end() && found->second == files_.size() - 1) names_.push_back(tensor.name);
    }
  }
}

const SafetensorsFile& ModelFiles::file_of(std::string_view name) const {
  const auto found = where_.find(std::string(name));
  if (found != where_.end()) return files_[found->second];
  const std::string near = nearest_name(name, names_);
  throw Error(
      directory_, fmt::format("no tensor '{}'", printable(name)),
      near.empty() ? "weights with that name" : fmt::format("it among the weights (there is '{}')", near));
}

ConstTensorView ModelFiles::tensor(std::string_view name) const { return file_of(name).tensor(name); }

int64_t ModelFiles::total_bytes() const {
  int64_t total = 0;
  for (const std::string& name : names_) total += info(name).bytes;
  return total;
}

ModelWriter::ModelWriter(const fs::path& directory, const std::vector<TensorEntry>& entries,
                         int64_t max_shard_bytes, io::SystemCalls* calls)
    : directory_(directory), calls_(calls) {
  io::create_directories(directory, calls);
  const auto shards = cut_shards(entries, max_shard_bytes);
  for (size_t i = 0; i < shards.size(); ++i) {
    const fs::path path = directory / shard_name(i, shards.size());
    shards_.emplace_back(path, shards[i], SafetensorsWriter::Options{.checksums = true, .calls = calls});
    for (const TensorEntry& entry : shards[i]) {
      if (!where_.emplace(entry.name, i).second)
        throw Error(path.string(), "tensor '" + printable(entry.name) + "' twice", "each name once");
      total_bytes_ += entry.bytes();
    }
  }
}

SafetensorsWriter& ModelWriter::shard_of(std::string_view name) {
  const auto found = where_.find(std::string(name));
  ALEPH_CHECK(found != where_.end(), "no entry for tensor '{}'", name);
  return shards_[found->second];
}

void ModelWriter::write(std::string_view name, int64_t byte_offset, std::span<const std::byte> data) {
  shard_of(name).write(name, byte_offset, data);
}

void ModelWriter::write(std::string_view name, const ConstTensorView& tensor) {
  shard_of(name).write(name, tensor);
}

void ModelWriter::finish() {
  for (SafetensorsWriter& shard : shards_) shard.seal();
  if (shards_.size() > 1) {
    // Shards of an earlier save may have the same names: without its index, a mixture is never read.
    io::remove_all(directory_ / kIndexFile, calls_);
    io::sync_directory(directory_, calls_);
  }
  for (SafetensorsWriter& shard : shards_) shard.publish();
  if (shards_.size() > 1) write_index();
  remove_stale_files();
}

void ModelWriter::write_index() {
  OrderedJson index;
  index["metadata"]["total_size"] = total_bytes_;
  index["weight_map"] = OrderedJson::object();
  for (const auto& [name, shard] : std::map(where_.begin(), where_.end()))
    index["weight_map"][name] = shards_[shard].path().filename().string();
  io::write_file_atomically(directory_ / kIndexFile, index.dump(2) + "\n", calls_);
}

void ModelWriter::remove_stale_files() const {
  std::set<std::string> current;
  for (const SafetensorsWriter& shard : shards_) current.insert(shard.path().filename().string());
  if (shards_.size() > 1) current.insert(kIndexFile);
  std::vector<fs::path> stale;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory_)) {
    const std::string name = entry.path().filename().string();
    const bool weights = name == kWholeFile || name == kIndexFile || is_shard_name(name);
    if (weights && !current.contains(name)) stale.push_back(entry.path());
  }
  for (const fs::path& path : stale) io::remove_all(path, calls_);
  if (!stale.empty()) io::sync_directory(directory_, calls_);  // not back after a power cut
}

fs::path replaced_tokenizer_file(const fs::path& from, const fs::path& to) {
  std::error_code error;
  for (const char* name : kTokenizerFiles)
    if (fs::exists(from / name, error) && fs::exists(to / name, error) &&
        io::read_file(from / name, kMaxTokenizerBytes) != io::read_file(to / name, kMaxTokenizerBytes))
      return to / name;
  return {};
}

void copy_tokenizer_files(const fs::path& from, const fs::path& to, io::SystemCalls* calls) {
  std::error_code error;
  if (fs::equivalent(from, to, error)) return;
  io::create_directories(to, calls);
  for (const char* name : kTokenizerFiles)
    if (fs::exists(from / name, error))
      io::write_file_atomically(to / name, io::read_file(from / name, kMaxTokenizerBytes), calls);
}

}  // namespace aleph::checkpoint
