#include "aleph/base/json.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <set>
#include <sstream>
#include <vector>

#include "aleph/base/error.h"
#include "aleph/base/text_util.h"

namespace aleph {
namespace {

constexpr int kMaxDepth = 200;

std::string position(std::string_view text, size_t byte) {
  const auto line =
      1 + std::count(text.begin(), text.begin() + static_cast<ptrdiff_t>(std::min(byte, text.size())), '\n');
  return fmt::format("line {}", line);
}

template <typename T>
constexpr const char* type_words() {
  if constexpr (std::is_same_v<T, bool>) return "true or false";
  if constexpr (std::is_same_v<T, std::string>) return "a string";
  if constexpr (std::is_integral_v<T>) return "an integer";
  return "a number";
}

template <typename T>
bool is_a(const Json& value) {
  if constexpr (std::is_same_v<T, bool>) return value.is_boolean();
  if constexpr (std::is_same_v<T, std::string>) return value.is_string();
  if constexpr (std::is_integral_v<T>) {
    // DeepSpeed files write counts as 5e8: a float that is whole is an integer here.
    if (value.is_number_float()) {
      const double number = value.get<double>();
      return number == std::floor(number) && std::abs(number) < 9e15;
    }
    return value.is_number_integer() && (!value.is_number_unsigned() || value.get<uint64_t>() <= INT64_MAX);
  }
  return value.is_number();
}

template <typename T>
T convert(const Json& value, const char* key, const std::string& object) {
  if (!is_a<T>(value)) throw Error(object + ": " + key, json_shown(value), type_words<T>());
  return value.get<T>();
}

}  // namespace

Json parse_json(std::string_view text, const std::string& object) {
  std::vector<std::set<std::string>> keys;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (depth > kMaxDepth) throw Error(object, "JSON nested deeper than 200 levels", "a shallower document");
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.back().insert(parsed.get<std::string>()).second)
      throw Error(object, "key '" + printable(parsed.get<std::string>()) + "' twice in one object",
                  "each key once");
    return true;
  };
  try {
    return Json::parse(text.begin(), text.end(), watch);
  } catch (const Json::parse_error& error) {
    throw Error(object, "invalid JSON at " + position(text, error.byte), "a JSON document");
  } catch (const Json::out_of_range&) {
    throw Error(object, "a number too large for a double", "a JSON document");
  }
}

Json parse_json_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw Error(path.string(), "no readable file", "a JSON file");
  std::stringstream text;
  text << in.rdbuf();
  if (!in && !in.eof()) throw Error(path.string(), "an error while reading", "a JSON file");
  return parse_json(text.str(), path.string());
}

std::string json_shown(const Json& json) {
  return printable(json.dump(-1, ' ', false, Json::error_handler_t::replace));
}

template <typename T>
T json_get(const Json& json, const char* key, const std::string& object) {
  if (!json.is_object() || !json.contains(key))
    throw Error(object, fmt::format("no key '{}'", key), type_words<T>());
  return convert<T>(json.at(key), key, object);
}

template <typename T>
T json_get_or(const Json& json, const char* key, T fallback, const std::string& object) {
  if (!json.is_object() || !json.contains(key) || json.at(key).is_null()) return fallback;
  return convert<T>(json.at(key), key, object);
}

#define ALEPH_INSTANTIATE(T)                                            \
  template T json_get<T>(const Json&, const char*, const std::string&); \
  template T json_get_or<T>(const Json&, const char*, T, const std::string&);
ALEPH_INSTANTIATE(bool)
ALEPH_INSTANTIATE(int64_t)
ALEPH_INSTANTIATE(double)
ALEPH_INSTANTIATE(std::string)
#undef ALEPH_INSTANTIATE

}  // namespace aleph
