#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>

#include "aleph/zero/home.h"

namespace aleph::zero {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPrefix = "aleph-swap-";

/// Holds an exclusive lock on FOLDER/lock for as long as the descriptor is open; the system drops it when the
/// process dies, however it dies.
bool lock_folder(const fs::path& folder, int& descriptor) {
  descriptor = ::open((folder / "lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (descriptor < 0) return false;
  if (::flock(descriptor, LOCK_EX | LOCK_NB) == 0) return true;
  ::close(descriptor);
  descriptor = -1;
  return false;
}

/// Removes folders whose owner is gone.
void remove_abandoned(const fs::path& directory) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(directory, ignored)) {
    if (!entry.path().filename().string().starts_with(kPrefix)) continue;
    int descriptor = -1;
    if (!lock_folder(entry.path(), descriptor)) continue;
    fs::remove_all(entry.path(), ignored);
    ::close(descriptor);
  }
}

}  // namespace

SwapSpace::SwapSpace(const Options& options)
    : options_(options),
      queue_({.depth = options.queue_depth, .block_bytes = options.block_bytes, .calls = options.calls}) {
  for (const fs::path& directory : options.directories) {
    std::error_code error;
    fs::create_directories(directory, error);
    remove_abandoned(directory);
    const fs::path folder = directory / fmt::format("{}{}-rank{}", kPrefix, ::getpid(), options.rank);
    int descriptor = -1;
    if (!error) fs::create_directory(folder, error);
    if (error || !lock_folder(folder, descriptor)) {
      const std::string reason = error ? error.message() : std::strerror(errno);
      throw Error("swap folder " + directory.string(), reason, "a folder that can be written (--nvme-path)");
    }
    folders_.push_back(folder);
    locks_.push_back(descriptor);
  }
}

SwapSpace::~SwapSpace() {
  try {
    queue_.drain();
  } catch (const Error&) {  // whoever needed the transfer has seen its error at the wait
  }
  for (const fs::path& folder : folders_) {
    std::error_code ignored;
    fs::remove_all(folder, ignored);
  }
  for (const int descriptor : locks_) ::close(descriptor);
}

}  // namespace aleph::zero
