#include "aleph/models/weights.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "aleph/base/error.h"
#include "aleph/base/json.h"
#include "aleph/base/parallel.h"
#include "aleph/base/text_util.h"
#include "aleph/io/file.h"
#include "aleph/models/convert_rows.h"
#include "aleph/models/registry.h"

namespace aleph::models {
namespace {

constexpr int64_t kPieceElements = 1 << 20, kReadElements = 1 << 14;
constexpr int64_t kMaxShardBytes = 5'000'000'000;

bool convertible(const std::optional<DType>& type) {
  return type == DType::kF32 || type == DType::kBF16 || type == DType::kF16;
}

bool same_sizes(const std::vector<int64_t>& found, const Shape& expected) {
  return std::equal(found.begin(), found.end(), expected.sizes().begin(), expected.sizes().end());
}

/// Elements of a tensor from `first` on, converted a piece at a time in a buffer that the cache holds.
void read_elements(const checkpoint::SafetensorsFile& file, const std::string& name, int64_t first,
                   const TensorView& dst) {
  const DType stored = *file.info(name).type;
  const int64_t element = dtype_bytes(stored);
  if (stored == dst.dtype())
    return file.read(name, first * element, {dst.raw(), static_cast<size_t>(dst.bytes())});
  const TensorView flat = dst.reshape({dst.elements()});
  parallel_for(dst.elements(), kReadElements, [&](int64_t begin, int64_t end) {
    std::array<float, kReadElements> buffer;  // of any type that weights have: none is larger
    for (int64_t at = begin; at < end; at += kReadElements) {
      const int64_t count = std::min(kReadElements, end - at);
      const TensorView piece(reinterpret_cast<std::byte*>(buffer.data()), {count}, stored);
      file.read(name, (first + at) * element, {piece.raw(), static_cast<size_t>(piece.bytes())});
      convert_elements(piece, flat.slice(at, count));
    }
  });
}

/// Rows [begin, begin + count) of a binding's part of its parameter.
void read_binding(const checkpoint::SafetensorsFile& file, const TensorBinding& binding, int64_t begin,
                  const TensorView& dst) {
  const std::string& name = binding.checkpoint_name;
  if (binding.transposed) return convert_transposed(file.tensor(name), begin, dst);
  read_elements(file, name, begin * (dst.elements() / std::max<int64_t>(1, dst.shape()[0])), dst);
}

}  // namespace

WeightSource::WeightSource(checkpoint::ModelFiles files, const TransformerSpec& spec)
    : files_(std::move(files)) {
  for (TensorBinding& binding : checkpoint_map(spec)) {
    binding.checkpoint_name = resolve(spec, binding);
    check(binding);
    bindings_[binding.parameter].push_back(std::move(binding));
  }
  note_extras(spec);
  stored_dtype_ = *files_.info(bindings_of("embedding.tokens.weight").front().checkpoint_name).type;
}

std::string WeightSource::resolve(const TransformerSpec& spec, const TensorBinding& binding) const {
  std::string bare = without_prefix(spec, binding.checkpoint_name);
  return !files_.contains(binding.checkpoint_name) && files_.contains(bare) ? bare : binding.checkpoint_name;
}

void WeightSource::check(const TensorBinding& binding) const {
  const checkpoint::TensorInfo& info = files_.info(binding.checkpoint_name);
  if (same_sizes(info.shape, binding.checkpoint_shape) && convertible(info.type)) return;
  throw Error(
      fmt::format("{}: tensor '{}'", files_.file_of(binding.checkpoint_name).path(), binding.checkpoint_name),
      info.to_string(),
      fmt::format("F32, BF16 or F16 {}, as config.json says", binding.checkpoint_shape.to_string()));
}

void WeightSource::note_extras(const TransformerSpec& spec) {
  std::set<std::string> used;
  for (const auto& [parameter, bindings] : bindings_)
    for (const TensorBinding& binding : bindings) used.insert(binding.checkpoint_name);
  std::vector<std::string> extras;
  for (const std::string& name : files_.names())
    if (!used.contains(name) && !is_known_extra(spec, name)) extras.push_back(name);
  if (extras.empty()) return;
  notes_.push_back(fmt::format("{} tensor{} of the checkpoint ({}{}) belong{} to no part of a {} model",
                               extras.size(), extras.size() == 1 ? "" : "s", printable(extras.front()),
                               extras.size() == 1 ? "" : ", ...", extras.size() == 1 ? "s" : "",
                               spec.family));
}

const std::vector<TensorBinding>& WeightSource::bindings_of(const std::string& parameter) const {
  const auto found = bindings_.find(parameter);
  ALEPH_CHECK(found != bindings_.end(), "no parameter '{}'", parameter);
  return found->second;
}

void WeightSource::read_rows(const std::string& parameter, int64_t row_begin, const TensorView& dst) const {
  const int64_t row_end = row_begin + dst.shape()[0];
  int64_t filled = row_begin;
  for (const TensorBinding& binding : bindings_of(parameter)) {
    const int64_t begin = std::max(row_begin, binding.row_begin);
    const int64_t end = std::min(row_end, binding.row_begin + binding.rows);
    if (begin >= end) continue;
    read_binding(files_.file_of(binding.checkpoint_name), binding, begin - binding.row_begin,
                 dst.slice(begin - row_begin, end - begin));
    filled = end;
  }
  ALEPH_CHECK(filled == row_end, "rows {} to {} of '{}'", row_begin, row_end, parameter);
}

void WeightSource::prefetch(const std::string& parameter) const {
  for (const TensorBinding& binding : bindings_of(parameter)) files_.prefetch(binding.checkpoint_name);
}

void WeightSource::release(const std::string& parameter) const {
  for (const TensorBinding& binding : bindings_of(parameter)) files_.release(binding.checkpoint_name);
}

namespace {

/// The part of a parameter that one tensor is, piece by piece.
class TensorPieces {
 public:
  TensorPieces(checkpoint::ModelWriter& writer, DType dtype) : writer_(writer), dtype_(dtype) {}

  void write(const TensorBinding& binding, const ConstTensorView& values) {
    const ConstTensorView part = values.slice(binding.row_begin, binding.rows);
    const int64_t rows = binding.checkpoint_shape[0];
    const int64_t columns = binding.checkpoint_shape.elements() / std::max<int64_t>(1, rows);
    const int64_t step = std::max<int64_t>(1, kPieceElements / std::max<int64_t>(1, columns));
    for (int64_t row = 0; row < rows; row += step) {
      const int64_t count = std::min(step, rows - row);
      const TensorView piece = buffer(Shape{count, columns});
      if (binding.transposed) {
        convert_transposed(part, row, piece);
      } else {
        convert_elements(part.slice(row, count), piece);
      }
      writer_.write(binding.checkpoint_name, row * columns * dtype_bytes(dtype_),
                    {piece.raw(), static_cast<size_t>(piece.bytes())});
    }
  }

 private:
  TensorView buffer(const Shape& shape) {
    const auto bytes = static_cast<size_t>(shape.elements() * dtype_bytes(dtype_));
    if (buffer_.size() < bytes) buffer_.resize(bytes);
    return TensorView(buffer_.data(), shape, dtype_);
  }

  checkpoint::ModelWriter& writer_;
  DType dtype_;
  std::vector<std::byte> buffer_;
};

Json made_generation_config(const TransformerSpec& spec) {
  Json config = {{"_from_model_config", true}};
  if (spec.bos_id) config["bos_token_id"] = *spec.bos_id;
  if (spec.pad_id) config["pad_token_id"] = *spec.pad_id;
  if (spec.eos_ids.size() == 1) config["eos_token_id"] = spec.eos_ids.front();
  if (spec.eos_ids.size() > 1) config["eos_token_id"] = spec.eos_ids;
  return config;
}

const char* torch_name(DType dtype) {
  if (dtype == DType::kBF16) return "bfloat16";
  return dtype == DType::kF16 ? "float16" : "float32";
}

}  // namespace

nlohmann::json saved_config(const nlohmann::json& config, const TransformerSpec& spec, DType dtype) {
  Json saved = config;
  saved.erase("_name_or_path");
  if (saved.contains("torch_dtype")) saved["torch_dtype"] = torch_name(dtype);
  if (saved.contains("dtype") || !saved.contains("torch_dtype")) saved["dtype"] = torch_name(dtype);
  if (!saved.contains("architectures") || !saved["architectures"].is_array() ||
      saved["architectures"].empty())
    saved["architectures"] = {find_family(spec.family, "model").architecture};
  saved["model_type"] = spec.family;
  return saved;
}

struct ModelSaver::State {
  explicit State(const WriteModelArgs& a)
      : args(a), writer(a.directory, entries(), kMaxShardBytes, a.calls), pieces(writer, a.dtype) {}

  std::vector<checkpoint::TensorEntry> entries() {
    std::vector<checkpoint::TensorEntry> all;
    for (const TensorBinding& binding : checkpoint_map(*args.spec)) {
      all.push_back({binding.checkpoint_name, args.dtype, binding.checkpoint_shape});
      bindings[binding.parameter].push_back(binding);
    }
    for (const NamedShape& parameter : parameter_shapes(*args.spec)) shapes[parameter.name] = parameter.shape;
    return all;
  }

  WriteModelArgs args;
  std::unordered_map<std::string, std::vector<TensorBinding>> bindings;  // by parameter
  std::unordered_map<std::string, Shape> shapes;                         // by parameter
  checkpoint::ModelWriter writer;
  TensorPieces pieces;
};

ModelSaver::ModelSaver(const WriteModelArgs& args) : state_(std::make_unique<State>(args)) {}
ModelSaver::~ModelSaver() = default;

void ModelSaver::write(const std::string& parameter, const ConstTensorView& values) {
  const auto shape = state_->shapes.find(parameter);
  ALEPH_CHECK(shape != state_->shapes.end(), "no parameter '{}'", parameter);
  ALEPH_CHECK(values.elements() == shape->second.elements(), "'{}' is {}, expected {}", parameter,
              values.shape().to_string(), shape->second.to_string());
  for (const TensorBinding& binding : state_->bindings[parameter])
    state_->pieces.write(binding, values.reshape(shape->second));
}

void ModelSaver::finish() {
  const WriteModelArgs& args = state_->args;
  io::remove_all(args.directory / "config.json", args.calls);
  io::sync_directory(args.directory, args.calls);
  state_->writer.finish();
  const std::filesystem::path kept = args.source / "generation_config.json";
  const bool keep = !args.source.empty() && std::filesystem::exists(kept);
  io::write_file_atomically(
      args.directory / "generation_config.json",
      keep ? io::read_file(kept, 1 << 20) : made_generation_config(*args.spec).dump(2) + "\n", args.calls);
  if (!args.tokenizer.empty()) checkpoint::copy_tokenizer_files(args.tokenizer, args.directory, args.calls);
  io::write_file_atomically(args.directory / "config.json",
                            saved_config(*args.config, *args.spec, args.dtype).dump(2) + "\n", args.calls);
}

void write_model(const WriteModelArgs& args, const ParameterValues& values) {
  ModelSaver saver(args);
  for (const NamedShape& parameter : parameter_shapes(*args.spec))
    saver.write(parameter.name, values(parameter.name));
  saver.finish();
}

}  // namespace aleph::models
