// What the system says about memory.
#pragma once

#include <cstdint>
#include <optional>

namespace aleph {

/// Bytes the system could still give, as /proc/meminfo estimates them; 0 where it does not say.
int64_t available_memory_bytes();
/// The memory limit of this control group (version 2 or 1), where there is one.
std::optional<int64_t> memory_limit_bytes();
/// The smaller of both; 0 where neither is known.
int64_t usable_memory_bytes();
/// Throws Error naming `what` where the process may not map `bytes` more (ulimit -v). For libraries that do
/// not look whether they got what they asked for.
void require_address_space(int64_t bytes, const char* what);

}  // namespace aleph
