// tokenizer.json to the parts of a tokenizer.
#include "aleph/base/text_util.h"
#include "aleph/text/json_parts.h"
#include "aleph/text/tokenizer_parts.h"

namespace aleph::text {
namespace {

const Json& member(const Json& json, const char* key) {
  static const Json null;
  const auto found = json.find(key);
  return found == json.end() ? null : *found;
}

Vocabulary::Entries vocabulary_entries(const Json& model, const std::string& object) {
  const Json& vocabulary = member(model, "vocab");
  if (!vocabulary.is_object()) throw Error(object, "no object 'vocab'", "tokens and their ids");
  Vocabulary::Entries entries;
  entries.reserve(vocabulary.size());
  for (const auto& [token, id] : vocabulary.items()) {
    if (!id.is_number_integer())
      throw Error(object, fmt::format("id {} for token '{}'", json_shown(id), printable(token)),
                  "an integer");
    // Over 2^63 it would read as negative, which is refused as well.
    entries.emplace_back(token, id.get<int64_t>());
  }
  return entries;
}

BpeModel::Merges::value_type merge_of(const Json& merge, size_t rank, const std::string& object) {
  const auto text_of = [](const Json& value) -> std::string_view {
    return value.get_ref<const std::string&>();
  };
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
    return {text_of(merge[0]), text_of(merge[1])};
  if (merge.is_string()) {
    const std::string_view text = text_of(merge);
    const size_t space = text.find(' ');
    if (space != std::string_view::npos && text.find(' ', space + 1) == std::string_view::npos)
      return {text.substr(0, space), text.substr(space + 1)};
  }
  throw Error(object, fmt::format("merge {} that is {}", rank, json_shown(merge)),
              "two tokens, as an array or with one space between them");
}

BpeModel::Merges merges_of(const Json& model, const std::string& object) {
  BpeModel::Merges merges;
  const Json& list = json_array(model, "merges", object);
  merges.reserve(list.size());
  for (const Json& merge : list) {
    const bool version = merge.is_string() && merge.get_ref<const std::string&>().starts_with("#version");
    if (!version) merges.push_back(merge_of(merge, merges.size(), object));
  }
  return merges;
}

BpeModel model_of(const Json& json, const std::string& object) {
  if (!json.is_object()) throw Error(object, "no object 'model'", "a model of type BPE");
  const std::string name = object + ": model";
  // Files older than the key have no type; only BPE has merges.
  const auto type = json_get_or<std::string>(json, "type", json.contains("merges") ? "BPE" : "", name);
  if (type != "BPE") throw_unsupported(name, type, "BPE");
  if (const auto dropout = json_get_or<double>(json, "dropout", 0, name); dropout != 0)
    throw Error(name + ": dropout", fmt::format("{}", dropout),
                "0 or null, since encoding is not random here");
  BpeOptions options;
  if (!member(json, "unk_token").is_null())
    options.unk_token = json_get<std::string>(json, "unk_token", name);
  options.continuing_subword_prefix = json_get_or<std::string>(json, "continuing_subword_prefix", "", name);
  options.end_of_word_suffix = json_get_or<std::string>(json, "end_of_word_suffix", "", name);
  options.fuse_unk = json_get_or<bool>(json, "fuse_unk", false, name);
  options.byte_fallback = json_get_or<bool>(json, "byte_fallback", false, name);
  options.ignore_merges = json_get_or<bool>(json, "ignore_merges", false, name);
  Vocabulary vocabulary(vocabulary_entries(json, name), name);
  return BpeModel(std::move(vocabulary), merges_of(json, name), std::move(options), name);
}

std::vector<AddedToken> added_of(const Json& json, const std::string& object) {
  std::vector<AddedToken> tokens;
  if (member(json, "added_tokens").is_null()) return tokens;
  const std::string name = object + ": added_tokens";
  for (const Json& token : json_array(json, "added_tokens", object)) {
    const auto flag = [&](const char* key) { return json_get_or<bool>(token, key, false, name); };
    if (const auto id = json_get<int64_t>(token, "id", name); id < 0)
      throw Error(name, fmt::format("id {}", id), "an id of 0 or more");
    tokens.push_back({.content = json_get<std::string>(token, "content", name),
                      .special = flag("special"),
                      .single_word = flag("single_word"),
                      .lstrip = flag("lstrip"),
                      .rstrip = flag("rstrip"),
                      .normalized = flag("normalized")});
  }
  return tokens;
}

}  // namespace

std::unique_ptr<TokenizerParts> parts_from_json(std::string_view text, const std::string& object) {
  const Json json = parse_json(text, object);
  if (!json.is_object()) throw Error(object, "JSON that is no object", "a tokenizer.json");
  if (const auto version = json_get_or<std::string>(json, "version", "1.0", object); version != "1.0")
    throw Error(object + ": version", "'" + printable(version) + "'", "1.0");
  auto parts = std::make_unique<TokenizerParts>(model_of(member(json, "model"), object));
  parts->normalizer = make_normalizer(member(json, "normalizer"), object + ": normalizer");
  parts->pre_tokenizer = PreTokenizer(member(json, "pre_tokenizer"), object + ": pre_tokenizer");
  parts->post_processor = PostProcessor(member(json, "post_processor"), object + ": post_processor");
  parts->decoder = Decoder(member(json, "decoder"), object + ": decoder");
  parts->added = AddedTokens(added_of(json, object), parts->model.vocabulary(), parts->normalizer.get());
  if (parts->model.options().unk_token) parts->unk = parts->id(*parts->model.options().unk_token);
  return parts;
}

}  // namespace aleph::text
