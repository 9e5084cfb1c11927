// Against outputs of Hugging Face's library: tests/data/tokenizers/make_reference.py wrote them.
#include <map>
#include <sstream>

#include "aleph/io/json_file.h"
#include "aleph/text/testing.h"

namespace aleph::text {
namespace {

namespace fs = std::filesystem;

fs::path base_file(const std::string& name) {
  return name == "tiny-bpe" ? tokenizer_data() / "tiny-bpe" / "tokenizer.json"
                            : fs::path(ALEPH_TEST_DATA) / "goldens" / "stories260K-hf" / "tokenizer.json";
}

Json changed(Json json, const Json& changes) {
  for (const auto& [key, value] : changes.items()) {
    if (key == "model")
      json["model"].update(value);
    else if (key == "added_tokens+")
      json["added_tokens"].insert(json["added_tokens"].end(), value.begin(), value.end());
    else
      json[key] = value;
  }
  return json;
}

std::string pushed(const Tokenizer& tokenizer, const Ids& ids, bool skip_special) {
  IncrementalDecoder decoder = tokenizer.incremental_decoder(skip_special);
  std::string out;
  for (const int32_t id : ids) {
    const std::string part = decoder.push(id);
    EXPECT_EQ(valid_utf8_length(part), part.size());
    out += part;
  }
  return out + decoder.finish();
}

void check_encoded(const Tokenizer& tokenizer, const Json& cases) {
  for (const Json& one : cases) {
    const auto text = one[0].get<std::string>();
    EXPECT_EQ(tokenizer.encode(text, {.add_special_tokens = false}), one[1].get<Ids>()) << one[0];
    EXPECT_EQ(tokenizer.encode(text), one.back().get<Ids>()) << one[0];
  }
}

void check_decoded(const Tokenizer& tokenizer, const Json& cases) {
  for (const Json& one : cases) {
    const auto ids = one[0].get<Ids>();
    const auto full = one[1].get<std::string>();
    const auto skipped = one.back().get<std::string>();
    EXPECT_EQ(tokenizer.decode(ids), full) << one[0];
    EXPECT_EQ(tokenizer.decode(ids, true), skipped) << one[0];
    EXPECT_EQ(pushed(tokenizer, ids, false), full) << one[0];
    EXPECT_EQ(pushed(tokenizer, ids, true), skipped) << one[0];
  }
}

TEST(ReferenceTest, ChangedTokenizersEncodeAndDecodeLikeTheReference) {
  std::map<std::string, Json> bases;
  for (const char* name : {"tiny-bpe", "stories260K"}) bases[name] = io::parse_json_file(base_file(name));
  const Json entries = io::parse_json_file(tokenizer_data() / "reference.json");
  ASSERT_GT(entries.size(), 100u);
  for (const Json& entry : entries) {
    SCOPED_TRACE(entry.at("base").get<std::string>() + " with " + entry.at("changes").dump());
    const Json json = changed(bases.at(entry.at("base")), entry.at("changes"));
    const Tokenizer tokenizer = Tokenizer::from_json(json.dump(), "changed");
    check_encoded(tokenizer, entry.at("encoded"));
    check_decoded(tokenizer, entry.at("decoded"));
  }
}

/// Text with many places to cut at, and much that makes cutting dangerous.
std::string text_to_cut(Draw& draw, size_t parts) {
  static const std::vector<std::string> kJoints = {" ",         "\n",   " the\nold ",   "a b",
                                                   ".\nThe ",   "  ",   "'s",           "\u3002\n\u65e5",
                                                   "e\u0301 f", "\n\n", "<s> \u00e9 x", "1\nb"};
  std::string text;
  for (size_t i = 0; i < parts; ++i) text += draw.once_in(3) ? random_text(draw, 2, true) : draw.of(kJoints);
  return text;
}

struct InParts {
  Ids ids;
  int cuts = 0;
};

/// Encodes `text` as it would come in from a file.
InParts encoded_in_parts(const Tokenizer& tokenizer, std::string_view text, Draw& draw) {
  InParts result;
  size_t begin = 0;
  for (size_t end = 0; begin < text.size();) {
    end = std::min(text.size(), end + 1 + draw.below(30));
    const TextPart part{text.substr(begin, end - begin), begin == 0, end == text.size()};
    const size_t used = tokenizer.encode_part(part, [&](std::span<const int32_t> ids) {
      result.ids.insert(result.ids.end(), ids.begin(), ids.end());
    });
    EXPECT_LE(used, part.text.size());
    if (used > 0) ++result.cuts;
    begin += used;
  }
  return result;
}

/// Returns how often texts were cut.
int check_parts(const Tokenizer& tokenizer, int texts, Draw& draw) {
  int cuts = 0;
  for (int i = 0; i < texts; ++i) {
    const std::string text = text_to_cut(draw, 1 + draw.below(60));
    const InParts parts = encoded_in_parts(tokenizer, text, draw);
    EXPECT_EQ(parts.ids, tokenizer.encode(text, {.add_special_tokens = false}))
        << Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
    cuts += parts.cuts - 1;
  }
  return cuts;
}

TEST(PartsTest, TheIdsOfPartsAreThoseOfTheWhole) {
  std::map<std::string, Json> bases;
  for (const char* name : {"tiny-bpe", "stories260K"}) bases[name] = io::parse_json_file(base_file(name));
  Draw draw(61);
  int cut = 0, whole = 0;
  for (const Json& entry : io::parse_json_file(tokenizer_data() / "reference.json")) {
    SCOPED_TRACE(entry.at("base").get<std::string>() + " with " + entry.at("changes").dump());
    const Tokenizer tokenizer =
        Tokenizer::from_json(changed(bases.at(entry.at("base")), entry.at("changes")).dump(), "changed");
    const int cuts = check_parts(tokenizer, 20, draw);
    EXPECT_EQ(cuts > 0, tokenizer.cuts().any());
    ++(cuts > 0 ? cut : whole);
  }
  EXPECT_GT(cut, 30);
  EXPECT_GT(whole, 10) << "where nothing is known texts stay whole";
}

TEST(PartsTest, EveryRealTokenizerCuts) {
  Draw draw(62);
  for (const fs::path& path : {tokenizer_data() / "gpt2", tokenizer_data() / "tiny-bpe",
                               fs::path(ALEPH_TEST_DATA) / "tiny-tokenizer",
                               fs::path(ALEPH_TEST_DATA) / "goldens" / "stories260K-hf"}) {
    SCOPED_TRACE(path);
    const Tokenizer tokenizer = Tokenizer::load(path);
    EXPECT_TRUE(tokenizer.cuts().space);
    EXPECT_GT(check_parts(tokenizer, 300, draw), 1000);
  }
}

/// Where the tokenizer `name` of real.json is; empty where this machine lacks it.
fs::path real_tokenizer(const std::string& name) {
  if (name == "gpt2" || name == "tiny-bpe") return tokenizer_data() / name;
  const fs::path path = name == "qwen3"
                            ? beside_checkout("ALEPH_SHARED", "shared") / "data" / "qwen3-tokenizer"
                            : beside_checkout("ALEPH_MODELS", "models") / "smollm2-135m-instruct";
  return fs::exists(path) ? path : fs::path();
}

class RealTokenizerTest : public ::testing::TestWithParam<const char*> {};

TEST_P(RealTokenizerTest, EncodesManyScriptsLikeTheReference) {
  const fs::path path = real_tokenizer(GetParam());
  if (path.empty()) GTEST_SKIP() << GetParam() << " is not on this machine";
  const Tokenizer tokenizer = Tokenizer::load(path);
  int cases = 0;
  for (const Json& entry : io::parse_json_file(tokenizer_data() / "real.json")) {
    if (entry.at("tokenizer") != GetParam()) continue;
    const auto text = entry.at("text").get<std::string>();
    const auto ids = entry.at("ids").get<Ids>();
    EXPECT_EQ(tokenizer.encode(text), ids) << text;
    EXPECT_EQ(pushed(tokenizer, ids, false), tokenizer.decode(ids));
    ++cases;
  }
  EXPECT_GT(cases, 10);
  Draw draw(63);
  EXPECT_GT(check_parts(tokenizer, 100, draw), 300);
}

std::string printed_name(const ::testing::TestParamInfo<const char*>& info) {
  std::string name = info.param;
  std::erase(name, '-');
  return name;
}

INSTANTIATE_TEST_SUITE_P(All, RealTokenizerTest, ::testing::Values("gpt2", "tiny-bpe", "qwen3", "smollm2"),
                         printed_name);

/// The cases of llama.cpp's .inp files.
std::vector<std::string> vector_texts() {
  const std::string all = file_text(tokenizer_data() / "vectors" / "cases.inp");
  const std::string separator = "\n__ggml_vocab_test__\n";
  std::vector<std::string> texts;
  size_t begin = 0;
  for (size_t end = all.find(separator); end != std::string::npos; end = all.find(separator, begin)) {
    texts.push_back(all.substr(begin, end - begin));
    begin = end + separator.size();
  }
  return texts;
}

Ids ids_of_line(const std::string& line) {
  Ids ids;
  std::istringstream stream(line);
  for (int32_t id = 0; stream >> id;) ids.push_back(id);
  return ids;
}

void check_vectors(const Tokenizer& tokenizer, const std::string& file) {
  const std::vector<std::string> texts = vector_texts();
  const std::vector<std::string> lines = lines_of(file_text(tokenizer_data() / "vectors" / file));
  ASSERT_EQ(texts.size(), 46u);
  ASSERT_EQ(lines.size(), texts.size());
  for (size_t i = 0; i < texts.size(); ++i)
    EXPECT_EQ(tokenizer.encode(texts[i]), ids_of_line(lines[i])) << texts[i];
}

TEST(VectorsTest, Gpt2IsEqual) { check_vectors(Tokenizer::load(tokenizer_data() / "gpt2"), "gpt2.out"); }

TEST(VectorsTest, Qwen2IsEqual) {
  const fs::path path = real_tokenizer("qwen3");
  if (path.empty()) GTEST_SKIP() << "qwen3-tokenizer is not on this machine; set ALEPH_SHARED";
  check_vectors(Tokenizer::load(path), "qwen2.out");
}

TEST(SmolLm2Test, TokensAreThoseOfTransformers) {
  const fs::path path = real_tokenizer("smollm2");
  const fs::path expected = beside_checkout("ALEPH_SHARED", "shared") / "goldens" / "real" / "smollm2.json";
  if (path.empty() || !fs::exists(expected)) GTEST_SKIP() << "smollm2 or " << expected << " is not there";
  const Tokenizer tokenizer = Tokenizer::load(path);
  const Json tokens = io::parse_json_file(expected).at("tokens");
  ASSERT_GT(tokens.size(), 5u);
  for (const auto& [text, ids] : tokens.items()) {
    EXPECT_EQ(tokenizer.encode(text), ids.get<Ids>()) << text;
    EXPECT_EQ(tokenizer.decode(ids.get<Ids>()), text);
  }
}

// Lines "TEXT | ID ID ... | MEAN" from llama2.c's program.
TEST(Stories260KTest, TokensAreThoseOfLlama2C) {
  const Tokenizer tokenizer = Tokenizer::load(fs::path(ALEPH_TEST_DATA) / "goldens" / "stories260K-hf");
  int cases = 0;
  for (const std::string& line : lines_of(file_text(tokenizer_data() / "vectors" / "stories260K.txt"))) {
    if (line.starts_with('#')) continue;
    const size_t bar = line.find(" | ");
    const Ids ids = ids_of_line(line.substr(bar + 3));
    EXPECT_EQ(tokenizer.encode(line.substr(0, bar)), ids);
    EXPECT_EQ(tokenizer.decode(ids, true), line.substr(0, bar));
    ++cases;
  }
  EXPECT_EQ(cases, 3);
}

TEST(Stories260KTest, GreedyStoryIsThatOfLlama2C) {
  const fs::path path = fs::path(ALEPH_TEST_DATA) / "goldens" / "stories260K-hf";
  const Tokenizer tokenizer = Tokenizer::load(path);
  Ids ids;
  for (const std::string& line : lines_of(file_text(path / "reference_greedy_tokens.txt")))
    ids.push_back(ids_of_line(line).at(1));
  std::string story = file_text(path / "expected_greedy.txt");
  story.pop_back();
  const std::string decoded = tokenizer.decode(ids);
  EXPECT_TRUE(decoded.starts_with(story) || story.starts_with(decoded)) << decoded;
  Ids encoded = tokenizer.encode(decoded);
  ASSERT_EQ(encoded.at(0), 1);
  EXPECT_EQ(Ids(encoded.begin() + 1, encoded.end()), ids);
}

}  // namespace
}  // namespace aleph::text
