// A safetensors file, and all of its tensors.
#include <cstring>

#include "aleph/checkpoint/safetensors.h"
#include "aleph/io/temporary_directory.h"
#include "fuzz/parser.h"

namespace aleph::fuzz {
namespace {

constexpr size_t kLengthBytes = 8;

/// Reads the first and the last byte of all data.
void touch_ends(const checkpoint::SafetensorsFile& file) {
  const auto touch = [](std::span<const std::byte> data) {
    if (data.empty()) return;
    [[maybe_unused]] volatile std::byte read = data.front();
    read = data.back();
  };
  for (const checkpoint::TensorInfo& info : file.tensors()) {
    touch(file.raw(info.name));
    if (!info.type || info.shape.size() > Shape::kMaxRank) continue;
    const ConstTensorView view = file.tensor(info.name);
    touch({view.raw(), static_cast<size_t>(view.bytes())});
  }
}

/// With the length that fits a header up to the last brace: a changed header is then read.
std::string with_fitting_length(std::string_view bytes) {
  std::string fitting(bytes);
  const size_t brace = fitting.rfind('}');
  if (brace == std::string::npos || brace < kLengthBytes) return fitting;
  const uint64_t length = brace + 1 - kLengthBytes;
  std::memcpy(fitting.data(), &length, kLengthBytes);
  return fitting;
}

void parse(std::string_view bytes) {
  static const io::TemporaryDirectory directory(scratch_root());
  static const std::string path = (directory / "model.safetensors").string();
  write_scratch(path, bytes);
  const auto file = checkpoint::SafetensorsFile::open(path);
  parsed();
  touch_ends(file);
}

}  // namespace

const Parser kParser = {.parse = parse, .repair = with_fitting_length};

}  // namespace aleph::fuzz
