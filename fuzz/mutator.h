// Damaged files, made from good ones.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace aleph::fuzz {

/// The words of a dictionary of libFuzzer: a quoted one a line, maybe with a name before it; "#" begins a
/// comment.
std::vector<std::string> dictionary_words(std::string_view text);

class Draw;

/// Makes file number `index` from one of the seeds: bytes flipped, replaced, cut off or out, blocks doubled
/// or moved, numbers made extreme, JSON rearranged, words of the dictionary, deep nesting, huge lengths, a
/// part of another seed. The same every time.
class Mutator {
 public:
  /// At least one seed.
  Mutator(std::vector<std::string> seeds, std::vector<std::string> words);

  std::string make(uint64_t index) const;

 private:
  void insert_word(std::string& text, Draw& draw) const;
  void splice(std::string& text, Draw& draw) const;

  std::vector<std::string> seeds_;
  std::vector<std::string> words_;
};

}  // namespace aleph::fuzz
