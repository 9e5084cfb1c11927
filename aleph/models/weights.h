// Parameters out of and into Hugging Face model directories.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <unordered_map>
#include <vector>

#include "aleph/checkpoint/model_files.h"
#include "aleph/models/checkpoint_map.h"
#include "aleph/models/transformer_spec.h"
#include "aleph/tensor/tensor.h"

namespace aleph::models {

/// Where parameter values come from. Names and shapes as in nn/block.h.
class ParameterReader {
 public:
  virtual ~ParameterReader() = default;
  /// Rows [row_begin, row_begin + dst.shape()[0]) of a matrix, or elements of a vector, converted to the
  /// dtype of dst (fp32, bf16 or fp16). dst is [rows, in] or [n]. May be called from several threads.
  virtual void read_rows(const std::string& parameter, int64_t row_begin, const TensorView& dst) const = 0;
  /// The values will be read soon; the next call may go on before they have arrived.
  virtual void prefetch(const std::string& parameter) const = 0;
  /// The values will not be needed soon.
  virtual void release(const std::string& parameter) const = 0;
};

/// The weights of a directory, under the names of the model's parameters. They are read a piece at a time, or
/// mapped where they stand transposed: reading costs no memory besides dst.
class WeightSource final : public ParameterReader {
 public:
  /// Checks that every tensor is there with the right shape and a type that can be converted. Throws Error
  /// naming file, tensor, what was found and what is expected.
  WeightSource(checkpoint::ModelFiles files, const TransformerSpec& spec);
  static WeightSource open(const std::filesystem::path& directory, const TransformerSpec& spec) {
    return WeightSource(checkpoint::ModelFiles::open(directory), spec);
  }

  /// Fills a whole parameter.
  void read(const std::string& parameter, const TensorView& dst) const { read_rows(parameter, 0, dst); }
  void read_rows(const std::string& parameter, int64_t row_begin, const TensorView& dst) const override;
  void prefetch(const std::string& parameter) const override;
  void release(const std::string& parameter) const override;

  /// The type the token embedding is stored in.
  DType stored_dtype() const { return stored_dtype_; }
  /// Lines to say once: tensors that belong to no parameter.
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  std::string resolve(const TransformerSpec& spec, const TensorBinding& binding) const;
  void check(const TensorBinding& binding) const;
  void note_extras(const TransformerSpec& spec);
  const std::vector<TensorBinding>& bindings_of(const std::string& parameter) const;

  checkpoint::ModelFiles files_;
  std::unordered_map<std::string, std::vector<TensorBinding>> bindings_;  // by parameter, in order of rows
  std::vector<std::string> notes_;
  DType stored_dtype_ = DType::kF32;
};

struct WriteModelArgs {
  std::filesystem::path directory;
  const TransformerSpec* spec = nullptr;
  const nlohmann::json* config = nullptr;  ///< the config.json the model was made from
  DType dtype = DType::kF32;               ///< of the saved tensors
  std::filesystem::path source;            ///< directory whose generation_config.json is kept; may be empty
  std::filesystem::path tokenizer;         ///< directory whose tokenizer files are copied; may be empty
  io::SystemCalls* calls = nullptr;
};
/// Writes a model directory so that transformers loads it. Weights stand under temporary names until finish,
/// which removes the config.json of an earlier model first and writes the new one last: a directory with a
/// config.json holds all of one model, whatever happened while it was saved.
class ModelSaver {
 public:
  /// Takes the disk space. What `args` points to must live as long as the saver. Throws Error when the disk
  /// is full or cannot be written.
  explicit ModelSaver(const WriteModelArgs& args);
  ~ModelSaver();

  /// A whole parameter, fp32, bf16 or fp16; every parameter once, in any order. Keeps a few megabytes.
  void write(const std::string& parameter, const ConstTensorView& values);
  /// All files are there, and on the disk, when it returns.
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Gives the values of one parameter: fp32, bf16 or fp16; the view is used until the next call.
using ParameterValues = std::function<ConstTensorView(const std::string& parameter)>;

/// ModelSaver for all parameters in the order of parameter_shapes.
void write_model(const WriteModelArgs& args, const ParameterValues& values);

/// The config.json that is saved: that of the model with the dtype that was saved, and the class
/// that loads it where it names none.
nlohmann::json saved_config(const nlohmann::json& config, const TransformerSpec& spec, DType dtype);

}  // namespace aleph::models
