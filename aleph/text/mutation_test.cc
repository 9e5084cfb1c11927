// Damaged tokenizer files: each is refused with one clear line or loads and can be used.
#include <fstream>

#include "aleph/io/temporary_directory.h"
#include "aleph/text/testing.h"

namespace aleph::text {
namespace {

namespace fs = std::filesystem;

/// How often files were taken and refused.
struct Tally {
  int loaded = 0, refused = 0;
};

void use(const Tokenizer& tokenizer, Draw& draw) {
  const std::string text = "<s>" + random_text(draw, 8, true) + "<|endoftext|>";
  for (const bool special : {false, true}) {
    const Ids ids = tokenizer.encode(text, {.parse_special = special});
    for (const int32_t id : ids) EXPECT_GE(id, 0);
    const std::string decoded = tokenizer.decode(ids, special);
    EXPECT_EQ(valid_utf8_length(decoded), decoded.size());
  }
}

/// Loads and uses; the only way out is an Error of one line.
template <typename Load>
void try_out(const Load& load, Draw& draw, Tally& tally) {
  try {
    const Tokenizer tokenizer = load();
    ++tally.loaded;
    use(tokenizer, draw);
  } catch (const Error& error) {
    const std::string_view line = error.what();
    EXPECT_EQ(line.find('\n'), std::string_view::npos) << line;
    EXPECT_NE(line.find("expected"), std::string_view::npos) << line;
    EXPECT_EQ(valid_utf8_length(line), line.size()) << line;
    EXPECT_LT(line.size(), 1500u) << line;
    ++tally.refused;
  }
}

/// Bytes replaced, taken out, doubled or cut.
std::string damaged(std::string text, Draw& draw) {
  static const std::vector<std::string> kPieces = {
      "\"",   "{",    "}",    "[",  "]",       ",",       ":",    "-1", "9999999999", "1e9",
      "null", "true", "\"\"", "\\", "\\u0000", "\\ud800", "\xff", " ",  "\n",         "Sequence"};
  const size_t changes = 1 + draw.below(3);
  for (size_t i = 0; i < changes && !text.empty(); ++i) {
    const size_t at = draw.below(text.size());
    const size_t length = std::min<size_t>(1 + draw.below(draw.once_in(4) ? 60 : 3), text.size() - at);
    switch (draw.below(5)) {
      case 0:
        text[at] = static_cast<char>(draw.below(256));
        break;
      case 1:
        text.erase(at, length);
        break;
      case 2:
        text.insert(at, text.substr(draw.below(text.size()), length));
        break;
      case 3:
        text.replace(at, length, draw.of(kPieces));
        break;
      default:
        if (draw.once_in(6)) text.resize(at);
    }
  }
  return text;
}

const Json& nth_value(Draw& draw) {
  static const std::vector<Json> kValues = {nullptr,
                                            true,
                                            false,
                                            0,
                                            -1,
                                            1,
                                            3.5,
                                            1e300,
                                            INT64_MAX,
                                            UINT64_MAX,
                                            "",
                                            "a",
                                            "\u2581",
                                            "Sequence",
                                            "BPE",
                                            Json::array(),
                                            Json::object(),
                                            Json::array({"a", 1}),
                                            {{"type", "Sequence"}},
                                            {{"String", ""}},
                                            {{"Regex", "(a*)*"}},
                                            {{"Regex", "["}},
                                            "(?",
                                            "first"};
  return draw.of(kValues);
}

/// Some value inside, found by walking down at random.
Json* somewhere(Json& json, Draw& draw) {
  Json* at = &json;
  while (!at->empty() && at->is_structured() && !(at != &json && draw.once_in(4))) {
    auto child = at->begin();
    std::advance(child, static_cast<ptrdiff_t>(draw.below(at->size())));
    at = &*child;
  }
  return at;
}

/// A value replaced, moved or taken out: JSON that parses.
Json rearranged(Json json, Draw& draw) {
  for (size_t i = 0; i <= draw.below(3); ++i) {
    Json* at = somewhere(json, draw);
    const Json other = draw.once_in(3) ? *somewhere(json, draw) : nth_value(draw);
    if (at->is_object() && !at->empty() && draw.once_in(3))
      at->erase(at->begin());
    else
      *at = other;
  }
  return json;
}

/// A tokenizer.json with parts of every kind and few tokens, so that damage often hits what matters.
Json of_all_parts(size_t kind) {
  static const std::vector<const char*> kNormalizers = {
      R"({"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "}, {"type": "Lowercase"}]})",
      R"({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "_"}, {"type": "Strip", "strip_left": true, "strip_right": false}, {"type": "Nmt"}]})",
      "null"};
  static const std::vector<const char*> kSplitters = {
      R"({"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "\\p{N}{1,3}"}, "behavior": "Isolated", "invert": false}, {"type": "ByteLevel", "add_prefix_space": true, "use_regex": true}]})",
      R"({"type": "Metaspace", "replacement": "_", "prepend_scheme": "first", "split": true})",
      R"({"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, {"type": "Punctuation", "behavior": "Contiguous"}, {"type": "Digits", "individual_digits": true}]})"};
  static const std::vector<const char*> kDecoders = {
      R"({"type": "ByteLevel"})",
      R"({"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "_"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})",
      R"({"type": "BPEDecoder", "suffix": "e"})"};
  Json json = Json::parse(R"({"version": "1.0", "truncation": null, "padding": null,
    "added_tokens": [{"id": 0, "content": "<s>", "special": true, "lstrip": true, "rstrip": true, "single_word": false, "normalized": false},
                     {"id": 9, "content": "the", "special": false, "lstrip": false, "rstrip": false, "single_word": true, "normalized": true}],
    "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}],
                       "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}},
    "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null, "end_of_word_suffix": "",
              "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
              "vocab": {"<s>": 0, "<unk>": 1, "t": 2, "h": 3, "e": 4, "th": 5, "the": 6, "_": 7, "<0xC3>": 8},
              "merges": ["t h", ["th", "e"]]}})");
  json["normalizer"] = Json::parse(kNormalizers[kind % 3]);
  json["pre_tokenizer"] = Json::parse(kSplitters[kind / 3 % 3]);
  json["decoder"] = Json::parse(kDecoders[kind / 9 % 3]);
  return json;
}

TEST(MutationTest, UndamagedOnesLoad) {
  Draw draw(19);
  Tally tally;
  for (size_t kind = 0; kind < 27; ++kind)
    try_out([&] { return Tokenizer::from_json(of_all_parts(kind).dump(), "tokenizer.json"); }, draw, tally);
  EXPECT_EQ(tally.loaded, 27);
  EXPECT_EQ(tally.refused, 0);
}

TEST(MutationTest, RearrangedTokenizersLoadOrAreRefused) {
  Draw draw(20);
  Tally tally;
  for (int i = 0; i < 3000; ++i) {
    const Json json = rearranged(of_all_parts(draw.below(27)), draw);
    SCOPED_TRACE(json.dump());
    try_out([&] { return Tokenizer::from_json(json.dump(), "tokenizer.json"); }, draw, tally);
    if (::testing::Test::HasFailure()) break;
  }
  EXPECT_GT(tally.loaded, 300);
  EXPECT_GT(tally.refused, 400);
}

TEST(MutationTest, DamagedTokenizersLoadOrAreRefused) {
  Draw draw(21);
  Tally tally;
  for (int i = 0; i < 3000; ++i) {
    const std::string text = damaged(of_all_parts(draw.below(27)).dump(), draw);
    SCOPED_TRACE(text);
    try_out([&] { return Tokenizer::from_json(text, "tokenizer.json"); }, draw, tally);
    if (::testing::Test::HasFailure()) break;
  }
  EXPECT_GT(tally.loaded, 100);
  EXPECT_GT(tally.refused, 400);
}

TEST(MutationTest, TruncatedTokenizersAreRefused) {
  const std::string text = of_all_parts(1).dump();
  Draw draw(22);
  Tally tally;
  for (size_t length = 0; length < text.size(); ++length)
    try_out([&] { return Tokenizer::from_json(text.substr(0, length), "tokenizer.json"); }, draw, tally);
  EXPECT_EQ(tally.loaded, 0);
}

TEST(MutationTest, DamagedRealTokenizerLoadsOrIsRefused) {
  const std::string text = file_text(tokenizer_data() / "tiny-bpe" / "tokenizer.json");
  Draw draw(23);
  Tally tally;
  for (int i = 0; i < 80; ++i)
    try_out([&] { return Tokenizer::from_json(damaged(text, draw), "tokenizer.json"); }, draw, tally);
  EXPECT_GT(tally.loaded, 1);
  EXPECT_GT(tally.refused, 5);
}

TEST(MutationTest, DamagedGpt2FilesLoadOrAreRefused) {
  const io::TemporaryDirectory directory;
  const fs::path source = fs::path(ALEPH_TEST_DATA) / "tiny-tokenizer";
  const std::vector<std::string> names = {"vocab.json", "merges.txt", "tokenizer_config.json"};
  const auto put = [&](const std::string& name, const std::string& text) {
    std::ofstream(directory / name, std::ios::binary) << text;
  };
  for (const std::string& name : names) put(name, file_text(source / name));
  Draw draw(24);
  Tally tally;
  for (int i = 0; i < 300; ++i) {
    const std::string& name = draw.of(names);
    const std::string good = file_text(source / name);
    put(name, damaged(good, draw));
    try_out([&] { return Tokenizer::load(directory.path()); }, draw, tally);
    put(name, good);
  }
  EXPECT_GT(tally.loaded, 15);
  EXPECT_GT(tally.refused, 50);
}

}  // namespace
}  // namespace aleph::text
