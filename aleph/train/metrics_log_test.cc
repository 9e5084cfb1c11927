#include "aleph/train/metrics_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "aleph/base/json.h"
#include "aleph/base/testing.h"
#include "aleph/io/temporary_directory.h"

namespace aleph::train {
namespace {

std::vector<Json> lines_of(const std::filesystem::path& path) {
  std::vector<Json> lines;
  const std::string text = io::read_file(path, 1 << 20);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    EXPECT_NE(end, std::string::npos) << "the last line is not complete";
    lines.push_back(parse_json(text.substr(begin, end - begin), path.string()));
    begin = end + 1;
  }
  return lines;
}

StepRecord record_of(int64_t step) {
  StepRecord record{.step = step, .loss = 2.5, .learning_rate = 1e-3, .grad_norm = 0.75, .tokens = 300};
  record.step_seconds = 0.5;
  record.peaks.total[1] = 70;
  record.peaks.by_tag[1][static_cast<size_t>(MemoryTag::kOptimizer)] = 60;
  record.io[static_cast<size_t>(zero::StateKind::kGradients)] = {
      .read_bytes = 11, .written_bytes = 12, .stall_seconds = 0.25};
  return record;
}

TEST(MetricsLogTest, StepsHaveTheKeysOfTheManual) {
  const io::TemporaryDirectory directory;
  MetricsLog(directory / "new/log.jsonl", 0).step(record_of(3));
  const Json line = lines_of(directory / "new/log.jsonl").at(0);
  EXPECT_EQ(line["step"], 3);
  EXPECT_EQ(line["loss"], 2.5);
  EXPECT_EQ(line["learning_rate"], 1e-3);
  EXPECT_EQ(line["grad_norm"], 0.75);
  EXPECT_EQ(line["tokens"], 300);
  EXPECT_EQ(line["tokens_per_second"], 600.0);
  EXPECT_EQ(line["step_seconds"], 0.5);
  EXPECT_EQ(line["peak_bytes"]["host"]["optimizer"], 60);
  EXPECT_EQ(line["peak_bytes"]["host"]["total"], 70);
  EXPECT_EQ(line["peak_bytes"]["device"]["parameters"], 0);
  EXPECT_EQ(line["peak_bytes"]["nvme"]["activations"], 0);
  EXPECT_EQ(line["io"]["read_bytes"]["gradients"], 11);
  EXPECT_EQ(line["io"]["written_bytes"]["gradients"], 12);
  EXPECT_EQ(line["io"]["stall_seconds"]["gradients"], 0.25);
  EXPECT_FALSE(line.contains("loss_scale"));
  EXPECT_FALSE(line.contains("skipped"));
}

TEST(MetricsLogTest, SkippedStepsSaySo) {
  const io::TemporaryDirectory directory;
  StepRecord record = record_of(1);
  record.loss_scale = 1024;
  record.skipped = true;
  MetricsLog(directory / "log.jsonl", 0).step(record);
  const Json line = lines_of(directory / "log.jsonl").at(0);
  EXPECT_EQ(line["loss_scale"], 1024.0);
  EXPECT_EQ(line["skipped"], true);
}

TEST(MetricsLogTest, EvaluationsHaveTheirOwnLines) {
  const io::TemporaryDirectory directory;
  MetricsLog(directory / "log.jsonl", 0).evaluation({.step = 9, .loss = 1.5, .nats_per_byte = 0.5});
  const Json line = lines_of(directory / "log.jsonl").at(0);
  EXPECT_EQ(line["step"], 9);
  EXPECT_EQ(line["eval_loss"], 1.5);
  EXPECT_EQ(line["eval_nats_per_byte"], 0.5);
  EXPECT_FALSE(line.contains("loss"));
}

TEST(MetricsLogTest, AResumedRunReplacesItsOwnFuture) {
  const io::TemporaryDirectory directory;
  {
    MetricsLog log(directory / "log.jsonl", 0);
    for (int64_t step : {1, 2, 3, 4}) log.step(record_of(step));
  }
  const io::File torn = io::File::open_read_write(directory / "log.jsonl");
  torn.write_at(torn.size(), std::as_bytes(std::span("{\"step\": 5, \"lo", 15)));  // a crash cut it off
  MetricsLog log(directory / "log.jsonl", 2);
  log.step(record_of(3));
  const std::vector<Json> lines = lines_of(directory / "log.jsonl");
  ASSERT_EQ(lines.size(), 3u);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(lines[i]["step"], i + 1);
}

TEST(MetricsLogTest, AFreshRunStartsAFreshFile) {
  const io::TemporaryDirectory directory;
  MetricsLog(directory / "log.jsonl", 0).step(record_of(7));
  MetricsLog(directory / "log.jsonl", 0).step(record_of(1));
  EXPECT_EQ(lines_of(directory / "log.jsonl").size(), 1u);
}

TEST(MetricsLogTest, WhatIsNoLogIsNotReplaced) {
  const io::TemporaryDirectory directory;
  for (const char* text : {"{\"text\": \"a document\"}\n", "{\n  \"model_type\": \"gpt2\"\n}\n", "a text"}) {
    io::write_file_atomically(directory / "data.jsonl", text);
    EXPECT_THAT(fault_of([&] { MetricsLog(directory / "data.jsonl", 0); }),
                ::testing::HasSubstr("data.jsonl: found a file that is no log of a run"));
    EXPECT_EQ(io::read_file(directory / "data.jsonl", 100), text);
  }
  for (const std::string& rest : {std::string(), std::string("{\"st"), std::string(100, '\0')}) {
    io::write_file_atomically(directory / "torn.jsonl", rest);
    MetricsLog(directory / "torn.jsonl", 0).step(record_of(1));
    EXPECT_EQ(lines_of(directory / "torn.jsonl").size(), 1u);
  }
}

TEST(MetricsLogTest, NoPathNoFile) {
  MetricsLog log("", 0);
  log.step(record_of(1));
  log.evaluation({});
}

}  // namespace
}  // namespace aleph::train
