// One line that says how far long work is, how fast it goes and when it will be done.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "aleph/base/log.h"

namespace aleph {

/// Items per second, smoothed: what happened `window` seconds ago counts 1/e of what happens now. Exact from
/// the first observation on (no warm-up bias).
class SmoothedRate {
 public:
  explicit SmoothedRate(double window_seconds = 15) : window_(window_seconds) {}
  /// `items` were done in the last `seconds`.
  void add(double items, double seconds);
  /// 0 before anything was observed.
  double per_second() const { return seconds_ > 0 ? items_ / seconds_ : 0; }

 private:
  double window_;
  double items_ = 0;
  double seconds_ = 0;
};

/// What a progress line shows.
struct ProgressLine {
  std::string label;      ///< "train"
  double done = 0;        ///< items
  double total = 0;       ///< items; 0 where nobody knows
  std::string unit;       ///< of done and total: "steps"; "B" prints sizes such as 1.5 GiB
  double rate = 0;        ///< rate units per second; 0 leaves rate and remaining time out
  std::string rate_unit;  ///< "tokens"; "B" prints 800.0 MiB/s
  double remaining = -1;  ///< seconds; negative where nobody knows
  std::string extra;      ///< appended as it is: "loss 2.31"
};

/// "train 120/500 steps 24%  8120 tokens/s  3 min 05 s left  loss 2.31", cut to `columns` characters
/// (0: uncut). Pure.
std::string format_progress(const ProgressLine& line, int columns = 0);

/// Columns a rewritten line may fill on the terminal of standard error, 79 where nobody says. One is left
/// free: a full line would wrap, and the next one could not rewrite it.
int terminal_columns();

/// Shows the progress of one piece of work on a console: at most ten times a second on a terminal, every five
/// seconds elsewhere. Cheap to update from an inner loop. One thread; the console must outlive it.
class Progress {
 public:
  struct Options {
    std::string label;
    std::string unit = "items";          ///< "B" for bytes
    double total = 0;                    ///< 0: unknown
    std::string rate_unit = {};          ///< empty: as unit
    double rate_units_per_item = 1;      ///< tokens in a step
    std::function<double()> clock = {};  ///< seconds from anywhere, never back; empty: the steady clock
  };

  Progress(Console& console, Options options);
  /// Finishes; never throws.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `done` items so far. The newest `extra` is kept for the next line that is shown.
  void update(double done, std::string extra = {});
  void add(double items) { update(done_ + items); }
  /// Shows the last state if it has not been shown, and ends the line. Later updates do nothing.
  void finish();

 private:
  void show(double now);

  Console& console_;
  Options options_;
  SmoothedRate rate_;
  std::string extra_;
  double interval_;
  double measured_at_;  // clock of the last observation in rate_
  double measured_done_ = 0;
  double shown_at_;
  double shown_done_ = -1;
  double done_ = 0;
  bool finished_ = false;
};

}  // namespace aleph
