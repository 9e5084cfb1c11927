// aleph tokenizer, as its users run it.
#include <gmock/gmock.h>

#include <iostream>
#include <sstream>

#include "aleph/base/random.h"
#include "aleph/cli/testing.h"
#include "aleph/io/file.h"
#include "aleph/io/temporary_directory.h"

namespace aleph::cli {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;
using Arguments = std::vector<std::string>;

const std::string kStories = (fs::path(ALEPH_TEST_DATA) / "goldens" / "stories260K-hf").string();
const std::string kTiny = (fs::path(ALEPH_TEST_DATA) / "tiny-tokenizer").string();

/// Gives `text` to std::cin while it lives.
class StandardInput {
 public:
  explicit StandardInput(const std::string& text) : text_(text), old_(std::cin.rdbuf(text_.rdbuf())) {}
  ~StandardInput() { std::cin.rdbuf(old_); }
  StandardInput(const StandardInput&) = delete;
  StandardInput& operator=(const StandardInput&) = delete;

 private:
  std::stringstream text_;
  std::streambuf* old_;
};

std::string encoded(const Arguments& words) {
  Arguments arguments = {"tokenizer", "encode", "--tokenizer", kTiny};
  arguments.insert(arguments.end(), words.begin(), words.end());
  const Ran result = ran(arguments);
  EXPECT_EQ(result.status, 0) << result.err;
  return result.out;
}

TEST(TokenizerCommand, FlagsMayStandAnywhere) {
  const std::string expected = ran({"tokenizer", "encode", "To be", "or", "--tokenizer", kTiny}).out;
  EXPECT_GT(expected.size(), 8u);
  for (const Arguments& arguments : {Arguments{"tokenizer", "encode", "--tokenizer", kTiny, "To be", "or"},
                                     Arguments{"tokenizer", "--tokenizer", kTiny, "encode", "To be", "or"},
                                     Arguments{"tokenizer", "encode", "To be", "--tokenizer=" + kTiny, "or"},
                                     Arguments{"tokenizer", "encode", "--tokenizer", kTiny, "To be or"}})
    EXPECT_EQ(ran(arguments).out, expected);
  const ScopedVariable variable("ALEPH_ARG_TOKENIZER", kTiny);
  EXPECT_EQ(ran({"tokenizer", "encode", "To be or"}).out, expected);
}

TEST(TokenizerCommand, TextComesFromWordsAFileOrStandardInput) {
  const io::TemporaryDirectory directory;
  const std::string text = "Zwei Worte, 한글\nund mehr";
  const std::string file = (directory / "a text").string();
  io::write_file_atomically(file, text);
  const std::string expected = encoded({text});
  EXPECT_EQ(encoded({"--file", file}), expected);
  {
    const StandardInput input(text);
    EXPECT_EQ(encoded({}), expected);
  }
  const StandardInput empty("");
  EXPECT_EQ(encoded({}), "\n");
  EXPECT_EQ(ran({"tokenizer", "encode", "--tokenizer", kTiny, "word", "--file", file}).fault(),
            "--file: found words as well, expected one source of input");
}

TEST(TokenizerCommand, DecodingGivesTheTextBack) {
  const RandomStream random({.seed = 11});
  for (uint64_t round = 0; round < 10; ++round) {
    std::string text;
    for (uint64_t i = 0; i < 30; ++i) {
      const char* const pieces[] = {"the ", "ka", "\n", "  ", "é", "글", "-", "7", "\t", "Zz"};
      text += pieces[random.below(10, 2 * (round * 30 + i))];
    }
    std::string ids = encoded({"--no-special", "--", text});
    const StandardInput input(ids);
    EXPECT_EQ(ran({"tokenizer", "decode", "--tokenizer", kTiny}).out, text);
  }
}

TEST(TokenizerCommand, DecodingGivesAnyBytesBack) {
  const io::TemporaryDirectory directory;
  const std::string file = (directory / "bytes").string();
  const RandomStream random({.seed = 12});
  for (uint64_t round = 0; round < 10; ++round) {
    std::string bytes(random.below(2000, 5000 * round), '\0');
    for (uint64_t i = 0; i < bytes.size(); ++i)
      bytes[i] = static_cast<char>(random.below(round % 2 == 0 ? 256 : 8, 5000 * round + i + 1));
    io::write_file_atomically(file, bytes);
    const StandardInput input(encoded({"--file", file}));
    EXPECT_TRUE(ran({"tokenizer", "decode", "--tokenizer", kTiny}).out == bytes) << "round " << round;
  }
}

TEST(TokenizerCommand, SpecialTokensAreAddedUnlessRefused) {
  const Ran with = ran({"tokenizer", "encode", "--tokenizer", kStories, "Once"});
  const Ran without = ran({"tokenizer", "encode", "--tokenizer", kStories, "--no-special", "Once"});
  EXPECT_EQ(with.out, "1 " + without.out);
  EXPECT_THAT(ran({"tokenizer", "decode", "--tokenizer", kStories, "1", "403"}).out, HasSubstr("<s>"));
  EXPECT_EQ(ran({"tokenizer", "decode", "--tokenizer", kStories, "--no-special", "1", "403"}).out.find("<s>"),
            std::string::npos);
}

TEST(TokenizerCommand, TheTokenizerOfAModelIsNotReplaced) {
  const io::TemporaryDirectory directory;
  io::write_file_atomically(directory / "config.json", "{}");
  io::write_file_atomically(directory / "tokenizer.json", "of the model");
  io::write_file_atomically(directory / "text", "the cat and the dog");
  const Ran refused =
      ran({"tokenizer", "train", (directory / "text").string(), "--output", directory.path().string()});
  EXPECT_EQ(refused.status, 1);
  EXPECT_THAT(refused.err, HasSubstr("found a model, which has its own tokenizer"));
  EXPECT_EQ(io::read_file(directory / "tokenizer.json", 100), "of the model");
}

TEST(TokenizerCommand, ATrainedTokenizerEncodesAndDecodes) {
  const io::TemporaryDirectory directory;
  const std::string first = (directory / "erstes 글.txt").string(), second = (directory / "b.txt").string();
  std::string text;
  for (int i = 0; i < 50; ++i) text += "the cat and the dog and the bird\n";
  io::write_file_atomically(first, text);
  io::write_file_atomically(second, "another small text, another small cat");
  const std::string output = (directory / "my tokenizer").string();
  const Ran trained = ran({"tokenizer", "train", first, "--vocab-size", "270", second, "--special", "<end>",
                           "<pad>", "--output", output, "--model-max-length", "77"});
  ASSERT_EQ(trained.status, 0) << trained.err;
  EXPECT_THAT(trained.out, HasSubstr(output + ": 270 tokens, 12 merges"));
  EXPECT_THAT(io::read_file(fs::path(output) / "tokenizer_config.json", 1 << 20), HasSubstr("77"));
  std::string ids = ran({"tokenizer", "encode", "--tokenizer", output, "the cat", "<pad>"}).out;
  EXPECT_THAT(ids, HasSubstr(" 1\n"));
  EXPECT_LT(std::count(ids.begin(), ids.end(), ' '), 5);
  const StandardInput input(ids);
  EXPECT_EQ(ran({"tokenizer", "decode", "--tokenizer", output}).out, "the cat <pad>");
  EXPECT_THAT(ran({"info", output}).out, HasSubstr("<end> (0)"));
}

TEST(TokenizerCommand, DocumentsOfALinesFileAreTheTextsOfTheirFields) {
  const io::TemporaryDirectory directory;
  const std::string lines = (directory / "a.jsonl").string(), plain = (directory / "a.txt").string();
  std::string objects, text;
  for (int i = 0; i < 50; ++i) {
    objects += R"({"id": "qqqq", "text": "the cat and the dog\n"})"
               "\n";
    text += "the cat and the dog\n";
  }
  io::write_file_atomically(lines, objects);
  io::write_file_atomically(plain, text);
  const auto trained = [&](const std::string& file) {
    const std::string output = (directory / "tokenizer").string();
    const Ran run = ran({"tokenizer", "train", file, "--vocab-size", "265", "--output", output});
    EXPECT_EQ(run.status, 0) << run.err;
    return std::pair(run.out, io::read_file(fs::path(output) / "tokenizer.json", 1 << 20));
  };
  const auto [first_line, first] = trained(lines);
  const auto [second_line, second] = trained(plain);
  EXPECT_EQ(first, second);
  EXPECT_THAT(first_line, Not(HasSubstr("in place of")));
  EXPECT_THAT(second_line, HasSubstr(", in place of the tokenizer that was there"));
}

TEST(TokenizerCommand, SaysWhatIsWrong) {
  const io::TemporaryDirectory directory;
  const std::string empty = (directory / "empty.txt").string(), text = (directory / "text.txt").string();
  io::write_file_atomically(empty, "");
  io::write_file_atomically(text, "some text");
  struct Case {
    Arguments arguments;
    int status;
    std::string message;
  };
  const std::vector<Case> cases = {
      {{}, 2, "aleph tokenizer: found no action, expected train, encode or decode"},
      {{"encoed", "x"}, 2, "aleph tokenizer: found 'encoed', expected train, encode or decode"},
      {{"encode", "x"}, 2, "aleph tokenizer: found no --tokenizer, expected --tokenizer DIR"},
      {{"encode", "x", "--vocab-size", "300"},
       2,
       "aleph tokenizer encode: found unknown flag '--vocab-size', expected a flag of --help"},
      {{"train", "--output", "o"},
       2,
       "aleph tokenizer train: found no file, expected text files to learn from"},
      {{"train", text}, 2, "aleph tokenizer train: found no --output, expected --output DIR"},
      {{"train", text, "--vocab-size", "0", "--output", "o"},
       2,
       "--vocab-size: found '0', expected an integer of at least 1"},
      {{"train", "/no/text", "--output", "o"},
       1,
       "/no/text: found No such file or directory, expected a readable file"},
      {{"train", empty, "--output", "o"}, 1, empty + ": found an empty file, expected text"},
      {{"encode", "--tokenizer", "/no/tokenizer", "x"}, 1, "/no/tokenizer"},
      {{"encode", "--tokenizer", directory.path().string(), "x"}, 1, "found no tokenizer"},
      {{"encode", "--tokenizer", kTiny, "--file", "/no/file"}, 1, "/no/file"},
      {{"decode", "--tokenizer", kTiny, "1", "two"},
       2,
       "token id: found 'two', expected an integer of at least 0"},
      {{"decode", "--tokenizer", kTiny, "--", "-1"},
       2,
       "token id: found '-1', expected an integer of at least 0"},
      {{"decode", "--tokenizer", kTiny, "99999999"}, 1, "token id: found 99999999, expected at most "}};
  for (const Case& one : cases) {
    Arguments arguments = {"tokenizer"};
    arguments.insert(arguments.end(), one.arguments.begin(), one.arguments.end());
    const Ran result = ran(arguments);
    EXPECT_EQ(result.status, one.status) << result.err;
    EXPECT_THAT(result.fault(), HasSubstr(one.message));
    EXPECT_EQ(result.out, "");
  }
  EXPECT_FALSE(fs::exists("o"));
}

TEST(TokenizerCommand, AFolderThatCannotBeWrittenIsNamed) {
  const io::TemporaryDirectory directory;
  const std::string text = (directory / "text.txt").string();
  io::write_file_atomically(text, "some text");
  const Ran result = ran({"tokenizer", "train", text, "--vocab-size", "260", "--output", text + "/inside"});
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.fault(), HasSubstr(text));
}

}  // namespace
}  // namespace aleph::cli
