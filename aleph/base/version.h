// Which Aleph this is. Filled in by the build (cmake/version.cmake).
#pragma once

#include <string_view>

namespace aleph {

/// "0.1.0".
std::string_view version();

/// The commit that was built, twelve hex digits, or "unknown" outside a git checkout.
std::string_view commit();

}  // namespace aleph
