// One process at a time in a directory.
#pragma once

#include <filesystem>

namespace aleph::io {

/// Holds an exclusive lock (flock) on a directory; the system drops it when the process ends, however it
/// ends.
class DirectoryLock {
 public:
  /// Throws Error where another process holds it or the directory cannot be opened.
  explicit DirectoryLock(const std::filesystem::path& directory);
  ~DirectoryLock();
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;

 private:
  int descriptor_ = -1;
};

}  // namespace aleph::io
