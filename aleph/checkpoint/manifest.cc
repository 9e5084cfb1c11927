#include "aleph/checkpoint/manifest.h"

#include <array>
#include <limits>
#include <set>

#include "aleph/base/error.h"
#include "aleph/base/text_util.h"
#include "aleph/checkpoint/chunk_checksums.h"
#include "aleph/checkpoint/crc32c.h"
#include "aleph/checkpoint/safetensors.h"
#include "aleph/io/file.h"

namespace aleph::checkpoint {
namespace {

constexpr const char* kFormat = "aleph-training-checkpoint";
constexpr int64_t kVersion = 1;
constexpr int64_t kMaxManifestBytes = int64_t{1} << 30;
constexpr int64_t kMaxElements = std::numeric_limits<int64_t>::max() / 16;  // byte counts do not overflow
constexpr std::string_view kBeforeChecksum = "{\n \"crc32c\": \"";
constexpr std::string_view kAfterChecksum = "\",";
constexpr size_t kChecksumDigits = 8;

OrderedJson piece_json(const ManifestPiece& entry) {
  return {{"name", entry.piece.name},
          {"dtype", safetensors_dtype(entry.piece.dtype)},
          {"begin", entry.piece.begin},
          {"elements", entry.piece.elements},
          {"crc32c", to_hex(entry.checksums)}};
}

OrderedJson file_json(const ManifestFile& file) {
  OrderedJson pieces = OrderedJson::array();
  for (const ManifestPiece& entry : file.pieces) pieces.push_back(piece_json(entry));
  return {{"name", file.name},
          {"bytes", file.bytes},
          {"header_crc32c", to_hex({&file.header_checksum, 1})},
          {"tensors", pieces}};
}

DType parse_dtype(const std::string& name, const std::string& object) {
  for (const DType dtype :
       {DType::kF32, DType::kBF16, DType::kF16, DType::kI32, DType::kI64, DType::kU8, DType::kF64})
    if (name == safetensors_dtype(dtype)) return dtype;
  throw Error(object, "dtype '" + printable(name) + "'", "F32, BF16, F16, F64, I32, I64 or U8");
}

int64_t count_in(const Json& json, const char* key, int64_t max, const std::string& object) {
  const auto value = json_get<int64_t>(json, key, object);
  if (value < 0 || value > max)
    throw Error(object + ": " + key, std::to_string(value), fmt::format("a number from 0 to {}", max));
  return value;
}

const Json& array_in(const Json& json, const char* key, const std::string& object) {
  if (!json.is_object() || !json.contains(key) || !json.at(key).is_array())
    throw Error(object, fmt::format("no list '{}'", key), "one");
  return json.at(key);
}

ManifestPiece parse_piece(const Json& json, const std::string& object) {
  ManifestPiece entry;
  entry.piece.name = json_get<std::string>(json, "name", object);
  const std::string tensor = fmt::format("{}: tensor '{}'", object, printable(entry.piece.name));
  entry.piece.dtype = parse_dtype(json_get<std::string>(json, "dtype", tensor), tensor);
  entry.piece.begin = count_in(json, "begin", kMaxElements / 2, tensor);
  entry.piece.elements = count_in(json, "elements", kMaxElements / 2, tensor);
  entry.checksums =
      from_hex(json_get<std::string>(json, "crc32c", tensor), chunk_count(entry.piece.bytes()), tensor);
  return entry;
}

/// The text the checksum is about; throws when the first line does not hold it.
std::string_view checked_body(std::string_view text, const std::string& object) {
  const size_t digits = kBeforeChecksum.size();
  const size_t body = digits + kChecksumDigits + kAfterChecksum.size();
  if (text.size() < body || !text.starts_with(kBeforeChecksum))
    throw Error(object, "no checksum in the first line", "a manifest of a training checkpoint");
  const uint32_t expected = from_hex(text.substr(digits, kChecksumDigits), 1, object).front();
  const std::string_view rest = text.substr(digits + kChecksumDigits);
  const uint32_t found = crc32c(std::as_bytes(std::span(rest)));
  if (found != expected)
    throw Error(object, fmt::format("checksum {:08x}", found),
                fmt::format("{:08x}: the manifest is damaged", expected));
  return rest;
}

void check_file_names(const Manifest& manifest, const std::string& object) {
  std::set<std::string> names;
  for (const ManifestFile& file : manifest.files) {
    const bool plain = !file.name.empty() && file.name.find('/') == std::string::npos &&
                       file.name[0] != '.' && printable(file.name, file.name.size()) == file.name;
    if (!plain || !names.insert(file.name).second)
      throw Error(object, "file '" + printable(file.name) + "'", "different file names without directories");
  }
}

}  // namespace

std::string file_entry_text(const ManifestFile& file) { return file_json(file).dump(); }

ManifestFile parse_file_entry(const Json& json, const std::string& object) {
  ManifestFile file;
  file.name = json_get<std::string>(json, "name", object);
  file.bytes = count_in(json, "bytes", std::numeric_limits<int64_t>::max(), object);
  file.header_checksum = from_hex(json_get<std::string>(json, "header_crc32c", object), 1, object).front();
  for (const Json& piece : array_in(json, "tensors", object))
    file.pieces.push_back(parse_piece(piece, object));
  return file;
}

std::string manifest_text(const Manifest& manifest) {
  OrderedJson files = OrderedJson::array();
  for (const ManifestFile& file : manifest.files) files.push_back(file_json(file));
  const OrderedJson json = {{"format", kFormat},
                            {"version", kVersion},
                            {"step", manifest.step},
                            {"world_size", manifest.world_size},
                            {"chunk_bytes", kChunkBytes},
                            {"state", OrderedJson(manifest.state)},
                            {"files", files}};
  const std::string body = std::string(kAfterChecksum) + json.dump(1).substr(1) + "\n";
  const uint32_t checksum = crc32c(std::as_bytes(std::span(body)));
  return std::string(kBeforeChecksum) + to_hex({&checksum, 1}) + body;
}

Manifest parse_manifest(std::string_view text, const std::string& object) {
  checked_body(text, object);
  const Json json = parse_json(text, object);
  const auto format = json_get<std::string>(json, "format", object);
  const auto version = json_get<int64_t>(json, "version", object);
  const auto chunk_bytes = json_get<int64_t>(json, "chunk_bytes", object);
  if (format != kFormat || version != kVersion || chunk_bytes != kChunkBytes)
    throw Error(object, fmt::format("{} version {}, chunks of {}", printable(format), version, chunk_bytes),
                fmt::format("{} version {}, chunks of {}", kFormat, kVersion, kChunkBytes));
  Manifest manifest;
  manifest.step = count_in(json, "step", std::numeric_limits<int64_t>::max(), object);
  manifest.world_size = count_in(json, "world_size", std::numeric_limits<int32_t>::max(), object);
  for (const Json& file : array_in(json, "files", object))
    manifest.files.push_back(parse_file_entry(file, object));
  check_file_names(manifest, object);
  if (static_cast<int64_t>(manifest.files.size()) != manifest.world_size)
    throw Error(object, fmt::format("{} files", manifest.files.size()),
                fmt::format("one for each of {} ranks", manifest.world_size));
  if (json.contains("state")) manifest.state = json.at("state");
  return manifest;
}

Manifest read_manifest(const std::filesystem::path& directory, io::SystemCalls* calls) {
  const std::filesystem::path path = directory / kManifestFile;
  Manifest manifest = parse_manifest(io::read_file(path, kMaxManifestBytes, calls), path.string());
  for (const ManifestFile& file : manifest.files) {
    const int64_t size = io::File::open_read(directory / file.name, calls).size();
    if (size != file.bytes)
      throw Error((directory / file.name).string(), fmt::format("{} bytes", size),
                  fmt::format("{} as its manifest says", file.bytes));
  }
  return manifest;
}

}  // namespace aleph::checkpoint
