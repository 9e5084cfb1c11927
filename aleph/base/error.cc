#include "aleph/base/error.h"

namespace aleph {

Error::Error(const std::string& object, const std::string& found, const std::string& expected)
    : std::runtime_error(fmt::format("{}: found {}, expected {}", object, found, expected)) {}

namespace detail {

void fail_check(const char* file, int line, const char* condition, const std::string& message) {
  const char* separator = message.empty() ? "" : ": ";
  throw InternalError(fmt::format("{}:{}: check failed: {}{}{}", file, line, condition, separator, message));
}

}  // namespace detail
}  // namespace aleph
