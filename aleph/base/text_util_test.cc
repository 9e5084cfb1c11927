#include "aleph/base/text_util.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "aleph/base/error.h"
#include "aleph/base/random.h"

namespace aleph {
namespace {

TEST(FormatBytesTest, ChangesUnitAtPowersOf1024) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1024), "1.0 KiB");
  EXPECT_EQ(format_bytes(int64_t{1} << 20), "1.0 MiB");
  EXPECT_EQ(format_bytes(int64_t{3} << 39), "1.5 TiB");
  EXPECT_EQ(format_bytes(int64_t{5} << 50), "5120.0 TiB");
}

TEST(FormatDurationTest, ChangesUnitAtMinutesAndHours) {
  EXPECT_EQ(format_duration(-1), "0 s");
  EXPECT_EQ(format_duration(59.4), "59 s");
  EXPECT_EQ(format_duration(59.6), "1 min 00 s");
  EXPECT_EQ(format_duration(3599.6), "1 h 00 min");
  EXPECT_EQ(format_duration(7800), "2 h 10 min");
}

TEST(ParseSizeTest, ReadsBackWhatFormatBytesPrints) {
  const RandomStream random({.seed = 11});
  for (uint64_t i = 0; i < 500; ++i) {
    const auto bytes = static_cast<int64_t>(std::exp2(1 + 48 * static_cast<double>(random.uniform(i))));
    std::string text = format_bytes(bytes);
    text.erase(text.find(' '), 1);
    EXPECT_NEAR(static_cast<double>(parse_size(text, "x")), static_cast<double>(bytes),
                0.051 * static_cast<double>(bytes))
        << text;
  }
}

TEST(ParseSizeTest, TakesEitherCaseAndSuffix) {
  for (const char* text : {"2k", "2K", "2KB", "2KiB", "2kb", "2048", "2048B"})
    EXPECT_EQ(parse_size(text, "x"), 2048) << text;
  EXPECT_EQ(parse_size("0", "x"), 0);
  EXPECT_EQ(parse_size("0.5T", "x"), int64_t{1} << 39);
}

TEST(ParseSizeTest, RefusesWhatIsNoSizeAndNamesIt) {
  for (const char* bad :
       {"", "K", "-1", "1X", "1KK", "1 K", "inf", "nan", "9e18", "9000000T", "0x10", "1Bi", "١"})
    EXPECT_THROW(parse_size(bad, "--device-memory"), UsageError) << bad;
  try {
    parse_size("lots\n", "--device-memory");
  } catch (const UsageError& error) {
    EXPECT_EQ(std::string(error.what()).find("--device-memory: found 'lots\\x0a'"), 0u) << error.what();
  }
}

TEST(NearestNameTest, FindsATypoInEveryName) {
  const std::vector<std::string> names = {"hidden_size", "num_hidden_layers", "vocab_size", "rope_theta"};
  const RandomStream random({.seed = 3});
  for (uint64_t i = 0; i < 400; ++i) {
    const std::string& name = names[i % names.size()];
    std::string typo = name;
    const size_t at = random.below(typo.size(), 2 * i);
    if (i % 3 == 0) typo.erase(at, 1);
    if (i % 3 == 1) typo.insert(at, 1, 'q');
    if (i % 3 == 2) typo[at] = 'q';
    EXPECT_EQ(nearest_name(typo, names), name) << typo;
  }
}

TEST(NearestNameTest, SaysNothingRatherThanNonsense) {
  const std::vector<std::string> names = {"stage", "offload_param"};
  EXPECT_EQ(nearest_name("xyz", names), "");
  EXPECT_EQ(nearest_name("", names), "");
  EXPECT_EQ(nearest_name("stage", {}), "");
}

// A reader of UTF-8 with the rules of the standard, to check against.
bool is_clean(const std::string& text) {
  for (size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x20 || byte == 0x7f) return false;
    const size_t length = byte < 0x80 ? 1 : byte < 0xc2 ? 0 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
    if (length == 0 || i + length > text.size()) return false;
    for (size_t k = 1; k < length; ++k)
      if ((static_cast<unsigned char>(text[i + k]) & 0xc0) != 0x80) return false;
    i += length;
  }
  return true;
}

TEST(PrintableTest, AnyBytesBecomeOneCleanLine) {
  const RandomStream random({.seed = 5});
  for (uint64_t i = 0; i < 300; ++i) {
    std::string bytes;
    for (uint64_t k = 0; k < 60; ++k) bytes += static_cast<char>(random.word(60 * i + k));
    EXPECT_TRUE(is_clean(printable(bytes, 1000)));
    EXPECT_LE(printable(bytes, 20).size(), 20u + 4 + 3);
  }
}

TEST(PrintableTest, LeavesTextAndCutsLongText) {
  EXPECT_EQ(printable("grüße, 한국어 😀"), "grüße, 한국어 😀");
  EXPECT_EQ(printable("a\tb\x7f"), "a\\x09b\\x7f");
  EXPECT_EQ(printable("\xe2\x82"), "\\xe2\\x82");
  EXPECT_EQ(printable(std::string(100, 'x'), 5), "xxxxx...");
}

TEST(PrintableTest, SpellsWhatIsNoUtf8OrControlsTerminals) {
  for (const char* bytes : {"\xfb\x90\x90\x90", "\xc0\xaf", "\xc1\xbf", "\xe0\x80\xaf", "\xe0\x9f\xbf",
                            "\xed\xa0\x80", "\xf0\x80\x80\xaf", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80",
                            "\xf5\x80\x80\x80", "\xff", "\x80", "\xc2\x80", "\xc2\x9b"}) {
    std::string spelled;
    for (const char* byte = bytes; *byte != 0; ++byte)
      spelled += fmt::format("\\x{:02x}", static_cast<unsigned char>(*byte));
    EXPECT_EQ(printable(bytes), spelled);
  }
  for (const char* character : {"\xc2\xa0", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
                                "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"})
    EXPECT_EQ(printable(character), character);
}

}  // namespace
}  // namespace aleph
