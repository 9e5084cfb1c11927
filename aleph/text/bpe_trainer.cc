#include "aleph/text/bpe_trainer.h"

#include <algorithm>
#include <queue>
#include <unordered_map>
#include <unordered_set>

#include "aleph/base/error.h"
#include "aleph/base/json.h"
#include "aleph/io/file.h"
#include "aleph/text/splitter.h"
#include "aleph/text/utf8.h"

namespace aleph::text {
namespace {

constexpr int64_t kBytes = 256;

using Pair = std::pair<int32_t, int32_t>;

struct PairHash {
  size_t operator()(const Pair& pair) const {
    const auto key =
        (static_cast<uint64_t>(static_cast<uint32_t>(pair.first)) << 32) | static_cast<uint32_t>(pair.second);
    return static_cast<size_t>(key * 0x9e3779b97f4a7c15ull >> 16);
  }
};

/// A distinct word as the ids it consists of so far.
struct Word {
  std::vector<int32_t> symbols;
  int64_t count = 0;
};

struct Candidate {
  int64_t count;
  Pair pair;
  /// The heap's top: highest count, then smallest pair.
  bool operator<(const Candidate& other) const {
    return count != other.count ? count < other.count : pair > other.pair;
  }
};

/// Pair counts that follow each merge, and the words each pair occurs in.
class PairTable {
 public:
  explicit PairTable(std::vector<Word> words) : words_(std::move(words)) {
    for (size_t w = 0; w < words_.size(); ++w) {
      const std::vector<int32_t>& symbols = words_[w].symbols;
      for (size_t i = 0; i + 1 < symbols.size(); ++i)
        change({symbols[i], symbols[i + 1]}, words_[w].count, w);
    }
    for (const auto& [pair, entry] : pairs_) heap_.push({entry.count, pair});
  }

  /// The most frequent pair and its count; count 0 where none is left. Entries whose count has changed since
  /// they were pushed go back with the count of now.
  Candidate most_frequent() {
    while (!heap_.empty()) {
      const Candidate top = heap_.top();
      heap_.pop();
      const int64_t now = pairs_.at(top.pair).count;
      if (now == top.count) return top;
      if (now > 0) heap_.push({now, top.pair});
    }
    return {0, {}};
  }

  /// Replaces `pair` by `merged` in every word.
  void merge(const Pair& pair, int32_t merged) {
    touched_.clear();
    const std::unordered_set<size_t> words = std::move(pairs_.at(pair).words);
    pairs_.at(pair) = {};
    for (const size_t w : words) merge_in_word(w, pair, merged);
    for (const Pair& grown : touched_) heap_.push({pairs_.at(grown).count, grown});
  }

 private:
  struct Entry {
    int64_t count = 0;
    std::unordered_set<size_t> words;
  };

  void change(const Pair& pair, int64_t by, size_t word) {
    Entry& entry = pairs_[pair];
    entry.count += by;
    if (by > 0) entry.words.insert(word);
  }

  void merge_in_word(size_t w, const Pair& pair, int32_t merged) {
    Word& word = words_[w];
    std::vector<int32_t>& s = word.symbols;
    size_t out = 0;
    for (size_t i = 0; i < s.size(); ++out) {
      if (i + 1 < s.size() && s[i] == pair.first && s[i + 1] == pair.second) {
        if (out > 0) replace_neighbour({s[out - 1], pair.first}, {s[out - 1], merged}, word.count, w);
        if (i + 2 < s.size()) replace_neighbour({pair.second, s[i + 2]}, {merged, s[i + 2]}, word.count, w);
        s[out] = merged;
        i += 2;
      } else {
        s[out] = s[i++];
      }
    }
    s.resize(out);
  }

  void replace_neighbour(const Pair& gone, const Pair& fresh, int64_t count, size_t w) {
    change(gone, -count, w);
    change(fresh, count, w);
    touched_.insert(fresh);
  }

  std::vector<Word> words_;
  std::unordered_map<Pair, Entry, PairHash> pairs_;
  std::unordered_set<Pair, PairHash> touched_;
  std::priority_queue<Candidate> heap_;
};

/// Bytes in the order of the characters that spell them: the ids of Hugging Face's initial alphabet.
std::vector<uint8_t> bytes_by_spelling() {
  std::vector<uint8_t> bytes(kBytes);
  for (size_t b = 0; b < bytes.size(); ++b) bytes[b] = static_cast<uint8_t>(b);
  const ByteAlphabet& alphabet = ByteAlphabet::instance();
  std::sort(bytes.begin(), bytes.end(), [&](uint8_t a, uint8_t b) {
    return utf8_at(alphabet.spelled(a), 0).code < utf8_at(alphabet.spelled(b), 0).code;
  });
  return bytes;
}

OrderedJson byte_level(bool add_prefix_space) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", add_prefix_space},
          {"trim_offsets", true},
          {"use_regex", true}};
}

OrderedJson vocabulary_json(const std::vector<std::string>& tokens) {
  OrderedJson vocabulary = OrderedJson::object();
  // Tokens are distinct: appended to the container itself, without its search for equal keys.
  OrderedJson::object_t::Container& entries = vocabulary.get_ref<OrderedJson::object_t&>();
  for (size_t id = 0; id < tokens.size(); ++id) entries.emplace_back(tokens[id], id);
  return vocabulary;
}

OrderedJson added_tokens_json(const std::vector<std::string>& specials) {
  OrderedJson added = OrderedJson::array();
  for (size_t id = 0; id < specials.size(); ++id) {
    added.push_back({{"id", id},
                     {"content", specials[id]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  }
  return added;
}

OrderedJson tokenizer_json(const TrainedBpe& bpe) {
  OrderedJson merges = OrderedJson::array();
  for (const auto& [left, right] : bpe.merges) {
    merges.push_back({bpe.tokens[static_cast<size_t>(left)], bpe.tokens[static_cast<size_t>(right)]});
  }
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added_tokens_json(bpe.options.special_tokens)},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level(false)},
          {"post_processor", nullptr},
          {"decoder", byte_level(true)},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", false},
            {"vocab", vocabulary_json(bpe.tokens)},
            {"merges", std::move(merges)}}}};
}

OrderedJson tokenizer_config_json(const TrainedBpe& bpe) {
  OrderedJson config = {{"tokenizer_class", "GPT2Tokenizer"},
                        {"add_prefix_space", false},
                        {"clean_up_tokenization_spaces", false},
                        {"model_max_length", bpe.options.model_max_length}};
  if (bpe.options.special_tokens.empty()) return config;
  for (const char* role : {"bos_token", "eos_token", "unk_token"})
    config[role] = bpe.options.special_tokens[0];
  return config;
}

std::string merges_text(const TrainedBpe& bpe) {
  std::string text = "#version: 0.2\n";
  for (const auto& [left, right] : bpe.merges) {
    text += bpe.tokens[static_cast<size_t>(left)] + " " + bpe.tokens[static_cast<size_t>(right)] + "\n";
  }
  return text;
}

}  // namespace

struct BpeTrainer::Words {
  std::unordered_map<std::string, int64_t> counts;
};

BpeTrainer::BpeTrainer(const BpeTrainerOptions& options)
    : options_(options), words_(std::make_unique<Words>()) {
  const int64_t least = kBytes + static_cast<int64_t>(options.special_tokens.size());
  if (options.vocab_size < least) {
    throw Error(
        "vocabulary size", std::to_string(options.vocab_size),
        fmt::format("at least {} (256 bytes and {} special tokens)", least, options.special_tokens.size()));
  }
}
BpeTrainer::BpeTrainer(BpeTrainer&&) noexcept = default;
BpeTrainer& BpeTrainer::operator=(BpeTrainer&&) noexcept = default;
BpeTrainer::~BpeTrainer() = default;

void BpeTrainer::add_text(std::string_view text) {
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = piece_end(KnownPattern::kGpt2, text, begin);
    ++words_->counts[std::string(text.substr(begin, end - begin))];
    begin = end;
  }
}

TrainedBpe BpeTrainer::train() const {
  TrainedBpe result{.tokens = options_.special_tokens, .merges = {}, .options = options_};
  std::vector<int32_t> id_of_byte(kBytes);
  for (const uint8_t byte : bytes_by_spelling()) {
    id_of_byte[byte] = static_cast<int32_t>(result.tokens.size());
    result.tokens.emplace_back(ByteAlphabet::instance().spelled(byte));
  }
  std::vector<Word> words;
  for (const auto& [bytes, count] : words_->counts) {
    Word& word = words.emplace_back(Word{.symbols = {}, .count = count});
    for (const char c : bytes) word.symbols.push_back(id_of_byte[static_cast<uint8_t>(c)]);
  }
  std::unordered_map<std::string, int32_t> ids;
  for (const std::string& token : result.tokens) ids.emplace(token, static_cast<int32_t>(ids.size()));
  PairTable table(std::move(words));
  while (static_cast<int64_t>(result.tokens.size()) < options_.vocab_size) {
    const Candidate best = table.most_frequent();
    if (best.count < std::max<int64_t>(1, options_.min_frequency)) break;
    std::string token = result.tokens[static_cast<size_t>(best.pair.first)] +
                        result.tokens[static_cast<size_t>(best.pair.second)];
    const auto [entry, is_new] = ids.emplace(std::move(token), static_cast<int32_t>(result.tokens.size()));
    if (is_new) result.tokens.push_back(entry->first);
    result.merges.push_back(best.pair);
    table.merge(best.pair, entry->second);
  }
  return result;
}

void TrainedBpe::save(const std::filesystem::path& directory) const {
  io::create_directories(directory);
  io::write_file_atomically(directory / "vocab.json", vocabulary_json(tokens).dump());
  io::write_file_atomically(directory / "merges.txt", merges_text(*this));
  io::write_file_atomically(directory / "tokenizer_config.json", tokenizer_config_json(*this).dump(2) + "\n");
  io::write_file_atomically(directory / "tokenizer.json", tokenizer_json(*this).dump(1) + "\n");
}

TrainedBpe train_bpe(std::span<const std::string_view> texts, const BpeTrainerOptions& options) {
  BpeTrainer trainer(options);
  for (const std::string_view text : texts) trainer.add_text(text);
  return trainer.train();
}

}  // namespace aleph::text
