#include "aleph/base/json.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "aleph/base/error.h"
#include "aleph/base/text_util.h"

namespace aleph {
namespace {

constexpr size_t kMaxDepth = 200;
// What is allocated at once for one value at most: a list of 16 bytes a value doubles when it is full, and
// nlohmann-json puts all values that are not yet destroyed on such a list.
constexpr size_t kBytesOfValue = 32;
constexpr size_t kSmallAllocation = 1 << 16;

std::string position(std::string_view text, size_t byte) {
  const std::string_view before = text.substr(0, byte);
  const auto lines = std::count(before.begin(), before.end(), '\n');
  const size_t start = before.rfind('\n') + 1;  // 0 in the first line
  return fmt::format("line {}, column {}", lines + 1, std::max<size_t>(1, before.size() - start));
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

/// Builds the tree from the parser's events (nlohmann-json's SAX interface; true: go on). Its own builder
/// takes the last of equal keys.
class TreeBuilder {
 public:
  TreeBuilder(std::string_view text, const std::string& object) : text_(text), object_(object) {}
  Json take() { return std::move(root_); }

  bool null() { return value(nullptr); }
  bool boolean(bool flag) { return value(flag); }
  bool number_integer(Json::number_integer_t number) { return value(number); }
  bool number_unsigned(Json::number_unsigned_t number) { return value(number); }
  bool number_float(Json::number_float_t number, const std::string& /*text*/) { return value(number); }
  bool string(std::string& text) { return value(std::move(text)); }
  bool binary(Json::binary_t& bytes) { return value(std::move(bytes)); }
  bool start_object(size_t /*size*/) { return open(Json::object()); }
  bool start_array(size_t /*size*/) { return open(Json::array()); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool key(std::string& name) {
    auto& members = open_.back()->get_ref<Json::object_t&>();
    const auto [member, added] = members.try_emplace(std::move(name));
    if (!added)
      throw Error(object_, "key '" + printable(member->first) + "' twice in one object", "each key once");
    member_ = &member->second;
    return true;
  }
  bool parse_error(size_t byte, const std::string& /*token*/, const Json::exception& error) {
    if (dynamic_cast<const Json::out_of_range*>(&error) != nullptr)
      throw Error(object_, "a number too large for a double", "a JSON document");
    throw Error(object_, "invalid JSON at " + position(text_, byte), "a JSON document");
  }

 private:
  void count_value() {
    if (++values_ * kBytesOfValue > std::max(10 * text_.size(), kSmallAllocation))
      throw Error(object_, fmt::format("at least {} values in {} bytes of JSON", values_, text_.size()),
                  "3.2 bytes or more for each of so many");
  }
  Json* put(Json&& value) {
    count_value();
    if (open_.empty()) return &(root_ = std::move(value));
    if (open_.back()->is_object()) return &(*member_ = std::move(value));
    auto& elements = open_.back()->get_ref<Json::array_t&>();
    return &elements.emplace_back(std::move(value));
  }
  bool value(Json value) {
    put(std::move(value));
    return true;
  }
  bool open(Json&& container) {
    if (open_.size() == kMaxDepth)
      throw Error(object_, "JSON nested deeper than 200 levels", "a shallower document");
    open_.push_back(put(std::move(container)));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  std::string_view text_;
  const std::string& object_;
  Json root_;
  size_t values_ = 0;
  std::vector<Json*> open_;  // containers, outermost first
  Json* member_ = nullptr;   // the value of the last key
};

}  // namespace

Json parse_json(std::string_view text, const std::string& object) {
  TreeBuilder tree(text, object);
  Json::sax_parse(text.begin(), text.end(), &tree);
  return tree.take();
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
std::optional<T> json_optional(const Json& json, const char* key, const std::string& object) {
  if (!json.is_object() || !json.contains(key) || json.at(key).is_null()) return std::nullopt;
  return convert<T>(json.at(key), key, object);
}

template <typename T>
T json_get_or(const Json& json, const char* key, T fallback, const std::string& object) {
  return json_optional<T>(json, key, object).value_or(std::move(fallback));
}

const Json& json_object(const Json& json, const char* key, const std::string& object) {
  static const Json empty = Json::object();
  if (!json.is_object() || !json.contains(key) || json.at(key).is_null()) return empty;
  if (!json.at(key).is_object()) throw Error(object + ": " + key, json_shown(json.at(key)), "an object");
  return json.at(key);
}

#define ALEPH_INSTANTIATE(T)                                                  \
  template T json_get<T>(const Json&, const char*, const std::string&);       \
  template T json_get_or<T>(const Json&, const char*, T, const std::string&); \
  template std::optional<T> json_optional<T>(const Json&, const char*, const std::string&);
ALEPH_INSTANTIATE(bool)
ALEPH_INSTANTIATE(int64_t)
ALEPH_INSTANTIATE(double)
ALEPH_INSTANTIATE(std::string)
#undef ALEPH_INSTANTIATE

}  // namespace aleph
