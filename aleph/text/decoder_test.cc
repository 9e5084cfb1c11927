#include "aleph/text/decoder.h"

#include "aleph/text/testing.h"

namespace aleph::text {
namespace {

using Strings = std::vector<std::string>;

/// What comes out after each token, and at the end.
Strings steps(const Json& json, const Strings& tokens, bool lossless = false) {
  const Decoder decoder(json, "x: decoder");
  const auto pipeline = decoder.start(lossless);
  Strings out;
  for (const std::string& token : tokens) pipeline->push(token, out.emplace_back());
  pipeline->finish(out.emplace_back());
  return out;
}

std::string decoded(const Json& json, const Strings& tokens, bool lossless = false) {
  std::string all;
  for (const std::string& part : steps(json, tokens, lossless)) all += part;
  return all;
}

std::string refusal(const Json& json) {
  return fault_of([&] { Decoder(json, "x: decoder"); });
}

Json chain(const Json& parts) { return {{"type", "Sequence"}, {"decoders", parts}}; }
Json replace(const Json& pattern, const char* content) {
  return {{"type", "Replace"}, {"pattern", pattern}, {"content", content}};
}
Json strip(const char* content, int start, int stop) {
  return {{"type", "Strip"}, {"content", content}, {"start", start}, {"stop", stop}};
}
const Json kByteLevel = {{"type", "ByteLevel"}};
const Json kFallback = {{"type", "ByteFallback"}};
const Json kFuse = {{"type", "Fuse"}};

TEST(DecoderTest, NoneJoinsWithSpaces) {
  EXPECT_EQ(decoded(Json(), {"a", "b", "c"}), "a b c");
  EXPECT_EQ(decoded(Json(), {}), "");
}

TEST(DecoderTest, EmptySequenceJoinsWithNothing) {
  EXPECT_EQ(decoded(chain(Json::array()), {"a", "b"}), "ab");
}

TEST(DecoderTest, ByteLevelHoldsUnfinishedCharactersBack) {
  EXPECT_EQ(steps(kByteLevel, {"a", "\u0120\u00c3", "\u00a9", "b"}), (Strings{"a", " ", "\u00e9", "b", ""}));
  EXPECT_EQ(steps(kByteLevel, {"\u00e2\u0124", "b"}), (Strings{"",
                                                               "\ufffd"
                                                               "b",
                                                               ""}));
  EXPECT_EQ(steps(kByteLevel, {"\u00e2\u0124"}), (Strings{"", "\ufffd"}));
}

TEST(DecoderTest, ByteLevelKeepsTokensThatSpellNoBytes) {
  EXPECT_EQ(decoded(kByteLevel, {"<|\u2581|>", "\u0120a"}), "<|\u2581|> a");
  EXPECT_EQ(decoded(kByteLevel, {"a b"}), "a b");
}

TEST(DecoderTest, LosslessBytesComeOutAtOnce) {
  EXPECT_EQ(steps(kByteLevel, {"\u00e2\u0124", "\u00ff"}, true), (Strings{"\xe2\x82", "\xff", ""}));
}

TEST(DecoderTest, ByteFallbackDecidesAtTheEndOfARun) {
  EXPECT_EQ(steps(kFallback, {"a", "<0xC3>", "<0xa9>", "b"}), (Strings{"a", "", "",
                                                                       "\u00e9"
                                                                       "b",
                                                                       ""}));
  EXPECT_EQ(decoded(kFallback, {"<0xC3>", "<0xC3>", "<0xA9>"}), "\ufffd\ufffd\ufffd");
  EXPECT_EQ(decoded(kFallback, {"<0xC3>", "x"}), "\ufffdx");
  EXPECT_EQ(decoded(kFallback, {"<0xC3>", "x"}, true), "\xc3x");
  EXPECT_EQ(decoded(kFallback, {"<0xG0>", "<0x0>", "<0x000>"}), "<0xG0><0x0><0x000>");
}

TEST(DecoderTest, ReplaceWorksOnEachToken) {
  EXPECT_EQ(decoded(replace({{"String", "\u2581"}}, " "), {"\u2581"
                                                           "a",
                                                           "b\u2581"}),
            " ab ");
  EXPECT_EQ(decoded(replace({{"Regex", "^a"}}, "-"), {"aa", "a"}), "-a-");
}

TEST(DecoderTest, FuseMakesOneToken) {
  EXPECT_EQ(decoded(chain({kFuse, replace({{"Regex", "^a"}}, "-")}), {"aa", "a"}), "-aa");
  EXPECT_EQ(decoded(chain({kFuse, replace({{"String", "ab"}}, "-")}), {"a", "b", "ab"}), "--");
}

TEST(DecoderTest, FusedTokenIsSpelledAsAWhole) {
  EXPECT_EQ(decoded(chain({kFuse, kByteLevel}), {"\u0120", "a"}), " a");
  EXPECT_EQ(decoded(chain({kFuse, kByteLevel}), {"\u0120", "\u2581"}), "\u0120\u2581");
}

TEST(DecoderTest, StripTakesFromBothEndsOfEachToken) {
  EXPECT_EQ(decoded(strip("_", 1, 0), {"__a_", "_b"}), "_a_b");
  EXPECT_EQ(decoded(strip("_", 0, 2), {"a___", "b_"}), "a_b");
  EXPECT_EQ(decoded(strip("_", 2, 2), {"_"}), "");
  EXPECT_EQ(decoded(strip("_", 0, 0), {"_a_"}), "_a_");
}

TEST(DecoderTest, StripOfAFusedTokenHoldsItsTailBack) {
  const Json json = chain({kFuse, strip("_", 1, 2)});
  EXPECT_EQ(steps(json, {"_", "_a_", "_", "_", "b", "_"}), (Strings{"", "_a", "", "_", "__b", "", ""}));
}

TEST(DecoderTest, LlamaChainIsTextWithoutItsFirstSpace) {
  const Json json = chain({replace({{"String", "\u2581"}}, " "), kFallback, kFuse, strip(" ", 1, 0)});
  EXPECT_EQ(steps(json, {"\u2581Hi", "\u2581you", "<0xE2>", "<0x9C>", "<0x93>", "!"}),
            (Strings{"Hi", " you", "", "", "", "\u2713!", ""}));
}

TEST(DecoderTest, MetaspaceDropsTheFirstSpace) {
  const auto metaspace = [](const char* scheme) {
    return Json{{"type", "Metaspace"}, {"replacement", "\u2581"}, {"prepend_scheme", scheme}};
  };
  const Strings tokens = {
      "\u2581"
      "a",
      "\u2581"
      "b",
      "c"};
  EXPECT_EQ(decoded(metaspace("always"), tokens), "a bc");
  EXPECT_EQ(decoded(metaspace("first"), tokens), "a bc");
  EXPECT_EQ(decoded(metaspace("never"), tokens), " a bc");
}

TEST(DecoderTest, WordEndsBecomeSpacesExceptTheLast) {
  const Json json = {{"type", "BPEDecoder"}, {"suffix", "</w>"}};
  EXPECT_EQ(steps(json, {"he", "llo</w>", "you</w>"}), (Strings{"", "he", "llo ", "you"}));
}

TEST(DecoderTest, PipelineStartsAnewAfterItsEnd) {
  for (const Json& json :
       {Json(), kByteLevel, chain({kFallback, kFuse, strip(" ", 1, 1)}),
        Json{{"type", "Metaspace"}, {"replacement", "_"}}, Json{{"type", "BPEDecoder"}, {"suffix", "_"}}}) {
    const Decoder decoder(json, "x");
    const auto pipeline = decoder.start(false);
    std::string first, second;
    for (std::string* out : {&first, &second}) {
      for (const char* token : {" _a", "<0xC3>", "\u00c3", " b_"}) pipeline->push(token, *out);
      pipeline->finish(*out);
    }
    EXPECT_EQ(first, second) << json;
  }
}

TEST(DecoderTest, LongFusedTokenTakesNoQuadraticTime) {
  const Decoder decoder(chain({kFuse, replace({{"String", "ab"}}, "-")}), "x");
  const auto pipeline = decoder.start(false);
  std::string out;
  for (int i = 0; i < 400'000; ++i) pipeline->push("ab", out);
  pipeline->finish(out);
  EXPECT_EQ(out, std::string(400'000, '-'));
}

TEST(DecoderTest, AnyTokensGiveValidText) {
  Draw draw(12);
  const Json llama = chain({replace({{"String", "\u2581"}}, " "), kFallback, kFuse, strip(" ", 1, 0)});
  for (const Json& json :
       {kByteLevel, llama, chain({kFuse, kByteLevel}), chain({kByteLevel, strip("a", 1, 1)})}) {
    for (int i = 0; i < 200; ++i) {
      Strings tokens;
      for (size_t k = 0; k < draw.below(9); ++k)
        tokens.push_back(draw.once_in(2) ? fmt::format("<0x{:02X}>", draw.below(256))
                                         : ByteAlphabet::instance().spell(draw.bytes(1 + draw.below(3))));
      for (const std::string& part : steps(json, tokens))
        EXPECT_EQ(valid_utf8_length(part), part.size()) << json;
    }
  }
}

TEST(DecoderTest, RefusesWhatItDoesNotKnow) {
  EXPECT_EQ(refusal({{"type", "WordPiece"}}),
            "x: decoder: found type 'WordPiece', which is not supported, expected ByteLevel, Replace, "
            "ByteFallback, "
            "Fuse, Strip, Metaspace, BPEDecoder or Sequence");
  for (const char* text :
       {R"({"type": "Replace"})", R"({"type": "Strip", "content": "ab", "start": 0, "stop": 0})",
        R"({"type": "Strip", "content": "a", "start": -1, "stop": 0})",
        R"({"type": "Strip", "content": "a", "start": 0, "stop": 9999999999})",
        R"({"type": "Metaspace", "replacement": ""})", R"({"type": "BPEDecoder", "suffix": ""})",
        R"({"type": "Sequence", "decoders": {}})", "[]", "1"})
    EXPECT_EQ(refusal(Json::parse(text)).find("x: decoder"), 0u) << text;
}

}  // namespace
}  // namespace aleph::text
