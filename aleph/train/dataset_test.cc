#include "aleph/train/dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <numeric>
#include <set>

#include "aleph/base/error.h"
#include "aleph/base/interrupt.h"
#include "aleph/base/random.h"
#include "aleph/base/testing.h"

namespace aleph::train {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

class DatasetTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    root_ = fs::temp_directory_path() / fmt::format("aleph-dataset-{}-{}", info->name(), ::getpid());
    fs::create_directories(root_);
  }
  void TearDown() override { fs::remove_all(root_); }

  fs::path write(const std::string& name, const std::string& text) {
    std::ofstream(root_ / name, std::ios::binary) << text;
    return root_ / name;
  }

  fs::path root_;
};

// One token a byte.
size_t bytes_of(const text::TextPart& part, const text::IdSink& sink) {
  std::vector<int32_t> ids;
  for (const char c : part.text) ids.push_back(static_cast<uint8_t>(c));
  sink(ids);
  return part.text.size();
}

std::string text_of(std::span<const int32_t> tokens) {
  std::string text;
  for (const int32_t id : tokens) text += id == 1000 ? '|' : static_cast<char>(id);
  return text;
}

TokenDataset load(const std::vector<fs::path>& files, double eval_split = 0,
                  std::optional<int32_t> end_of_text = 1000) {
  return load_dataset(
      {.files = files, .encode = bytes_of, .end_of_text = end_of_text, .eval_split = eval_split});
}

std::string failure(const std::vector<fs::path>& files) {
  try {
    load(files);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST_F(DatasetTest, TextIsOneStreamAndLinesAreDocuments) {
  const fs::path text = write("a.txt", "one\n\ntwo");
  const fs::path lines = write("b.jsonl", "{\"text\": \"red\"}\r\n\n{\"id\": 3, \"text\": \"caf\\u00e9\"}\n");
  const TokenDataset data = load({text, lines});
  EXPECT_EQ(text_of(data.train.tokens), "one\n\ntwo|red|caf\xc3\xa9");
  EXPECT_EQ(data.train.documents, 3);
  EXPECT_EQ(data.train.bytes, 8 + 3 + 5);
  EXPECT_TRUE(data.eval.tokens.empty());
  EXPECT_DOUBLE_EQ(data.train.tokens_per_byte(), 18.0 / 16);
  EXPECT_EQ(text_of(load({lines}, 0, std::nullopt).train.tokens), "redcaf\xc3\xa9");
}

TEST_F(DatasetTest, SplitsTheTailOfAStreamAtTheEndOfALine) {
  std::string text;
  for (int line = 0; line < 100; ++line) text += fmt::format("line {:04d}\n", line);
  const TokenDataset data = load({write("a.txt", text)}, 0.095);
  EXPECT_EQ(text_of(data.train.tokens) + text_of(data.eval.tokens), text);
  EXPECT_EQ(text_of(data.eval.tokens).substr(0, 10), "line 0091\n");
  EXPECT_EQ(data.train.bytes, 910);
  EXPECT_EQ(data.eval.bytes, 90);
}

TEST_F(DatasetTest, SplitsAStreamWithoutLinesBetweenCharacters) {
  std::string text;
  for (int i = 0; i < 50; ++i) text += "\xe2\x82\xac";  // a euro sign has three bytes
  const TokenDataset data = load({write("a.txt", text)}, 0.25);
  EXPECT_EQ(data.train.bytes % 3, 0);
  EXPECT_EQ(data.eval.bytes, 36);
  EXPECT_EQ(text_of(data.train.tokens) + text_of(data.eval.tokens), text);
}

TEST_F(DatasetTest, SplitsDocumentsWhole) {
  std::string lines;
  for (int i = 0; i < 20; ++i) lines += fmt::format("{{\"text\": \"document {:03d}\"}}\n", i);
  const TokenDataset data = load({write("a.jsonl", lines)}, 0.12);
  EXPECT_EQ(data.train.documents, 17);
  EXPECT_EQ(text_of(data.eval.tokens), "document 017|document 018|document 019");
}

TEST_F(DatasetTest, InvalidUtf8IsReplacedAndCountedAsItStands) {
  const std::string text = "ok \xff\xc3( \xed\xa0\x80 \xf4\x90\x80\x80 \xc3\xa9 \xf0\x9f\x98\x80 \xe2\x82";
  const TokenDataset data = load({write("a.txt", text)});
  const std::string mark = "\xef\xbf\xbd";
  const std::string expected = "ok " + mark + mark + "( " + mark + mark + mark + " " + mark + mark + mark +
                               mark + " \xc3\xa9 \xf0\x9f\x98\x80 " + mark + mark;
  EXPECT_EQ(text_of(data.train.tokens), expected);
  EXPECT_EQ(data.train.bytes, static_cast<int64_t>(text.size()));
}

TEST_F(DatasetTest, NamesWhatIsWrongWithAFile) {
  EXPECT_THAT(failure({root_ / "no.txt"}),
              HasSubstr("no.txt: found No such file or directory, expected a readable file"));
  EXPECT_THAT(failure({root_}), HasSubstr("found no extension, expected .txt or .jsonl"));
  EXPECT_THAT(failure({write("a.csv", "a,b")}), HasSubstr("found extension .csv, expected .txt or .jsonl"));
  EXPECT_THAT(failure({write("e.txt", "")}), HasSubstr("e.txt: found no text"));
  EXPECT_THAT(failure({write("e.jsonl", "\n{\"text\": \"\"}\n")}), HasSubstr("e.jsonl: found no text"));
  EXPECT_THAT(failure({write("k.jsonl", "{\"text\": \"a\"}\n{\"body\": \"b\"}\n")}),
              HasSubstr("k.jsonl line 2: found no key 'text', expected a string"));
  EXPECT_THAT(failure({write("n.jsonl", "{\"text\": 4}")}), HasSubstr("n.jsonl line 1: text: found 4"));
  EXPECT_THAT(failure({write("l.jsonl", "[1, 2]")}), HasSubstr("l.jsonl line 1: found no object"));
  EXPECT_THAT(failure({write("s.jsonl", "{\"text\": \"a\"}\n\n{oops\n")}),
              HasSubstr("s.jsonl line 3: found invalid JSON"));
}

std::vector<int32_t> numbered(int64_t n) {
  std::vector<int32_t> tokens(static_cast<size_t>(n));
  std::iota(tokens.begin(), tokens.end(), 0);
  return tokens;
}

DataLoader::Options loader_options(DataOrder order, int64_t micro, int64_t accumulation, int64_t world,
                                   int64_t seq_len = 5) {
  return {.seq_len = seq_len,
          .batch = {micro, accumulation, micro * accumulation * world},
          .world_size = world,
          .order = order,
          .seed = 3};
}

std::vector<int32_t> fill(DataLoader& loader, const DataLoader::Options& options, int64_t step, int64_t micro,
                          int64_t rank) {
  std::vector<int32_t> rows(static_cast<size_t>(options.batch.micro_batch * options.seq_len));
  loader.fill(step, micro, rank, rows);
  return rows;
}

TEST(DataLoader, SequentialTakesRowsInOrder) {
  const std::vector<int32_t> tokens = numbered(64);  // 12 rows of 5, the last 4 tokens are not used
  const auto options = loader_options(DataOrder::kSequential, 2, 2, 1);
  DataLoader loader(tokens, options);
  EXPECT_EQ(loader.tokens_per_step(), 20);
  for (int64_t step = 0; step < 3; ++step)
    for (int64_t micro = 0; micro < 2; ++micro) {
      const std::vector<int32_t> rows = fill(loader, options, step, micro, 0);
      for (size_t i = 0; i < rows.size(); ++i)
        ASSERT_EQ(rows[i], (step * 4 + micro * 2) * 5 + static_cast<int64_t>(i));
    }
}

TEST(DataLoader, StartsAgainInTheMiddleOfABatch) {
  const std::vector<int32_t> tokens = numbered(25);
  const auto options = loader_options(DataOrder::kSequential, 3, 1, 1);
  DataLoader loader(tokens, options);
  const std::vector<int32_t> rows = fill(loader, options, 1, 0, 0);
  EXPECT_EQ((std::vector<int32_t>{rows[0], rows[5], rows[10]}), (std::vector<int32_t>{15, 20, 0}));
  EXPECT_EQ(loader.steps_of_epochs(1), 2);
  EXPECT_EQ(loader.steps_of_epochs(3), 5);
  EXPECT_EQ(loader.steps_of_epochs(0.01), 1);
}

// Which row each row of a step is.
std::vector<int32_t> rows_of(DataLoader& loader, const DataLoader::Options& options, int64_t step) {
  std::vector<int32_t> rows;
  for (int64_t micro = 0; micro < options.batch.gradient_accumulation; ++micro)
    for (int64_t rank = 0; rank < options.world_size; ++rank) {
      const std::vector<int32_t> batch = fill(loader, options, step, micro, rank);
      for (size_t i = 0; i < batch.size(); i += static_cast<size_t>(options.seq_len)) {
        rows.push_back(batch[i] / static_cast<int32_t>(options.seq_len));
        for (int64_t j = 1; j < options.seq_len; ++j)
          EXPECT_EQ(batch[i + static_cast<size_t>(j)], batch[i] + j) << "rows stay whole";
      }
    }
  return rows;
}

TEST(DataLoader, ShuffledEpochsCoverEachRowOnceInNewOrders) {
  const std::vector<int32_t> tokens = numbered(5 * 24 + 3);
  const auto options = loader_options(DataOrder::kShuffled, 2, 3, 2);  // 12 rows a step, 2 steps an epoch
  DataLoader loader(tokens, options);
  std::set<std::vector<int32_t>> orders;
  for (int64_t epoch = 0; epoch < 4; ++epoch) {
    std::vector<int32_t> rows = rows_of(loader, options, 2 * epoch);
    const std::vector<int32_t> second = rows_of(loader, options, 2 * epoch + 1);
    rows.insert(rows.end(), second.begin(), second.end());
    orders.insert(rows);
    EXPECT_EQ(std::set<int32_t>(rows.begin(), rows.end()).size(), 24u);
    EXPECT_FALSE(std::is_sorted(rows.begin(), rows.end()));
  }
  EXPECT_EQ(orders.size(), 4u);
}

TEST(DataLoader, OrderDependsOnTheSeedAlone) {
  const std::vector<int32_t> tokens = numbered(500);
  auto options = loader_options(DataOrder::kShuffled, 4, 1, 1);
  DataLoader straight(tokens, options), resumed(tokens, options);
  std::vector<std::vector<int32_t>> steps;
  for (int64_t step = 0; step < 60; ++step) steps.push_back(rows_of(straight, options, step));
  for (const int64_t step : {37, 2, 59, 24, 25, 0})
    EXPECT_EQ(rows_of(resumed, options, step), steps[static_cast<size_t>(step)]) << step;
  options.seed = 4;
  DataLoader other(tokens, options);
  EXPECT_NE(rows_of(other, options, 0), steps[0]);
}

TEST(DataLoader, RanksTakeTheRowsOfMoreMicroSteps) {
  const std::vector<int32_t> tokens = numbered(5 * 100);
  for (const DataOrder order : {DataOrder::kSequential, DataOrder::kShuffled}) {
    const auto one = loader_options(order, 3, 4, 1), two = loader_options(order, 3, 2, 2),
               four = loader_options(order, 3, 1, 4);
    DataLoader a(tokens, one), b(tokens, two), c(tokens, four);
    for (int64_t step = 0; step < 12; ++step) {
      const std::vector<int32_t> rows = rows_of(a, one, step);
      EXPECT_EQ(rows_of(b, two, step), rows);
      EXPECT_EQ(rows_of(c, four, step), rows);
    }
  }
}

TEST(DataLoader, PermutationIsFair) {
  // Over many seeds, each row comes first about equally often: 4000 draws of 8 rows, 500 +- 6 sigma.
  const std::vector<int32_t> tokens = numbered(8);
  std::vector<int64_t> first(8, 0);
  auto options = loader_options(DataOrder::kShuffled, 1, 1, 1, 1);
  for (uint64_t seed = 0; seed < 4000; ++seed) {
    options.seed = seed;
    DataLoader loader(tokens, options);
    ++first[static_cast<size_t>(fill(loader, options, 0, 0, 0)[0])];
  }
  for (const int64_t count : first) EXPECT_NEAR(static_cast<double>(count), 500, 6 * 21);
}

TEST(DataLoader, SaysHowManyTokensAStepNeeds) {
  const std::vector<int32_t> tokens = numbered(99);
  try {
    DataLoader(tokens, loader_options(DataOrder::kShuffled, 5, 4, 1));
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "training data: found 99 tokens, expected at least 100 for one step (20 rows of 5 tokens)");
  }
  EXPECT_NO_THROW(DataLoader(numbered(100), loader_options(DataOrder::kShuffled, 5, 4, 1)));
}

TEST(EvalLoader, GivesEveryWholeRowOnce) {
  const std::vector<int32_t> tokens = numbered(7 * 3 + 2);
  const EvalLoader loader(tokens, 3, 2);
  EXPECT_EQ(loader.rows(), 7);
  EXPECT_EQ(loader.batches(), 4);
  std::vector<int32_t> seen;
  for (int64_t i = 0; i < loader.batches(); ++i) {
    const auto batch = loader.batch(i);
    EXPECT_EQ(batch.size(), i == 3 ? 3u : 6u);
    seen.insert(seen.end(), batch.begin(), batch.end());
  }
  EXPECT_EQ(seen, numbered(21));
  EXPECT_THROW(EvalLoader(numbered(2), 3, 2), Error);
}

TEST_F(DatasetTest, EverySplitKeepsEveryByteInOrder) {
  const RandomStream random({.seed = 91});
  const char* const kPieces[] = {"a", "bc ", "\n", "\r\n", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
  for (uint64_t i = 0; i < 300; ++i) {
    std::string text;
    for (uint64_t k = 0; k <= random.below(40, 256 * i); ++k)
      text += kPieces[random.below(std::size(kPieces), 256 * i + 2 * k + 2)];
    const double split = static_cast<double>(random.below(1000, 256 * i + 200)) / 1000;
    const TokenDataset data = load({write("text.txt", text)}, split, std::nullopt);
    ASSERT_EQ(text_of(data.train.tokens) + text_of(data.eval.tokens), text) << "split " << split;
    ASSERT_EQ(data.train.bytes, static_cast<int64_t>(data.train.tokens.size()));
    ASSERT_EQ(data.eval.bytes, static_cast<int64_t>(data.eval.tokens.size()));
    if (!data.eval.tokens.empty()) {
      ASSERT_NE(data.eval.tokens[0] & 0xc0, 0x80) << "no character is cut in two";
    }
    ASSERT_GE(static_cast<double>(data.train.bytes) + 1, static_cast<double>(text.size()) * (1 - split));
  }
}

/// Encodes as bytes_of, in parts that end after a '.', and notes what it was given.
struct PartsAtDots {
  size_t operator()(const text::TextPart& part, const text::IdSink& sink) {
    const size_t end = part.ends ? part.text.size() : part.text.rfind('.') + 1;
    if (end > 0) {
      bytes_of({.text = part.text.substr(0, end)}, sink);
      EXPECT_EQ(part.begins, starts) << "after " << used;
      starts = part.ends;
      used += end;
    }
    longest = std::max(longest, part.text.size());
    return end;
  }
  bool starts = true;
  size_t used = 0, longest = 0;
};

TEST_F(DatasetTest, LongTextGoesThroughASmallWindow) {
  std::string text;
  for (int i = 0; i < 60000; ++i)
    text += fmt::format("sentence {:05d}.{}", i, i % 4000 == 0 ? "\n" : " \xe2\x82\xac");
  PartsAtDots parts;
  MemoryLedger ledger(MemoryTier::kHost, 0);
  const fs::path file = write("long.txt", text);
  const TokenDataset data = load_dataset(
      {.files = std::span(&file, 1), .encode = std::ref(parts), .eval_split = 0.3, .ledger = &ledger});
  EXPECT_EQ(text_of(data.train.tokens) + text_of(data.eval.tokens), text);
  EXPECT_EQ(text_of(data.eval.tokens).substr(0, 9), "sentence ");
  EXPECT_LT(parts.longest, 200u << 10) << "of " << text.size();
  const auto tokens = static_cast<int64_t>(4 * text.size());
  EXPECT_GE(ledger.live(), tokens);
  EXPECT_LT(ledger.peak(), tokens * 9 / 8 + (1 << 20)) << "tokens, some room to grow, a window";
}

TEST_F(DatasetTest, TextWithoutAPlaceToCutIsEncodedWholeWithinTheBudget) {
  const std::string text(1 << 20, 'x');
  const fs::path file = write("whole.txt", text);
  for (const int64_t budget : {5 << 20, 7 << 20}) {
    PartsAtDots parts;
    MemoryLedger ledger(MemoryTier::kHost, budget);
    const DatasetOptions options{.files = std::span(&file, 1), .encode = std::ref(parts), .ledger = &ledger};
    if (budget == 7 << 20) {
      EXPECT_EQ(text_of(load_dataset(options).train.tokens), text);
    } else {
      EXPECT_THAT(fault_of([&] { load_dataset(options); }), HasSubstr("--host-memory: found 5.0 MiB"));
    }
    EXPECT_LE(ledger.peak(), budget);
    EXPECT_EQ(ledger.live(), 0);
  }
}

TEST_F(DatasetTest, CharactersAndBadBytesMayLieAcrossPieces) {
  const std::string mark = "\xef\xbf\xbd";
  for (int shift = 0; shift < 6; ++shift) {
    const std::string pad((64 << 10) - 3 + static_cast<size_t>(shift) % 4, 'a');
    for (const auto& [bytes, expected] :
         std::vector<std::pair<std::string, std::string>>{{"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
                                                          {"\xf0\x9f\x98", mark + mark + mark},
                                                          {"\xc3(", mark + "("},
                                                          {"\xe2\x82\xac\xff", "\xe2\x82\xac" + mark}}) {
      const TokenDataset data = load({write("bad.txt", pad + bytes)});
      ASSERT_EQ(text_of(data.train.tokens), pad + expected) << shift;
      ASSERT_EQ(data.train.bytes, static_cast<int64_t>(pad.size() + bytes.size()));
      const TokenDataset more = load({write("bad.txt", pad + bytes + "tail")});
      ASSERT_EQ(text_of(more.train.tokens), pad + expected + "tail") << shift;
    }
  }
}

TEST_F(DatasetTest, StopsWhereASignalComes) {
  const InterruptGuard guard;
  const fs::path file = write("a.txt", "some text");
  std::raise(SIGTERM);
  EXPECT_THROW(load({file}), Interrupted);
}

TEST_F(DatasetTest, LinesOfAnyEndingAndLengthAreDocuments) {
  const std::string huge(3 << 20, 'x');
  const fs::path file =
      write("lines.jsonl", "\xef\xbb\xbf{\"text\": \"bom\"}\r\n\n \t \r\n{\"text\": \"\"}\n{\"text\": \"" +
                               huge + "\"}\n{\"text\": \"a\\nb\\u00e4\"}");
  const TokenDataset data = load({file});
  EXPECT_EQ(data.train.documents, 3) << "empty lines and texts are none";
  EXPECT_EQ(text_of(data.train.tokens), "bom|" + huge + "|a\nb\xc3\xa4");
}

TEST_F(DatasetTest, OneTokenIsText) {
  const TokenDataset data = load({write("one.txt", "x")}, 0.5);
  EXPECT_EQ(data.train.tokens.size() + data.eval.tokens.size(), 1u);
  const TokenDataset whole = load({write("one.txt", "x")});
  EXPECT_EQ(text_of(whole.train.tokens), "x");
  EXPECT_EQ(whole.train.tokens_per_byte(), 1);
  EXPECT_EQ(TokenStream().tokens_per_byte(), 0);
}

TEST_F(DatasetTest, BytesOfInvalidTextInLinesCountAsTheyStand) {
  const TokenDataset data = load({write("bad.jsonl",
                                        "{\"text\": \"a\xff"
                                        "b\"}")});
  EXPECT_EQ(text_of(data.train.tokens),
            "a\xef\xbf\xbd"
            "b");
  EXPECT_EQ(data.train.bytes, 3);
}

TEST_F(DatasetTest, BadLinesAreNamedByNumber) {
  const std::vector<std::pair<std::string, std::string>> bad = {
      {"{\"text\": \"a\"}\n{\"text\": 3}", "line 2"},
      {"\n\n{\"text\": \"a\"", "line 3"},
      {"{\"body\": \"a\"}", "line 1"},
      {"[\"a\"]", "line 1"},
      {"{\"text\": \"a\"}{\"text\": \"b\"}", "line 1"},
      {"{\"text\": \"a\", \"text\": \"b\"}", "line 1"},
      {"{\"text\": null}", "line 1"},
      {std::string("{\"text\": \"a\0\"}", 13), "line 1"}};
  for (const auto& [text, where] : bad)
    EXPECT_THAT(failure({write("bad.jsonl", text)}), HasSubstr("bad.jsonl " + where)) << text;
}

}  // namespace
}  // namespace aleph::train
