#include "aleph/train/dataset.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include "aleph/base/error.h"
#include "aleph/base/json.h"
#include "aleph/base/random.h"
#include "aleph/base/text_util.h"
#include "aleph/io/file.h"
#include "aleph/text/utf8.h"

namespace aleph::train {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kLargestFile = int64_t{1} << 40;

size_t first_invalid(std::string_view text, size_t from) {
  return from + text::valid_utf8_length(text, from);
}

// The text with each invalid byte replaced by U+FFFD.
std::string repaired(std::string text) {
  size_t bad = first_invalid(text, 0);
  if (bad == text.size()) return text;
  std::string out;
  for (size_t begin = 0;; bad = first_invalid(text, begin)) {
    out.append(text, begin, bad - begin);
    if (bad == text.size()) return out;
    out += text::kReplacement;
    begin = bad + 1;
  }
}

struct Document {
  std::string text;
  int64_t bytes = 0;       // as it stands in the file
  bool divisible = false;  // a stream, which may be cut for evaluation
};

void read_jsonl(const fs::path& path, std::vector<Document>& out) {
  const std::string content = io::read_file(path, kLargestFile);
  int64_t line = 0;
  for (size_t begin = 0, end = 0; begin < content.size(); begin = end + 1) {
    end = std::min(content.find('\n', begin), content.size());
    ++line;
    const std::string_view row(content.data() + begin, end - begin);
    if (row.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string where = fmt::format("{} line {}", path.string(), line);
    const std::string valid = repaired(std::string(row));
    const Json object = parse_json(valid, where);
    if (!object.is_object()) throw Error(where, "no object", "an object with \"text\"");
    auto text = json_get<std::string>(object, "text", where);
    // U+FFFD is longer than the byte it stands for.
    const auto bytes = static_cast<int64_t>(text.size() + row.size()) - static_cast<int64_t>(valid.size());
    if (!text.empty()) out.push_back({.text = text, .bytes = std::max<int64_t>(1, bytes)});
  }
}

void read_documents(const fs::path& path, std::vector<Document>& out) {
  const size_t before = out.size();
  const std::string kind = path.extension().string();
  if (kind == ".jsonl") {
    read_jsonl(path, out);
  } else if (kind == ".txt") {
    std::string text = io::read_file(path, kLargestFile);
    const auto bytes = static_cast<int64_t>(text.size());
    if (bytes > 0) out.push_back({.text = repaired(std::move(text)), .bytes = bytes, .divisible = true});
  } else {
    throw Error(path.string(), kind.empty() ? "no extension" : "extension " + printable(kind),
                ".txt or .jsonl");
  }
  if (out.size() == before) throw Error(path.string(), "no text", "text to train on");
}

// Where to cut a text near `target`: after the next line end, else at the next character.
size_t cut_position(std::string_view text, size_t target) {
  const size_t line_end = text.find('\n', target);
  if (line_end != std::string_view::npos && line_end + 1 < text.size()) return line_end + 1;
  while (target < text.size() && (static_cast<uint8_t>(text[target]) & 0xc0) == 0x80) ++target;
  return target;
}

// Cuts the end of `document` off, so that about `keep` bytes stay.
Document cut_end(Document& document, int64_t keep) {
  std::string& text = document.text;
  const size_t cut = cut_position(text, std::min(static_cast<size_t>(keep), text.size()));
  Document end{.text = text.substr(cut), .divisible = true};
  // Repaired bytes may be longer than those of the file.
  end.bytes = std::min(static_cast<int64_t>(end.text.size()), document.bytes);
  document.bytes -= end.bytes;
  text.resize(cut);
  return end;
}

// Moves the last `fraction` of the bytes from `documents` to the result.
std::vector<Document> split_tail(std::vector<Document>& documents, double fraction) {
  if (fraction <= 0) return {};
  int64_t total = 0;
  for (const Document& document : documents) total += document.bytes;
  auto keep = static_cast<int64_t>(std::floor(static_cast<double>(total) * (1 - fraction)));
  size_t first = 0;
  while (first < documents.size() && keep >= documents[first].bytes) keep -= documents[first++].bytes;
  std::vector<Document> tail;
  if (first < documents.size() && keep > 0 && documents[first].divisible)
    tail.push_back(cut_end(documents[first++], keep));
  std::move(documents.begin() + static_cast<ptrdiff_t>(first), documents.end(), std::back_inserter(tail));
  documents.resize(first);
  std::erase_if(tail, [](const Document& document) { return document.text.empty(); });
  return tail;
}

TokenStream encode(const std::vector<Document>& documents, const DatasetOptions& options) {
  TokenStream stream;
  for (const Document& document : documents) {
    if (stream.documents > 0 && options.end_of_text) stream.tokens.push_back(*options.end_of_text);
    const std::vector<int32_t> ids = options.encode(document.text);
    stream.tokens.insert(stream.tokens.end(), ids.begin(), ids.end());
    stream.bytes += document.bytes;
    ++stream.documents;
  }
  return stream;
}

std::vector<int32_t> random_permutation(int64_t n, uint64_t seed, int64_t epoch) {
  std::vector<int32_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  const RandomStream random(
      {.seed = seed, .purpose = RandomPurpose::kDataOrder, .step = static_cast<uint64_t>(epoch)});
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i, i - 1)]);
  return order;
}

int64_t whole_rows(std::span<const int32_t> tokens, int64_t seq_len) {
  ALEPH_CHECK(seq_len >= 1);
  return static_cast<int64_t>(tokens.size()) / seq_len;
}

}  // namespace

TokenDataset load_dataset(const DatasetOptions& options) {
  ALEPH_CHECK(options.encode != nullptr && options.eval_split >= 0 && options.eval_split < 1);
  std::vector<Document> documents;
  for (const fs::path& file : options.files) read_documents(file, documents);
  const std::vector<Document> tail = split_tail(documents, options.eval_split);
  TokenDataset dataset{.train = encode(documents, options), .eval = encode(tail, options)};
  return dataset;
}

DataLoader::DataLoader(std::span<const int32_t> tokens, const Options& options)
    : tokens_(tokens), options_(options), rows_(whole_rows(tokens, options.seq_len)) {
  const BatchShape& batch = options.batch;
  ALEPH_CHECK(batch.micro_batch * batch.gradient_accumulation * options.world_size == batch.train_batch);
  if (rows_ < batch.train_batch)
    throw Error("training data", fmt::format("{} tokens", tokens.size()),
                fmt::format("at least {} for one step ({} rows of {} tokens)", tokens_per_step(),
                            batch.train_batch, options.seq_len));
  if (rows_ > std::numeric_limits<int32_t>::max())
    throw Error("training data", fmt::format("{} rows", rows_), "fewer than 2^31: longer rows");
}

int64_t DataLoader::row_at(int64_t position) {
  const int64_t epoch = position / rows_, row = position % rows_;
  if (options_.order == DataOrder::kSequential) return row;
  if (epoch != shuffled_epoch_) {
    permutation_ = random_permutation(rows_, options_.seed, epoch);
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
