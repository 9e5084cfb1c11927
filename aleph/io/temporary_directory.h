// A directory for tests that is gone afterwards.
#pragma once

#include <filesystem>

namespace aleph::io {

/// A new directory below the system's place for temporary files; removed with all it holds by the destructor.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  /// Below `parent`, for a disk of one's choice.
  explicit TemporaryDirectory(const std::filesystem::path& parent);
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::filesystem::path& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

}  // namespace aleph::io
