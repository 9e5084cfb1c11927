// GPT-2's files, one after the other between lines of equals signs: vocab.json, merges.txt,
// tokenizer_config.json.
#include <array>

#include "aleph/io/temporary_directory.h"
#include "fuzz/parser.h"
#include "fuzz/tokenizer_use.h"

namespace aleph::fuzz {
namespace {

constexpr std::string_view kBetween = "\n====\n";

/// The part before the separator, which is taken off.
std::string_view next_part(std::string_view& rest) {
  const size_t end = rest.find(kBetween);
  const std::string_view part = rest.substr(0, end);
  rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + kBetween.size());
  return part;
}

void parse(std::string_view file) {
  static const io::TemporaryDirectory directory(scratch_root());
  for (const char* name : {"vocab.json", "merges.txt", "tokenizer_config.json"})
    write_scratch((directory / name).string(), next_part(file));
  const auto tokenizer = text::Tokenizer::load(directory.path());
  parsed();
  use(tokenizer);
}

}  // namespace

const Parser kParser = {.parse = parse};

}  // namespace aleph::fuzz
