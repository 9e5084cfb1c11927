#include "aleph/text/bpe_trainer.h"

#include <algorithm>
#include <queue>
#include <set>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "aleph/base/error.h"
#include "aleph/base/json.h"
#include "aleph/base/text_util.h"
#include "aleph/io/file.h"
#include "aleph/text/bpe_model.h"
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

struct Candidate {
  int64_t count;
  Pair pair;
  /// The heap's top: highest count, then smallest pair.
  bool operator<(const Candidate& other) const {
    return count != other.count ? count < other.count : pair > other.pair;
  }
};

/// The symbols of all distinct words, pair counts that follow each merge, and the places of each pair. A
/// merge costs what it changes, however long words are.
class PairTable {
 public:
  /// Words come before the first merge.
  void add_word(std::span<const int32_t> symbols, int64_t count) {
    if (symbols_.size() + symbols.size() >= kNone)
      throw Error("training text", "4 GiB of distinct words", "less");
    for (size_t i = 0; i < symbols.size(); ++i) {
      const auto place = static_cast<Place>(symbols_.size());
      symbols_.push_back({.id = symbols[i],
                          .word = static_cast<uint32_t>(counts_.size()),
                          .before = i == 0 ? kNone : place - 1,
                          .after = i + 1 == symbols.size() ? kNone : place + 1});
      if (i + 1 < symbols.size()) add({symbols[i], symbols[i + 1]}, count, place);
    }
    counts_.push_back(count);
  }
  void finish_words() { push_grown(); }

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

  /// Replaces `pair` by `merged` in every word, in each from left to right.
  void merge(const Pair& pair, int32_t merged) {
    std::vector<Place> places = std::move(pairs_.at(pair).places);
    pairs_.at(pair) = {};
    // A token that two merges spell gets places in two steps.
    if (!std::is_sorted(places.begin(), places.end())) std::sort(places.begin(), places.end());
    for (const Place place : places) merge_at(place, pair, merged);
    push_grown();
  }

 private:
  using Place = uint32_t;
  static constexpr Place kNone = 0xffffffff;
  struct Symbol {
    int32_t id;  // -1: merged into the one before
    uint32_t word;
    Place before, after;
  };
  struct Entry {
    int64_t count = 0;
    bool grown = false;         // since heap_ got its count
    std::vector<Place> places;  // of the left symbol; some hold another pair by now
  };

  void add(const Pair& pair, int64_t count, Place place) {
    Entry& entry = pairs_[pair];
    entry.count += count;
    entry.places.push_back(place);
    if (!std::exchange(entry.grown, true)) grown_.push_back(pair);
  }

  void push_grown() {
    for (const Pair& pair : grown_) {
      Entry& entry = pairs_.at(pair);
      heap_.push({entry.count, pair});
      entry.grown = false;
    }
    grown_.clear();
  }

  void merge_at(Place place, const Pair& pair, int32_t merged) {
    Symbol& left = symbols_[place];
    if (left.id != pair.first || left.after == kNone || symbols_[left.after].id != pair.second) return;
    const int64_t count = counts_[left.word];
    Symbol& right = symbols_[left.after];
    if (left.before != kNone) {
      const int32_t before = symbols_[left.before].id;
      pairs_[{before, pair.first}].count -= count;
      add({before, merged}, count, left.before);
    }
    if (right.after != kNone) {
      const int32_t after = symbols_[right.after].id;
      pairs_[{pair.second, after}].count -= count;
      add({merged, after}, count, place);
      symbols_[right.after].before = place;
    }
    left.id = merged;
    left.after = right.after;
    right.id = -1;
  }

  std::vector<Symbol> symbols_;
  std::vector<int64_t> counts_;  // of words
  std::unordered_map<Pair, Entry, PairHash> pairs_;
  std::vector<Pair> grown_;
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

/// Distinct words and how often they came. Open addressing; texts stand behind one another.
struct BpeTrainer::Words {
  struct Word {
    size_t hash, begin, size;
    int64_t count;
  };

  void add(std::string_view word) {
    if (2 * words.size() >= slots.size()) grow();
    const size_t hash = PieceCache::hash(word);
    size_t i = hash % slots.size();
    for (; slots[i] != 0; i = (i + 1) % slots.size()) {
      Word& known = words[slots[i] - 1];
      if (known.hash == hash && text_of(known) == word) return void(++known.count);
    }
    words.push_back({hash, text.size(), word.size(), 1});
    text += word;
    slots[i] = words.size();
  }
  std::string_view text_of(const Word& word) const {
    return std::string_view(text).substr(word.begin, word.size);
  }
  void grow() {
    slots.assign(std::max<size_t>(1024, 4 * slots.size()), 0);
    for (size_t w = 0; w < words.size(); ++w) {
      size_t i = words[w].hash % slots.size();
      while (slots[i] != 0) i = (i + 1) % slots.size();
      slots[i] = w + 1;
    }
  }

  std::string text;
  std::vector<Word> words;
  std::vector<size_t> slots;  // index into words + 1, or 0; a power of two
};

/// Each has a text of its own.
void check_special_tokens(const std::vector<std::string>& tokens) {
  std::set<std::string_view> seen;
  for (const std::string& token : tokens) {
    if (token.empty()) throw Error("special tokens", "an empty one", "a text for each");
    if (!seen.insert(token).second)
      throw Error("special tokens", fmt::format("'{}' twice", printable(token)), "each once");
  }
}

BpeTrainer::BpeTrainer(const BpeTrainerOptions& options)
    : options_(options), words_(std::make_unique<Words>()) {
  check_special_tokens(options.special_tokens);
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
    words_->add(text.substr(begin, end - begin));
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
  PairTable table;
  std::vector<int32_t> symbols;
  for (const Words::Word& word : words_->words) {
    symbols.clear();
    for (const char c : words_->text_of(word)) symbols.push_back(id_of_byte[static_cast<uint8_t>(c)]);
    table.add_word(symbols, word.count);
  }
  table.finish_words();
  std::unordered_map<std::string, int32_t> ids;
  for (const std::string& token : result.tokens) ids.emplace(token, static_cast<int32_t>(ids.size()));
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
