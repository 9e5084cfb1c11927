// The files beside tokenizer.json, and GPT-2's own two files.
#include <algorithm>
#include <charconv>

#include "aleph/base/text_util.h"
#include "aleph/io/file.h"
#include "aleph/text/json_parts.h"
#include "aleph/text/tokenizer_parts.h"

namespace aleph::text {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxFileBytes = int64_t{1} << 30;
constexpr const char* kEndOfText = "<|endoftext|>";

Json read_optional(const fs::path& path) {
  if (!fs::exists(path)) return Json::object();
  Json json = parse_json(io::read_file(path, kMaxFileBytes), path.string());
  if (!json.is_object()) throw Error(path.string(), "JSON that is no object", "an object");
  return json;
}

// A token is a string, or an object with "content"; null and false mean none.
std::optional<std::string> token_at(const Json& json, const char* key, const std::string& object) {
  const auto found = json.find(key);
  if (found == json.end() || found->is_null() || (found->is_boolean() && !found->get<bool>()))
    return std::nullopt;
  if (found->is_object()) return json_get<std::string>(*found, "content", object + ": " + key);
  return json_get<std::string>(json, key, object);
}

void read_names(const Json& json, const std::string& object, SpecialNames& names) {
  const auto read = [&](const char* key, std::optional<std::string>& name) {
    if (!name) name = token_at(json, key, object);
  };
  read("bos_token", names.bos);
  read("eos_token", names.eos);
  read("pad_token", names.pad);
  read("unk_token", names.unk);
}

AddedToken special_token(const std::string& content) { return {.content = content, .special = true}; }

void read_added_decoder(const Json& json, const std::string& object, std::vector<AddedToken>& added) {
  const auto found = json.find("added_tokens_decoder");
  if (found == json.end() || !found->is_object()) return;
  std::vector<std::pair<int64_t, AddedToken>> by_id;
  for (const auto& item : found->items()) {
    const std::string& key = item.key();
    const Json& token = item.value();
    int64_t id = -1;
    const auto [end, status] = std::from_chars(key.data(), key.data() + key.size(), id);
    const std::string name = object + ": added_tokens_decoder";
    if (status != std::errc() || end != key.data() + key.size() || id < 0)
      throw Error(name, "id '" + printable(key) + "'", "an integer of 0 or more");
    const auto flag = [&](const char* flag_key) { return json_get_or<bool>(token, flag_key, false, name); };
    by_id.emplace_back(id, AddedToken{.content = json_get<std::string>(token, "content", name),
                                      .special = flag("special"),
                                      .single_word = flag("single_word"),
                                      .lstrip = flag("lstrip"),
                                      .rstrip = flag("rstrip"),
                                      .normalized = flag("normalized")});
  }
  std::stable_sort(by_id.begin(), by_id.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  for (auto& [id, token] : by_id) added.push_back(std::move(token));
}

void read_additional(const Json& json, const std::string& object, std::vector<AddedToken>& added) {
  const auto found = json.find("additional_special_tokens");
  if (found == json.end() || !found->is_array()) return;
  added.reserve(added.size() +
                static_cast<size_t>(std::count_if(found->begin(), found->end(),
                                                  [](const Json& token) { return token != ""; })));
  for (const Json& token : *found) {
    const std::string content =
        token.is_string() ? token.get<std::string>() : json_get<std::string>(token, "content", object);
    if (!content.empty()) added.push_back(special_token(content));
  }
}

Vocabulary::Entries read_vocabulary(const fs::path& path) {
  const Json json = parse_json(io::read_file(path, kMaxFileBytes), path.string());
  if (!json.is_object()) throw Error(path.string(), "JSON that is no object", "tokens and their ids");
  Vocabulary::Entries entries;
  entries.reserve(json.size());
  for (const auto& [token, id] : json.items())
    entries.emplace_back(token, json_get<int64_t>(json, token.c_str(), path.string()));
  return entries;
}

/// Of a merges.txt; `object` names it in errors.
BpeModel::Merges merges_of(std::string_view text, const std::string& object) {
  BpeModel::Merges merges;
  merges.reserve(static_cast<size_t>(std::count(text.begin(), text.end(), '\n')) + 1);
  int64_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.starts_with("#version") || (line.empty() && begin >= text.size())) continue;
    const size_t space = line.find(' ');
    if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos)
      throw Error(fmt::format("{}: line {}", object, number), "'" + printable(line) + "'",
                  "two tokens with one space between them");
    merges.emplace_back(line.substr(0, space), line.substr(space + 1));
  }
  return merges;
}

// GPT-2's single special token, where no file names others.
SpecialNames with_defaults(SpecialNames names, const Vocabulary& vocabulary) {
  if (!vocabulary.id(kEndOfText)) return names;
  for (auto* name : {&names.bos, &names.eos, &names.unk})
    if (!*name) *name = kEndOfText;
  return names;
}

}  // namespace

TokenizerConfig read_tokenizer_config(const fs::path& directory) {
  TokenizerConfig config;
  for (const char* file : {"tokenizer_config.json", "special_tokens_map.json"}) {
    const fs::path path = directory / file;
    const Json json = read_optional(path);
    read_names(json, path.string(), config.names);
    config.add_bos_token |= json_get_or<bool>(json, "add_bos_token", false, path.string());
    config.add_prefix_space |= json_get_or<bool>(json, "add_prefix_space", false, path.string());
    read_added_decoder(json, path.string(), config.added);
    read_additional(json, path.string(), config.added);
  }
  return config;
}

std::unique_ptr<TokenizerParts> parts_from_gpt2_files(const fs::path& directory,
                                                      const TokenizerConfig& config) {
  const fs::path vocabulary_path = directory / "vocab.json";
  const fs::path merges_path = directory / "merges.txt";
  Vocabulary vocabulary(read_vocabulary(vocabulary_path), vocabulary_path.string());
  const SpecialNames names = with_defaults(config.names, vocabulary);
  const std::string merges_text = io::read_file(merges_path, kMaxFileBytes);
  auto parts = std::make_unique<TokenizerParts>(BpeModel(std::move(vocabulary),
                                                         merges_of(merges_text, merges_path.string()),
                                                         BpeOptions{}, merges_path.string()));
  const Json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", config.add_prefix_space}};
  parts->pre_tokenizer = PreTokenizer(byte_level, directory.string());
  parts->decoder = Decoder(byte_level, directory.string());
  std::vector<AddedToken> added;
  added.reserve(config.added.size() + 4);
  added = config.added;
  for (const auto* name : {&names.bos, &names.eos, &names.unk, &names.pad})
    if (*name) added.push_back(special_token(**name));
  parts->added = AddedTokens(added, parts->model.vocabulary(), nullptr);
  parts->name_special(names);
  if (config.add_bos_token && parts->bos) parts->post_processor = PostProcessor::prefix(*parts->bos);
  return parts;
}

}  // namespace aleph::text
