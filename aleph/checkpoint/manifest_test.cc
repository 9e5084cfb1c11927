#include "aleph/checkpoint/manifest.h"

#include <gmock/gmock.h>

#include "aleph/checkpoint/chunk_checksums.h"
#include "aleph/checkpoint/crc32c.h"
#include "aleph/checkpoint/testing.h"
#include "aleph/io/temporary_directory.h"

namespace aleph::checkpoint {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

Manifest example() {
  const auto piece = [](const std::string& name, int64_t begin, int64_t elements) {
    ManifestPiece made{.piece = {.name = name, .dtype = DType::kF32, .begin = begin, .elements = elements}};
    for (int64_t i = 0; i < chunk_count(made.piece.bytes()); ++i)
      made.checksums.push_back(0x9e3779b9u * static_cast<uint32_t>(i + 1));
    return made;
  };
  Manifest manifest{.step = 41, .world_size = 2};
  manifest.state = {{"seed", 7}, {"nested", {{"x", 0.1}, {"list", {1, 2}}}}};
  manifest.files = {
      {"state-rank-00000.safetensors", 5000, 0xabcdef01, {piece("a", 0, 3), piece("b/글", 0, 600'000)}},
      {"state-rank-00001.safetensors", 700, 0x12, {piece("a", 3, 0)}}};
  return manifest;
}

void expect_equal(const Manifest& a, const Manifest& b) {
  EXPECT_EQ(a.step, b.step);
  EXPECT_EQ(a.world_size, b.world_size);
  EXPECT_EQ(a.state, b.state);
  ASSERT_EQ(a.files.size(), b.files.size());
  for (size_t i = 0; i < a.files.size(); ++i) {
    EXPECT_EQ(file_entry_text(a.files[i]), file_entry_text(b.files[i]));
    EXPECT_EQ(a.files[i].header_checksum, b.files[i].header_checksum);
  }
}

/// The manifest with the JSON behind the first line changed and the checksum made right again.
std::string with_json(const std::function<void(OrderedJson&)>& change) {
  OrderedJson json = OrderedJson::parse(manifest_text(example()));
  json.erase("crc32c");
  change(json);
  const std::string body = "\"," + json.dump(1).substr(1) + "\n";
  const uint32_t sum = crc32c(std::as_bytes(std::span(body)));
  return "{\n \"crc32c\": \"" + to_hex({&sum, 1}) + body;
}

std::string fault(const std::string& text) {
  return one_line_fault_of([&] { parse_manifest(text, "dir/manifest.json"); });
}

TEST(Manifest, GoesThereAndBack) {
  const std::string text = manifest_text(example());
  expect_equal(parse_manifest(text, "x"), example());
  EXPECT_EQ(fault(with_json([](OrderedJson&) {})), "no error");
  EXPECT_EQ(text.find("{\n \"crc32c\": \""), 0u);
  EXPECT_EQ(parse_json(text, "x")["format"], "aleph-training-checkpoint");
}

TEST(Manifest, FileEntriesGoThereAndBack) {
  for (const ManifestFile& file : example().files)
    EXPECT_EQ(file_entry_text(parse_file_entry(parse_json(file_entry_text(file), "x"), "x")),
              file_entry_text(file));
}

TEST(Manifest, EveryFlippedBitIsNoticed) {
  const std::string text = manifest_text(example());
  for (size_t i = 0; i < text.size(); ++i) {
    std::string damaged = text;
    damaged[i] = static_cast<char>(damaged[i] ^ (1 << i % 8));
    EXPECT_THAT(fault(damaged), HasSubstr("dir/manifest.json: found")) << i;
  }
}

TEST(Manifest, EveryTruncationIsNoticed) {
  const std::string text = manifest_text(example());
  for (size_t size = 0; size < text.size(); ++size)
    EXPECT_NE(fault(text.substr(0, size)), "no error") << size;
  EXPECT_THAT(fault(text + " "), HasSubstr("the manifest is damaged"));
  EXPECT_THAT(fault("{}"), HasSubstr("found no checksum in the first line, expected a manifest"));
}

TEST(Manifest, WhatDoesNotFitTogetherIsRefused) {
  using Change = std::function<void(OrderedJson&)>;
  const std::vector<std::pair<Change, std::string>> cases = {
      {[](auto& j) { j["format"] = "other"; }, "found other version 1"},
      {[](auto& j) { j["version"] = 2; }, "found aleph-training-checkpoint version 2"},
      {[](auto& j) { j["chunk_bytes"] = 4096; }, "chunks of 4096"},
      {[](auto& j) { j.erase("version"); }, "version"},
      {[](auto& j) { j["step"] = -1; }, "step: found -1"},
      {[](auto& j) { j["step"] = "41"; }, "step"},
      {[](auto& j) { j["world_size"] = 3; }, "found 2 files, expected one for each of 3 ranks"},
      {[](auto& j) { j["files"] = 1; }, "found no list 'files'"},
      {[](auto& j) { j["files"][0]["name"] = "../secret"; }, "file '../secret'"},
      {[](auto& j) { j["files"][0]["name"] = "/etc/passwd"; }, "file '/etc/passwd'"},
      {[](auto& j) { j["files"][0]["name"] = ".hidden"; }, "file '.hidden'"},
      {[](auto& j) { j["files"][0]["name"] = ""; }, "file ''"},
      {[](auto& j) { j["files"][0]["name"] = "a\nb"; }, "file 'a\\x0ab'"},
      {[](auto& j) { j["files"][1]["name"] = j["files"][0]["name"]; }, "different file names"},
      {[](auto& j) { j["files"][0]["bytes"] = -5; }, "bytes: found -5"},
      {[](auto& j) { j["files"][0]["header_crc32c"] = "xyz"; }, "checksums 'xyz'"},
      {[](auto& j) { j["files"][0].erase("tensors"); }, "found no list 'tensors'"},
      {[](auto& j) { j["files"][0]["tensors"][0]["dtype"] = "F8"; }, "tensor 'a': found dtype 'F8'"},
      {[](auto& j) { j["files"][0]["tensors"][0]["begin"] = -1; }, "tensor 'a': begin: found -1"},
      {[](auto& j) { j["files"][0]["tensors"][0]["elements"] = int64_t{1} << 62; },
       "tensor 'a': elements: found"},
      {[](auto& j) { j["files"][0]["tensors"][0]["elements"] = int64_t{1} << 50; },
       "tensor 'a': found checksums"},
      {[](auto& j) { j["files"][0]["tensors"][1]["elements"] = 3; }, "tensor 'b/글': found checksums"},
      {[](auto& j) { j["files"][0]["tensors"][0].erase("name"); }, "name"}};
  for (const auto& [change, message] : cases)
    EXPECT_THAT(fault(with_json(change)), AllOf(HasSubstr("dir/manifest.json"), HasSubstr(message)));
}

TEST(Manifest, ReadingChecksThatFilesAreThereWithTheirSizes) {
  const io::TemporaryDirectory directory;
  const auto read = [&] { read_manifest(directory.path()); };
  EXPECT_THAT(one_line_fault_of(read), HasSubstr("manifest.json: found No such file"));
  put(directory / "manifest.json", manifest_text(example()));
  EXPECT_THAT(one_line_fault_of(read), HasSubstr("state-rank-00000.safetensors: found No such file"));
  put(directory / "state-rank-00000.safetensors", std::string(5000, 'x'));
  put(directory / "state-rank-00001.safetensors", std::string(699, 'x'));
  EXPECT_THAT(one_line_fault_of(read),
              HasSubstr("state-rank-00001.safetensors: found 699 bytes, expected 700 as its manifest says"));
  put(directory / "state-rank-00001.safetensors", std::string(700, 'x'));
  expect_equal(read_manifest(directory.path()), example());
}

}  // namespace
}  // namespace aleph::checkpoint
