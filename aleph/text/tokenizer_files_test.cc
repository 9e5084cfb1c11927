// Loading: which files are read, what they may say, what is refused.
#include <fstream>

#include "aleph/io/temporary_directory.h"
#include "aleph/text/testing.h"

namespace aleph::text {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTiny =
    R"({"version": "1.0", "normalizer": null, "pre_tokenizer": null, "decoder": {"type": "Fuse"},
  "added_tokens": [{"id": 3, "content": "<s>", "special": true}],
  "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}})";

/// kTiny with changes, as RFC 7386 merges them.
Json tiny(const char* changes = "{}") {
  Json json = Json::parse(kTiny);
  json.merge_patch(Json::parse(changes));
  return json;
}

std::string refusal(const Json& json) {
  return fault_of([&] { Tokenizer::from_json(json.dump(), "t.json"); });
}

class Directory {
 public:
  Directory& with(const std::string& name, const std::string& text) {
    std::ofstream(directory_ / name, std::ios::binary) << text;
    return *this;
  }
  /// vocab.json and merges.txt of a small byte-level tokenizer.
  Directory& with_gpt2_files() {
    const fs::path tiny = fs::path(ALEPH_TEST_DATA) / "tiny-tokenizer";
    return with("vocab.json", file_text(tiny / "vocab.json"))
        .with("merges.txt", file_text(tiny / "merges.txt"));
  }
  Tokenizer load() const { return Tokenizer::load(path()); }
  std::string refusal() const {
    return fault_of([&] { load(); });
  }
  fs::path path() const { return directory_.path(); }

 private:
  io::TemporaryDirectory directory_;
};

TEST(TokenizerJsonTest, SmallestFileLoads) {
  const Tokenizer tokenizer = Tokenizer::from_json(kTiny, "t.json");
  EXPECT_EQ(tokenizer.encode("abab<s>ba"), (Ids{2, 2, 3, 1, 0}));
  EXPECT_EQ(tokenizer.vocab_size(), 4);
  EXPECT_EQ(tokenizer.unk_id(), std::nullopt);
}

TEST(TokenizerJsonTest, MergesMayBeTextOrPairs) {
  for (const char* merges : {R"(["a b"])", R"([["a", "b"]])", R"(["#version: 0.2", "a b"])"}) {
    Json json = tiny();
    json["model"]["merges"] = Json::parse(merges);
    EXPECT_EQ(Tokenizer::from_json(json.dump(), "t").encode("ab"), Ids{2}) << merges;
  }
}

TEST(TokenizerJsonTest, OldFilesHaveNoTypeOfModel) {
  EXPECT_EQ(
      Tokenizer::from_json(tiny(R"({"model": {"type": null}, "version": null})").dump(), "t").encode("ab"),
      Ids{2});
}

TEST(TokenizerJsonTest, UnknownTokenIsNamedByTheModel) {
  const Tokenizer tokenizer = Tokenizer::from_json(tiny(R"({"model": {"unk_token": "b"}})").dump(), "t");
  EXPECT_EQ(tokenizer.unk_id(), 1);
  EXPECT_EQ(tokenizer.encode("ax"), Ids{2}) << "the unknown character counts as b, which merges";
}

TEST(TokenizerJsonTest, OtherModelsAreRefusedByName) {
  for (const char* type : {"WordPiece", "Unigram", "WordLevel"})
    EXPECT_EQ(refusal(tiny(fmt::format(R"({{"model": {{"type": "{}"}}}})", type).c_str())),
              fmt::format("t.json: model: found type '{}', which is not supported, expected BPE", type));
}

TEST(TokenizerJsonTest, DropoutIsRefused) {
  EXPECT_EQ(refusal(tiny(R"({"model": {"dropout": 0.1}})")),
            "t.json: model: dropout: found 0.1, expected 0 or null, since encoding is not random here");
  EXPECT_EQ(refusal(tiny(R"({"model": {"dropout": 0.0}})")), "no error");
}

TEST(TokenizerJsonTest, OtherVersionsAreRefused) {
  EXPECT_EQ(refusal(tiny(R"({"version": "2.0"})")), "t.json: version: found '2.0', expected 1.0");
}

TEST(TokenizerJsonTest, FaultsNameTheirPlace) {
  const std::vector<std::pair<const char*, const char*>> faults = {
      {R"({"model": null})", "t.json: found no object 'model'"},
      {R"({"model": {"vocab": 3}})", "t.json: model: found no object 'vocab'"},
      {R"({"model": {"vocab": {"a": "0"}}})", "t.json: model: found id \"0\" for token 'a'"},
      {R"({"model": {"vocab": {"a": 1}}})", "t.json: model: found id 1 for both"},
      {R"({"model": {"merges": null}})", "t.json: model: found no array 'merges'"},
      {R"({"model": {"merges": [3]}})", "t.json: model: found merge 0 that is 3"},
      {R"({"model": {"merges": ["a b c"]}})", "t.json: model: found merge 0 that is"},
      {R"({"model": {"merges": ["ab"]}})", "t.json: model: found merge 0 that is"},
      {R"({"model": {"merges": ["b a"]}})", "t.json: model: found merge 0 with 'ba', which is no token"},
      {R"({"model": {"fuse_unk": 1}})", "t.json: model: fuse_unk"},
      {R"({"added_tokens": {}})", "t.json: found no array 'added_tokens'"},
      {R"({"added_tokens": [{"id": -1, "content": "x"}]})", "t.json: added_tokens: found id -1"},
      {R"({"added_tokens": [{"content": "x"}]})", "t.json: added_tokens: found no key 'id'"},
      {R"({"added_tokens": [{"id": 3}]})", "t.json: added_tokens: found no key 'content'"},
      {R"({"added_tokens": [{"id": 3, "content": "x", "lstrip": "no"}]})", "t.json: added_tokens: lstrip"},
      {R"({"normalizer": {"type": "X"}})", "t.json: normalizer: found type 'X'"},
      {R"({"pre_tokenizer": {"type": "X"}})", "t.json: pre_tokenizer: found type 'X'"},
      {R"({"post_processor": {"type": "X"}})", "t.json: post_processor: found type 'X'"},
      {R"({"decoder": {"type": "X"}})", "t.json: decoder: found type 'X'"}};
  for (const auto& [changes, fault] : faults)
    EXPECT_EQ(refusal(tiny(changes)).find(fault), 0u) << refusal(tiny(changes));
}

TEST(TokenizerJsonTest, TextThatIsNoObjectIsRefused) {
  for (const char* text : {"", "[]", "3", "null", "{", "{}", "\"x\"", "\xff", "{\"a\": 1, \"a\": 2}"})
    EXPECT_EQ(fault_of([&] { Tokenizer::from_json(text, "t.json"); }).find("t.json"), 0u) << text;
}

TEST(TokenizerFilesTest, MissingFilesAreNamed) {
  const Directory directory;
  EXPECT_EQ(directory.refusal(),
            directory.path().string() +
                ": found no tokenizer, expected tokenizer.json, or vocab.json and merges.txt");
  EXPECT_NE(fault_of([] { Tokenizer::load("/no/such/place"); }).find("/no/such/place"), std::string::npos);
}

TEST(TokenizerFilesTest, DirectoryOrFileItself) {
  Directory directory;
  directory.with("tokenizer.json", kTiny).with("tokenizer_config.json", R"({"eos_token": "<s>"})");
  for (const fs::path& path : {directory.path(), directory.path() / "tokenizer.json"})
    EXPECT_EQ(Tokenizer::load(path).eos_id(), 3) << path;
}

TEST(TokenizerFilesTest, SpecialNamesComeFromBothFiles) {
  Directory directory;
  directory.with("tokenizer.json", kTiny)
      .with("tokenizer_config.json",
            R"({"bos_token": {"content": "<s>"}, "eos_token": null, "pad_token": "a"})")
      .with("special_tokens_map.json", R"({"bos_token": "b", "eos_token": "ab", "unk_token": "no such"})");
  const Tokenizer tokenizer = directory.load();
  EXPECT_EQ(tokenizer.bos_id(), 3);
  EXPECT_EQ(tokenizer.eos_id(), 2);
  EXPECT_EQ(tokenizer.pad_id(), 0);
  EXPECT_EQ(tokenizer.unk_id(), std::nullopt);
}

TEST(TokenizerFilesTest, Gpt2FilesWithTheirConfiguration) {
  Directory directory;
  directory.with_gpt2_files().with("tokenizer_config.json",
                                   R"({"add_bos_token": true, "add_prefix_space": true, "pad_token": "<pad>",
        "added_tokens_decoder": {"274": {"content": "<new>", "lstrip": true}, "272": {"content": "<|endoftext|>", "special": true}},
        "additional_special_tokens": ["<x>", {"content": "<y>"}]})");
  const Tokenizer tokenizer = directory.load();
  const auto end = tokenizer.id("<|endoftext|>").value();
  EXPECT_EQ(tokenizer.encode("").at(0), end);
  EXPECT_EQ(tokenizer.encode("a"), tokenizer.encode(" a"));
  EXPECT_EQ(tokenizer.encode("b  <new>", {.add_special_tokens = false}).size(),
            tokenizer.encode("b<new>", {.add_special_tokens = false}).size());
  for (const char* token : {"<x>", "<y>", "<pad>"}) {
    ASSERT_TRUE(tokenizer.id(token)) << token;
    EXPECT_TRUE(tokenizer.is_special(*tokenizer.id(token))) << token;
  }
  EXPECT_FALSE(tokenizer.is_special(tokenizer.id("<new>").value()));
}

TEST(TokenizerFilesTest, MergesMayHaveWindowsLineEnds) {
  Directory plain, windows;
  plain.with_gpt2_files();
  std::string merges;
  for (const std::string& line : lines_of(file_text(plain.path() / "merges.txt"))) merges += line + "\r\n";
  windows.with_gpt2_files().with("merges.txt", merges);
  const std::string text = "the and of to in he";
  EXPECT_EQ(windows.load().encode(text), plain.load().encode(text));
}

TEST(TokenizerFilesTest, BrokenMergesAreNamedByLine) {
  Directory directory;
  directory.with_gpt2_files();
  for (const char* line : {"t h e", "the", "", "t\th"}) {
    directory.with("merges.txt", fmt::format("#version: 0.2\n{}\nt h\n", line));
    const std::string fault = directory.refusal();
    EXPECT_NE(fault.find("merges.txt: line 2"), std::string::npos) << fault;
  }
}

TEST(TokenizerFilesTest, BrokenVocabularyIsRefused) {
  Directory directory;
  directory.with_gpt2_files();
  for (const char* text : {"[]", "", "{\"a\": 1.5}", "{\"a\": \"1\"}", "{\"a\": -1}", "{\"a\": 1e300}",
                           "{\"a\": 99999999999999999999}"}) {
    directory.with("vocab.json", text);
    EXPECT_NE(directory.refusal().find("vocab.json"), std::string::npos) << directory.refusal();
  }
}

TEST(TokenizerFilesTest, BrokenConfigurationIsRefused) {
  Directory directory;
  directory.with_gpt2_files();
  for (const char* text :
       {"[]", "{", R"({"bos_token": 3})", R"({"bos_token": {"text": "a"}})", R"({"add_bos_token": "yes"})",
        R"({"added_tokens_decoder": {"x": {"content": "a"}}})", R"({"added_tokens_decoder": {"1": {}}})",
        R"({"added_tokens_decoder": {"-1": {"content": "a"}}})", R"({"additional_special_tokens": [3]})"}) {
    directory.with("tokenizer_config.json", text);
    EXPECT_NE(directory.refusal().find("tokenizer_config.json"), std::string::npos)
        << text << directory.refusal();
  }
}

}  // namespace
}  // namespace aleph::text
