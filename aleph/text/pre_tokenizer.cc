#include "aleph/text/pre_tokenizer.h"

#include <unicode/uchar.h>

#include <algorithm>

#include "aleph/base/text_util.h"
#include "aleph/text/json_parts.h"
#include "aleph/text/splitter.h"
#include "aleph/text/utf8.h"

namespace aleph::text {
namespace {

using Steps = std::vector<std::unique_ptr<const PreTokenizerStep>>;

void emit(const Piece& whole, size_t begin, size_t end, const PieceSink& sink) {
  if (begin < end) sink({whole.text.substr(begin, end - begin), whole.at_start && begin == 0});
}

/// What becomes of the matches of a pattern.
enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

Behavior behavior_of(const Json& json, const std::string& object) {
  const auto name = json_get_or<std::string>(json, "behavior", "Isolated", object);
  if (name == "Removed") return Behavior::kRemoved;
  if (name == "Isolated") return Behavior::kIsolated;
  if (name == "MergedWithPrevious") return Behavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::kMergedWithNext;
  if (name == "Contiguous") return Behavior::kContiguous;
  throw Error(object + ": behavior", "'" + printable(name) + "'",
              "Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

/// Joins consecutive segments as the behaviour asks and emits them; holds one back.
class Joiner {
 public:
  Joiner(Behavior behavior, const Piece& whole, const PieceSink& sink)
      : behavior_(behavior), whole_(whole), sink_(sink) {}

  void add(const Segment& segment) {
    if (holds_ && joins(segment)) {
      held_.end = segment.end;
      held_.is_match = segment.is_match;
    } else {
      finish();
      held_ = segment;
      holds_ = true;
    }
  }
  void finish() {
    if (holds_ && !(behavior_ == Behavior::kRemoved && held_.is_match))
      emit(whole_, held_.begin, held_.end, sink_);
    holds_ = false;
  }

 private:
  bool joins(const Segment& next) const {
    switch (behavior_) {
      case Behavior::kMergedWithPrevious:
        return next.is_match && !held_.is_match;
      case Behavior::kMergedWithNext:
        return held_.is_match && !next.is_match;
      case Behavior::kContiguous:
        return next.is_match == held_.is_match;
      default:
        return false;
    }
  }

  Behavior behavior_;
  const Piece& whole_;
  const PieceSink& sink_;
  Segment held_{};
  bool holds_ = false;
};

class SplitByRegex final : public PreTokenizerStep {
 public:
  SplitByRegex(Regex pattern, Behavior behavior, bool invert, const Cuts& splits = kNoCuts)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert), splits_(splits) {}

  Cuts splits() const override { return splits_; }

  void split(const Piece& piece, const PieceSink& sink) const override {
    Joiner joiner(behavior_, piece, sink);
    pattern_.segments(piece.text, [&](const Segment& segment) {
      joiner.add({segment.begin, segment.end, segment.is_match != invert_});
    });
    joiner.finish();
  }

 private:
  Regex pattern_;
  Behavior behavior_;
  bool invert_;
  Cuts splits_;  // what is known of the pattern
};

class SplitByKnownPattern final : public PreTokenizerStep {
 public:
  explicit SplitByKnownPattern(KnownPattern pattern) : pattern_(pattern) {}

  Cuts splits() const override { return kAllCuts; }

  void split(const Piece& piece, const PieceSink& sink) const override {
    for (size_t begin = 0; begin < piece.text.size();) {
      const size_t end = piece_end(pattern_, piece.text, begin);
      emit(piece, begin, end, sink);
      begin = end;
    }
  }

 private:
  KnownPattern pattern_;
};

/// Splits at the characters for which `Matches` holds. Bytes that are not UTF-8 do not match.
template <typename Matches>
class SplitByCharacter final : public PreTokenizerStep {
 public:
  SplitByCharacter(const Matches& matches, Behavior behavior, const Cuts& splits)
      : matches_(matches), behavior_(behavior), splits_(splits) {}

  Cuts splits() const override { return splits_; }
  Cuts keeps() const override { return kAllCuts; }

  void split(const Piece& piece, const PieceSink& sink) const override {
    Joiner joiner(behavior_, piece, sink);
    size_t done = 0;
    for (size_t i = 0; i < piece.text.size();) {
      const Utf8Char c = utf8_at(piece.text, i);
      const size_t end = i + static_cast<size_t>(c.length);
      if (c.code >= 0 && matches_(c.code)) {
        if (done < i) joiner.add({done, i, false});
        joiner.add({i, end, true});
        done = end;
      }
      i = end;
    }
    if (done < piece.text.size()) joiner.add({done, piece.text.size(), false});
    joiner.finish();
  }

 private:
  Matches matches_;
  Behavior behavior_;
  Cuts splits_;
};

template <typename Matches>
std::unique_ptr<const PreTokenizerStep> by_character(Matches matches, Behavior behavior,
                                                     const Cuts& splits = kNoCuts) {
  return std::make_unique<SplitByCharacter<Matches>>(matches, behavior, splits);
}

bool is_numeric(int32_t code) {
  if (code < 0x80) return code >= '0' && code <= '9';
  return (U_GET_GC_MASK(code) & U_GC_N_MASK) != 0;
}

bool is_punctuation(int32_t code) {
  if (code < 0x80) return code > ' ' && code < 0x7f && !u_isalnum(code);
  return (U_GET_GC_MASK(code) & U_GC_P_MASK) != 0;
}

class PrefixSpace final : public PreTokenizerStep {
 public:
  void split(const Piece& piece, const PieceSink& sink) const override {
    if (piece.text.empty() || piece.text.starts_with(' ')) return sink(piece);
    sink({" " + std::string(piece.text), piece.at_start});
  }
  Cuts keeps() const override { return {.space = true, .line = false}; }
};

/// Spells bytes in GPT-2's alphabet, for steps that come after ByteLevel.
class SpellBytes final : public PreTokenizerStep {
 public:
  void split(const Piece& piece, const PieceSink& sink) const override {
    sink({ByteAlphabet::instance().spell(piece.text), piece.at_start});
  }
};

/// Spaces become a visible character, which begins every word.
class Metaspace final : public PreTokenizerStep {
 public:
  Metaspace(const Json& json, const std::string& object) {
    append_utf8(mark_, json_char(json, "replacement", object));
    const auto scheme = json_get_or<std::string>(json, "prepend_scheme", "always", object);
    const auto prefix = json_get_or<bool>(json, "add_prefix_space", true, object);
    if (scheme != "always" && scheme != "first" && scheme != "never")
      throw Error(object + ": prepend_scheme", "'" + printable(scheme) + "'", "always, first or never");
    always_ = scheme == "always" && prefix;
    first_ = scheme == "first" && prefix;
    split_ = json_get_or<bool>(json, "split", true, object);
  }

  void split(const Piece& piece, const PieceSink& sink) const override {
    std::string text;
    text.reserve(piece.text.size());
    for (const char c : piece.text) c == ' ' ? void(text += mark_) : text.push_back(c);
    const bool prepend = always_ || (first_ && piece.at_start);
    if (prepend && !text.empty() && !text.starts_with(mark_)) text.insert(0, mark_);
    const Piece whole{text, piece.at_start};
    size_t begin = 0;
    while (split_ && begin < text.size()) {
      const size_t next = std::min(text.find(mark_, begin + 1), text.size());
      emit(whole, begin, next, sink);
      begin = next;
    }
    emit(whole, begin, text.size(), sink);
  }
  Cuts splits() const override { return {.space = split_, .line = false}; }

 private:
  std::string mark_;
  bool always_ = false, first_ = false, split_ = true;
};

void add_split(const Json& json, const std::string& object, Steps& steps) {
  const bool invert = json_get_or<bool>(json, "invert", false, object);
  const Behavior behavior = behavior_of(json, object);
  Regex regex = json_pattern(json, object);
  const auto text = json_get_or<std::string>(json.at("pattern"), "Regex", "", object);
  // Every character is in a match, so keeping the matches and removing the rest is the same.
  const bool keeps_matches = invert ? behavior == Behavior::kRemoved || behavior == Behavior::kIsolated
                                    : behavior == Behavior::kIsolated;
  if (const auto known = known_pattern(text); known && keeps_matches)
    steps.push_back(std::make_unique<SplitByKnownPattern>(*known));
  else
    steps.push_back(std::make_unique<SplitByRegex>(std::move(regex), behavior, invert));
}

void add_byte_level(const Json& json, const std::string& object, Steps& steps) {
  if (json_get<bool>(json, "add_prefix_space", object)) steps.push_back(std::make_unique<PrefixSpace>());
  if (json_get_or<bool>(json, "use_regex", true, object))
    steps.push_back(std::make_unique<SplitByKnownPattern>(KnownPattern::kGpt2));
  steps.push_back(std::make_unique<SpellBytes>());
}

void add_part(const Json& json, const std::string& object, int depth, Steps& steps) {
  const std::string type = part_type(json, object);
  if (type == "Sequence") {
    make_sequence(json, "pretokenizers", object, depth,
                  [&](const Json& part, const std::string& name, int next) {
                    add_part(part, name, next, steps);
                    return true;
                  });
  } else if (type == "ByteLevel") {
    add_byte_level(json, object, steps);
  } else if (type == "Split") {
    add_split(json, object, steps);
  } else if (type == "Digits") {
    const bool individual = json_get<bool>(json, "individual_digits", object);
    steps.push_back(by_character(is_numeric, individual ? Behavior::kIsolated : Behavior::kContiguous));
  } else if (type == "Metaspace") {
    steps.push_back(std::make_unique<Metaspace>(json, object));
  } else if (type == "Whitespace") {
    // \w+|[^\w\s]+ in the dialect of Rust, whose words hold joiners.
    constexpr const char* kWords = R"([\w\x{200c}\x{200d}]+|[^\w\s\x{200c}\x{200d}]+)";
    steps.push_back(
        std::make_unique<SplitByRegex>(Regex(kWords, object), Behavior::kRemoved, true, kAllCuts));
  } else if (type == "WhitespaceSplit") {
    steps.push_back(by_character(is_space, Behavior::kRemoved, kAllCuts));
  } else if (type == "Punctuation") {
    steps.push_back(by_character(is_punctuation, behavior_of(json, object)));
  } else if (type == "CharDelimiterSplit") {
    const int32_t delimiter = json_char(json, "delimiter", object);
    const auto is_delimiter = [delimiter](int32_t code) { return code == delimiter; };
    steps.push_back(by_character(is_delimiter, Behavior::kRemoved));
  } else {
    throw_unsupported(object, type,
                      "ByteLevel, Split, Digits, Metaspace, Whitespace, WhitespaceSplit, Punctuation, "
                      "CharDelimiterSplit or Sequence");
  }
}

}  // namespace

PreTokenizer::PreTokenizer(const Json& json, const std::string& object) {
  if (json.is_null()) return;
  add_part(json, object, 0, steps_);
  if (!steps_.empty() && dynamic_cast<const SpellBytes*>(steps_.back().get()) != nullptr) {
    steps_.pop_back();
    yields_bytes_ = true;
  }
}

Cuts PreTokenizer::cuts() const {
  Cuts split = kNoCuts, kept = kAllCuts;
  for (const auto& step : steps_) {
    kept = kept & (split | step->keeps());
    split = split | step->splits();
  }
  return kept & split;
}

void PreTokenizer::run(size_t step, const Piece& piece, const PieceSink& sink) const {
  if (step == steps_.size()) return sink(piece);
  steps_[step]->split(piece, [&](const Piece& part) { run(step + 1, part, sink); });
}

}  // namespace aleph::text
