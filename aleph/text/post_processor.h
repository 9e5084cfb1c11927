// The "post_processor" of tokenizer.json: puts special tokens around the ids of a text.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

namespace aleph::text {

/// Immutable; used by any number of threads.
class PostProcessor {
 public:
  /// Adds nothing.
  PostProcessor() = default;
  /// TemplateProcessing (its "single" template), RobertaProcessing, BertProcessing, ByteLevel (no effect on
  /// ids), Sequence of which one adds tokens. Throws Error naming `object` for others.
  PostProcessor(const nlohmann::json& json, const std::string& object);
  /// Puts one id before the text.
  static PostProcessor prefix(int32_t id);

  std::vector<int32_t> apply(std::vector<int32_t> ids) const;

 private:
  /// Ids, or where there are none the text's place.
  struct Part {
    bool is_text;
    std::vector<int32_t> ids;
  };
  using Template = std::vector<Part>;

  void add(const nlohmann::json& json, const std::string& object, int depth);
  void set_template(Template parts, const std::string& object);
  void add_template(const nlohmann::json& json, const std::string& object);

  std::optional<Template> template_;
};

}  // namespace aleph::text
