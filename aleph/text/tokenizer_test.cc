#include "aleph/text/tokenizer.h"

#include <thread>

#include "aleph/text/testing.h"

namespace aleph::text {
namespace {

namespace fs = std::filesystem;

const EncodeOptions kPlain{.add_special_tokens = false, .parse_special = false};

Tokenizer stories() { return Tokenizer::load(fs::path(ALEPH_TEST_DATA) / "goldens" / "stories260K-hf"); }

/// Pushes ids one by one; every part must be whole characters.
std::string pushed(const Tokenizer& tokenizer, const Ids& ids, bool skip_special = false) {
  IncrementalDecoder decoder = tokenizer.incremental_decoder(skip_special);
  std::string out;
  for (const int32_t id : ids) {
    const std::string part = decoder.push(id);
    EXPECT_EQ(valid_utf8_length(part), part.size()) << ::testing::PrintToString(part);
    out += part;
  }
  return out + decoder.finish();
}

class Gpt2Test : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    tokenizer_ = std::make_unique<Tokenizer>(Tokenizer::load(tokenizer_data() / "gpt2"));
  }
  static void TearDownTestSuite() { tokenizer_.reset(); }

  static void expect_lossless(const std::string& text) {
    const Ids ids = tokenizer_->encode(text, kPlain);
    EXPECT_EQ(tokenizer_->decode_bytes(ids), text);
    const std::string decoded = tokenizer_->decode(ids);
    EXPECT_EQ(valid_utf8_length(decoded), decoded.size());
    if (valid_utf8_length(text) == text.size()) {
      EXPECT_EQ(decoded, text);
    }
    EXPECT_EQ(pushed(*tokenizer_, ids), decoded);
  }

  static std::unique_ptr<Tokenizer> tokenizer_;
};
std::unique_ptr<Tokenizer> Gpt2Test::tokenizer_;

TEST_F(Gpt2Test, RandomBytesComeBack) {
  Draw draw(14);
  for (int i = 0; i < 300; ++i) expect_lossless(draw.bytes(draw.below(200)));
}

TEST_F(Gpt2Test, RandomTextComesBack) {
  Draw draw(15);
  for (int i = 0; i < 500; ++i) expect_lossless(random_text(draw, draw.below(30), draw.once_in(2)));
}

TEST_F(Gpt2Test, ManyScriptsComeBack) {
  const std::string text = file_text(tokenizer_data() / "texts" / "udhr.txt");
  expect_lossless(text);
  for (const std::string& line : lines_of(text)) expect_lossless(line);
}

TEST_F(Gpt2Test, TextCutInsideCharactersComesBack) {
  const std::string text = file_text(tokenizer_data() / "texts" / "udhr.txt");
  for (size_t begin = 0; begin < text.size(); begin += 61) expect_lossless(text.substr(begin, 47));
}

TEST_F(Gpt2Test, EveryTokenDecodesToItsBytes) {
  for (int32_t id = 0; id < tokenizer_->vocab_size(); ++id) {
    const std::string spelled = tokenizer_->token(id).value();
    if (tokenizer_->is_special(id)) continue;
    ASSERT_EQ(ByteAlphabet::instance().spell(tokenizer_->decode_bytes(Ids{id})), spelled);
    ASSERT_EQ(tokenizer_->id(spelled), id);
  }
}

TEST_F(Gpt2Test, RandomIdsDecodeToValidText) {
  Draw draw(16);
  for (int i = 0; i < 300; ++i) {
    Ids ids;
    for (size_t k = 0; k < draw.below(30); ++k) ids.push_back(static_cast<int32_t>(draw.below(51'000)));
    const std::string text = tokenizer_->decode(ids);
    EXPECT_EQ(valid_utf8_length(text), text.size());
    EXPECT_EQ(pushed(*tokenizer_, ids), text);
    EXPECT_EQ(pushed(*tokenizer_, ids, true), tokenizer_->decode(ids, true));
  }
}

TEST_F(Gpt2Test, IdsOutsideAreSkipped) {
  EXPECT_EQ(tokenizer_->decode(Ids{-1, 15496, 50'257, INT32_MAX, INT32_MIN, 995}), "Hello world");
  EXPECT_EQ(tokenizer_->token(-1), std::nullopt);
  EXPECT_EQ(tokenizer_->token(50'257), std::nullopt);
  EXPECT_FALSE(tokenizer_->is_special(-1));
}

TEST_F(Gpt2Test, EmptyTextHasNoTokens) {
  EXPECT_EQ(tokenizer_->encode(""), Ids{});
  EXPECT_EQ(tokenizer_->decode(Ids{}), "");
  EXPECT_EQ(tokenizer_->incremental_decoder().finish(), "");
}

TEST_F(Gpt2Test, EndOfTextIsOneTokenOrPlainText) {
  EXPECT_EQ(tokenizer_->encode("a<|endoftext|>b"), (Ids{64, 50'256, 65}));
  const Ids plain = tokenizer_->encode("a<|endoftext|>b", {.parse_special = false});
  EXPECT_EQ(std::count(plain.begin(), plain.end(), 50'256), 0);
  EXPECT_EQ(tokenizer_->decode(plain), "a<|endoftext|>b");
  EXPECT_EQ(tokenizer_->decode(Ids{64, 50'256, 65}, true), "ab");
  EXPECT_EQ(tokenizer_->decode(Ids{64, 50'256, 65}), "a<|endoftext|>b");
}

TEST_F(Gpt2Test, SpecialIdsAreKnown) {
  EXPECT_EQ(tokenizer_->vocab_size(), 50'257);
  EXPECT_EQ(tokenizer_->eos_id(), 50'256);
  EXPECT_EQ(tokenizer_->bos_id(), 50'256);
  EXPECT_EQ(tokenizer_->unk_id(), 50'256);
  EXPECT_EQ(tokenizer_->pad_id(), std::nullopt);
  EXPECT_TRUE(tokenizer_->is_special(50'256));
}

TEST_F(Gpt2Test, VeryLongWordsTakeNoQuadraticTime) {
  Draw draw(17);
  std::string letters;
  for (int i = 0; i < 500'000; ++i) letters.push_back(static_cast<char>('a' + draw.below(26)));
  for (const std::string& text : {letters, std::string(500'000, ' '), std::string(500'000, '\xff'),
                                  std::string(500'000, '='), std::string(200'000, '\n') + "x"})
    EXPECT_EQ(tokenizer_->decode_bytes(tokenizer_->encode(text)), text);
}

TEST_F(Gpt2Test, CacheDoesNotChangeIds) {
  const std::string text = file_text(tokenizer_data() / "texts" / "shakespeare.txt");
  const Ids first = tokenizer_->encode(text);
  Draw draw(18);
  for (int i = 0; i < 200; ++i) tokenizer_->encode(random_text(draw, 40, true));
  EXPECT_EQ(tokenizer_->encode(text), first);
  EXPECT_EQ(Tokenizer::load(tokenizer_data() / "gpt2").encode(text), first);
}

TEST_F(Gpt2Test, ThreadsGetTheSameIds) {
  const std::vector<std::string> lines = lines_of(file_text(tokenizer_data() / "texts" / "shakespeare.txt"));
  std::vector<Ids> expected;
  for (const std::string& line : lines) expected.push_back(tokenizer_->encode(line));
  std::vector<int> wrong(4);
  std::vector<std::thread> threads;
  for (int& count : wrong)
    threads.emplace_back([&] {
      for (size_t i = 0; i < lines.size(); ++i) count += tokenizer_->encode(lines[i]) != expected[i];
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(wrong, ::testing::Each(0));
}

TEST_F(Gpt2Test, DecoderStartsAnewAfterItsEnd) {
  IncrementalDecoder decoder = tokenizer_->incremental_decoder();
  const Ids ids = tokenizer_->encode("\ud55c");
  ASSERT_GT(ids.size(), 1u);
  EXPECT_EQ(decoder.push(ids[0]), "");
  EXPECT_EQ(decoder.finish(), "\ufffd");
  std::string text;
  for (const int32_t id : ids) text += decoder.push(id);
  EXPECT_EQ(text + decoder.finish(), "\ud55c");
}

TEST(TokenizerTest, ByteFallbackTextComesBack) {
  const Tokenizer tokenizer = stories();
  for (const std::string& line : lines_of(file_text(tokenizer_data() / "texts" / "udhr.txt"))) {
    const Ids ids = tokenizer.encode(line);
    EXPECT_EQ(ids.at(0), 1);
    EXPECT_EQ(tokenizer.decode(ids, true), line);
    EXPECT_EQ(pushed(tokenizer, ids, true), line);
  }
}

TEST(TokenizerTest, ByteFallbackKeepsInvalidBytesInLosslessText) {
  const Tokenizer tokenizer = stories();
  const Ids ids = tokenizer.encode("a\xff\xe2\x82 b", {.add_special_tokens = false});
  EXPECT_EQ(tokenizer.decode_bytes(ids), "a\xff\xe2\x82 b");
  EXPECT_EQ(tokenizer.decode(ids), "a\ufffd\ufffd\ufffd b");
}

TEST(TokenizerTest, SpecialTokensAreAddedWhereAsked) {
  const Tokenizer tokenizer = stories();
  EXPECT_EQ(tokenizer.encode(""), Ids{1});
  EXPECT_EQ(tokenizer.encode("", {.add_special_tokens = false}), Ids{});
  EXPECT_EQ(tokenizer.encode("<s>", {.add_special_tokens = false}), Ids{1});
  EXPECT_EQ(tokenizer.bos_id(), 1);
  EXPECT_EQ(tokenizer.eos_id(), 2);
}

TEST(TokenizerTest, WorksAfterAMove) {
  Tokenizer first = stories();
  Tokenizer second = std::move(first);
  first = std::move(second);
  EXPECT_EQ(first.decode(first.encode("Once upon a time"), true), "Once upon a time");
}

}  // namespace
}  // namespace aleph::text
