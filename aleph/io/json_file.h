// JSON in files.
#pragma once

#include <filesystem>

#include "aleph/base/json.h"
#include "aleph/io/syscalls.h"

namespace aleph::io {

/// Reads and parses a whole file of at most 256 MiB. Throws Error as read_file and parse_json do.
Json parse_json_file(const std::filesystem::path& path, SystemCalls* calls = nullptr);

}  // namespace aleph::io
