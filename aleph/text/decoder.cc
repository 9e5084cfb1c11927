#include "aleph/text/decoder.h"

#include <algorithm>
#include <optional>

#include "aleph/text/json_parts.h"
#include "aleph/text/utf8.h"

namespace aleph::text {
namespace {

/// Joins tokens with single spaces: what is done where there is no decoder.
class SpaceStage final : public DecodeStage {
 public:
  void push(std::string_view text, bool begins, const TokenSink& sink) override {
    if (begins && !first_) sink(" ", true);
    first_ = false;
    sink(text, begins);
  }
  void finish(const TokenSink&) override { first_ = true; }

 private:
  bool first_ = true;
};

/// All tokens become one.
class FuseStage final : public DecodeStage {
 public:
  void push(std::string_view text, bool, const TokenSink& sink) override {
    sink(text, first_);
    first_ = false;
  }
  void finish(const TokenSink&) override { first_ = true; }

 private:
  bool first_ = true;
};

/// Characters of GPT-2's alphabet to bytes, bytes to text; all tokens become one.
class ByteLevelStage final : public DecodeStage {
 public:
  explicit ByteLevelStage(bool lossless) : lossless_(lossless) {}

  void push(std::string_view text, bool, const TokenSink& sink) override {
    ByteAlphabet::instance().append_bytes(bytes_, text);
    text_.clear();
    const size_t rest = lossless_ ? 0 : append_lossy(text_, bytes_);
    if (lossless_) text_.swap(bytes_);
    bytes_.erase(0, lossless_ ? bytes_.size() : bytes_.size() - rest);
    emit(sink);
  }
  void finish(const TokenSink& sink) override {
    text_ = bytes_.empty() ? "" : kReplacement;
    bytes_.clear();
    emit(sink);
    first_ = true;
  }

 private:
  void emit(const TokenSink& sink) {
    if (text_.empty()) return;
    sink(text_, first_);
    first_ = false;
  }

  bool lossless_;
  bool first_ = true;
  std::string bytes_;  // not yet text
  std::string text_;
};

/// For steps that need whole tokens.
class WholeTokenStage : public DecodeStage {
 public:
  void push(std::string_view text, bool begins, const TokenSink& sink) final {
    if (begins) end_token(sink);
    if (!token_) token_.emplace();
    token_->append(text);
  }
  void finish(const TokenSink& sink) override { end_token(sink); }

 protected:
  virtual void whole(std::string_view token, const TokenSink& sink) = 0;

 private:
  void end_token(const TokenSink& sink) {
    if (!token_) return;
    const std::string token = std::move(*token_);
    token_.reset();
    whole(token, sink);
  }

  std::optional<std::string> token_;
};

/// Gathers the parts of a token.
class GatherStage final : public WholeTokenStage {
 protected:
  void whole(std::string_view token, const TokenSink& sink) override { sink(token, true); }
};

/// For such steps where every push is a whole token anyway: nothing is held back.
template <typename Whole>
class UnfusedStage final : public DecodeStage {
 public:
  template <typename... Args>
  explicit UnfusedStage(Args&&... args) : whole_(std::forward<Args>(args)...) {}
  void push(std::string_view text, bool, const TokenSink& sink) override { whole_.token(text, sink); }
  void finish(const TokenSink& sink) override { whole_.finish(sink); }

 private:
  Whole whole_;
};

template <typename Whole>
class FusedStage final : public WholeTokenStage {
 public:
  template <typename... Args>
  explicit FusedStage(Args&&... args) : whole_(std::forward<Args>(args)...) {}
  void finish(const TokenSink& sink) override {
    WholeTokenStage::finish(sink);
    whole_.finish(sink);
  }

 protected:
  void whole(std::string_view token, const TokenSink& sink) override { whole_.token(token, sink); }

 private:
  Whole whole_;
};

class ReplaceTokens {
 public:
  ReplaceTokens(const Regex& pattern, const std::string& content) : pattern_(pattern), content_(content) {}
  void token(std::string_view text, const TokenSink& sink) { sink(pattern_.replace(text, content_), true); }
  void finish(const TokenSink&) {}

 private:
  const Regex& pattern_;
  const std::string& content_;
};

/// Runs of tokens "<0xAB>" to text, or to one U+FFFD a byte where the run is no UTF-8.
class JoinByteTokens {
 public:
  explicit JoinByteTokens(bool lossless) : lossless_(lossless) {}

  void token(std::string_view text, const TokenSink& sink) {
    if (const int byte = byte_of(text); byte >= 0) return bytes_.push_back(static_cast<char>(byte));
    finish(sink);
    sink(text, true);
  }
  void finish(const TokenSink& sink) {
    if (bytes_.empty()) return;
    const std::string bytes = std::move(bytes_);
    bytes_.clear();
    if (lossless_ || valid_utf8_length(bytes) == bytes.size()) return sink(bytes, true);
    for (size_t i = 0; i < bytes.size(); ++i) sink(kReplacement, true);
  }

 private:
  static int digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    const char lower = static_cast<char>(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
  }
  static int byte_of(std::string_view token) {
    if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
    const int high = digit(token[3]);
    const int low = digit(token[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
  }

  bool lossless_;
  std::string bytes_;
};

/// The suffix that ends words becomes a space, except in the last token.
class WordEnds {
 public:
  explicit WordEnds(const std::string& suffix) : suffix_(suffix) {}

  void token(std::string_view text, const TokenSink& sink) {
    if (last_) emit(" ", sink);
    last_ = std::string(text);
  }
  void finish(const TokenSink& sink) {
    if (last_) emit("", sink);
    last_.reset();
  }

 private:
  void emit(std::string_view replacement, const TokenSink& sink) const {
    std::string out;
    size_t begin = 0;
    for (size_t at = last_->find(suffix_); at != std::string::npos; at = last_->find(suffix_, begin)) {
      out.append(*last_, begin, at - begin).append(replacement);
      begin = at + suffix_.size();
    }
    sink(out.append(*last_, begin), true);
  }

  const std::string& suffix_;
  std::optional<std::string> last_;
};

/// The visible space becomes a space; in the first token it goes where words got one prepended.
class MetaspaceStage final : public DecodeStage {
 public:
  MetaspaceStage(const std::string& mark, bool drop_first) : mark_(mark), drop_first_(drop_first) {}

  void push(std::string_view text, bool begins, const TokenSink& sink) override {
    if (begins) ++tokens_;
    std::string out;
    size_t begin = 0;
    for (size_t at = text.find(mark_); at != std::string_view::npos; at = text.find(mark_, begin)) {
      out += text.substr(begin, at - begin);
      if (tokens_ != 1 || !drop_first_) out += ' ';
      begin = at + mark_.size();
    }
    out += text.substr(begin);
    sink(out, begins);
  }
  void finish(const TokenSink&) override { tokens_ = 0; }

 private:
  const std::string& mark_;
  bool drop_first_;
  int64_t tokens_ = 0;
};

/// Takes up to `start` of a character from the beginning and up to `stop` from the end of each token.
class StripStage final : public DecodeStage {
 public:
  StripStage(const std::string& content, int64_t start, int64_t stop)
      : content_(content), start_(start), stop_(stop) {}

  void push(std::string_view text, bool begins, const TokenSink& sink) override {
    if (begins) {
      finish(sink);
      open_ = true;
      begins_ = true;
      leading_ = start_;
    }
    while (leading_ > 0 && text.starts_with(content_)) {
      text.remove_prefix(content_.size());
      --leading_;
    }
    if (!text.empty()) leading_ = 0;
    held_ += text;
    emit(held_.size() - std::min(held_.size(), tail_bytes(held_)), sink);
  }
  void finish(const TokenSink& sink) override {
    if (!open_) return;
    const size_t kept = held_.size() - tail_bytes(held_);
    emit(kept, sink);
    if (begins_) sink("", true);
    held_.clear();
    open_ = false;
  }

 private:
  // Bytes of the characters at the end that finish() would take.
  size_t tail_bytes(std::string_view text) const {
    size_t bytes = 0;
    for (int64_t i = 0; i < stop_ && text.ends_with(content_); ++i) {
      text.remove_suffix(content_.size());
      bytes += content_.size();
    }
    return bytes;
  }
  void emit(size_t bytes, const TokenSink& sink) {
    if (bytes == 0) return;
    sink(std::string_view(held_).substr(0, bytes), begins_);
    begins_ = false;
    held_.erase(0, bytes);
  }

  const std::string& content_;
  int64_t start_, stop_;
  int64_t leading_ = 0;  // how many may still be taken from the beginning
  bool open_ = false;
  bool begins_ = false;
  std::string held_;
};

}  // namespace

/// What a "decoder" object says.
struct Decoder::Step {
  enum class Kind { kSpaces, kByteLevel, kReplace, kByteFallback, kFuse, kStrip, kMetaspace, kWordEnds };
  Kind kind;
  std::optional<Regex> pattern = std::nullopt;
  std::string content = {};
  int64_t start = 0, stop = 0;
  bool drop_first = false;
};

namespace {

using Step = Decoder::Step;
constexpr int64_t kMaxStrip = 1 << 20;

void add_part(const Json& json, const std::string& object, int depth, std::vector<Step>& steps) {
  const std::string type = part_type(json, object);
  const auto text = [&](const char* key) { return json_get<std::string>(json, key, object); };
  if (type == "Sequence") {
    make_sequence(json, "decoders", object, depth, [&](const Json& part, const std::string& name, int next) {
      add_part(part, name, next, steps);
      return true;
    });
  } else if (type == "ByteLevel") {
    steps.push_back({Step::Kind::kByteLevel});
  } else if (type == "Replace") {
    steps.push_back({Step::Kind::kReplace, json_pattern(json, object), text("content")});
  } else if (type == "ByteFallback") {
    steps.push_back({Step::Kind::kByteFallback});
  } else if (type == "Fuse") {
    steps.push_back({Step::Kind::kFuse});
  } else if (type == "Strip") {
    json_char(json, "content", object);
    steps.push_back({Step::Kind::kStrip, std::nullopt, text("content"),
                     json_count(json, "start", kMaxStrip, object),
                     json_count(json, "stop", kMaxStrip, object)});
  } else if (type == "Metaspace") {
    json_char(json, "replacement", object);
    const bool never = json_get_or<std::string>(json, "prepend_scheme", "always", object) == "never" ||
                       !json_get_or<bool>(json, "add_prefix_space", true, object);
    steps.push_back({Step::Kind::kMetaspace, std::nullopt, text("replacement"), 0, 0, !never});
  } else if (type == "BPEDecoder") {
    if (text("suffix").empty()) throw Error(object + ": suffix", "''", "what ends a word");
    steps.push_back({Step::Kind::kWordEnds, std::nullopt, text("suffix")});
  } else {
    throw_unsupported(object, type,
                      "ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace, BPEDecoder or Sequence");
  }
}

template <typename Whole, typename... Args>
std::unique_ptr<DecodeStage> whole_tokens(bool fused, Args&&... args) {
  if (fused) return std::make_unique<FusedStage<Whole>>(std::forward<Args>(args)...);
  return std::make_unique<UnfusedStage<Whole>>(std::forward<Args>(args)...);
}

std::unique_ptr<DecodeStage> stage_of(const Step& step, bool fused, bool lossless) {
  switch (step.kind) {
    case Step::Kind::kSpaces:
      return std::make_unique<SpaceStage>();
    case Step::Kind::kByteLevel:
      return std::make_unique<ByteLevelStage>(lossless);
    case Step::Kind::kReplace:
      return whole_tokens<ReplaceTokens>(fused, *step.pattern, step.content);
    case Step::Kind::kByteFallback:
      return whole_tokens<JoinByteTokens>(fused, lossless);
    case Step::Kind::kFuse:
      return std::make_unique<FuseStage>();
    case Step::Kind::kStrip:
      return std::make_unique<StripStage>(step.content, step.start, step.stop);
    case Step::Kind::kMetaspace:
      return std::make_unique<MetaspaceStage>(step.content, step.drop_first);
    case Step::Kind::kWordEnds:
      return whole_tokens<WordEnds>(fused, step.content);
  }
  ALEPH_CHECK(false, "unknown decoder step");
  return nullptr;
}

}  // namespace

Decoder::Decoder() { steps_.push_back({Step::Kind::kSpaces}); }

Decoder::Decoder(const Json& json, const std::string& object) {
  if (json.is_null())
    steps_.push_back({Step::Kind::kSpaces});
  else
    add_part(json, object, 0, steps_);
}

Decoder::Decoder(Decoder&&) noexcept = default;
Decoder& Decoder::operator=(Decoder&&) noexcept = default;
Decoder::~Decoder() = default;

std::unique_ptr<DecodePipeline> Decoder::start(bool lossless) const {
  std::vector<std::unique_ptr<DecodeStage>> stages;
  bool fused = false;  // a step before made all tokens one, which comes in parts
  for (const Step& step : steps_) {
    // Its bytes are spelled by the whole token or not at all.
    if (fused && step.kind == Step::Kind::kByteLevel) stages.push_back(std::make_unique<GatherStage>());
    stages.push_back(stage_of(step, fused, lossless));
    fused = fused || step.kind == Step::Kind::kFuse || step.kind == Step::Kind::kByteLevel;
  }
  return std::make_unique<DecodePipeline>(std::move(stages));
}

void DecodePipeline::run(size_t stage, std::string_view text, bool begins, std::string& out) {
  if (stage == stages_.size()) {
    out += text;
    return;
  }
  stages_[stage]->push(
      text, begins, [&](std::string_view part, bool part_begins) { run(stage + 1, part, part_begins, out); });
}

void DecodePipeline::finish(std::string& out) {
  for (size_t stage = 0; stage < stages_.size(); ++stage)
    stages_[stage]->finish([&](std::string_view part, bool begins) { run(stage + 1, part, begins, out); });
}

}  // namespace aleph::text
