#include "tests/support/arguments.h"

#include <gmock/gmock.h>

#include <algorithm>

namespace aleph::tests {

Arguments operator+(Arguments all, const Arguments& more) {
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

Arguments with(Arguments arguments, const std::string& flag, const std::string& value) {
  const auto found = std::find(arguments.begin(), arguments.end(), flag);
  if (found == arguments.end()) return std::move(arguments) + Arguments{flag, value};
  *std::next(found) = value;
  return arguments;
}

Arguments with_states_on(const std::string& home, Arguments arguments) {
  for (const char* flag : {"--offload-param", "--offload-optimizer", "--offload-activations"})
    arguments = with(std::move(arguments), flag, home);
  return arguments;
}

void expect_one_line(const ProgramResult& result, int status, const std::string& words) {
  SCOPED_TRACE(words);
  EXPECT_EQ(result.status, status) << result.err;
  EXPECT_THAT(result.err, ::testing::StartsWith("aleph: error: "));
  EXPECT_THAT(result.err, ::testing::HasSubstr(words));
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  EXPECT_EQ(result.out, "");
}

}  // namespace aleph::tests
