// aleph info on everything it knows.
#include <gmock/gmock.h>

#include "aleph/base/json.h"
#include "aleph/base/random.h"
#include "aleph/checkpoint/safetensors.h"
#include "aleph/checkpoint/training_checkpoint.h"
#include "aleph/cli/testing.h"
#include "aleph/io/file.h"
#include "aleph/io/temporary_directory.h"

namespace aleph::cli {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

const fs::path kStories = fs::path(ALEPH_TEST_DATA) / "goldens" / "stories260K-hf";

class InfoCommand : public ::testing::Test {
 protected:
  std::string shown(const fs::path& path, const std::vector<std::string>& flags = {}) {
    std::vector<std::string> arguments = {"info", path.string()};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    const Ran result = ran(arguments);
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_EQ(result.err, "");
    return result.out;
  }
  std::string fault(const fs::path& path, const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments = {"info", path.string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Ran result = ran(arguments);
    EXPECT_EQ(result.status, 1);
    return result.fault();
  }
  fs::path write(const std::string& name, const std::string& text) {
    io::write_file_atomically(directory_ / name, text);
    return directory_ / name;
  }

  io::TemporaryDirectory directory_;
};

TEST_F(InfoCommand, ShowsAModel) {
  const std::string out = shown(kStories);
  for (const char* row :
       {"architecture          llama\n", "layers                5\n", "hidden size           64\n",
        "heads                 8 (4 for keys and values) of 8\n", "mlp size              172, gated\n",
        "vocabulary            512, tied\n", "context               512\n", "in 1 file\n",
        "  tensors             47, 260032 elements\n", "  F32                 1015.8 KiB\n",
        "tokenizer             512 tokens\n", "<s> (1), </s> (2)"})
    EXPECT_THAT(out, HasSubstr(row));
  EXPECT_THAT(out, Not(HasSubstr("model.norm.weight")));
  EXPECT_THAT(shown(kStories, {"--tensors"}), HasSubstr("    model.norm.weight"));
  EXPECT_THAT(shown(kStories / "config.json"), HasSubstr("hidden size           64\n"));
  EXPECT_THAT(shown(kStories / "tokenizer.json"), HasSubstr("512 tokens"));
}

TEST_F(InfoCommand, ShowsASafetensorsFile) {
  const fs::path path = directory_ / "t.safetensors";
  checkpoint::SafetensorsWriter writer(path, {{"a", DType::kF32, Shape{2, 3}}, {"b", DType::kI64, Shape{4}}});
  writer.write("a", 0, std::vector<std::byte>(24));
  writer.write("b", 0, std::vector<std::byte>(32));
  writer.finish();
  const std::string out = shown(path, {"--tensors"});
  EXPECT_THAT(out, HasSubstr("  tensors             2, 10 elements\n"));
  EXPECT_THAT(out, HasSubstr("  F32                 24 B\n"));
  EXPECT_THAT(out, HasSubstr("  I64                 32 B\n"));
  EXPECT_THAT(out, HasSubstr("F32 [2, 3]\n"));
}

TEST_F(InfoCommand, ShowsAndVerifiesATrainingCheckpoint) {
  checkpoint::CheckpointWriter writer({.root = directory_.path(), .step = 12});
  writer.begin({{.name = "master/w", .elements = 5}});
  writer.write("master/w", 0, std::vector<std::byte>(20));
  writer.commit(Json::object());
  const fs::path path = directory_ / "checkpoint-12";
  const std::string out = shown(path, {"--tensors"});
  EXPECT_EQ(shown(directory_.path(), {"--tensors"}), out) << "the newest of a directory";
  EXPECT_THAT(out, HasSubstr("training checkpoint   step 12, 1 rank\n"));
  EXPECT_THAT(out, HasSubstr("  tensors             1, 5 elements\n"));
  EXPECT_THAT(out, HasSubstr("checksums           all right\n"));
  EXPECT_THAT(out, HasSubstr("master/w"));
  const fs::path state = path / "state-rank-00000.safetensors";
  std::string bytes = io::read_file(state, 1 << 20);
  bytes.back() ^= 1;
  io::write_file_atomically(state, bytes);
  EXPECT_THAT(fault(path), HasSubstr("tensor 'master/w': found checksum"));
}

TEST_F(InfoCommand, ShowsADeepSpeedFileAndItsNotes) {
  const fs::path path = write("ds.json", R"({"zero_optimization": {"stage": 2}, "bf16": {"enabled": true}})");
  const std::string out = shown(path);
  EXPECT_THAT(out, HasSubstr("DeepSpeed file        "));
  EXPECT_THAT(out, HasSubstr("  zero_stage          from deepspeed zero_optimization.stage\n"));
  EXPECT_THAT(out, HasSubstr("  dtype "));
}

TEST_F(InfoCommand, CountsATextInBytesLinesAndTokens) {
  const fs::path path = write("a text 글.txt", "Once upon a time\nthere was\n");
  const std::string out = shown(path);
  EXPECT_THAT(out, HasSubstr("  bytes               27\n"));
  EXPECT_THAT(out, HasSubstr("  lines               2\n"));
  EXPECT_THAT(out, Not(HasSubstr("tokens")));
  EXPECT_THAT(shown(path, {"--tokenizer", kStories.string()}), HasSubstr("bytes a token)\n"));
  const std::string plain = shown(write("a.txt", "Once upon"), {"--tokenizer", kStories.string()});
  const std::string lines = shown(write("a.jsonl", R"({"id": 7, "text": "Once upon"})"
                                                   "\n"),
                                  {"--tokenizer", kStories.string()});
  EXPECT_EQ(plain.substr(plain.find("  tokens")), lines.substr(lines.find("  tokens")));
  EXPECT_THAT(fault(write("b.jsonl", "{\"text\": 5}\n"), {"--tokenizer", kStories.string()}),
              HasSubstr("b.jsonl line 1"));
  EXPECT_THAT(shown(write("empty.txt", ""), {"--tokenizer", kStories.string()}),
              HasSubstr("  bytes               0\n"));
}

TEST_F(InfoCommand, NamesBinaryFilesOfOthers) {
  using std::string_literals::operator""s;
  const std::string zeros(100, '\0');
  const std::string gguf =
      shown(write("m.gguf", "GGUF\3\0\0\0\x05\1\0\0\0\0\0\0\x11\0\0\0\0\0\0\0"s + zeros));
  for (const char* row :
       {"binary file           ", "  size                124 B\n", "  kind                gguf",
        "  version             3\n", "  tensors             261\n", "  metadata entries    17\n"})
    EXPECT_THAT(gguf, HasSubstr(row));
  EXPECT_THAT(shown(write("short.gguf", "GGUF\3\0"s)), Not(HasSubstr("tensors  ")));
  EXPECT_THAT(shown(write("m.pt", "PK\3\4"s + zeros)), HasSubstr("  kind                zip"));
  EXPECT_THAT(shown(write("m.gz", "\x1f\x8b\x08\0"s + zeros)), HasSubstr("  kind                gzip"));
  EXPECT_THAT(shown(write("about.txt", "GGUF is a format.\n")), HasSubstr("  lines               1\n"));
}

TEST_F(InfoCommand, TellsTextFromOtherBytes) {
  const RandomStream random({.seed = 5});
  for (uint64_t round = 0; round < 8; ++round) {
    std::string noise(200 + random.below(100'000, 200'000 * round), '\0');
    for (uint64_t i = 0; i < noise.size(); ++i)  // no zero bytes, which would be too easy
      noise[i] = static_cast<char>(1 + random.below(255, 200'000 * round + i + 1));
    EXPECT_THAT(fault(write("noise", noise)), HasSubstr("noise: found a binary file ("));
  }
  EXPECT_THAT(shown(write("latin1.txt",
                          "Gr\xFC\xDF"
                          "e aus dem S\xFC"
                          "den, \x1b[1mfett\x1b[0m und\tmehr\r\n")),
              HasSubstr("  lines               1\n"));
  std::string hangul;
  while (hangul.size() < 200'000) hangul += "한글 ";
  EXPECT_THAT(shown(write("long.txt", hangul)), HasSubstr("  bytes               "));
}

TEST_F(InfoCommand, SaysWhatItCannotShow) {
  EXPECT_EQ(fault("/no/such"), "/no/such: found nothing, expected a directory or file");
  EXPECT_THAT(fault(directory_.path()), HasSubstr("found none of config.json, manifest.json"));
  EXPECT_THAT(fault(write("x.safetensors", "short")),
              HasSubstr("x.safetensors: found 5 bytes, expected a safetensors"));
  EXPECT_THAT(fault(write("x.json", "{\"a\": ")), HasSubstr("x.json: found invalid JSON at line 1"));
  EXPECT_THAT(fault(write("y.json", "{\"zero_optimizaton\": {}}")), HasSubstr("'zero_optimization' perhaps"));
  EXPECT_THAT(fault(write("w.json", "{\"name\": \"Ann\"}")),
              HasSubstr("w.json: found JSON of no known kind"));
  EXPECT_THAT(fault(write("v.json", "[1, 2]")), HasSubstr("v.json: found JSON of no known kind"));
  EXPECT_THAT(fault(write("z.json", "{\"model_type\": \"lama\"}")),
              HasSubstr("found 'lama', expected one of"));
  fs::create_directory(directory_ / "model");
  write("model/config.json", io::read_file(kStories / "config.json", 1 << 20));
  EXPECT_THAT(fault(directory_ / "model"), HasSubstr("found no weights"));
}

}  // namespace
}  // namespace aleph::cli
