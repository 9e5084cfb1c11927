// JSON in, checked: duplicate keys and trailing garbage are errors that name the file and the line.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace aleph {

using Json = nlohmann::json;
/// Keeps the order of keys: for files that people read.
using OrderedJson = nlohmann::ordered_json;

/// Parses `text`; `object` names the source in errors. Throws Error on bad syntax, a key twice, nesting over
/// 200 levels, and over 2048 values in under 3.2 bytes each: they would need over ten times the text at once.
Json parse_json(std::string_view text, const std::string& object);

/// The value as text for a one-line message: short, printable.
std::string json_shown(const Json& json);

/// The value at `key` as T. Throws Error naming "OBJECT: KEY" when it is missing or of another type.
template <typename T>
T json_get(const Json& json, const char* key, const std::string& object);

/// As json_get, but `fallback` where the key is missing or null.
template <typename T>
T json_get_or(const Json& json, const char* key, T fallback, const std::string& object);

/// As json_get, but nothing where the key is missing or null.
template <typename T>
std::optional<T> json_optional(const Json& json, const char* key, const std::string& object);

/// The object at `key`; an empty one where the key is missing or null. Throws Error for anything else.
const Json& json_object(const Json& json, const char* key, const std::string& object);

}  // namespace aleph
