// Strict reading of a JSON object: what is asked for is known, what nobody asked for is an error.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "aleph/base/json.h"

namespace aleph::train {

/// What a reader has to tell about keys that change nothing: reason to paths, in order of the reasons.
using WithoutEffect = std::map<std::string, std::vector<std::string>>;

/// One object of a document. Readers throw Error naming "DOCUMENT: path.to.key". Missing keys, null and
/// "auto" give nullopt. Refers to the JSON, which must live longer.
class JsonSection {
 public:
  JsonSection(const Json& object, std::string document, std::string path, WithoutEffect& without_effect);

  std::optional<bool> boolean(const char* key);
  std::optional<int64_t> integer(const char* key);
  std::optional<double> number(const char* key);
  std::optional<std::string> text(const char* key);
  std::optional<std::vector<double>> numbers(const char* key);
  std::optional<JsonSection> section(const char* key);
  /// The raw value; nullptr where it is missing, null or "auto".
  const Json* value(const char* key);
  /// Present as "auto".
  bool is_auto(const char* key);

  /// Known, without effect here, for `reason`; said where present, except for false and null.
  void without_effect(std::initializer_list<const char*> keys, const char* reason);
  /// Throws, saying `reason`, where the key holds anything but false, 0, null, "none", or an object with
  /// "enabled": false.
  void refuse(std::initializer_list<const char*> keys, const char* reason);
  /// Throws where the object has a key that nobody has asked for, with the nearest known name or, in words,
  /// `any` name.
  void finish(const char* any = "a key that DeepSpeed has") const;

  /// "zero_optimization.stage"
  std::string path_of(const std::string& key) const;
  [[noreturn]] void fail(const std::string& key, const std::string& found, const std::string& expected) const;

 private:
  template <typename T>
  std::optional<T> get(const char* key);

  const Json* object_;
  std::string document_;
  std::string path_;
  WithoutEffect* without_effect_;
  std::set<std::string> known_;
};

}  // namespace aleph::train
