// What a disk would forget if the power failed now: the memory behind FaultInjection::lose_power.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "aleph/io/temporary_directory.h"

namespace aleph::io {

enum class PowerLoss : uint8_t {
  kAll,     ///< nothing that was not synced survives
  kRandom,  ///< any mixture that a file system may leave, see UnsyncedChanges
};

/// Changes to files and names that no fsync has covered yet, and how to take each back. The model:
/// - bytes: every page of 4096 bytes of a file is, independently, as it was after any of the writes since the
///   last fsync of the file, or before them;
/// - the size of a file: as after any change since its last fsync, or before; lost pages within it are zero;
/// - names: a change is made as a whole or not at all, and is durable after fsync of the directory that holds
///   the (new) name. Changes survive in any combination in which one that survives does not build on one that
///   does not: it builds on earlier ones of the same names, and of the file or directory they name.
/// Removed and replaced files are kept aside, so that they can come back; they must be on the file system of
/// the directory for temporary files. Not thread-safe.
class UnsyncedChanges {
 public:
  UnsyncedChanges();
  ~UnsyncedChanges();
  UnsyncedChanges(const UnsyncedChanges&) = delete;
  UnsyncedChanges& operator=(const UnsyncedChanges&) = delete;

  /// Called before the change.
  void write(int fd, int64_t offset, int64_t bytes);
  void resize(int fd, int64_t bytes);
  /// Called after a file or directory of that name was made.
  void create(const char* path);
  /// Each makes the change and returns 0 or -errno.
  int rename(const char* from, const char* to);
  int exchange(const char* a, const char* b);
  int remove(const char* path);

  /// An fsync of a file or directory.
  void sync(int fd);
  /// Takes back what does not survive, and forgets the rest. All files must be closed.
  void lose(PowerLoss loss, uint64_t seed);

 private:
  class Handle;
  struct Change {
    std::string owner;              // the file or directory whose fsync makes it durable
    std::vector<std::string> keys;  // what it builds on: changes that share one survive in order
    std::function<void()> undo;
  };

  std::shared_ptr<Handle> handle_of(int fd, const std::string& owner);
  std::string new_grave();

  std::vector<Change> changes_;
  std::map<std::string, std::shared_ptr<Handle>> handles_;  // of files with unsynced bytes, by identity
  std::optional<TemporaryDirectory> graveyard_;
  int64_t graves_ = 0;
};

}  // namespace aleph::io
