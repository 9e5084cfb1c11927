#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <vector>

#include "aleph/base/error.h"
#include "aleph/base/json.h"
#include "aleph/base/parallel.h"
#include "aleph/base/random.h"
#include "aleph/base/text_util.h"
#include "aleph/base/worker.h"

namespace aleph {
namespace {

TEST(TextUtilTest, SizesReadAndPrint) {
  EXPECT_EQ(parse_size("300M", "x"), int64_t{300} << 20);
  EXPECT_EQ(parse_size("1.5GiB", "x"), int64_t{3} << 29);
  EXPECT_EQ(parse_size("4096", "x"), 4096);
  for (const char* bad : {"", "M", "-1", "3X", "1e30", "nan"})
    EXPECT_THROW(parse_size(bad, "x"), UsageError) << bad;
  EXPECT_EQ(format_bytes(1536), "1.5 KiB");
  EXPECT_EQ(format_duration(185), "3 min 05 s");
}

TEST(TextUtilTest, FindsTheNearestName) {
  const std::vector<std::string> names = {"offload_optimizer", "offload_param", "stage"};
  EXPECT_EQ(nearest_name("offload_optimzer", names), "offload_optimizer");
  EXPECT_EQ(nearest_name("zzzz", names), "");
}

TEST(TextUtilTest, PrintableEscapesWhatATerminalWouldObey) {
  EXPECT_EQ(printable("a\x1b[2J한"), "a\\x1b[2J한");
  EXPECT_EQ(printable("\xff"), "\\xff");
}

TEST(JsonTest, RefusesDuplicatesDepthAndGarbage) {
  EXPECT_THROW(parse_json(R"({"a":1,"a":2})", "f"), Error);
  EXPECT_THROW(parse_json("{\"a\":1} x", "f"), Error);
  EXPECT_THROW(parse_json(std::string(100000, '['), "f"), Error);
  try {
    parse_json("{\n\n  oops}", "file.json");
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("file.json: found invalid JSON at line 3"), std::string::npos);
  }
}

TEST(JsonTest, GetsTypedValues) {
  const Json json = parse_json(R"({"n": 5e8, "x": 1.5, "s": "t", "z": null})", "f");
  EXPECT_EQ(json_get<int64_t>(json, "n", "f"), 500000000);
  EXPECT_THROW(json_get<int64_t>(json, "x", "f"), Error);
  EXPECT_EQ(json_get_or<int64_t>(json, "z", 7, "f"), 7);
  EXPECT_THROW(json_get<std::string>(json, "missing", "f"), Error);
}

TEST(ParallelForTest, CoversEveryIndexOnceAndRethrows) {
  std::vector<std::atomic<int>> hits(1003);
  parallel_for(1003, 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) ++hits[static_cast<size_t>(i)];
  });
  for (const auto& hit : hits) EXPECT_EQ(hit, 1);
  EXPECT_THROW(parallel_for(100, 1, [](int64_t, int64_t) { throw Error("a", "b", "c"); }), Error);
}

TEST(WorkerTest, KeepsTheFirstFailureAndSkipsTheRest) {
  Worker worker;
  bool ran = false;
  worker.submit([] { throw Error("first", "x", "y"); });
  const int64_t last = worker.submit([&] { ran = true; });
  EXPECT_THROW(worker.wait(last), Error);
  EXPECT_FALSE(ran);
}

TEST(RandomTest, DependsOnlyOnKeyAndPositionWithNormalMoments) {
  const RandomStream stream({.seed = 1, .purpose = RandomPurpose::kInit, .stream = 2, .step = 3});
  double sum = 0, squares = 0;
  constexpr int kDraws = 100000;
  for (int i = 0; i < kDraws; ++i) {
    const double x = stream.normal(static_cast<uint64_t>(i));
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / kDraws, 0.0, 0.02);
  EXPECT_NEAR(squares / kDraws, 1.0, 0.02);
  EXPECT_EQ(stream.uniform(5),
            RandomStream({.seed = 1, .purpose = RandomPurpose::kInit, .stream = 2, .step = 3}).uniform(5));
  EXPECT_NE(stream.word(5),
            RandomStream({.seed = 1, .purpose = RandomPurpose::kInit, .stream = 2, .step = 4}).word(5));
  for (uint64_t i = 0; i < 1000; ++i) EXPECT_LT(stream.below(7, i), 7u);
}

}  // namespace
}  // namespace aleph
