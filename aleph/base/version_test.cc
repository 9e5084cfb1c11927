#include "aleph/base/version.h"

#include <gtest/gtest.h>

#include <regex>
#include <string>

namespace aleph {
namespace {

TEST(VersionTest, IsFilledIn) {
  EXPECT_TRUE(std::regex_match(std::string(version()), std::regex(R"(\d+\.\d+\.\d+)"))) << version();
  EXPECT_TRUE(std::regex_match(std::string(commit()), std::regex("unknown|[0-9a-f]{12}"))) << commit();
}

}  // namespace
}  // namespace aleph
