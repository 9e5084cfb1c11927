#include "aleph/train/json_section.h"

#include "aleph/base/error.h"
#include "aleph/base/text_util.h"

namespace aleph::train {
namespace {

bool switched_off(const Json& value) {
  if (value.is_object()) {
    if (value.empty()) return true;
    return value.contains("enabled") ? switched_off(value.at("enabled")) : false;
  }
  return value.is_null() || value == false || value == 0 || value == "none" || value == "auto";
}

}  // namespace

JsonSection::JsonSection(const Json& object, std::string document, std::string path,
                         WithoutEffect& without_effect)
    : object_(&object),
      document_(std::move(document)),
      path_(std::move(path)),
      without_effect_(&without_effect) {
  if (!object.is_object())
    throw Error(path_.empty() ? document_ : document_ + ": " + path_, json_shown(object), "an object");
}

std::string JsonSection::path_of(const std::string& key) const {
  return path_.empty() ? printable(key) : path_ + "." + printable(key);
}

void JsonSection::fail(const std::string& key, const std::string& found, const std::string& expected) const {
  throw Error(document_ + ": " + path_of(key), found, expected);
}

const Json* JsonSection::value(const char* key) {
  known_.insert(key);
  const auto found = object_->find(key);
  if (found == object_->end() || found->is_null() || *found == "auto") return nullptr;
  return &*found;
}

bool JsonSection::is_auto(const char* key) {
  known_.insert(key);
  const auto found = object_->find(key);
  return found != object_->end() && *found == "auto";
}

template <typename T>
std::optional<T> JsonSection::get(const char* key) {
  if (value(key) == nullptr) return std::nullopt;
  return json_get<T>(*object_, key, path_.empty() ? document_ : document_ + ": " + path_);
}

std::optional<bool> JsonSection::boolean(const char* key) { return get<bool>(key); }
std::optional<int64_t> JsonSection::integer(const char* key) { return get<int64_t>(key); }
std::optional<double> JsonSection::number(const char* key) { return get<double>(key); }
std::optional<std::string> JsonSection::text(const char* key) { return get<std::string>(key); }

std::optional<std::vector<double>> JsonSection::numbers(const char* key) {
  const Json* list = value(key);
  if (list == nullptr) return std::nullopt;
  if (!list->is_array()) fail(key, json_shown(*list), "a list of numbers");
  std::vector<double> out;
  for (const Json& entry : *list) {
    if (!entry.is_number()) fail(key, json_shown(*list), "a list of numbers");
    out.push_back(entry.get<double>());
  }
  return out;
}

std::optional<JsonSection> JsonSection::section(const char* key) {
  const Json* child = value(key);
  if (child == nullptr) return std::nullopt;
  return JsonSection(*child, document_, path_of(key), *without_effect_);
}

void JsonSection::without_effect(std::initializer_list<const char*> keys, const char* reason) {
  for (const char* key : keys) {
    const Json* present = value(key);
    if (present != nullptr && !switched_off(*present)) (*without_effect_)[reason].push_back(path_of(key));
  }
}

void JsonSection::refuse(std::initializer_list<const char*> keys, const char* reason) {
  for (const char* key : keys) {
    const Json* present = value(key);
    if (present != nullptr && !switched_off(*present)) fail(key, json_shown(*present), reason);
  }
}

void JsonSection::finish(const char* any) const {
  const std::vector<std::string> names(known_.begin(), known_.end());
  for (const auto& [key, ignored] : object_->items()) {
    if (known_.count(key) != 0) continue;
    const std::string nearest = nearest_name(key, names);
    fail(key, "an unknown key", nearest.empty() ? any : "'" + nearest + "' perhaps");
  }
}

}  // namespace aleph::train
