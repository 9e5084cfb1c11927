// Reading the parts of a tokenizer.json: small helpers that name the object and key in every error.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "aleph/base/error.h"
#include "aleph/base/json.h"
#include "aleph/text/regex.h"

namespace aleph::text {

/// The "type" of a part. Throws Error where `json` is no object or has none.
inline std::string part_type(const Json& json, const std::string& object) {
  return json_get<std::string>(json, "type", object);
}

/// The array at `key`.
const Json& json_array(const Json& json, const char* key, const std::string& object);

/// How many parts there are in the sequence at `key`, those of sequences in it included.
int64_t count_parts(const Json& json, const char* key);

/// The parts of a "Sequence" at `key`. Sequences may be nested 16 deep and have 256 parts in all.
template <typename Make>
auto make_sequence(const Json& json, const char* key, const std::string& object, int depth,
                   const Make& make) {
  std::vector<decltype(make(json, object, depth))> parts;
  if (depth >= 16) throw Error(object, "sequences nested deeper than 16 levels", "fewer");
  if (depth == 0 && count_parts(json, key) > 256)
    throw Error(object, "a sequence of more than 256 parts", "fewer");
  for (const Json& part : json_array(json, key, object)) parts.push_back(make(part, object, depth + 1));
  return parts;
}

/// {"String": s} or {"Regex": s}, at "pattern".
Regex json_pattern(const Json& json, const std::string& object);

/// A string of exactly one character at `key`.
int32_t json_char(const Json& json, const char* key, const std::string& object);

/// An integer in [0, most] at `key`.
int64_t json_count(const Json& json, const char* key, int64_t most, const std::string& object);

[[noreturn]] void throw_unsupported(const std::string& object, const std::string& type,
                                    const std::string& expected);

}  // namespace aleph::text
