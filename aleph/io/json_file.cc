#include "aleph/io/json_file.h"

#include "aleph/io/file.h"

namespace aleph::io {

namespace {

constexpr int64_t kMaxBytes = int64_t{256} << 20;

}  // namespace

Json parse_json_file(const std::filesystem::path& path, SystemCalls* calls) {
  return parse_json(read_file(path, kMaxBytes, calls), path.string());
}

}  // namespace aleph::io
