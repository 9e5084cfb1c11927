#include "aleph/text/normalizer.h"

#include "aleph/text/testing.h"

namespace aleph::text {
namespace {

std::string applied(const Json& json, std::string_view text) {
  return make_normalizer(json, "x: normalizer")->apply(text);
}

std::string refusal(const Json& json) {
  return fault_of([&] { make_normalizer(json, "x: normalizer"); });
}

Json chain(const Json& parts) { return {{"type", "Sequence"}, {"normalizers", parts}}; }

TEST(NormalizerTest, NullIsNone) { EXPECT_EQ(make_normalizer(Json(), "x"), nullptr); }

TEST(NormalizerTest, UnicodeForms) {
  const std::string text = "e\u0301 \u00e9 \ufb01 \uac01 \u1100\u1161\u11a8 \u212b";
  EXPECT_EQ(applied({{"type", "NFC"}}, text), "\u00e9 \u00e9 \ufb01 \uac01 \uac01 \u00c5");
  EXPECT_EQ(applied({{"type", "NFD"}}, text),
            "e\u0301 e\u0301 \ufb01 \u1100\u1161\u11a8 \u1100\u1161\u11a8 A\u030a");
  EXPECT_EQ(applied({{"type", "NFKC"}}, text), "\u00e9 \u00e9 fi \uac01 \uac01 \u00c5");
  EXPECT_EQ(applied({{"type", "NFKD"}}, text),
            "e\u0301 e\u0301 fi \u1100\u1161\u11a8 \u1100\u1161\u11a8 A\u030a");
}

TEST(NormalizerTest, FormsOrderMarksAcrossALongText) {
  std::string text, expected;
  for (int i = 0; i < 10'000; ++i) {
    text += "e\u0301\u0323";
    expected += "\u1eb9\u0301";
  }
  EXPECT_EQ(applied({{"type", "NFC"}}, text), expected);
}

TEST(NormalizerTest, FormsKeepInvalidBytes) {
  for (const char* form : {"NFC", "NFD", "NFKC", "NFKD"}) {
    EXPECT_EQ(applied({{"type", form}},
                      "a\xff\xe2\x82"
                      "b\xc3"),
              "a\xff\xe2\x82"
              "b\xc3");
    EXPECT_EQ(applied({{"type", form}}, ""), "");
  }
  EXPECT_EQ(applied({{"type", "NFC"}}, "e\xff\u0301"), "e\xff\u0301");
}

TEST(NormalizerTest, FormsLeaveAsciiAlone) {
  const auto form = make_normalizer({{"type", "NFKC"}}, "x");
  EXPECT_TRUE(form->leaves("plain text\n"));
  EXPECT_FALSE(form->leaves("caf\u00e9"));
  const auto both = make_normalizer(chain({{{"type", "NFC"}}, {{"type", "NFD"}}}), "x");
  EXPECT_TRUE(both->leaves("plain"));
  const auto lower = make_normalizer(chain({{{"type", "NFC"}}, {{"type", "Lowercase"}}}), "x");
  EXPECT_FALSE(lower->leaves("PLAIN"));
}

TEST(NormalizerTest, LowercaseIsPerCharacter) {
  EXPECT_EQ(applied({{"type", "Lowercase"}}, "AbC \u00c4\u0416\u03a3 \u0130 \u1e9e"),
            "abc \u00e4\u0436\u03c3 i\u0307 \u00df");
  EXPECT_EQ(applied({{"type", "Lowercase"}},
                    "A\xff"
                    "B"),
            "a\xff"
            "b");
}

TEST(NormalizerTest, StripAccentsTakesMarks) {
  EXPECT_EQ(applied({{"type", "StripAccents"}}, "e\u0301 \u00e9 \u0939\u093f\u20dd"), "e \u00e9 \u0939");
  EXPECT_EQ(applied(chain({{{"type", "NFD"}}, {{"type", "StripAccents"}}}), "\u00e9\u1ec7"), "ee");
}

TEST(NormalizerTest, StripTakesWhiteSpaceOfTheSidesAsked) {
  const auto strip = [](bool left, bool right) {
    return Json{{"type", "Strip"}, {"strip_left", left}, {"strip_right", right}};
  };
  const std::string text = " \t\u3000a b\u00a0\u2028\n";
  EXPECT_EQ(applied(strip(true, true), text), "a b");
  EXPECT_EQ(applied(strip(true, false), text), "a b\u00a0\u2028\n");
  EXPECT_EQ(applied(strip(false, true), text), " \t\u3000a b");
  EXPECT_EQ(applied(strip(false, false), text), text);
  EXPECT_EQ(applied(strip(true, true), " \u3000 "), "");
  EXPECT_EQ(applied(strip(true, true), "\xff \x80"), "\xff \x80");
}

TEST(NormalizerTest, PrependOnlyToText) {
  const Json prepend = {{"type", "Prepend"}, {"prepend", "\u2581"}};
  EXPECT_EQ(applied(prepend, "a"),
            "\u2581"
            "a");
  EXPECT_EQ(applied(prepend, ""), "");
}

TEST(NormalizerTest, ReplaceLiteralAndRegex) {
  EXPECT_EQ(applied({{"type", "Replace"}, {"pattern", {{"String", "."}}}, {"content", "!"}}, "a.b"), "a!b");
  EXPECT_EQ(applied({{"type", "Replace"}, {"pattern", {{"Regex", " {2,}"}}}, {"content", " "}}, "a   b  c d"),
            "a b c d");
}

TEST(NormalizerTest, NmtTakesControlsAndMakesSpaces) {
  EXPECT_EQ(applied({{"type", "Nmt"}},
                    "a\x01\x7f\u008f"
                    "b\t\u200b\ufeff\u2581"
                    "c\u00a0"),
            "ab    c\u00a0");
}

TEST(NormalizerTest, ByteLevelSpellsBytes) {
  EXPECT_EQ(applied({{"type", "ByteLevel"}}, " \u00e9\n"), "\u0120\u00c3\u00a9\u010a");
}

TEST(NormalizerTest, SequenceAppliesInOrder) {
  const Json prepend = {{"type", "Prepend"}, {"prepend", " X"}};
  const Json strip = {{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}};
  EXPECT_EQ(applied(chain({prepend, strip}), "a"), "Xa");
  EXPECT_EQ(applied(chain({strip, prepend}), "a"), " Xa");
  EXPECT_EQ(applied(chain(Json::array()), "a"), "a");
}

TEST(NormalizerTest, RefusesWhatItDoesNotKnow) {
  EXPECT_EQ(refusal({{"type", "BertNormalizer"}}),
            "x: normalizer: found type 'BertNormalizer', which is not supported, expected Sequence, Prepend, "
            "Replace, "
            "NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, Nmt or ByteLevel");
  EXPECT_EQ(refusal({{"type", "Precompiled"}, {"precompiled_charsmap", "AA=="}}).find("x: normalizer"), 0u);
}

TEST(NormalizerTest, RefusesIncompleteParts) {
  for (const char* text :
       {R"("NFC")", "3", "[]", "{}", R"({"type": "Prepend"})", R"({"type": "Replace", "content": ""})",
        R"({"type": "Replace", "pattern": {"Regex": "("}, "content": ""})",
        R"({"type": "Replace", "pattern": {"String": "a"}})", R"({"type": "Strip"})",
        R"({"type": "Strip", "strip_left": 1, "strip_right": true})", R"({"type": "Sequence"})",
        R"({"type": "Sequence", "normalizers": [null]})"})
    EXPECT_EQ(refusal(Json::parse(text)).find("x: normalizer"), 0u) << text;
}

// Joining and cutting at invalid bytes: the same as the parts by themselves.
TEST(NormalizerTest, RandomTextIsNormalizedBetweenInvalidBytes) {
  const auto form = make_normalizer({{"type", "NFD"}}, "x");
  Draw draw(6);
  for (int i = 0; i < 300; ++i) {
    const std::string left = random_text(draw, draw.below(6)), right = random_text(draw, draw.below(6));
    EXPECT_EQ(form->apply(left + "\xff" + right), form->apply(left) + "\xff" + form->apply(right));
    EXPECT_EQ(form->apply(form->apply(left)), form->apply(left));
  }
}

}  // namespace
}  // namespace aleph::text
