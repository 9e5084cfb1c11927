#include "aleph/base/text_util.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "aleph/base/error.h"

namespace aleph {
namespace {

constexpr std::string_view kUnits = "KMGT";

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({substituted, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

/// Bytes of the character that `text` begins with; 0 where it is a control character or no UTF-8.
size_t printable_length(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const unsigned first = byte(0), second = byte(1);
  if (first < 0x80) return first >= 0x20 && first != 0x7f ? 1 : 0;
  const size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  for (size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  // U+0080 to U+009F control terminals; longer forms than needed, surrogates and beyond U+10FFFF are no
  // characters.
  const bool character = first >= 0xc2 && first <= 0xf4 && !(first == 0xc2 && second < 0xa0) &&
                         !(first == 0xe0 && second < 0xa0) && !(first == 0xed && second >= 0xa0) &&
                         !(first == 0xf0 && second < 0x90) && !(first == 0xf4 && second >= 0x90);
  return character ? length : 0;
}

}  // namespace

std::string format_bytes(int64_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  for (value /= 1024; value >= 1024 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  return fmt::format("{:.1f} {}iB", value, kUnits[unit]);
}

std::string format_duration(double seconds) {
  const auto whole = static_cast<int64_t>(std::llround(std::max(0.0, seconds)));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {:02d} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02d} min", whole / 3600, whole / 60 % 60);
}

int64_t parse_size(std::string_view text, const std::string& object) {
  const auto bad = [&] {
    return UsageError(object, "'" + printable(text) + "'", "a size such as 300M, 1.5G or 4096");
  };
  double number = 0;
  const auto [rest, status] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string_view suffix(rest, static_cast<size_t>(text.data() + text.size() - rest));
  if (status != std::errc() || !(number >= 0)) throw bad();
  if (!suffix.empty()) {
    const size_t unit = kUnits.find(static_cast<char>(std::toupper(static_cast<unsigned char>(suffix[0]))));
    if (unit != std::string_view::npos) {
      number *= std::pow(1024.0, static_cast<double>(unit + 1));
      suffix.remove_prefix(1);
    }
    if (!suffix.empty() && suffix != "B" && suffix != "iB" && suffix != "b") throw bad();
  }
  if (number >= 9e18) throw bad();
  return static_cast<int64_t>(number);
}

std::string nearest_name(std::string_view name, std::span<const std::string> candidates) {
  std::string best;
  size_t best_distance = name.size() / 2 + 1;
  for (const std::string& candidate : candidates) {
    const size_t distance = edit_distance(name, candidate);
    if (distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

std::string printable(std::string_view text, size_t max_bytes) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    if (out.size() >= max_bytes) return out + "...";
    const size_t length = printable_length(text.substr(i));
    if (length > 0)
      out.append(text.substr(i, length));
    else
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[i]));
    i += std::max<size_t>(length, 1);
  }
  return out;
}

}  // namespace aleph
