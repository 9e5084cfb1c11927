// The weights of a Hugging Face model directory, whole or in shards.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "aleph/checkpoint/safetensors.h"

namespace aleph::checkpoint {

/// Reads model.safetensors, or the shards of model.safetensors.index.json. Files are mapped: tensors cost no
/// memory of their own. Moves only. Safe to read from several threads.
class ModelFiles {
 public:
  /// Opens and checks all shards. Throws Error naming the file or tensor that is wrong.
  static ModelFiles open(const std::filesystem::path& directory);

  bool contains(std::string_view name) const { return where_.contains(std::string(name)); }
  /// Lives as long as this object. Throws Error as SafetensorsFile::tensor does, with the nearest known name.
  ConstTensorView tensor(std::string_view name) const;
  const TensorInfo& info(std::string_view name) const { return file_of(name).info(name); }
  /// The shard that holds it: its path and info().offset say where to read without the mapping.
  const SafetensorsFile& file_of(std::string_view name) const;
  /// Asks the system to start loading this tensor.
  void prefetch(std::string_view name) const { file_of(name).prefetch(name); }
  /// Tells the system that the pages of this tensor are not needed soon.
  void release(std::string_view name) const { file_of(name).release(name); }

  /// Shard by shard, in the order of the data.
  const std::vector<std::string>& names() const { return names_; }
  const std::vector<SafetensorsFile>& files() const { return files_; }
  int64_t total_bytes() const;

 private:
  void add_all(const std::filesystem::path& path);
  void add_shards(const std::filesystem::path& index);

  std::string directory_;
  std::vector<SafetensorsFile> files_;
  std::vector<std::string> names_;
  std::unordered_map<std::string, size_t> where_;  // name to index in files_
};

/// Writes the weights of a model directory: model.safetensors, or model-00001-of-0000N.safetensors with an
/// index where they exceed `max_shard_bytes`. Everything stands under temporary names until finish.
class ModelWriter {
 public:
  /// Creates the directory and takes the disk space.
  ModelWriter(const std::filesystem::path& directory, const std::vector<TensorEntry>& entries,
              int64_t max_shard_bytes = 5'000'000'000, io::SystemCalls* calls = nullptr);

  /// As SafetensorsWriter::write.
  void write(std::string_view name, int64_t byte_offset, std::span<const std::byte> data);
  void write(std::string_view name, const ConstTensorView& tensor);
  /// Puts all on the disk, then gives the files their names and removes weights of an earlier save.
  void finish();

 private:
  SafetensorsWriter& shard_of(std::string_view name);
  void write_index();
  void remove_stale_files() const;

  std::filesystem::path directory_;
  io::SystemCalls* calls_;
  int64_t total_bytes_ = 0;
  std::vector<SafetensorsWriter> shards_;
  std::unordered_map<std::string, size_t> where_;  // name to index in shards_
};

/// The file that copy_tokenizer_files would replace by one with other contents; empty: none.
std::filesystem::path replaced_tokenizer_file(const std::filesystem::path& from,
                                              const std::filesystem::path& to);

/// Copies what a model directory holds beside config and weights (tokenizer, chat template, generation
/// settings) where present; replaces files in `to`.
void copy_tokenizer_files(const std::filesystem::path& from, const std::filesystem::path& to,
                          io::SystemCalls* calls = nullptr);

}  // namespace aleph::checkpoint
