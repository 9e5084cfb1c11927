#include "aleph/text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <unicode/uchar.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <limits>

#include "aleph/base/error.h"
#include "aleph/base/text_util.h"
#include "aleph/text/utf8.h"

namespace aleph::text {
namespace {

// Patterns of real tokenizers take some hundred bytes; PCRE2 takes much more memory than a pattern is long.
constexpr size_t kMaxPatternBytes = 1 << 13;

// Where Oniguruma's syntax differs from PCRE2's, walks through a pattern and writes the counterpart.
class Translator {
 public:
  Translator(std::string_view pattern, const std::string& object) : in_(pattern), object_(object) {}

  std::string run() {
    while (at_ < in_.size()) {
      if (out_.size() > kMaxPatternBytes) unsupported("more than 8 KiB once written out");
      if (in_[at_] == '\\')
        escape();
      else if (in_class_)
        class_char();
      else
        plain();
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] void unsupported(const std::string& what) const {
    throw Error(object_, "pattern '" + printable(in_) + "' with " + what, "a pattern without it");
  }
  bool next_is(std::string_view text) const { return in_.substr(at_).starts_with(text); }
  void copy(size_t count) {
    out_ += in_.substr(at_, count);
    at_ += count;
  }

  void escape() {
    if (at_ + 1 >= in_.size()) return copy(1);
    // Same letters, other sets: white space is exactly Unicode's, word characters include marks.
    switch (in_[at_ + 1]) {
      case 's':
        return put(2, "\\p{White_Space}");
      case 'S':
        return put(2, "\\P{White_Space}");
      case 'w':
        return put(2, in_class_ ? kWord : "[" + kWordAlone + "]");
      case 'W':
        if (in_class_) unsupported("\\W in a character class");
        return put(2, "[^" + kWordAlone + "]");
      case 'h':
        return put(2, in_class_ ? "0-9a-fA-F" : "[0-9a-fA-F]");
      case 'H':
        if (in_class_) unsupported("\\H in a character class");
        return put(2, "[^0-9a-fA-F]");
      case 'b':
        return in_class_ ? copy(2)
                         : put(2, "(?:" + word_boundary("<=", "!") + "|" + word_boundary("<!", "=") + ")");
      case 'B':
        if (in_class_) return copy(2);
        return put(2, "(?:" + word_boundary("<=", "=") + "|" + word_boundary("<!", "!") + ")");
      case 'u':
        return code_unit();
      case 'p':
      case 'P':
        return property();
      default:
        return copy(2);
    }
  }
  // A word character or none (`before`), then one or none (`after`), as look-around assertions.
  static std::string word_boundary(const std::string& before, const std::string& after) {
    return "(?" + before + "[" + kWordAlone + "])(?" + after + "[" + kWordAlone + "])";
  }
  void put(size_t consumed, std::string_view text) {
    at_ += consumed;
    out_ += text;
  }

  void code_unit() {
    const std::string_view digits = in_.substr(std::min(at_ + 2, in_.size())).substr(0, 4);
    if (digits.size() != 4 || digits.find_first_not_of("0123456789abcdefABCDEF") != std::string_view::npos)
      unsupported("\\u that is not followed by four digits");
    out_ += "\\x{" + std::string(digits) + "}";
    at_ += 6;
  }

  // PCRE2 knows general categories by their short names only and takes script names as script extensions.
  void property() {
    const size_t close = in_.find('}', at_);
    if (!next_is("\\p{") && !next_is("\\P{")) return copy(2);
    if (close == std::string_view::npos) return copy(3);
    std::string name(in_.substr(at_ + 3, close - at_ - 3));
    const std::string caret = name.starts_with('^') ? "^" : "";
    name.erase(0, caret.size());
    const auto value_of = [&](UProperty property) { return u_getPropertyValueEnum(property, name.c_str()); };
    const int32_t category = value_of(UCHAR_GENERAL_CATEGORY_MASK);
    if (name.size() > 2 && category != UCHAR_INVALID_CODE) {
      name = u_getPropertyValueName(UCHAR_GENERAL_CATEGORY_MASK, category, U_SHORT_PROPERTY_NAME);
    } else if (name.size() > 2 && value_of(UCHAR_SCRIPT) != UCHAR_INVALID_CODE) {
      name = "sc:" + name;
    }
    out_ += std::string(in_.substr(at_, 3)) + caret + name + "}";
    at_ = close + 1;
  }

  void class_char() {
    if (next_is("[:") && posix_class()) return;
    if (next_is("&&")) unsupported("an intersection of character classes");
    const bool first = at_ == class_start_;
    if (next_is("[")) {
      open_nested_class();
    } else if (in_[at_] == ']' && !first) {
      in_class_ = --depth_ > 0;
      if (in_class_)
        ++at_;
      else
        copy(1);
    } else if (depth_ > 1 && (in_[at_] == ']' || in_[at_] == '-' || in_[at_] == '^') &&
               (first || in_.substr(at_ + 1).starts_with(']'))) {
      put(1, "\\" + std::string(1, in_[at_]));  // literal here, but not where the inner class is spelled out
    } else {
      copy(1);
    }
  }

  // [a[bc]] is the union, [abc].
  void open_nested_class() {
    if (next_is("[^")) unsupported("a negated character class inside another");
    if (++depth_ > 16) unsupported("character classes nested deeper than 16 levels");
    if (out_.ends_with('-')) out_.insert(out_.size() - 1, "\\");
    class_start_ = ++at_;
  }

  // "[:name:]" with Unicode's sets; false where it is none.
  bool posix_class() {
    static constexpr std::array<std::pair<std::string_view, std::string_view>, 14> kSets{{
        {"alpha", "\\p{Alphabetic}"},
        {"alnum", "\\p{Alphabetic}\\p{Nd}"},
        {"digit", "\\p{Nd}"},
        {"space", "\\p{White_Space}"},
        {"upper", "\\p{Uppercase}"},
        {"lower", "\\p{Lowercase}"},
        {"punct", "\\p{P}\\p{S}"},
        {"cntrl", "\\p{Cc}"},
        {"xdigit", "0-9a-fA-F"},
        {"ascii", "\\x00-\\x7f"},
        {"word", "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"},
        {"blank", "\\p{Zs}\\t"},
        {"graph", "\\p{L}\\p{M}\\p{N}\\p{P}\\p{S}\\p{Cf}\\p{Co}"},
        {"print", "\\p{L}\\p{M}\\p{N}\\p{P}\\p{S}\\p{Cf}\\p{Co}\\p{Zs}"},
    }};
    const size_t close = in_.find(":]", at_);
    if (close == std::string_view::npos) return false;
    const std::string_view name = in_.substr(at_ + 2, close - at_ - 2);
    const auto known =
        std::find_if(kSets.begin(), kSets.end(), [&](const auto& set) { return set.first == name; });
    if (known == kSets.end()) unsupported("[:" + printable(name) + ":]");
    put(close + 2 - at_, known->second);
    return true;
  }

  void plain() {
    if (in_[at_] == '[') {
      copy(next_is("[^") ? 2 : 1);
      in_class_ = true;
      depth_ = 1;
      class_start_ = at_;
    } else if (next_is("(?") && !next_is("(?<") && !next_is("(?'") && !next_is("(?#")) {
      flags();
    } else {
      repeat_or_copy();
    }
  }

  // The flag m means "dot matches newline", which is PCRE2's s.
  void flags() {
    copy(2);
    while (at_ < in_.size() && (std::isalpha(static_cast<unsigned char>(in_[at_])) || in_[at_] == '-')) {
      out_.push_back(in_[at_] == 'm' ? 's' : in_[at_]);
      ++at_;
    }
  }

  // X{n,m}+ is no possessive repeat but a repeat of a repeat.
  void repeat_or_copy() {
    const size_t close = in_[at_] == '{' ? in_.find('}', at_) : std::string_view::npos;
    if (close == std::string_view::npos || close + 1 >= in_.size() || in_[close + 1] != '+') return copy(1);
    const std::string_view inside = in_.substr(at_ + 1, close - at_ - 1);
    if (inside.find_first_not_of("0123456789,") != std::string_view::npos) return copy(1);
    if (!inside.starts_with("1,") && inside != "1") unsupported("a repeated {n,m}");
    put(close + 2 - at_, "+");
  }

  inline static const std::string kWord = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";
  // Outside classes Oniguruma has a table of its own for Latin-1, with the superscripts and fractions.
  inline static const std::string kWordAlone = kWord + "\\xb2\\xb3\\xb9\\xbc-\\xbe";

  std::string_view in_;
  const std::string& object_;
  std::string out_;
  size_t at_ = 0;
  bool in_class_ = false;
  int depth_ = 0;  // of character classes
  size_t class_start_ = 0;
};

struct CodeDeleter {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct MatchDataDeleter {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
struct MatchContextDeleter {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};
struct CompileContextDeleter {
  void operator()(pcre2_compile_context* context) const { pcre2_compile_context_free(context); }
};
using MatchData = std::unique_ptr<pcre2_match_data, MatchDataDeleter>;

std::string message_of(int error) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(error, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

PCRE2_SPTR units(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

}  // namespace

struct Regex::Program {
  std::string pattern;
  std::string object;
  bool is_text;  // the pattern is text to be found as it is
  std::unique_ptr<pcre2_code, CodeDeleter> code;
  std::unique_ptr<pcre2_match_context, MatchContextDeleter> limits;

  Program(const std::string& translated, std::string_view original, const std::string& name, bool is_literal)
      : pattern(original),
        object(name),
        is_text(is_literal && !original.empty()),
        limits(pcre2_match_context_create(nullptr)) {
    const uint32_t options = is_literal ? PCRE2_UTF | PCRE2_LITERAL : PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE;
    const std::unique_ptr<pcre2_compile_context, CompileContextDeleter> context(
        pcre2_compile_context_create(nullptr));
    pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
    int error = 0;
    PCRE2_SIZE offset = 0;
    code.reset(pcre2_compile(units(translated), translated.size(), options, &error, &offset, context.get()));
    if (!code)
      throw Error(object, "pattern '" + printable(original) + "' (" + message_of(error) + ")",
                  "a valid regular expression");
    pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);  // where there is no JIT, it is interpreted
    // Enough for any sensible pattern; stops those that take exponential time within seconds.
    pcre2_set_match_limit(limits.get(), 100'000'000);
    pcre2_set_heap_limit(limits.get(), 1 << 18);  // KiB
  }

  // The first match in `text` from `from` on.
  bool find(std::string_view text, size_t from, pcre2_match_data* data, Segment& match) const {
    const auto match_with = [&](uint32_t options) {
      return pcre2_match(code.get(), units(text), text.size(), from, options, data, limits.get());
    };
    int found = match_with(PCRE2_NO_UTF_CHECK);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT) found = match_with(PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT);
    if (found == PCRE2_ERROR_NOMATCH) return false;
    if (found < 0)
      throw Error(object, "pattern '" + printable(pattern) + "' stopped by: " + message_of(found),
                  "a pattern that matches in fewer steps");
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(data);
    // \K in a look-ahead can put the start behind the end.
    match = {std::min(ends[0], ends[1]), ends[1], true};
    return true;
  }

  // Whole characters are found at characters only, wherever broken bytes are.
  void find_text(std::string_view text, size_t& done, const SegmentSink& sink) const {
    for (size_t at = text.find(pattern); at != std::string_view::npos; at = text.find(pattern, done)) {
      if (done != at) sink({done, at, false});
      done = at + pattern.size();
      sink({at, done, true});
    }
  }

  // Oniguruma's iteration: no empty match right behind another match.
  void find_all(std::string_view text, size_t base, pcre2_match_data* data, size_t& done,
                const SegmentSink& sink) const {
    size_t from = 0;
    size_t last_end = std::numeric_limits<size_t>::max();
    Segment match{};
    while (from <= text.size() && find(text, from, data, match)) {
      if (match.begin == match.end && match.end == last_end) {
        from = last_end + (last_end < text.size() ? static_cast<size_t>(utf8_at(text, last_end).length) : 1);
        continue;
      }
      if (done != base + match.begin) sink({done, base + match.begin, false});
      sink({base + match.begin, base + match.end, true});
      done = base + match.end;
      from = last_end = match.end;
    }
  }

  void find_in_valid_parts(std::string_view text, size_t& done, const SegmentSink& sink) const {
    const MatchData data(pcre2_match_data_create(1, nullptr));
    for (size_t begin = 0; begin < text.size();) {
      const size_t valid = valid_utf8_length(text, begin);
      if (valid > 0) find_all(text.substr(begin, valid), begin, data.get(), done, sink);
      begin += valid;
      while (begin < text.size() && utf8_at(text, begin).code < 0) ++begin;
    }
  }
};

Regex::Regex(std::unique_ptr<const Program> program) : program_(std::move(program)) {}

Regex::Regex(std::string_view pattern, const std::string& object) {
  program_ = std::make_unique<Program>(to_pcre2(pattern, object), pattern, object, false);
}

Regex Regex::literal(std::string_view text) {
  return Regex(std::make_unique<Program>(std::string(text), text, "literal text", true));
}

Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

void Regex::segments(std::string_view text, const SegmentSink& sink) const {
  size_t done = 0;
  if (program_->is_text)
    program_->find_text(text, done, sink);
  else
    program_->find_in_valid_parts(text, done, sink);
  if (done != text.size() || text.empty()) sink({done, text.size(), false});
}

std::string Regex::replace(std::string_view text, std::string_view content, size_t most) const {
  size_t bytes = 0;
  segments(text, [&](const Segment& segment) {
    bytes += segment.is_match ? content.size() : segment.end - segment.begin;
  });
  if (bytes > most)
    throw Error(program_->object,
                fmt::format("a text of {} bytes that becomes one of {}", text.size(), bytes),
                fmt::format("at most {}", most));
  std::string out;
  out.reserve(bytes);
  segments(text, [&](const Segment& segment) {
    out += segment.is_match ? content : text.substr(segment.begin, segment.end - segment.begin);
  });
  return out;
}

std::string to_pcre2(std::string_view pattern, const std::string& object) {
  return Translator(pattern, object).run();
}

}  // namespace aleph::text
