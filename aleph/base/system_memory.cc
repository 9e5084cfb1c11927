#include "aleph/base/system_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "aleph/base/error.h"
#include "aleph/base/text_util.h"

namespace aleph {

int64_t available_memory_bytes() {
  std::ifstream in("/proc/meminfo");
  std::string key, unit;
  int64_t kibibytes = 0;
  while (in >> key >> kibibytes && std::getline(in, unit))
    if (key == "MemAvailable:") return kibibytes * 1024;
  return 0;
}

std::optional<int64_t> memory_limit_bytes() {
  for (const char* path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    std::ifstream in(path);
    int64_t limit = 0;
    // Version 1 says "none" as a number near 2^63.
    if (in >> limit && limit < int64_t{1} << 60) return limit;
  }
  return std::nullopt;
}

int64_t usable_memory_bytes() {
  const int64_t available = available_memory_bytes();
  const std::optional<int64_t> limit = memory_limit_bytes();
  if (!limit) return available;
  return available > 0 ? std::min(available, *limit) : *limit;
}

void require_address_space(int64_t bytes, const char* what) {
  void* room = ::mmap(nullptr, static_cast<size_t>(bytes), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (room == MAP_FAILED)
    throw Error("memory", fmt::format("the system refusing {} for {}", format_bytes(bytes), what),
                "room for them (ulimit -v)");
  ::munmap(room, static_cast<size_t>(bytes));
}

}  // namespace aleph
