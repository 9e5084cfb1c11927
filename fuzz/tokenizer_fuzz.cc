// tokenizer.json, and a use of what comes out.
#include "fuzz/parser.h"
#include "fuzz/tokenizer_use.h"

namespace aleph::fuzz {

namespace {

void parse(std::string_view file) {
  const auto tokenizer = text::Tokenizer::from_json(file, "tokenizer.json");
  parsed();
  use(tokenizer);
}

}  // namespace

const Parser kParser = {.parse = parse};

}  // namespace aleph::fuzz
