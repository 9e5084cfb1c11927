// Stop strings in text that arrives piece by piece.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace aleph::infer {

/// Passes text through until the first stop string, which and everything behind it is not shown. Text that
/// may be the beginning of a stop string is held back until that is decided.
class StopMatcher {
 public:
  /// Empty strings are left out.
  explicit StopMatcher(std::vector<std::string> stops);

  /// Adds text; returns what can be shown now.
  std::string push(std::string_view text);
  /// The text that was still held back: no more comes.
  std::string finish();
  bool stopped() const { return stopped_; }

 private:
  size_t held_back() const;

  std::vector<std::string> stops_;
  std::string pending_;
  bool stopped_ = false;
};

}  // namespace aleph::infer
