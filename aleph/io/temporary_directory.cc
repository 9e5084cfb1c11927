#include "aleph/io/temporary_directory.h"

#include <cerrno>
#include <cstdlib>
#include <string>
#include <system_error>

#include "aleph/base/error.h"

namespace aleph::io {

TemporaryDirectory::TemporaryDirectory() : TemporaryDirectory(std::filesystem::temp_directory_path()) {}

TemporaryDirectory::TemporaryDirectory(const std::filesystem::path& parent) {
  std::string name = (parent / "aleph-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr)
    throw Error(parent.string(), std::generic_category().message(errno), "a directory for temporary files");
  path_ = name;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace aleph::io
