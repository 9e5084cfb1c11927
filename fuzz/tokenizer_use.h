// What a tokenizer that was read is used for.
#pragma once

#include <vector>

#include "aleph/base/error.h"
#include "aleph/text/tokenizer.h"
#include "aleph/text/utf8.h"

namespace aleph::fuzz {

/// Encodes and decodes; the text is short, as a tokenizer may make much of little.
inline void use(const text::Tokenizer& tokenizer) {
  for (const bool special : {false, true}) {
    const std::vector<int32_t> ids =
        tokenizer.encode("<s> The the\xc3\xa9\xff 12\n", {.parse_special = special});
    for (const int32_t id : ids) ALEPH_CHECK(id >= 0);
    const std::string decoded = tokenizer.decode(ids, special);
    ALEPH_CHECK(text::valid_utf8_length(decoded) == decoded.size());
    tokenizer.decode_bytes(ids, special);
  }
}

}  // namespace aleph::fuzz
