#include "aleph/checkpoint/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <mutex>
#include <utility>

#include "aleph/base/error.h"
#include "aleph/base/json.h"
#include "aleph/base/parallel.h"
#include "aleph/base/text_util.h"
#include "aleph/checkpoint/chunk_checksums.h"
#include "aleph/checkpoint/crc32c.h"

namespace aleph::checkpoint {
namespace {

constexpr int64_t kLengthBytes = 8;
constexpr int64_t kMaxHeaderBytes = 100'000'000;
constexpr size_t kMaxDimensions = 64;  // more is garbage, and would make error messages long
constexpr const char* kMetadataKey = "__metadata__";

struct FileDType {
  const char* name;
  int64_t bits;
  std::optional<DType> type;
};

constexpr std::array kFileDTypes = {
    FileDType{"F32", 32, DType::kF32},     FileDType{"BF16", 16, DType::kBF16},
    FileDType{"F16", 16, DType::kF16},     FileDType{"I32", 32, DType::kI32},
    FileDType{"I64", 64, DType::kI64},     FileDType{"U8", 8, DType::kU8},
    FileDType{"F64", 64, DType::kF64},     FileDType{"BOOL", 8, std::nullopt},
    FileDType{"I8", 8, std::nullopt},      FileDType{"I16", 16, std::nullopt},
    FileDType{"U16", 16, std::nullopt},    FileDType{"U32", 32, std::nullopt},
    FileDType{"U64", 64, std::nullopt},    FileDType{"C64", 64, std::nullopt},
    FileDType{"F8_E4M3", 8, std::nullopt}, FileDType{"F8_E5M2", 8, std::nullopt},
    FileDType{"F8_E8M0", 8, std::nullopt}, FileDType{"F6_E2M3", 6, std::nullopt},
    FileDType{"F6_E3M2", 6, std::nullopt}, FileDType{"F4", 4, std::nullopt},
};

std::string tensor_object(const std::string& path, std::string_view name) {
  return fmt::format("{}: tensor '{}'", path, printable(name));
}

/// A whole number from 0 to 2^63 - 1; nothing where it is something else.
std::optional<int64_t> whole_number(const Json& value) {
  if (!value.is_number_unsigned()) return std::nullopt;
  const auto number = value.get<uint64_t>();
  if (number > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
  return static_cast<int64_t>(number);
}

const Json& member(const Json& entry, const char* key, const std::string& object) {
  const auto found = entry.find(key);
  if (found == entry.end()) throw Error(object, fmt::format("no '{}'", key), "dtype, shape and data_offsets");
  return *found;
}

const FileDType& read_dtype(const Json& value, const std::string& object) {
  if (value.is_string())
    for (const FileDType& dtype : kFileDTypes)
      if (value.get_ref<const std::string&>() == dtype.name) return dtype;
  throw Error(object, "dtype " + json_shown(value), "a dtype of safetensors such as F32 or BF16");
}

std::vector<int64_t> read_shape(const Json& value, const std::string& object) {
  if (!value.is_array() || value.size() > kMaxDimensions)
    throw Error(object, "shape " + json_shown(value), "a list of sizes");
  std::vector<int64_t> shape;
  for (const Json& size : value) {
    const auto number = whole_number(size);
    if (!number) throw Error(object, "shape " + json_shown(value), "sizes that are whole numbers from 0 on");
    shape.push_back(*number);
  }
  return shape;
}

int64_t bytes_of_shape(const std::vector<int64_t>& shape, int64_t bits, const std::string& object) {
  int64_t total = bits;
  for (const int64_t size : shape)
    if (__builtin_mul_overflow(total, size, &total))
      throw Error(object, "a shape of more than 2^63 bits", "a tensor that fits the file");
  if (total % 8 != 0) throw Error(object, fmt::format("{} bits", total), "a whole number of bytes");
  return total / 8;
}

/// [begin, end] of the tensor within the data.
std::pair<int64_t, int64_t> read_offsets(const Json& value, int64_t data_bytes, const std::string& object) {
  std::optional<int64_t> begin, end;
  if (value.is_array() && value.size() == 2) {
    begin = whole_number(value[0]);
    end = whole_number(value[1]);
  }
  if (!begin || !end || *begin > *end || *end > data_bytes)
    throw Error(object, "data_offsets " + json_shown(value),
                fmt::format("[begin, end] within {} bytes of data", data_bytes));
  return {*begin, *end};
}

TensorInfo read_entry(const std::string& name, const Json& entry, int64_t data_bytes,
                      const std::string& path) {
  const std::string object = tensor_object(path, name);
  if (!entry.is_object())
    throw Error(object, json_shown(entry), "an object with dtype, shape and data_offsets");
  const FileDType& dtype = read_dtype(member(entry, "dtype", object), object);
  TensorInfo info{.name = name, .dtype = dtype.name, .type = dtype.type};
  info.shape = read_shape(member(entry, "shape", object), object);
  const auto [begin, end] = read_offsets(member(entry, "data_offsets", object), data_bytes, object);
  info.offset = begin;
  info.bytes = end - begin;
  const int64_t expected = bytes_of_shape(info.shape, dtype.bits, object);
  if (info.bytes != expected)
    throw Error(object, fmt::format("{} bytes of data", info.bytes),
                fmt::format("{} bytes for {}", expected, printable(info.to_string())));
  return info;
}

Metadata read_metadata(const Json& value, const std::string& path) {
  const std::string object = path + ": " + kMetadataKey;
  if (!value.is_object()) throw Error(object, json_shown(value), "an object of strings");
  Metadata metadata;
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string())
      throw Error(object, json_shown(text) + " under '" + printable(key) + "'", "a string");
    metadata[key] = text.get<std::string>();
  }
  return metadata;
}

int64_t header_length(std::string_view digits, int64_t file_bytes, const std::string& path) {
  uint64_t length = 0;
  for (size_t i = 0; i < digits.size(); ++i)
    length |= static_cast<uint64_t>(static_cast<uint8_t>(digits[i])) << (8 * i);
  if (length > static_cast<uint64_t>(kMaxHeaderBytes))
    throw Error(path, fmt::format("a header of {} bytes", length),
                fmt::format("a safetensors header of at most {} bytes", kMaxHeaderBytes));
  if (length > static_cast<uint64_t>(file_bytes - kLengthBytes))
    throw Error(path, fmt::format("{} bytes", file_bytes),
                fmt::format("at least {} bytes: the file is cut off", length + kLengthBytes));
  return static_cast<int64_t>(length);
}

/// Puts the tensors in the order of the data, whose bytes they must cover once.
void check_layout(std::vector<TensorInfo>& tensors, int64_t data_bytes, const std::string& path) {
  // Empty tensors share their offset with the next one and come first.
  std::stable_sort(tensors.begin(), tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return std::pair(a.offset, a.bytes) < std::pair(b.offset, b.bytes);
  });
  int64_t end = 0;
  for (const TensorInfo& tensor : tensors) {
    if (tensor.offset != end)
      throw Error(tensor_object(path, tensor.name), fmt::format("data from byte {} on", tensor.offset),
                  fmt::format("byte {}, where the tensor before it ends", end));
    end += tensor.bytes;
  }
  if (end != data_bytes)
    throw Error(path, fmt::format("{} bytes of data", data_bytes), fmt::format("{} bytes", end));
}

}  // namespace

std::string TensorInfo::to_string() const { return fmt::format("{} [{}]", dtype, fmt::join(shape, ", ")); }

const char* safetensors_dtype(DType dtype) {
  for (const FileDType& known : kFileDTypes)
    if (known.type == dtype) return known.name;
  ALEPH_CHECK(false, "{} has no name in safetensors", dtype_name(dtype));
  return "";
}

std::string read_header_block(const io::File& file) {
  const int64_t file_bytes = file.size();
  if (file_bytes < kLengthBytes)
    throw Error(file.path(), fmt::format("{} bytes", file_bytes), "a safetensors file");
  std::string block(kLengthBytes, '\0');
  file.read_at(0, std::as_writable_bytes(std::span(block)));
  block.resize(static_cast<size_t>(kLengthBytes + header_length(block, file_bytes, file.path())));
  file.read_at(0, std::as_writable_bytes(std::span(block)));
  return block;
}

SafetensorsHeader parse_header_block(std::string_view block, int64_t file_bytes, const std::string& path) {
  SafetensorsHeader header{.data_begin = static_cast<int64_t>(block.size())};
  const int64_t data_bytes = file_bytes - header.data_begin;
  const std::string_view text = block.substr(kLengthBytes);
  if (!text.starts_with('{')) throw Error(path, "a header that is no JSON object", "a safetensors file");
  const Json json = parse_json(text, path);
  for (const auto& [name, entry] : json.items()) {
    if (name == kMetadataKey)
      header.metadata = read_metadata(entry, path);
    else
      header.tensors.push_back(read_entry(name, entry, data_bytes, path));
  }
  check_layout(header.tensors, data_bytes, path);
  for (TensorInfo& tensor : header.tensors) tensor.offset += header.data_begin;
  return header;
}

/// What is done when a tensor is first asked for, by index.
struct SafetensorsFile::Lazy {
  std::deque<std::once_flag> verified;
  std::mutex mutex;
  /// Copies of tensors that are not aligned in the file.
  std::map<size_t, std::vector<int64_t>> words;  // guarded by mutex; int64_t for the alignment
};

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : file_(path),
      reads_(io::File::open_read(path)),
      header_(parse_header_block(read_header_block(reads_), reads_.size(), this->path())),
      lazy_(std::make_unique<Lazy>()) {
  for (size_t i = 0; i < tensors().size(); ++i) index_.emplace(tensors()[i].name, i);
}
SafetensorsFile::SafetensorsFile(SafetensorsFile&&) noexcept = default;
SafetensorsFile& SafetensorsFile::operator=(SafetensorsFile&&) noexcept = default;
SafetensorsFile::~SafetensorsFile() = default;

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path) {
  SafetensorsFile file(path);
  file.read_checksums();
  return file;
}

void SafetensorsFile::read_checksums() {
  const auto found = metadata().find(kChecksumKey);
  if (found == metadata().end()) return;
  checksums_ = from_hex(found->second, static_cast<int64_t>(tensors().size()), path());
  lazy_->verified.resize(tensors().size());
}

void SafetensorsFile::verify(std::string_view name) const {
  if (!has_checksums()) return;
  const TensorInfo& tensor = info(name);
  const auto index = static_cast<size_t>(&tensor - tensors().data());
  std::call_once(lazy_->verified[index], [&] { check(tensor, checksums_[index]); });
}

void SafetensorsFile::check(const TensorInfo& tensor, uint32_t expected) const {
  std::vector<uint32_t> sums(static_cast<size_t>(chunk_count(tensor.bytes)));
  parallel_for(static_cast<int64_t>(sums.size()), 1, [&](int64_t begin, int64_t end) {
    std::vector<std::byte> buffer(static_cast<size_t>(chunk_size(tensor.bytes, begin)));
    for (int64_t i = begin; i < end; ++i) {
      const auto chunk = std::span(buffer).first(static_cast<size_t>(chunk_size(tensor.bytes, i)));
      reads_.read_at(tensor.offset + i * kChunkBytes, chunk);
      sums[static_cast<size_t>(i)] = crc32c(chunk);
    }
  });
  const uint32_t found = combine_chunks(sums, tensor.bytes);
  if (found != expected)
    throw Error(
        tensor_object(path(), tensor.name), fmt::format("checksum {:08x}", found),
        fmt::format("{:08x}: the file is damaged, or was changed and kept its '{}'", expected, kChecksumKey));
}

const TensorInfo* SafetensorsFile::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors()[found->second];
}

const TensorInfo& SafetensorsFile::info(std::string_view name) const {
  const TensorInfo* found = find(name);
  if (found == nullptr) throw Error(path(), "no tensor '" + printable(name) + "'", "one of that name");
  return *found;
}

std::span<const std::byte> SafetensorsFile::raw(std::string_view name) const {
  const TensorInfo& tensor = info(name);
  return file_.bytes().subspan(static_cast<size_t>(tensor.offset), static_cast<size_t>(tensor.bytes));
}

void SafetensorsFile::read(std::string_view name, int64_t byte_offset, std::span<std::byte> data) const {
  const TensorInfo& tensor = info(name);
  const auto bytes = static_cast<int64_t>(data.size());
  ALEPH_CHECK(byte_offset >= 0 && byte_offset <= tensor.bytes && bytes <= tensor.bytes - byte_offset,
              "bytes {}+{} of tensor '{}' with {}", byte_offset, bytes, name, tensor.bytes);
  verify(name);
  reads_.read_at(tensor.offset + byte_offset, data);
}

ConstTensorView SafetensorsFile::tensor(std::string_view name) const {
  const TensorInfo& tensor = info(name);
  if (!tensor.type)
    throw Error(tensor_object(path(), name), tensor.to_string(), "F32, BF16, F16, F64, I32, I64 or U8");
  if (tensor.shape.size() > Shape::kMaxRank)
    throw Error(tensor_object(path(), name), tensor.to_string(),
                fmt::format("at most {} dimensions", Shape::kMaxRank));
  verify(name);
  const Shape shape{std::span<const int64_t>(tensor.shape)};
  const std::span<const std::byte> data = raw(name);
  const auto misalignment =
      reinterpret_cast<uintptr_t>(data.data()) % static_cast<size_t>(dtype_bytes(*tensor.type));
  if (misalignment == 0) return ConstTensorView(data.data(), shape, *tensor.type);
  std::lock_guard lock(lazy_->mutex);
  std::vector<int64_t>& copy = lazy_->words[static_cast<size_t>(&tensor - tensors().data())];
  if (copy.empty() && !data.empty()) {
    copy.resize((data.size() + 7) / 8);
    std::memcpy(copy.data(), data.data(), data.size());
  }
  return ConstTensorView(reinterpret_cast<const std::byte*>(copy.data()), shape, *tensor.type);
}

void SafetensorsFile::prefetch(std::string_view name) const {
  const TensorInfo& tensor = info(name);
  file_.prefetch(tensor.offset, tensor.bytes);
}

void SafetensorsFile::release(std::string_view name) const {
  const TensorInfo& tensor = info(name);
  file_.release(tensor.offset, tensor.bytes);
}

namespace {

/// Where a tensor goes and how much of it has been written.
struct Slot {
  TensorEntry entry;
  int64_t offset = 0;  // from the start of the data
  int64_t written = 0;
  std::unique_ptr<ChunkChecksums> sums;  // nullptr: not asked for
};

/// The value of kChecksumKey. Its length is the same before the data has come.
std::string checksum_text(const std::vector<Slot>& slots) {
  std::vector<uint32_t> sums;
  for (const Slot& slot : slots) sums.push_back(slot.sums == nullptr ? 0 : slot.sums->whole());
  return to_hex(sums);
}

std::string header_text(const std::vector<Slot>& slots, const Metadata& metadata) {
  OrderedJson header = OrderedJson::object();
  header[kMetadataKey] = {{"format", "pt"}};  // transformers refuses files without it
  for (const auto& [key, value] : metadata) header[kMetadataKey][key] = value;
  for (const Slot& slot : slots) {
    const auto sizes = slot.entry.shape.sizes();
    header[slot.entry.name] = {{"dtype", safetensors_dtype(slot.entry.dtype)},
                               {"shape", std::vector<int64_t>(sizes.begin(), sizes.end())},
                               {"data_offsets", {slot.offset, slot.offset + slot.entry.bytes()}}};
  }
  return header.dump();
}

/// Length and header, padded so that the data starts at a multiple of `alignment`.
std::string header_block(const std::vector<Slot>& slots, const Metadata& metadata, int64_t alignment,
                         const std::string& path) {
  std::string text = header_text(slots, metadata);
  const auto end = kLengthBytes + static_cast<int64_t>(text.size());
  text.append(static_cast<size_t>((alignment - end % alignment) % alignment), ' ');
  if (static_cast<int64_t>(text.size()) > kMaxHeaderBytes)
    throw Error(path, fmt::format("a header of {} bytes", text.size()),
                fmt::format("at most {}: fewer tensors in one file", kMaxHeaderBytes));
  std::string block;
  for (size_t i = 0; i < 8; ++i) block.push_back(static_cast<char>(text.size() >> (8 * i) & 0xff));
  return block + text;
}

}  // namespace

struct SafetensorsWriter::State {
  std::filesystem::path path;
  std::filesystem::path temporary;
  Options options;
  std::vector<Slot> slots;
  std::unordered_map<std::string_view, size_t> index;  // keys look into slots
  std::string header;
  int64_t file_bytes = 0;
  io::File file;
  std::mutex mutex;  // guards Slot::written
  bool sealed = false;
  bool published = false;

  Slot& slot(std::string_view name) {
    const auto found = index.find(name);
    ALEPH_CHECK(found != index.end(), "no entry for tensor '{}'", name);
    return slots[found->second];
  }
  void place_slots();
  /// With the checksums of what has been written so far.
  void make_header() {
    if (options.checksums) options.metadata[kChecksumKey] = checksum_text(slots);
    header = header_block(slots, options.metadata, options.data_alignment, path.string());
  }
};

void SafetensorsWriter::State::place_slots() {
  int64_t end = 0;
  for (size_t i = 0; i < slots.size(); ++i) {
    const TensorEntry& entry = slots[i].entry;
    if (entry.name == kMetadataKey || !index.emplace(entry.name, i).second)
      throw Error(tensor_object(path.string(), entry.name), "a name that is taken", "each name once");
    slots[i].offset = end;
    end += entry.bytes();
  }
}

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorEntry> entries,
                                     const Options& options)
    : state_(std::make_unique<State>()) {
  State& state = *state_;
  state.path = path;
  state.temporary = path.string() + ".tmp";
  state.options = options;
  state.slots.reserve(entries.size());
  for (TensorEntry& entry : entries) state.slots.push_back({.entry = std::move(entry)});
  state.place_slots();
  state.make_header();
  state.file_bytes = static_cast<int64_t>(state.header.size());
  for (Slot& slot : state.slots) {
    state.file_bytes += slot.entry.bytes();
    if (options.checksums) slot.sums = std::make_unique<ChunkChecksums>(slot.entry.bytes());
  }
  io::remove_all(state.temporary, options.calls);
  try {
    state.file = io::File::open_read_write(state.temporary, io::Direct::kTry, options.calls);
    state.file.preallocate(state.file_bytes);
    state.file.write_at(0, header());
  } catch (const Error&) {
    remove_temporary();
    throw;
  }
}

SafetensorsWriter::SafetensorsWriter(SafetensorsWriter&&) noexcept = default;

SafetensorsWriter::~SafetensorsWriter() {
  if (state_ != nullptr && !state_->published) remove_temporary();
}

void SafetensorsWriter::remove_temporary() noexcept {
  try {
    io::remove_all(state_->temporary, state_->options.calls);
  } catch (const Error&) {  // a leftover is in nobody's way: the next writer starts anew
  }
}

void SafetensorsWriter::write(std::string_view name, int64_t byte_offset, std::span<const std::byte> data) {
  Slot& slot = state_->slot(name);
  const auto bytes = static_cast<int64_t>(data.size());
  ALEPH_CHECK(
      byte_offset >= 0 && byte_offset <= slot.entry.bytes() && bytes <= slot.entry.bytes() - byte_offset,
      "bytes {}+{} of tensor '{}' with {}", byte_offset, bytes, name, slot.entry.bytes());
  ALEPH_CHECK(!state_->sealed, "write after seal");
  state_->file.write_at(static_cast<int64_t>(state_->header.size()) + slot.offset + byte_offset, data);
  if (slot.sums != nullptr) slot.sums->add(byte_offset, data);
  std::lock_guard lock(state_->mutex);
  slot.written += bytes;
}

void SafetensorsWriter::write(std::string_view name, const ConstTensorView& tensor) {
  const TensorEntry& entry = state_->slot(name).entry;
  ALEPH_CHECK(entry.dtype == tensor.dtype() && entry.shape == tensor.shape(),
              "{} {} for tensor '{}' of {} {}", dtype_name(tensor.dtype()), tensor.shape().to_string(), name,
              dtype_name(entry.dtype), entry.shape.to_string());
  write(name, 0, {tensor.raw(), static_cast<size_t>(tensor.bytes())});
}

void SafetensorsWriter::seal() {
  if (state_->sealed) return;
  for (const Slot& slot : state_->slots)
    ALEPH_CHECK(slot.written == slot.entry.bytes(), "{} of {} bytes of tensor '{}' written", slot.written,
                slot.entry.bytes(), slot.entry.name);
  if (state_->options.checksums) {
    state_->make_header();
    state_->file.write_at(0, header());
  }
  state_->file.sync();
  state_->file = io::File();
  state_->sealed = true;
}

void SafetensorsWriter::publish() {
  ALEPH_CHECK(state_->sealed && !state_->published);
  io::rename_path(state_->temporary, state_->path, state_->options.calls);
  state_->published = true;
  io::sync_directory(state_->path.parent_path(), state_->options.calls);
}

void SafetensorsWriter::finish() {
  seal();
  publish();
}

std::span<const std::byte> SafetensorsWriter::header() const {
  return std::as_bytes(std::span(state_->header));
}

int64_t SafetensorsWriter::file_bytes() const { return state_->file_bytes; }

const std::filesystem::path& SafetensorsWriter::path() const { return state_->path; }

}  // namespace aleph::checkpoint
