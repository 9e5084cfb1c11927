#include "aleph/cli/verify_reference.h"

#include <algorithm>
#include <limits>
#include <type_traits>

#include "aleph/base/json.h"
#include "aleph/io/json_file.h"

namespace aleph::cli {

namespace {

constexpr std::string_view kGradientPrefix = "gradient.";

std::filesystem::path reference_file(const std::filesystem::path& directory) {
  const std::filesystem::path path = directory / "expected.safetensors";
  if (!std::filesystem::exists(path) || !std::filesystem::exists(directory / "expected.json"))
    throw Error(directory.string(), "no expected.json and expected.safetensors",
                "reference outputs beside the model");
  return path;
}

/// A number that a T holds; integers are token ids.
template <typename T>
bool holds(const Json& value) {
  if constexpr (std::is_integral_v<T>)
    return value.is_number_integer() && value.get<double>() >= 0 &&
           value.get<double>() <= static_cast<double>(std::numeric_limits<T>::max());
  return value.is_number();
}

template <typename T>
std::vector<T> numbers(const Json& json, const char* key, const std::string& object) {
  if (!json.contains(key) || !json[key].is_array())
    throw Error(object, fmt::format("no list '{}'", key), "numbers");
  std::vector<T> values;
  for (const Json& value : json[key]) {
    if (!holds<T>(value))
      throw Error(fmt::format("{}: {}", object, key), json_shown(value),
                  std::is_integral_v<T> ? "a token id" : "a number");
    values.push_back(value.get<T>());
  }
  return values;
}

const Json& section(const Json& json, const char* key, const std::string& object) {
  if (!json.contains(key) || !json[key].is_object())
    throw Error(object, fmt::format("no '{}'", key), "an object");
  return json[key];
}

CurveOptions read_curve(const Json& train, const std::string& object) {
  CurveOptions curve;
  const auto betas = numbers<double>(train, "betas", object);
  if (betas.size() != 2) throw Error(object + ": betas", fmt::format("{} numbers", betas.size()), "2");
  curve.learning_rate = json_get<double>(train, "lr", object);
  curve.weight_decay = json_get<double>(train, "weight_decay", object);
  curve.clip = json_get<double>(train, "clip_global_norm", object);
  curve.adam.betas = {betas[0], betas[1]};
  curve.adam.epsilon = json_get<double>(train, "eps", object);
  return curve;
}

}  // namespace

Reference::Reference(const std::filesystem::path& directory)
    : directory_(directory), file_(checkpoint::SafetensorsFile::open(reference_file(directory))) {
  const std::string object = (directory / "expected.json").string();
  const Json json = io::parse_json_file(directory / "expected.json");
  const auto task = json_get_or<std::string>(json, "task", "causal-lm", object);
  if (task != "causal-lm") throw Error(object + ": task", "'" + task + "'", "'causal-lm'");
  loss = json_get<double>(json, "loss", object);
  const Json& train = section(json, "train", object);
  losses = numbers<double>(train, "losses", object + ": train");
  curve = read_curve(train, object + ": train");
  const Json& greedy = section(json, "greedy", object);
  greedy_prompt = numbers<int32_t>(greedy, "prompt", object + ": greedy");
  greedy_tokens = numbers<int32_t>(greedy, "tokens", object + ": greedy");
  if (greedy_prompt.empty()) throw Error(object + ": greedy.prompt", "no tokens", "at least one");
  const Shape batches = file_.tensor("train.input_ids").shape();
  if (batches.rank() != 3 || batches[0] < static_cast<int64_t>(losses.size()))
    throw Error(file_.path() + ": train.input_ids", batches.to_string(),
                fmt::format("[{}, batch, seq]", losses.size()));
}

std::span<const float> Reference::floats(const std::string& name, const Shape& shape) const {
  const ConstTensorView tensor = file_.tensor(name);
  if (tensor.dtype() != DType::kF32 || tensor.shape() != shape)
    throw Error(fmt::format("{}: {}", file_.path(), name),
                fmt::format("{} {}", dtype_name(tensor.dtype()), tensor.shape().to_string()),
                "fp32 " + shape.to_string());
  return tensor.span<float>();
}

std::span<const int32_t> Reference::ints(const std::string& name, int rank) const {
  const ConstTensorView tensor = file_.tensor(name);
  if (tensor.dtype() != DType::kI32 || tensor.shape().rank() != rank)
    throw Error(fmt::format("{}: {}", file_.path(), name),
                fmt::format("{} {}", dtype_name(tensor.dtype()), tensor.shape().to_string()),
                fmt::format("int32 with {} dimensions", rank));
  return tensor.span<int32_t>();
}

std::vector<std::string> Reference::gradient_names() const {
  std::vector<std::string> names;
  for (const checkpoint::TensorInfo& tensor : file_.tensors())
    if (tensor.name.starts_with(kGradientPrefix)) names.push_back(tensor.name.substr(kGradientPrefix.size()));
  return names;
}

ReferenceBatch Reference::input() const {
  const std::span<const int32_t> ids = ints("input.input_ids", 2);
  const std::span<const int32_t> labels = ints("input.labels", 2);
  const Shape shape = file_.tensor("input.input_ids").shape();
  if (labels.size() != ids.size())
    throw Error(file_.path() + ": input.labels", fmt::format("{} elements", labels.size()),
                shape.to_string());
  return {.ids = ids, .labels = labels, .rows = shape[0], .seq = shape[1]};
}

ReferenceBatch Reference::train_batch(size_t index) const {
  const std::span<const int32_t> ids = ints("train.input_ids", 3);
  const std::span<const int32_t> labels = ints("train.labels", 3);
  const Shape shape = file_.tensor("train.input_ids").shape();
  if (labels.size() != ids.size())
    throw Error(file_.path() + ": train.labels", fmt::format("{} elements", labels.size()),
                shape.to_string());
  const auto size = static_cast<size_t>(shape[1] * shape[2]);
  return {.ids = ids.subspan(index * size, size),
          .labels = labels.subspan(index * size, size),
          .rows = shape[1],
          .seq = shape[2]};
}

int64_t Reference::longest_sequence() const {
  const auto greedy = static_cast<int64_t>(greedy_prompt.size() + greedy_tokens.size());
  return std::max({input().seq, train_batch(0).seq, greedy});
}

}  // namespace aleph::cli
