#include "aleph/checkpoint/safetensors.h"

#include <gmock/gmock.h>

#include <array>
#include <cstring>
#include <thread>

#include "aleph/base/json.h"
#include "aleph/base/random.h"
#include "aleph/checkpoint/chunk_checksums.h"
#include "aleph/checkpoint/crc32c.h"
#include "aleph/checkpoint/testing.h"
#include "aleph/io/fault_injection.h"
#include "aleph/io/temporary_directory.h"

namespace aleph::checkpoint {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string with_length(const std::string& header, const std::string& data) {
  std::string text;
  for (size_t i = 0; i < 8; ++i) text.push_back(static_cast<char>(header.size() >> (8 * i) & 0xff));
  return text + header + data;
}

class Safetensors : public ::testing::Test {
 protected:
  std::string fault(const std::string& bytes) {
    put(path_, bytes);
    return one_line_fault_of([&] { SafetensorsFile::open(path_); });
  }
  /// Of a file with that header and eight bytes of data.
  std::string header_fault(const std::string& header) { return fault(with_length(header, "12345678")); }

  io::TemporaryDirectory directory_;
  fs::path path_ = directory_ / "a b.safetensors";
};

TEST_F(Safetensors, ReadsBackEveryTypeAndShape) {
  const std::vector<TensorEntry> entries = {
      {"f32", DType::kF32, Shape{3, 5}},    {"bf16", DType::kBF16, Shape{7}},
      {"f16", DType::kF16, Shape{2, 1, 3}}, {"i32", DType::kI32, Shape{4}},
      {"i64", DType::kI64, Shape{1, 1}},    {"u8", DType::kU8, Shape{13}},
      {"f64", DType::kF64, Shape{3}},       {"empty", DType::kF32, Shape{0, 4}},
      {"scalar", DType::kF32, Shape{}},     {"name with \"quotes\" 글", DType::kU8, Shape{1}}};
  SafetensorsWriter writer(path_, entries, {.metadata = {{"key", "value"}}});
  for (size_t i = 0; i < entries.size(); ++i)
    writer.write(entries[i].name, 0, random_bytes(entries[i].bytes(), i));
  writer.finish();
  const SafetensorsFile file = SafetensorsFile::open(path_);
  EXPECT_EQ(file.tensors().size(), entries.size());
  EXPECT_EQ(file.metadata(), (Metadata{{"format", "pt"}, {"key", "value"}}));
  EXPECT_EQ(static_cast<int64_t>(file.bytes().size()), writer.file_bytes());
  for (size_t i = 0; i < entries.size(); ++i) {
    const TensorEntry& entry = entries[i];
    const ConstTensorView view = file.tensor(entry.name);
    EXPECT_EQ(view.dtype(), entry.dtype);
    EXPECT_EQ(view.shape(), entry.shape);
    const auto expected = random_bytes(entry.bytes(), i);
    ASSERT_EQ(file.raw(entry.name).size(), expected.size());
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), view.raw())) << entry.name;
    EXPECT_EQ(file.info(entry.name).type, entry.dtype);
    file.release(entry.name);
  }
  EXPECT_EQ(file.info("f32").to_string(), "F32 [3, 5]");
  EXPECT_TRUE(file.contains("u8") && !file.contains("u9") && file.find("u9") == nullptr);
  EXPECT_THAT(one_line_fault_of([&] { file.tensor("u9"); }),
              HasSubstr("a b.safetensors: found no tensor 'u9'"));
}

TEST_F(Safetensors, TheHeaderIsThatOfTheFormat) {
  SafetensorsWriter writer(path_, {{"w", DType::kF32, Shape{2}}, {"b", DType::kBF16, Shape{1}}});
  writer.write("b", 0, random_bytes(2, 1));
  writer.write("w", 0, random_bytes(8, 2));
  writer.finish();
  const std::string text = text_of(path_);
  uint64_t length = 0;
  std::memcpy(&length, text.data(), 8);
  EXPECT_EQ((8 + length) % 8, 0u);
  EXPECT_EQ(parse_json(std::string_view(text).substr(8, length), "header"),
            parse_json(R"({"__metadata__": {"format": "pt"},
                           "w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
                           "b": {"dtype": "BF16", "shape": [1], "data_offsets": [8, 10]}})",
                       "expected"));
  EXPECT_EQ(text.size(), 8 + length + 10);
  EXPECT_EQ(std::memcmp(writer.header().data(), text.data(), writer.header().size()), 0);
}

TEST_F(Safetensors, DataStartsWhereItIsAsked) {
  for (const int64_t alignment : {8, 64, 4096}) {
    SafetensorsWriter writer(path_, {{"w", DType::kU8, Shape{3}}}, {.data_alignment = alignment});
    writer.write("w", 0, random_bytes(3, 1));
    writer.finish();
    EXPECT_EQ(SafetensorsFile::open(path_).data_begin() % alignment, 0);
  }
}

TEST_F(Safetensors, TypesThatAlephDoesNotHaveAreListedAndRaw) {
  put(path_, with_length(R"({"a":{"dtype":"BOOL","shape":[5],"data_offsets":[0,5]},
                             "b":{"dtype":"F4","shape":[2,3],"data_offsets":[5,8]}})",
                         "12345678"));
  const SafetensorsFile file = SafetensorsFile::open(path_);
  EXPECT_EQ(file.info("b").to_string(), "F4 [2, 3]");
  EXPECT_FALSE(file.info("b").type.has_value());
  EXPECT_EQ(static_cast<char>(file.raw("b")[0]), '6');
  EXPECT_THAT(one_line_fault_of([&] { file.tensor("a"); }),
              HasSubstr("tensor 'a': found BOOL [5], expected F32, BF16, F16, F64, I32, I64 or U8"));
}

TEST_F(Safetensors, MisalignedTensorsAreCopied) {
  const std::string header = R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
                                 "b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]},
                                 "c":{"dtype":"U8","shape":[3],"data_offsets":[5,8]}})";
  put(path_, with_length(header, std::string("x\0\0\x80\x3f"
                                             "yyy",
                                             8)));
  const SafetensorsFile file = SafetensorsFile::open(path_);
  const ConstTensorView view = file.tensor("b");
  EXPECT_EQ(reinterpret_cast<uintptr_t>(view.raw()) % 4, 0u);
  EXPECT_EQ(view.data<float>()[0], 1.0f);
  EXPECT_EQ(file.tensor("b").raw(), view.raw());
}

TEST_F(Safetensors, TensorsAreInTheOrderOfTheirData) {
  put(path_, with_length(R"({"z":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},
                             "e":{"dtype":"U8","shape":[0],"data_offsets":[3,3]},
                             "a":{"dtype":"U8","shape":[5],"data_offsets":[3,8]}})",
                         "12345678"));
  const SafetensorsFile file = SafetensorsFile::open(path_);
  std::vector<std::string> names;
  for (const TensorInfo& info : file.tensors()) names.push_back(info.name);
  EXPECT_THAT(names, ElementsAre("z", "e", "a"));
}

TEST_F(Safetensors, MutatedHeadersAreRefusedByFileAndTensor) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"[]", "found a header that is no JSON object"},
      {"{", "found invalid JSON"},
      {"{}x", "found invalid JSON"},
      {"{}", "found 8 bytes of data, expected 0 bytes"},
      {R"({"a":1})", "tensor 'a': found 1, expected an object"},
      {R"({"a":{"shape":[8],"data_offsets":[0,8]}})", "tensor 'a': found no 'dtype'"},
      {R"({"a":{"dtype":"U8","data_offsets":[0,8]}})", "tensor 'a': found no 'shape'"},
      {R"({"a":{"dtype":"U8","shape":[8]}})", "tensor 'a': found no 'data_offsets'"},
      {R"({"a":{"dtype":"U9","shape":[8],"data_offsets":[0,8]}})", "tensor 'a': found dtype \"U9\""},
      {R"({"a":{"dtype":8,"shape":[8],"data_offsets":[0,8]}})", "tensor 'a': found dtype 8"},
      {R"({"a":{"dtype":"U8","shape":8,"data_offsets":[0,8]}})", "tensor 'a': found shape 8"},
      {R"({"a":{"dtype":"U8","shape":[-8],"data_offsets":[0,8]}})", "tensor 'a': found shape [-8]"},
      {R"({"a":{"dtype":"U8","shape":[8.0],"data_offsets":[0,8]}})", "tensor 'a': found shape [8.0]"},
      {R"({"a":{"dtype":"U8","shape":["8"],"data_offsets":[0,8]}})", "tensor 'a': found shape"},
      {R"({"a":{"dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,8]}})",
       "tensor 'a': found shape"},
      {R"({"a":{"dtype":"F64","shape":[4294967296,4294967296],"data_offsets":[0,8]}})",
       "tensor 'a': found a shape of more than"},
      {R"({"a":{"dtype":"U8","shape":[7],"data_offsets":[0,8]}})",
       "tensor 'a': found 8 bytes of data, expected 7 bytes for U8 [7]"},
      {R"({"a":{"dtype":"F32","shape":[8],"data_offsets":[0,8]}})",
       "tensor 'a': found 8 bytes of data, expected 32"},
      {R"({"a":{"dtype":"F4","shape":[3],"data_offsets":[0,8]}})",
       "tensor 'a': found 12 bits, expected a whole number of bytes"},
      {R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[8,0]}})", "tensor 'a': found data_offsets [8,0]"},
      {R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[-1,7]}})", "tensor 'a': found data_offsets [-1,7]"},
      {R"({"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}})",
       "expected [begin, end] within 8 bytes of data"},
      {R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0]}})", "tensor 'a': found data_offsets [0]"},
      {R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8,8]}})", "tensor 'a': found data_offsets"},
      {R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0,18446744073709551615]}})",
       "tensor 'a': found data_offsets"},
      {R"({"a":{"dtype":"U8","shape":[7],"data_offsets":[1,8]}})",
       "tensor 'a': found data from byte 1 on, expected byte 0"},
      {R"({"a":{"dtype":"U8","shape":[7],"data_offsets":[0,7]}})", "found 8 bytes of data, expected 7 bytes"},
      {R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})",
       "tensor 'b': found data from byte 4 on, expected byte 8"},
      {R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}})",
       "'a'"},
      {R"({"__metadata__":[],"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}})",
       "__metadata__: found []"},
      {R"({"__metadata__":{"k":1},"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}})",
       "__metadata__: found 1 under 'k'"}};
  for (const auto& [header, message] : cases)
    EXPECT_THAT(header_fault(header), AllOf(HasSubstr("a b.safetensors"), HasSubstr(message))) << header;
  std::string many = R"({"a":{"dtype":"U8","data_offsets":[0,8],"shape":[8)";
  for (int i = 0; i < 100; ++i) many += ",1";
  EXPECT_THAT(header_fault(many + "]}}"), HasSubstr("expected a list of sizes"));
  EXPECT_THAT(header_fault(std::string(100'000, '[')), HasSubstr("a b.safetensors"));
  EXPECT_THAT(header_fault(std::string(R"({"a":)") + std::string(5'000, '[')), HasSubstr("a b.safetensors"));
}

TEST_F(Safetensors, LengthsThatCannotBeAreRefusedBeforeAnythingIsRead) {
  EXPECT_THAT(fault(""), HasSubstr("found 0 bytes, expected a safetensors file"));
  EXPECT_THAT(fault("1234567"), HasSubstr("found 7 bytes, expected a safetensors file"));
  std::string huge(16, '\xff');
  EXPECT_THAT(fault(huge), HasSubstr("found a header of 18446744073709551615 bytes"));
  huge = std::string("\x00\xe1\xf5\x05\x00\x00\x00\x00", 8);  // 100,000,000: allowed, but not there
  EXPECT_THAT(fault(huge + "{}"),
              HasSubstr("found 10 bytes, expected at least 100000008 bytes: the file is cut off"));
  EXPECT_THAT(one_line_fault_of([&] { SafetensorsFile::open(directory_ / "none"); }),
              HasSubstr("none: found No such file"));
  EXPECT_THAT(one_line_fault_of([&] { SafetensorsFile::open(directory_.path()); }),
              HasSubstr("expected a file"));
}

TEST_F(Safetensors, EveryTruncationIsRefused) {
  SafetensorsWriter writer(path_, {{"w", DType::kF32, Shape{5}}, {"e", DType::kF32, Shape{0}}});
  writer.write("w", 0, random_bytes(20, 1));
  writer.finish();
  const std::string whole = text_of(path_);
  for (size_t size = 0; size < whole.size(); ++size)
    EXPECT_NE(fault(whole.substr(0, size)), "no error") << size;
  EXPECT_NE(fault(whole + "x"), "no error");
  EXPECT_EQ(fault(whole), "no error");
}

TEST_F(Safetensors, PartsMayBeWrittenInAnyOrderByThreads) {
  const auto a = random_bytes(40'000, 1), b = random_bytes(30'001, 2);
  SafetensorsWriter writer(path_, {{"a", DType::kF32, Shape{10'000}}, {"b", DType::kU8, Shape{30'001}}});
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (size_t begin = t * 1000; begin < a.size(); begin += 4000)
        writer.write("a", static_cast<int64_t>(begin), std::span(a).subspan(begin, 1000));
      if (t == 0) writer.write("b", 0, b);
    });
  for (std::thread& thread : threads) thread.join();
  writer.finish();
  const SafetensorsFile file = SafetensorsFile::open(path_);
  EXPECT_EQ(std::memcmp(file.raw("a").data(), a.data(), a.size()), 0);
  EXPECT_EQ(std::memcmp(file.raw("b").data(), b.data(), b.size()), 0);
}

TEST_F(Safetensors, ChecksumsAreOfTheDataWhateverItsOrder) {
  const int64_t large = 2 * kChunkBytes + 12;
  const auto a = random_bytes(large, 1), b = random_bytes(7, 2);
  SafetensorsWriter writer(
      path_, {{"z", DType::kU8, Shape{large}}, {"none", DType::kF32, Shape{0}}, {"b", DType::kU8, Shape{7}}},
      {.metadata = {{"key", "value"}}, .checksums = true});
  writer.write("b", 0, b);
  writer.write("z", large / 2, std::span(a).subspan(static_cast<size_t>(large / 2)));
  writer.write("z", 0, std::span(a).first(static_cast<size_t>(large / 2)));
  writer.finish();
  const SafetensorsFile file = SafetensorsFile::open(path_);
  EXPECT_EQ(file.metadata().at("key"), "value");
  EXPECT_EQ(file.metadata().at(kChecksumKey), to_hex(std::array{crc32c(a), crc32c({}), crc32c(b)}));
  for (const char* name : {"z", "none", "b"})
    EXPECT_EQ(one_line_fault_of([&] { file.tensor(name); }), "no error");
}

TEST_F(Safetensors, DamageIsNamedWhenTheTensorIsAskedFor) {
  const auto a = random_bytes(kChunkBytes + 9, 1), b = random_bytes(5, 2);
  SafetensorsWriter writer(path_, {{"a", DType::kU8, Shape{kChunkBytes + 9}}, {"b", DType::kU8, Shape{5}}},
                           {.checksums = true});
  writer.write("a", 0, a);
  writer.write("b", 0, b);
  writer.finish();
  const std::string whole = text_of(path_);
  const RandomStream random({.seed = 3});
  for (uint64_t i = 0; i < 20; ++i) {
    std::string damaged = whole;
    const size_t byte = whole.size() - 1 - random.below(a.size() + b.size(), 2 * i);
    damaged[byte] = static_cast<char>(damaged[byte] ^ (1 << i % 8));
    put(path_, damaged);
    const SafetensorsFile file = SafetensorsFile::open(path_);
    const bool last = byte >= whole.size() - b.size();
    for (int again = 0; again < 2; ++again)
      EXPECT_THAT(one_line_fault_of([&] { file.tensor(last ? "b" : "a"); }),
                  AllOf(HasSubstr(path_.string() + (last ? ": tensor 'b'" : ": tensor 'a'")),
                        HasSubstr("found checksum"), HasSubstr("the file is damaged")));
    EXPECT_EQ(one_line_fault_of([&] { file.tensor(last ? "a" : "b"); }), "no error");
  }
}

TEST_F(Safetensors, ChecksumsThatAreNoneAreRefused) {
  EXPECT_THAT(header_fault(R"({"__metadata__": {"aleph.crc32c": "0123"},)"
                           R"( "w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}})"),
              HasSubstr("found checksums '0123', expected 1 of eight hexadecimal digits each"));
}

TEST_F(Safetensors, NothingHalfWrittenHasTheName) {
  put(path_, "the old file");
  {
    SafetensorsWriter writer(path_, {{"w", DType::kF32, Shape{2}}});
    writer.write("w", 0, random_bytes(4, 1));
    EXPECT_THROW(writer.seal(), InternalError) << "four bytes are missing";
    EXPECT_TRUE(fs::exists(path_.string() + ".tmp"));
  }
  EXPECT_EQ(text_of(path_), "the old file");
  EXPECT_FALSE(fs::exists(path_.string() + ".tmp"));
}

TEST_F(Safetensors, WrongCallsAreOurOwnBugs) {
  SafetensorsWriter writer(path_, {{"w", DType::kF32, Shape{2}}});
  const auto data = random_bytes(8, 1);
  EXPECT_THROW(writer.write("v", 0, data), InternalError);
  EXPECT_THROW(writer.write("w", 1, data), InternalError);
  EXPECT_THROW(writer.write("w", -1, data), InternalError);
  EXPECT_THROW(writer.write("w", ConstTensorView(data.data(), Shape{2}, DType::kI32)), InternalError);
  EXPECT_THROW(writer.write("w", ConstTensorView(data.data(), Shape{1, 2}, DType::kF32)), InternalError);
  EXPECT_THROW(writer.publish(), InternalError);
  writer.write("w", 0, data);
  writer.seal();
  EXPECT_THROW(writer.write("w", 0, data), InternalError);
  EXPECT_THAT(one_line_fault_of([&] {
                SafetensorsWriter(path_, {{"a", DType::kF32, Shape{1}}, {"a", DType::kF32, Shape{1}}});
              }),
              HasSubstr("tensor 'a': found a name that is taken"));
}

TEST_F(Safetensors, AFullDiskIsNoticedBeforeDataIsWritten) {
  io::FaultInjection faults;
  faults.fail(io::Call::kAllocate, 1, ENOSPC);
  EXPECT_THAT(one_line_fault_of([&] {
                SafetensorsWriter(path_, {{"w", DType::kF32, Shape{1 << 20}}}, {.calls = &faults});
              }),
              AllOf(HasSubstr("a b.safetensors.tmp"), HasSubstr("No space left"), HasSubstr("4.0 MiB")));
  EXPECT_TRUE(fs::is_empty(directory_.path()));
}

TEST_F(Safetensors, AKillAtAnyChangeLeavesTheOldFileOrTheNewOne) {
  const auto save = [&](uint64_t seed, io::FaultInjection& faults) {
    SafetensorsWriter writer(path_, {{"w", DType::kF32, Shape{300}}}, {.calls = &faults});
    writer.write("w", 0, random_bytes(1200, seed));
    writer.finish();
  };
  int64_t changes = 100;
  for (int64_t kill = 1; kill <= changes + 1; ++kill) {
    io::FaultInjection faults;
    save(1, faults);
    const int64_t before = faults.changes();
    faults.kill_at_change(kill);
    bool complete = false;
    if (one_line_fault_of([&] { save(2, faults); }) == "no error") {
      changes = std::min(changes, faults.changes() - before);
      complete = true;
    }
    faults.lose_power(io::FaultInjection::PowerLoss::kRandom, static_cast<uint64_t>(kill));
    const SafetensorsFile file = SafetensorsFile::open(path_);
    const auto is = [&](uint64_t seed) {
      return std::memcmp(file.raw("w").data(), random_bytes(1200, seed).data(), 1200) == 0;
    };
    EXPECT_TRUE(is(2) || (!complete && is(1))) << kill;
  }
  EXPECT_GE(changes, 5);
  EXPECT_LT(changes, 100);
}

}  // namespace
}  // namespace aleph::checkpoint
