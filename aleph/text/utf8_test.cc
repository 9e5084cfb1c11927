#include "aleph/text/utf8.h"

#include <unicode/ustring.h>
#include <unicode/utf8.h>

#include "aleph/text/testing.h"

namespace aleph::text {
namespace {

std::string encoded(int32_t code) {
  std::string out;
  append_utf8(out, code);
  return out;
}

std::string lossy(std::string_view bytes, size_t* rest = nullptr) {
  std::string out;
  const size_t unfinished = append_lossy(out, bytes);
  if (rest != nullptr) *rest = unfinished;
  return out;
}

TEST(Utf8Test, EveryCharacterComesBack) {
  for (int32_t code = 0; code <= 0x10ffff; code += code < 0x3000 ? 1 : 61) {
    if (code >= 0xd800 && code <= 0xdfff) continue;
    const std::string bytes = encoded(code);
    const Utf8Char c = utf8_at("x" + bytes + "y", 1);
    ASSERT_EQ(c.code, code);
    ASSERT_EQ(static_cast<size_t>(c.length), bytes.size());
    ASSERT_EQ(last_utf8("ab" + bytes), code);
    ASSERT_EQ(valid_utf8_length(bytes), bytes.size());
  }
}

TEST(Utf8Test, LastCodeOfEachLengthIsRight) {
  EXPECT_EQ(encoded(0x7f), "\x7f");
  EXPECT_EQ(encoded(0x80), "\xc2\x80");
  EXPECT_EQ(encoded(0x7ff), "\xdf\xbf");
  EXPECT_EQ(encoded(0x800), "\xe0\xa0\x80");
  EXPECT_EQ(encoded(0xffff), "\xef\xbf\xbf");
  EXPECT_EQ(encoded(0x10000), "\xf0\x90\x80\x80");
  EXPECT_EQ(encoded(0x10ffff), "\xf4\x8f\xbf\xbf");
}

TEST(Utf8Test, InvalidBytesAreOneByteEach) {
  for (const std::string& bytes :
       std::vector<std::string>{"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xed\xa0\x80",
                                "\xed\xbf\xbf", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
                                "\xff", "\xc3", "\xe2\x82", "\xf0\x9f\x99", "\xc3(", "\xe2\x82("}) {
    EXPECT_EQ(utf8_at(bytes, 0).code, -1) << ::testing::PrintToString(bytes);
    EXPECT_EQ(utf8_at(bytes, 0).length, 1);
    EXPECT_EQ(valid_utf8_length(bytes), 0u);
  }
}

TEST(Utf8Test, LastCharacterIsInvalidWhereItsBytesAre) {
  EXPECT_EQ(last_utf8("a\x80"), -1);
  EXPECT_EQ(last_utf8("\xe2\x82"), -1);
  EXPECT_EQ(last_utf8("\x80\x80\x80\x80\x80"), -1);
  EXPECT_EQ(last_utf8("\xe2\x82"
                      "a"),
            'a');
  EXPECT_EQ(last_utf8("\xc3\xa9\xa9"), -1);
}

TEST(Utf8Test, ValidLengthStopsAtTheFirstBadByte) {
  EXPECT_EQ(valid_utf8_length("ab\xc3\xa9\xff"
                              "cd"),
            4u);
  EXPECT_EQ(valid_utf8_length("ab\xc3\xa9\xff"
                              "cd",
                              5),
            2u);
  EXPECT_EQ(valid_utf8_length(""), 0u);
}

// Examples of the Unicode Standard, table 3-8 and beside it.
TEST(Utf8Test, MaximalSubpartsBecomeOneReplacementEach) {
  EXPECT_EQ(lossy("a\xf1\x80\x80\xe1\x80\xc2"
                  "b\x80"
                  "c\x80\xbf"
                  "d"),
            "a���b�c��d");
  EXPECT_EQ(lossy("\xe0\x80\x80x"), "���x");
  EXPECT_EQ(lossy("\xed\xa0\x80x"), "���x");
  EXPECT_EQ(lossy("\xf4\x91\x92\x93\xff"
                  "A"),
            "�����A");
  EXPECT_EQ(lossy(""), "");
}

TEST(Utf8Test, UnfinishedCharacterAtTheEndIsHeldBack) {
  const std::string bytes = "\xf0\x9f\x99\x82";
  for (size_t length = 1; length < bytes.size(); ++length) {
    size_t rest = 0;
    EXPECT_EQ(lossy("ok" + bytes.substr(0, length), &rest), "ok");
    EXPECT_EQ(rest, length);
  }
  size_t rest = 9;
  EXPECT_EQ(lossy("\xc3\xa9\xff", &rest), "é�");
  EXPECT_EQ(rest, 0u);
}

TEST(Utf8Test, LossyTextOfRandomBytesIsValidAndThatOfIcu) {
  Draw draw(1);
  for (int i = 0; i < 300; ++i) {
    const std::string bytes = random_text(draw, draw.below(30), true) + draw.bytes(draw.below(40)) + ".";
    size_t rest = 0;
    const std::string text = lossy(bytes, &rest);
    EXPECT_EQ(rest, 0u);
    EXPECT_EQ(valid_utf8_length(text), text.size());
    std::u16string units(bytes.size(), 0);
    UErrorCode status = U_ZERO_ERROR;
    int32_t length = 0;
    u_strFromUTF8WithSub(units.data(), static_cast<int32_t>(units.size()), &length, bytes.data(),
                         static_cast<int32_t>(bytes.size()), 0xfffd, nullptr, &status);
    std::string expected(bytes.size() * 3 + 1, 0);
    int32_t expected_bytes = 0;
    u_strToUTF8(expected.data(), static_cast<int32_t>(expected.size()), &expected_bytes, units.data(), length,
                &status);
    ASSERT_TRUE(U_SUCCESS(status));
    EXPECT_EQ(text, expected.substr(0, static_cast<size_t>(expected_bytes)));
  }
}

TEST(Utf8Test, WhiteSpaceIsThatOfUnicode) {
  for (const int32_t code :
       {9, 10, 11, 12, 13, 32, 0x85, 0xa0, 0x1680, 0x2000, 0x200a, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000})
    EXPECT_TRUE(is_space(code)) << code;
  for (const int32_t code :
       std::vector<int32_t>{-1, 0, 8, 14, 0x1c, 0x1f, 'a', 0x180e, 0x200b, 0x200d, 0x2060, 0xfeff, 0x2581})
    EXPECT_FALSE(is_space(code)) << code;
}

TEST(ByteAlphabetTest, SpellsAllBytesAsDistinctCharactersOfGpt2) {
  const ByteAlphabet& alphabet = ByteAlphabet::instance();
  EXPECT_EQ(alphabet.spelled(' '), "Ġ");
  EXPECT_EQ(alphabet.spelled('\n'), "Ċ");
  EXPECT_EQ(alphabet.spelled('A'), "A");
  EXPECT_EQ(alphabet.spelled(0), "Ā");
  EXPECT_EQ(alphabet.spelled(0xad), "Ń");
  for (int b = 0; b < 256; ++b) {
    const std::string_view character = alphabet.spelled(static_cast<uint8_t>(b));
    EXPECT_EQ(alphabet.byte(utf8_at(character, 0).code), b);
  }
}

TEST(ByteAlphabetTest, OtherCharactersStandForNoByte) {
  const ByteAlphabet& alphabet = ByteAlphabet::instance();
  for (const int32_t code : std::vector<int32_t>{-1, 0, ' ', '\n', 0x7f, 0xa0, 0xad, 0x144, 0x2581, 0x10ffff})
    EXPECT_EQ(alphabet.byte(code), -1) << code;
}

TEST(ByteAlphabetTest, SpelledBytesComeBack) {
  Draw draw(2);
  const std::string bytes = draw.bytes(999);
  std::string back = "before ";
  ByteAlphabet::instance().append_bytes(back, ByteAlphabet::instance().spell(bytes));
  EXPECT_EQ(back, "before " + bytes);
}

TEST(ByteAlphabetTest, TokenWithAnotherCharacterStaysAsItIs) {
  std::string out = ">";
  ByteAlphabet::instance().append_bytes(out, "Ġa b");
  EXPECT_EQ(out, ">Ġa b");
  out.clear();
  ByteAlphabet::instance().append_bytes(out, "Ġ\xff");
  EXPECT_EQ(out, "Ġ\xff");
}

}  // namespace
}  // namespace aleph::text
