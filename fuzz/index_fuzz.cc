// model.safetensors.index.json, beside two shards of two tensors each: model-00001-of-00002.safetensors with
// "a" and "b", model-00002-of-00002.safetensors with "c" and "d".
#include <array>

#include "aleph/checkpoint/model_files.h"
#include "aleph/io/temporary_directory.h"
#include "fuzz/parser.h"

namespace aleph::fuzz {
namespace {

class Model {
 public:
  Model() {
    const Shape shape{2, 2};
    const std::array<float, 4> data = {1, 2, 3, 4};
    std::vector<checkpoint::TensorEntry> entries;
    for (const char* name : {"a", "b", "c", "d"}) entries.push_back({name, DType::kF32, shape});
    checkpoint::ModelWriter writer(directory_.path(), entries, 2 * sizeof data);
    for (const checkpoint::TensorEntry& entry : entries)
      writer.write(entry.name, 0, std::as_bytes(std::span(data)));
    writer.finish();
  }

  const std::filesystem::path& path() const { return directory_.path(); }

 private:
  io::TemporaryDirectory directory_{scratch_root()};
};

// Made before anything is watched.
const Model model;

void parse(std::string_view file) {
  write_scratch((model.path() / "model.safetensors.index.json").string(), file);
  const auto files = checkpoint::ModelFiles::open(model.path());
  parsed();
  for (const std::string& name : files.names()) files.tensor(name);
  files.total_bytes();
}

}  // namespace

const Parser kParser = {.parse = parse};

}  // namespace aleph::fuzz
