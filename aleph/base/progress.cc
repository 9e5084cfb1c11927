#include "aleph/base/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "aleph/base/text_util.h"

namespace aleph {
namespace {

constexpr double kTerminalInterval = 0.1;
constexpr double kPlainInterval = 5.0;

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string amount(double value, const std::string& unit) {
  if (unit == "B") return format_bytes(std::llround(value));
  return fmt::format("{}", std::llround(value));
}

std::string speed(double value, const std::string& unit) {
  if (unit == "B") return format_bytes(std::llround(value)) + "/s";
  return fmt::format("{:.{}f} {}/s", value, value < 10 ? 2 : value < 100 ? 1 : 0, unit);
}

std::string position(const ProgressLine& line) {
  std::string text = amount(line.done, line.unit);
  if (line.total > 0) text += "/" + amount(line.total, line.unit);
  if (line.unit != "B") text += " " + line.unit;
  if (line.total > 0)
    text += fmt::format(" {:.0f}%", std::floor(100 * std::min(1.0, line.done / line.total)));
  return text;
}

bool starts_character(char byte) { return (static_cast<unsigned char>(byte) & 0xc0) != 0x80; }

std::string cut(std::string text, int columns) {
  int characters = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (starts_character(text[i]) && ++characters > columns) {
      text.resize(i);
      break;
    }
  }
  return text;
}

}  // namespace

int terminal_columns() {
  winsize size = {};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 2) return 79;
  return size.ws_col - 1;
}

void SmoothedRate::add(double items, double seconds) {
  if (seconds <= 0) return;
  const double kept = std::exp(-seconds / window_);
  items_ = items_ * kept + items;
  seconds_ = seconds_ * kept + seconds;
}

std::string format_progress(const ProgressLine& line, int columns) {
  std::string text = line.label.empty() ? "" : line.label + " ";
  text += position(line);
  if (line.rate > 0) text += "  " + speed(line.rate, line.rate_unit);
  if (line.rate > 0 && line.remaining >= 0) text += "  " + format_duration(line.remaining) + " left";
  if (!line.extra.empty()) text += "  " + line.extra;
  return columns > 0 ? cut(std::move(text), columns) : text;
}

Progress::Progress(Console& console, Options options)
    : console_(console),
      options_(std::move(options)),
      interval_(console.options().terminal ? kTerminalInterval : kPlainInterval) {
  if (!options_.clock) options_.clock = steady_seconds;
  if (options_.rate_unit.empty()) options_.rate_unit = options_.unit;
  measured_at_ = shown_at_ = options_.clock();
}

Progress::~Progress() {
  try {
    finish();
  } catch (...) {  // NOLINT(bugprone-empty-catch): a line that cannot be shown is no reason to die
  }
}

void Progress::update(double done, std::string extra) {
  if (finished_) return;
  done_ = done;
  if (!extra.empty()) extra_ = std::move(extra);
  const double now = options_.clock();
  if (now - shown_at_ >= interval_) show(now);
}

void Progress::finish() {
  if (finished_) return;
  if (shown_done_ != done_) show(options_.clock());
  finished_ = true;
  console_.finish();
}

void Progress::show(double now) {
  rate_.add(done_ - measured_done_, now - measured_at_);
  measured_at_ = shown_at_ = now;
  measured_done_ = shown_done_ = done_;
  const double per_second = rate_.per_second();
  const bool ends = options_.total > 0 && per_second > 0;
  console_.progress(format_progress({.label = options_.label,
                                     .done = done_,
                                     .total = options_.total,
                                     .unit = options_.unit,
                                     .rate = per_second * options_.rate_units_per_item,
                                     .rate_unit = options_.rate_unit,
                                     .remaining = ends ? (options_.total - done_) / per_second : -1,
                                     .extra = extra_},
                                    console_.options().terminal ? terminal_columns() : 0));
}

}  // namespace aleph
