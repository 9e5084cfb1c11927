#include "aleph/text/normalizer.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>

#include <algorithm>
#include <vector>

#include "aleph/text/json_parts.h"
#include "aleph/text/utf8.h"

namespace aleph::text {
namespace {

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

/// A unit of the form NFC, NFD, NFKC or NFKD.
class UnicodeForm final : public Normalizer {
 public:
  explicit UnicodeForm(const icu::Normalizer2* form) : form_(form) {}

  bool leaves(std::string_view text) const override { return is_ascii(text); }
  /// Spaces and line ends combine with nothing.
  Cuts cuts() const override { return kAllCuts; }

  std::string apply(std::string_view text) const override {
    std::string out;
    out.reserve(text.size());
    for (size_t i = 0; i < text.size();) {
      // ICU counts in 32 bits; chunks end where a character begins that starts anew in every form.
      const size_t valid = chunk(text, i, valid_utf8_length(text, i));
      append_normalized(out, text.substr(i, valid));
      i += valid;
      while (i < text.size() && utf8_at(text, i).code < 0) out.push_back(text[i++]);
    }
    return out;
  }

 private:
  static constexpr size_t kChunk = 1 << 28;

  static size_t chunk(std::string_view text, size_t begin, size_t valid) {
    if (valid <= kChunk) return valid;
    size_t end = begin + kChunk;
    while (end < begin + valid && static_cast<unsigned char>(text[end]) >= 0x80) ++end;
    return end - begin;
  }

  void append_normalized(std::string& out, std::string_view valid) const {
    UErrorCode status = U_ZERO_ERROR;
    icu::StringByteSink<std::string> sink(&out);
    const icu::StringPiece piece(valid.data(), static_cast<int32_t>(valid.size()));
    form_->normalizeUTF8(0, piece, sink, nullptr, status);
    ALEPH_CHECK(U_SUCCESS(status), "{}", u_errorName(status));
  }

  const icu::Normalizer2* form_;
};

std::unique_ptr<const Normalizer> make_form(const std::string& type) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* form = type == "NFC"    ? icu::Normalizer2::getNFCInstance(status)
                                 : type == "NFD"  ? icu::Normalizer2::getNFDInstance(status)
                                 : type == "NFKC" ? icu::Normalizer2::getNFKCInstance(status)
                                                  : icu::Normalizer2::getNFKDInstance(status);
  ALEPH_CHECK(U_SUCCESS(status), "{}", u_errorName(status));
  return std::make_unique<UnicodeForm>(form);
}

/// No sensible normalizer makes a text much longer; nonsensical ones may double it many times.
size_t most_bytes(size_t times, std::string_view text) { return times * text.size() + 1024; }

class Chain final : public Normalizer {
 public:
  Chain(std::vector<std::unique_ptr<const Normalizer>> parts, const std::string& object)
      : parts_(std::move(parts)), object_(object) {}

  bool leaves(std::string_view text) const override {
    return std::all_of(parts_.begin(), parts_.end(), [&](const auto& part) { return part->leaves(text); });
  }
  std::string apply(std::string_view text) const override { return in_turn(text, &Normalizer::apply); }
  std::string apply_rest(std::string_view text) const override {
    return in_turn(text, &Normalizer::apply_rest);
  }
  Cuts cuts() const override {
    Cuts all = kAllCuts;
    for (const auto& part : parts_) all = all & part->cuts();
    return all;
  }

 private:
  std::string in_turn(std::string_view text,
                      std::string (Normalizer::*apply_part)(std::string_view) const) const {
    std::string out(text);
    for (const auto& part : parts_) {
      if (!part->leaves(out)) out = (*part.*apply_part)(out);
      if (out.size() > most_bytes(16, text))
        throw Error(object_,
                    fmt::format("a text of {} bytes that becomes one of {}", text.size(), out.size()),
                    fmt::format("at most {}", most_bytes(16, text)));
    }
    return out;
  }

  std::vector<std::unique_ptr<const Normalizer>> parts_;
  std::string object_;
};

class Prepend final : public Normalizer {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  std::string apply(std::string_view text) const override {
    return text.empty() ? std::string() : prefix_ + std::string(text);
  }
  std::string apply_rest(std::string_view text) const override { return std::string(text); }
  Cuts cuts() const override { return kAllCuts; }

 private:
  std::string prefix_;
};

class Replace final : public Normalizer {
 public:
  Replace(Regex pattern, std::string content, const Cuts& cuts)
      : pattern_(std::move(pattern)), content_(std::move(content)), cuts_(cuts) {}
  std::string apply(std::string_view text) const override {
    return pattern_.replace(text, content_, most_bytes(8, text));
  }
  Cuts cuts() const override { return cuts_; }

 private:
  Regex pattern_;
  std::string content_;
  Cuts cuts_;
};

std::unique_ptr<const Normalizer> make_replace(const Json& json, const std::string& object) {
  Regex pattern = json_pattern(json, object);
  const bool spaces = json_get_or<std::string>(json.at("pattern"), "String", "", object) == " ";
  return std::make_unique<Replace>(std::move(pattern), json_get<std::string>(json, "content", object),
                                   spaces ? kAllCuts : kNoCuts);
}

class Strip final : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}

  std::string apply(std::string_view text) const override {
    while (left_ && !text.empty() && is_space(utf8_at(text, 0).code))
      text.remove_prefix(static_cast<size_t>(utf8_at(text, 0).length));
    while (right_ && !text.empty() && is_space(last_utf8(text))) {
      while ((static_cast<unsigned char>(text.back()) & 0xc0) == 0x80) text.remove_suffix(1);
      text.remove_suffix(1);
    }
    return std::string(text);
  }

 private:
  bool left_, right_;
};

/// Every character by itself: `Map` appends what becomes of it.
template <typename Map>
class PerCharacter final : public Normalizer {
 public:
  PerCharacter(const Map& map, const Cuts& cuts) : map_(map), cuts_(cuts) {}
  Cuts cuts() const override { return cuts_; }
  std::string apply(std::string_view text) const override {
    std::string out;
    out.reserve(text.size());
    for (size_t i = 0; i < text.size();) {
      const Utf8Char c = utf8_at(text, i);
      if (c.code < 0)
        out.push_back(text[i]);
      else
        map_(out, c.code);
      i += static_cast<size_t>(c.length);
    }
    return out;
  }

 private:
  Map map_;
  Cuts cuts_;
};

template <typename Map>
std::unique_ptr<const Normalizer> per_character(Map map, const Cuts& cuts) {
  return std::make_unique<PerCharacter<Map>>(map, cuts);
}

void append_lower(std::string& out, int32_t code) {
  if (code == 0x130)
    out += "i\xCC\x87";  // the only character whose lower case is two
  else
    append_utf8(out, u_tolower(code));
}

void append_unless_mark(std::string& out, int32_t code) {
  if (!(U_GET_GC_MASK(code) & U_GC_M_MASK)) append_utf8(out, code);
}

// SentencePiece's "nmt" rules: control characters go, odd spaces become spaces.
void append_nmt(std::string& out, int32_t code) {
  const auto between = [code](int32_t low, int32_t high) { return code >= low && code <= high; };
  if (between(1, 8) || code == 0xb || between(0xe, 0x1f) || code == 0x7f || code == 0x8f || code == 0x9f)
    return;
  const bool space = code == 9 || code == 0xa || code == 0xc || code == 0xd || code == 0x1680 ||
                     between(0x200b, 0x200f) || code == 0x2028 || code == 0x2029 || code == 0x2581 ||
                     code == 0xfeff || code == 0xfffd;
  append_utf8(out, space ? ' ' : code);
}

/// Spells bytes in GPT-2's alphabet.
class SpellBytes final : public Normalizer {
 public:
  std::string apply(std::string_view text) const override { return ByteAlphabet::instance().spell(text); }
};

std::unique_ptr<const Normalizer> make_part(const Json& json, const std::string& object, int depth) {
  const std::string type = part_type(json, object);
  if (type == "Sequence")
    return std::make_unique<Chain>(make_sequence(json, "normalizers", object, depth, make_part), object);
  if (type == "NFC" || type == "NFD" || type == "NFKC" || type == "NFKD") return make_form(type);
  if (type == "Prepend") return std::make_unique<Prepend>(json_get<std::string>(json, "prepend", object));
  if (type == "Replace") return make_replace(json, object);
  if (type == "Strip")
    return std::make_unique<Strip>(json_get<bool>(json, "strip_left", object),
                                   json_get<bool>(json, "strip_right", object));
  // The visible character before a line end may vanish or become a space; letters stay letters.
  constexpr Cuts kSpaces{.space = true, .line = false};
  if (type == "Lowercase") return per_character(append_lower, kAllCuts);
  if (type == "StripAccents") return per_character(append_unless_mark, kSpaces);
  if (type == "Nmt") return per_character(append_nmt, kSpaces);
  if (type == "ByteLevel") return std::make_unique<SpellBytes>();
  throw_unsupported(
      object, type,
      "Sequence, Prepend, Replace, NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, Nmt or "
      "ByteLevel");
}

}  // namespace

std::unique_ptr<const Normalizer> make_normalizer(const Json& json, const std::string& object) {
  return json.is_null() ? nullptr : make_part(json, object, 0);
}

}  // namespace aleph::text
