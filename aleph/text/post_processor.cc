#include "aleph/text/post_processor.h"

#include <limits>

#include "aleph/base/text_util.h"
#include "aleph/text/json_parts.h"

namespace aleph::text {
namespace {

int32_t id_of(const Json& json, const std::string& object) {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  if (!json.is_number_integer() || json.get<int64_t>() < 0 || json.get<int64_t>() > kMost)
    throw Error(object, "a token id that is " + printable(json.dump()), "an integer of 31 bits");
  return json.get<int32_t>();
}

std::vector<int32_t> ids_of_special(const Json& json, const std::string& name, const std::string& object) {
  if (!json.contains("special_tokens") || !json.at("special_tokens").is_object() ||
      !json.at("special_tokens").contains(name))
    throw Error(object, "a template with '" + printable(name) + "', which 'special_tokens' does not have",
                "all its tokens in 'special_tokens'");
  std::vector<int32_t> ids;
  for (const Json& id : json_array(json.at("special_tokens").at(name), "ids", object))
    ids.push_back(id_of(id, object));
  return ids;
}

// ["</s>", 2] at `key`.
int32_t id_of_pair(const Json& json, const char* key, const std::string& object) {
  const Json& pair = json_array(json, key, object);
  if (pair.size() != 2) throw Error(object + ": " + key, printable(pair.dump()), "a token and its id");
  return id_of(pair[1], object);
}

}  // namespace

PostProcessor::PostProcessor(const Json& json, const std::string& object) {
  if (!json.is_null()) add(json, object, 0);
}

PostProcessor PostProcessor::prefix(int32_t id) {
  PostProcessor processor;
  processor.template_ = {{false, {id}}, {true, {}}};
  return processor;
}

void PostProcessor::add(const Json& json, const std::string& object, int depth) {
  const std::string type = part_type(json, object);
  if (type == "Sequence") {
    make_sequence(json, "processors", object, depth,
                  [&](const Json& part, const std::string& name, int next) {
                    add(part, name, next);
                    return true;
                  });
  } else if (type == "TemplateProcessing") {
    add_template(json, object);
  } else if (type == "RobertaProcessing" || type == "BertProcessing") {
    set_template(
        {{false, {id_of_pair(json, "cls", object)}}, {true, {}}, {false, {id_of_pair(json, "sep", object)}}},
        object);
  } else if (type != "ByteLevel") {
    throw_unsupported(object, type,
                      "TemplateProcessing, RobertaProcessing, BertProcessing, ByteLevel or Sequence");
  }
}

// The reference applies a second template to each part of the first one's result.
void PostProcessor::set_template(Template parts, const std::string& object) {
  if (template_) throw Error(object, "two processors that add tokens", "one");
  template_ = std::move(parts);
}

void PostProcessor::add_template(const Json& json, const std::string& object) {
  Template parts;
  for (const Json& part : json_array(json, "single", object)) {
    if (part.is_object() && part.contains("SpecialToken")) {
      const auto name = json_get<std::string>(part.at("SpecialToken"), "id", object);
      parts.push_back({false, ids_of_special(json, name, object)});
    } else if (part.is_object() && part.contains("Sequence")) {
      if (json_get<std::string>(part.at("Sequence"), "id", object) != "A")
        throw Error(object, "a template for one text with a second one", "sequence A only");
      parts.push_back({true, {}});
    } else {
      throw Error(object, "part " + printable(part.dump()) + " of a template", "SpecialToken or Sequence");
    }
  }
  set_template(std::move(parts), object);
}

std::vector<int32_t> PostProcessor::apply(std::vector<int32_t> ids) const {
  if (!template_) return ids;
  std::vector<int32_t> out;
  out.reserve(ids.size() + template_->size());
  for (const Part& part : *template_) {
    const std::vector<int32_t>& source = part.is_text ? ids : part.ids;
    out.insert(out.end(), source.begin(), source.end());
  }
  return out;
}

}  // namespace aleph::text
