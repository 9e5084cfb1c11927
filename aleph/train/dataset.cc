#include "aleph/train/dataset.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include "aleph/base/error.h"
#include "aleph/base/interrupt.h"
#include "aleph/base/json.h"
#include "aleph/base/random.h"
#include "aleph/base/text_util.h"
#include "aleph/io/file.h"
#include "aleph/text/utf8.h"

namespace aleph::train {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kPiece = int64_t{64} << 10;  // of a file or a document that is read or encoded at once
constexpr int64_t kLongestCharacter = 4;

// Appends `bytes` to `out` with each byte that is not UTF-8 replaced by U+FFFD; returns how many bytes were
// used. Unless the text `ends`, the last ones may wait for the rest of their character.
size_t append_repaired(std::string& out, std::string_view bytes, bool ends) {
  for (size_t begin = 0;;) {
    const size_t bad = begin + text::valid_utf8_length(bytes, begin);
    out.append(bytes, begin, bad - begin);
    if (bad == bytes.size() || (!ends && bytes.size() - bad < kLongestCharacter)) return bad;
    out += text::kReplacement;
    begin = bad + 1;
  }
}

// A stream that documents are encoded into. Text waits in a window until it holds a place to cut at.
class StreamBuilder {
 public:
  explicit StreamBuilder(const DatasetOptions& options)
      : options_(options),
        stream_{.tokens = {options.ledger, "the tokens"}},
        window_(options.ledger, "tokens and the text of a document that cannot be encoded in parts") {}

  void begin_document() {
    if (stream_.documents++ > 0 && options_.end_of_text) append({&*options_.end_of_text, 1});
    begins_ = true;
  }
  void push(std::string_view text) {
    for (; !text.empty(); text.remove_prefix(std::min<size_t>(kPiece, text.size()))) {
      stop_if_interrupted();
      window_.append(std::span(text).first(std::min<size_t>(kPiece, text.size())));
      if (window_.size() >= next_try_) encode(false);
    }
  }
  /// `bytes`: of the document as it stands in its file.
  void end_document(int64_t bytes) {
    encode(true);
    stream_.bytes += bytes;
  }
  TokenStream take() {
    stream_.tokens.shrink_to_fit();
    return std::move(stream_);
  }

 private:
  void append(std::span<const int32_t> ids) { stream_.tokens.append(ids); }

  void encode(bool ends) {
    const size_t used =
        options_.encode({.text = {window_.data(), window_.size()}, .begins = begins_, .ends = ends},
                        [&](std::span<const int32_t> ids) { append(ids); });
    window_.erase_front(used);
    if (used > 0) begins_ = false;
    // Looking for a place again and again in a text without one takes time that is linear in its length.
    next_try_ = std::max<size_t>(kPiece, 2 * window_.size());
  }

  const DatasetOptions& options_;
  TokenStream stream_;
  BookedArray<char> window_;
  bool begins_ = true;
  size_t next_try_ = kPiece;
};

std::span<std::byte> bytes_of(std::span<char> text) { return std::as_writable_bytes(text); }

// Bytes [begin, end) of a file, piece by piece.
template <typename Visit>
void read_pieces(const io::File& file, int64_t begin, int64_t end, const Visit& visit) {
  std::string piece;
  for (int64_t at = begin; at < end; at += static_cast<int64_t>(piece.size())) {
    stop_if_interrupted();
    piece.resize(static_cast<size_t>(std::min(kPiece, end - at)));
    file.read_at(at, bytes_of(piece));
    if (!visit(std::string_view(piece), at)) return;
  }
}

// A document: a part of a text file.
void add_text(const io::File& file, int64_t begin, int64_t end, StreamBuilder& stream) {
  stream.begin_document();
  std::string waiting, repaired;
  read_pieces(file, begin, end, [&](std::string_view piece, int64_t at) {
    waiting += piece;
    repaired.clear();
    const bool ends = at + static_cast<int64_t>(piece.size()) == end;
    waiting.erase(0, append_repaired(repaired, waiting, ends));
    stream.push(repaired);
    return true;
  });
  stream.end_document(end - begin);
}

// Where to cut a text near `target`: after the next line end, else at the next character.
int64_t cut_position(const io::File& file, int64_t target) {
  const int64_t size = file.size();
  int64_t cut = size;
  read_pieces(file, target, size, [&](std::string_view piece, int64_t at) {
    const size_t line_end = piece.find('\n');
    if (line_end != std::string_view::npos) cut = at + static_cast<int64_t>(line_end) + 1;
    return line_end == std::string_view::npos;
  });
  if (cut < size) return cut;
  read_pieces(file, target, size, [&](std::string_view piece, int64_t at) {
    const auto starts = [](char byte) { return (static_cast<uint8_t>(byte) & 0xc0) != 0x80; };
    const auto found = std::find_if(piece.begin(), piece.end(), starts);
    cut = at + (found - piece.begin());
    return found == piece.end();
  });
  return cut;
}

struct LineDocument {
  std::string text;
  int64_t bytes = 0;  // as it stands in the file
};

std::optional<LineDocument> read_line(std::string_view row, const std::string& where) {
  if (row.find_first_not_of(" \t\r") == std::string_view::npos) return std::nullopt;
  std::string valid;
  append_repaired(valid, row, true);
  Json object = parse_json(valid, where);
  if (!object.is_object()) throw Error(where, "no object", "an object with \"text\"");
  LineDocument document{.text = json_get<std::string>(object, "text", where)};
  if (document.text.empty()) return std::nullopt;
  // U+FFFD is longer than the byte it stands for.
  document.bytes = std::max<int64_t>(
      1, static_cast<int64_t>(document.text.size() + row.size()) - static_cast<int64_t>(valid.size()));
  return document;
}

// Calls `visit` for the documents of a .jsonl file, in order; false where there are none.
template <typename Visit>
bool for_each_line(const fs::path& path, MemoryLedger* ledger, const Visit& visit) {
  const io::File file = io::File::open_read(path);
  BookedArray<char> window(ledger, "tokens and the longest line of " + path.string());
  int64_t line = 0, documents = 0;
  const auto take = [&](std::string_view row) {
    const std::optional<LineDocument> document =
        read_line(row, fmt::format("{} line {}", path.string(), ++line));
    if (!document) return;
    ++documents;
    visit(*document);
  };
  read_pieces(file, 0, file.size(), [&](std::string_view piece, int64_t) {
    for (size_t end = piece.find('\n'); end != std::string_view::npos; end = piece.find('\n')) {
      window.append(std::span(piece).first(end));
      take({window.data(), window.size()});
      window.clear();
      piece.remove_prefix(end + 1);
    }
    window.append(piece);
    return true;
  });
  if (!window.empty()) take({window.data(), window.size()});
  return documents > 0;
}

bool is_lines(const fs::path& path) { return path.extension() == ".jsonl"; }

Error no_text(const fs::path& path) { return Error(path.string(), "no text", "text to train on"); }

// Before work begins that may take long.
void check_file(const fs::path& path) {
  const std::string kind = path.extension().string();
  if (kind != ".txt" && kind != ".jsonl")
    throw Error(path.string(), kind.empty() ? "no extension" : "extension " + printable(kind),
                ".txt or .jsonl");
  if (io::File::open_read(path).size() == 0) throw no_text(path);
}

int64_t text_bytes(const DatasetOptions& options) {
  int64_t total = 0;
  for (const fs::path& path : options.files) {
    if (is_lines(path))
      for_each_line(path, options.ledger, [&](const LineDocument& document) { total += document.bytes; });
    else
      total += io::File::open_read(path).size();
  }
  return total;
}

// Documents to one stream, from some point on to another.
class Splitter {
 public:
  explicit Splitter(const DatasetOptions& options) : options_(options), train_(options), eval_(options) {
    if (options.eval_split > 0)
      keep_ = static_cast<int64_t>(
          std::floor(static_cast<double>(text_bytes(options)) * (1 - options.eval_split)));
  }

  void add(const fs::path& path) {
    if (!is_lines(path)) return add_file(path);
    const bool some = for_each_line(path, options_.ledger, [&](const LineDocument& document) {
      StreamBuilder& stream = next(document.bytes);
      stream.begin_document();
      stream.push(document.text);
      stream.end_document(document.bytes);
    });
    if (!some) throw no_text(path);
  }
  TokenDataset take() { return {.train = train_.take(), .eval = eval_.take()}; }

 private:
  // Where a document goes whole.
  StreamBuilder& next(int64_t bytes) {
    if (keep_ >= bytes) {
      keep_ -= bytes;
      return train_;
    }
    keep_ = 0;
    return eval_;
  }

  void add_file(const fs::path& path) {
    const io::File file = io::File::open_read(path);
    const int64_t size = file.size();
    if (keep_ == 0 || keep_ >= size) return add_text(file, 0, size, next(size));
    const int64_t cut = cut_position(file, keep_);
    keep_ = 0;
    add_text(file, 0, cut, train_);
    if (cut < size) add_text(file, cut, size, eval_);
  }

  const DatasetOptions& options_;
  StreamBuilder train_, eval_;
  int64_t keep_ = std::numeric_limits<int64_t>::max();  // bytes that are still to be trained on
};

void fill_permutation(std::span<int32_t> order, uint64_t seed, int64_t epoch) {
  std::iota(order.begin(), order.end(), 0);
  const RandomStream random(
      {.seed = seed, .purpose = RandomPurpose::kDataOrder, .step = static_cast<uint64_t>(epoch)});
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i, i - 1)]);
}

int64_t whole_rows(std::span<const int32_t> tokens, int64_t seq_len) {
  ALEPH_CHECK(seq_len >= 1);
  return static_cast<int64_t>(tokens.size()) / seq_len;
}

}  // namespace

void for_each_document(const fs::path& path, const std::function<void(std::string_view)>& visit) {
  const bool some = for_each_line(path, nullptr, [&](const LineDocument& document) { visit(document.text); });
  if (!some) throw no_text(path);
}

TokenDataset load_dataset(const DatasetOptions& options) {
  ALEPH_CHECK(options.encode != nullptr && options.eval_split >= 0 && options.eval_split < 1);
  for (const fs::path& file : options.files) check_file(file);
  Splitter splitter(options);
  for (const fs::path& file : options.files) splitter.add(file);
  return splitter.take();
}

DataLoader::DataLoader(std::span<const int32_t> tokens, const Options& options)
    : tokens_(tokens),
      options_(options),
      rows_(whole_rows(tokens, options.seq_len)),
      permutation_(options.ledger, "tokens and their order") {
  const BatchShape& batch = options.batch;
  ALEPH_CHECK(batch.micro_batch * batch.gradient_accumulation * options.world_size == batch.train_batch);
  if (rows_ < batch.train_batch)
    throw Error("training data", fmt::format("{} tokens", tokens.size()),
                fmt::format("at least {} for one step ({} rows of {} tokens)", tokens_per_step(),
                            batch.train_batch, options.seq_len));
  if (rows_ > std::numeric_limits<int32_t>::max())
    throw Error("training data", fmt::format("{} rows", rows_), "fewer than 2^31: longer rows");
  if (options.order == DataOrder::kShuffled) permutation_.grow(static_cast<size_t>(rows_));
  permutation_.shrink_to_fit();
}

int64_t DataLoader::row_at(int64_t position) {
  const int64_t epoch = position / rows_, row = position % rows_;
  if (options_.order == DataOrder::kSequential) return row;
  if (epoch != shuffled_epoch_) {
    fill_permutation({permutation_.data(), permutation_.size()}, options_.seed, epoch);
    shuffled_epoch_ = epoch;
  }
  return permutation_[static_cast<size_t>(row)];
}

void DataLoader::fill(int64_t step, int64_t micro_step, int64_t rank, std::span<int32_t> rows) {
  const int64_t micro_batch = options_.batch.micro_batch, seq_len = options_.seq_len;
  ALEPH_CHECK(static_cast<int64_t>(rows.size()) == micro_batch * seq_len);
  ALEPH_CHECK(step >= 0 && micro_step >= 0 && micro_step < options_.batch.gradient_accumulation);
  ALEPH_CHECK(rank >= 0 && rank < options_.world_size);
  const int64_t first =
      step * options_.batch.train_batch + (micro_step * options_.world_size + rank) * micro_batch;
  for (int64_t b = 0; b < micro_batch; ++b) {
    const auto begin = tokens_.begin() + row_at(first + b) * seq_len;
    std::copy(begin, begin + seq_len, rows.begin() + b * seq_len);
  }
}

int64_t DataLoader::steps_of_epochs(double epochs) const {
  const double steps = epochs * static_cast<double>(rows_) / static_cast<double>(rows_per_step());
  return std::max<int64_t>(1, static_cast<int64_t>(std::ceil(steps - 1e-9)));
}

EvalLoader::EvalLoader(std::span<const int32_t> tokens, int64_t seq_len, int64_t micro_batch)
    : tokens_(tokens), seq_len_(seq_len), micro_batch_(micro_batch), rows_(whole_rows(tokens, seq_len)) {
  ALEPH_CHECK(micro_batch >= 1);
  if (rows_ < 1)
    throw Error("evaluation data", fmt::format("{} tokens", tokens.size()),
                fmt::format("at least one row of {} tokens", seq_len));
}

std::span<const int32_t> EvalLoader::batch(int64_t index) const {
  ALEPH_CHECK(index >= 0 && index < batches(), "batch {} of {}", index, batches());
  const int64_t first = index * micro_batch_;
  const int64_t rows = std::min(micro_batch_, rows_ - first);
  return tokens_.subspan(static_cast<size_t>(first * seq_len_), static_cast<size_t>(rows * seq_len_));
}

}  // namespace aleph::train
