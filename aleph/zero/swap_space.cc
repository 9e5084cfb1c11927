#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>

#include "aleph/zero/home.h"

namespace aleph::zero {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPrefix = "aleph-swap-";
constexpr const char* kLock = "lock";
constexpr const char* kNewLock = "lock.new";

void require(int result, const fs::path& directory) {
  if (result < 0)
    throw Error("swap folder " + directory.string(), std::generic_category().message(-result),
                "a folder that can be written (--nvme-path)");
}

/// The lock goes last: whoever is killed here leaves a folder that the next run removes.
void remove_folder(const fs::path& folder, io::SystemCalls& calls) {
  try {
    for (const fs::path& entry : io::list_directory(folder))
      if (entry.filename() != kLock) io::remove_all(entry, &calls);
    io::remove_all(folder, &calls);
  } catch (const Error&) {  // what cannot be removed is in nobody's way
  }
}

/// Removes folders whose owner is gone: those with a lock file that nobody holds.
void remove_abandoned(const fs::path& directory, io::SystemCalls& calls) {
  for (const fs::path& folder : io::list_directory(directory)) {
    if (!folder.filename().string().starts_with(kPrefix)) continue;
    const int descriptor = ::open((folder / kLock).c_str(), O_RDWR | O_CLOEXEC);
    if (descriptor < 0) continue;
    if (::flock(descriptor, LOCK_EX | LOCK_NB) == 0) remove_folder(folder, calls);
    ::close(descriptor);
  }
}

/// A folder that nobody has yet. Names of other runs are taken, of other machines and containers, too.
fs::path make_folder(const fs::path& directory, int rank, io::SystemCalls& calls) {
  const std::string name = fmt::format("{}{}-rank{}", kPrefix, ::getpid(), rank);
  fs::path folder = directory / name;
  int result = calls.make_directory(folder.c_str());
  for (int i = 2; result == -EEXIST; ++i) {
    folder = directory / fmt::format("{}-{}", name, i);
    result = calls.make_directory(folder.c_str());
  }
  require(result, directory);
  return folder;
}

}  // namespace

/// A folder with an exclusive lock on FOLDER/lock for as long as it lives; the system drops the lock when the
/// process dies, however it dies.
class SwapSpace::Folder {
 public:
  Folder(const fs::path& directory, int rank, io::SystemCalls& calls) : calls_(calls) {
    io::create_directories(directory, &calls);
    remove_abandoned(directory, calls);
    path_ = make_folder(directory, rank, calls);
    try {
      lock();
    } catch (...) {
      clear();
      throw;
    }
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() { clear(); }

  const fs::path& path() const { return path_; }

 private:
  /// The file gets its name when it is locked: no other run ever sees it unlocked.
  void lock() {
    const fs::path file = path_ / kNewLock;
    descriptor_ = calls_.open(file.c_str(), O_RDWR | O_CREAT);
    require(descriptor_, path_);
    require(::flock(descriptor_, LOCK_EX | LOCK_NB) == 0 ? 0 : -errno, path_);
    require(calls_.rename(file.c_str(), (path_ / kLock).c_str()), path_);
  }
  void clear() {
    remove_folder(path_, calls_);
    if (descriptor_ >= 0) ::close(descriptor_);
  }

  io::SystemCalls& calls_;
  fs::path path_;
  int descriptor_ = -1;
};

SwapSpace::SwapSpace(const Options& options)
    : options_(options),
      queue_({.depth = options.queue_depth,
              .block_bytes = options.block_bytes,
              .backend = options.backend,
              .calls = options.calls}) {
  io::SystemCalls& calls = options.calls != nullptr ? *options.calls : io::SystemCalls::real();
  for (const fs::path& directory : options.directories) {
    locked_.push_back(std::make_unique<Folder>(directory, options.rank, calls));
    folders_.push_back(locked_.back()->path());
  }
}

SwapSpace::~SwapSpace() {
  try {
    queue_.drain();
  } catch (const Error&) {  // whoever needed the transfer has seen its error at the wait
  }
}

}  // namespace aleph::zero
