#include "aleph/io/directory_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "aleph/base/error.h"

namespace aleph::io {

DirectoryLock::DirectoryLock(const std::filesystem::path& directory)
    : descriptor_(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
  if (descriptor_ < 0)
    throw Error(directory.string(), std::generic_category().message(errno), "a directory that can be opened");
  // File systems without locks do without.
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;
  ::close(descriptor_);
  throw Error(directory.string(), "another run at work in it", "a directory of its own for each run");
}

DirectoryLock::~DirectoryLock() { ::close(descriptor_); }

}  // namespace aleph::io
