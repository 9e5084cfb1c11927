#include "fuzz/mutator.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstring>
#include <limits>
#include <optional>

#include "aleph/base/error.h"
#include "aleph/base/json.h"
#include "aleph/base/random.h"

namespace aleph::fuzz {

/// Draws one after another.
class Draw {
 public:
  explicit Draw(uint64_t seed) : random_({.seed = seed}) {}

  size_t below(size_t n) { return static_cast<size_t>(random_.below(n, position_ += 2)); }
  bool once_in(size_t n) { return below(n) == 0; }
  /// Mostly small.
  size_t length(size_t most) { return 1 + below(std::min(most, size_t{1} << (1 + below(12)))); }
  template <typename List>
  const auto& of(const List& choices) {
    return choices[below(choices.size())];
  }

 private:
  RandomStream random_;
  uint64_t position_ = 0;
};

namespace {

constexpr size_t kLargest = 1 << 16;

/// A part of a text that is not empty.
struct Span {
  size_t at, length;
};
Span part_of(const std::string& text, Draw& draw) {
  const size_t at = draw.below(text.size());
  return {at, draw.length(text.size() - at)};
}

void flip_bits(std::string& text, Draw& draw) {
  for (size_t i = draw.length(8); i > 0; --i) {
    char& byte = text[draw.below(text.size())];
    byte = static_cast<char>(byte ^ (1 << draw.below(8)));
  }
}

void replace_byte(std::string& text, Draw& draw) {
  text[draw.below(text.size())] = static_cast<char>(draw.below(256));
}

void cut_off(std::string& text, Draw& draw) { text.resize(draw.below(text.size())); }

void cut_out(std::string& text, Draw& draw) {
  const Span part = part_of(text, draw);
  text.erase(part.at, part.length);
}

void double_block(std::string& text, Draw& draw) {
  const Span part = part_of(text, draw);
  const std::string block = text.substr(part.at, part.length);
  for (size_t times = draw.once_in(4) ? draw.length(1000) : 1; times > 0 && text.size() < kLargest; --times)
    text.insert(part.at, block);
}

void swap_blocks(std::string& text, Draw& draw) {
  const Span part = part_of(text, draw);
  const std::string block = text.substr(part.at, part.length);
  text.erase(part.at, part.length);
  text.insert(draw.below(text.size() + 1), block);
}

/// Replaces a run of digits, found from a random place on.
void change_number(std::string& text, Draw& draw) {
  static constexpr std::array<std::string_view, 20> kNumbers = {"0",          "-1",
                                                                "1",          "00",
                                                                "2147483647", "2147483648",
                                                                "4294967295", "4294967296",
                                                                "65536",      "9223372036854775807",
                                                                "1e400",      "9223372036854775808",
                                                                "1e308",      "-9223372036854775808",
                                                                "-1e-308",    "18446744073709551615",
                                                                "0.5",        "99999999999999999999999999",
                                                                "1e18",       "null"};
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  const auto from = text.begin() + static_cast<ptrdiff_t>(draw.below(text.size()));
  const auto begin = std::find_if(from, text.end(), digit);
  const auto end = std::find_if_not(begin, text.end(), digit);
  text.replace(begin, end, draw.of(kNumbers));
}

/// Eight bytes as a length that cannot be, or hardly.
void huge_length(std::string& text, Draw& draw) {
  const std::array<uint64_t, 8> lengths = {0,
                                           1,
                                           text.size(),
                                           text.size() - 1,
                                           std::numeric_limits<uint32_t>::max(),
                                           uint64_t{100} << 20,
                                           std::numeric_limits<int64_t>::max(),
                                           std::numeric_limits<uint64_t>::max()};
  const uint64_t length = draw.of(lengths);
  const size_t at = draw.once_in(2) ? 0 : draw.below(text.size());
  std::memcpy(text.data() + at, &length, std::min(sizeof length, text.size() - at));
}

void nest(std::string& text, Draw& draw) {
  static constexpr std::array<std::string_view, 4> kOpen = {"[", "{\"a\":", "[[", "("};
  const std::string_view open = draw.of(kOpen);
  std::string deep;
  for (size_t depth = draw.once_in(4) ? 10'000 : draw.length(300); depth > 0; --depth) deep += open;
  text.insert(draw.below(text.size() + 1), deep);
}

struct Document {
  Span part;
  Json json;
};
/// The JSON in a text: from the first brace to the last of the text, or to the last of that line.
std::optional<Document> document_in(const std::string& text) {
  const size_t begin = text.find('{');
  if (begin == std::string::npos) return std::nullopt;
  for (const size_t line_end : {text.size(), text.find('\n', begin)}) {
    const size_t end = text.rfind('}', line_end);
    if (end == std::string::npos || end < begin) continue;
    Json json = Json::parse(text.begin() + static_cast<ptrdiff_t>(begin),
                            text.begin() + static_cast<ptrdiff_t>(end) + 1, nullptr, false);
    if (!json.is_discarded()) return Document{{begin, end + 1 - begin}, std::move(json)};
  }
  return std::nullopt;
}

/// Some value inside, found by walking down at random.
Json* somewhere(Json& json, Draw& draw) {
  Json* at = &json;
  while (at->is_structured() && !at->empty() && (at == &json || !draw.once_in(4))) {
    auto child = at->begin();
    std::advance(child, static_cast<ptrdiff_t>(draw.below(at->size())));
    at = &*child;
  }
  return at;
}

const Json& odd_value(Draw& draw) {
  static const std::vector<Json> kValues = {nullptr,
                                            true,
                                            false,
                                            0,
                                            -1,
                                            1,
                                            3.5,
                                            1e300,
                                            INT64_MAX,
                                            UINT64_MAX,
                                            "",
                                            "a",
                                            "\u2581",
                                            Json::array(),
                                            Json::object(),
                                            {{"type", "Sequence"}},
                                            {{"String", ""}},
                                            {{"Regex", "(a*)*"}},
                                            Json::array({"a", 1}),
                                            "auto"};
  return draw.of(kValues);
}

/// A value of a JSON document replaced, moved or taken out: what comes of it parses.
void rearrange(std::string& text, Draw& draw) {
  std::optional<Document> document = document_in(text);
  if (!document) return;
  auto& [part, json] = *document;
  Json* at = somewhere(json, draw);
  const Json other = draw.once_in(3) ? *somewhere(json, draw) : odd_value(draw);
  if (at->is_object() && !at->empty() && draw.once_in(3))
    at->erase(at->begin());
  else
    *at = other;
  text.replace(part.at, part.length, json.dump());
}

}  // namespace

std::vector<std::string> dictionary_words(std::string_view text) {
  std::vector<std::string> words;
  for (size_t begin = 0, end = 0; begin < text.size(); begin = end + 1) {
    end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = text.substr(begin, end - begin);
    const size_t open = line.find('"'), close = line.rfind('"');
    if (line.starts_with('#') || open == close) continue;
    std::string& word = words.emplace_back();
    for (size_t i = open + 1; i < close; ++i) {
      if (line[i] == '\\' && line[i + 1] == 'x') {
        int code = 0;
        std::from_chars(line.data() + i + 2, line.data() + std::min(i + 4, close), code, 16);
        word.push_back(static_cast<char>(code));
        i += 3;
      } else {
        word.push_back(line[line[i] == '\\' ? ++i : i]);
      }
    }
  }
  return words;
}

Mutator::Mutator(std::vector<std::string> seeds, std::vector<std::string> words)
    : seeds_(std::move(seeds)), words_(std::move(words)) {
  ALEPH_CHECK(!seeds_.empty());
}

void Mutator::insert_word(std::string& text, Draw& draw) const {
  if (words_.empty()) return;
  const size_t at = draw.below(text.size());
  text.replace(at, draw.once_in(2) ? 0 : draw.length(text.size() - at), draw.of(words_));
}

void Mutator::splice(std::string& text, Draw& draw) const {
  const std::string& other = draw.of(seeds_);
  if (!other.empty()) text = text.substr(0, draw.below(text.size())) + other.substr(draw.below(other.size()));
}

std::string Mutator::make(uint64_t index) const {
  using Change = void (*)(std::string&, Draw&);
  static constexpr std::array<Change, 10> kChanges = {flip_bits,    replace_byte, cut_off,       cut_out,
                                                      double_block, swap_blocks,  change_number, huge_length,
                                                      nest,         rearrange};
  Draw draw(index);
  std::string text = seeds_[index % seeds_.size()];
  for (size_t i = draw.once_in(2) ? 1 : draw.length(4); i > 0 && !text.empty(); --i) {
    const size_t kind = draw.below(kChanges.size() + 10);
    if (kind < kChanges.size())
      kChanges[kind](text, draw);
    else if (kind == kChanges.size())
      splice(text, draw);
    else if (kind < kChanges.size() + 4)
      insert_word(text, draw);
    else
      rearrange(text, draw);
  }
  if (text.size() > kLargest) text.resize(kLargest);
  return text;
}

}  // namespace aleph::fuzz
