// Small text helpers that every folder needs: sizes with units, durations, nearest names.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace aleph {

/// "512 B", "1.5 KiB", "40.0 MiB": 1024-based.
std::string format_bytes(int64_t bytes);

/// "42 s", "3 min 05 s", "2 h 10 min".
std::string format_duration(double seconds);

/// Reads "300M", "1.5G", "4096" (K M G T, 1024-based, optional trailing B or iB). Throws UsageError naming
/// `object`.
int64_t parse_size(std::string_view text, const std::string& object);

/// The candidate with the smallest edit distance to `name`, or "" when none is near (more than half its
/// length away).
std::string nearest_name(std::string_view name, std::span<const std::string> candidates);

/// Text with control characters and invalid UTF-8 shown as escapes, cut to `max_bytes`: safe for a one-line
/// message.
std::string printable(std::string_view text, size_t max_bytes = 80);

}  // namespace aleph
