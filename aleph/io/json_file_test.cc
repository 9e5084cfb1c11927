#include "aleph/io/json_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "aleph/base/testing.h"
#include "aleph/io/file.h"
#include "aleph/io/temporary_directory.h"

namespace aleph::io {
namespace {

using ::testing::HasSubstr;

TEST(ParseJsonFile, ReadsAndNamesTheFile) {
  const TemporaryDirectory directory;
  const auto path = directory / "some.json";
  write_file_atomically(path, R"({"a": 1})");
  EXPECT_EQ(parse_json_file(path).at("a"), 1);
  write_file_atomically(path, "");
  EXPECT_THAT(fault_of([&] { parse_json_file(path); }), HasSubstr("some.json"));
  std::filesystem::remove(path);
  EXPECT_THAT(fault_of([&] { parse_json_file(path); }), HasSubstr("some.json: found No such file"));
  EXPECT_THAT(fault_of([&] { parse_json_file(directory.path()); }), HasSubstr("expected a file"));
}

}  // namespace
}  // namespace aleph::io
