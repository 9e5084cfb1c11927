#include "aleph/text/json_parts.h"

#include "aleph/base/text_util.h"
#include "aleph/text/utf8.h"

namespace aleph::text {

const Json& json_array(const Json& json, const char* key, const std::string& object) {
  if (!json.is_object() || !json.contains(key) || !json.at(key).is_array())
    throw Error(object, fmt::format("no array '{}'", key), "an array");
  return json.at(key);
}

int64_t count_parts(const Json& json, const char* key) {
  if (!json.is_object() || !json.contains(key) || !json.at(key).is_array()) return 0;
  int64_t count = 0;
  for (const Json& part : json.at(key)) count += 1 + count_parts(part, key);
  return count;
}

Regex json_pattern(const Json& json, const std::string& object) {
  if (json.is_object() && json.contains("pattern")) {
    const Json& pattern = json.at("pattern");
    if (pattern.is_object() && pattern.contains("String"))
      return Regex::literal(json_get<std::string>(pattern, "String", object));
    if (pattern.is_object() && pattern.contains("Regex"))
      return Regex(json_get<std::string>(pattern, "Regex", object), object);
  }
  throw Error(object, "no usable 'pattern'", R"({"String": ...} or {"Regex": ...})");
}

int32_t json_char(const Json& json, const char* key, const std::string& object) {
  const auto text = json_get<std::string>(json, key, object);
  const Utf8Char c = text.empty() ? Utf8Char{-1, 0} : utf8_at(text, 0);
  if (c.code < 0 || static_cast<size_t>(c.length) != text.size())
    throw Error(object + ": " + key, "'" + printable(text) + "'", "one character");
  return c.code;
}

int64_t json_count(const Json& json, const char* key, int64_t most, const std::string& object) {
  const auto count = json_get<int64_t>(json, key, object);
  if (count < 0 || count > most)
    throw Error(object + ": " + key, std::to_string(count), fmt::format("an integer in [0, {}]", most));
  return count;
}

void throw_unsupported(const std::string& object, const std::string& type, const std::string& expected) {
  throw Error(object, "type '" + printable(type) + "', which is not supported", expected);
}

}  // namespace aleph::text
