#include "fuzz/parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <filesystem>
#include <fstream>

#include "aleph/base/error.h"
#include "aleph/text/utf8.h"

// Of address sanitizer; gcc has no header for it.
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*malloc_hook)(const volatile void*, size_t),
                                                         void (*free_hook)(const volatile void*))
    __attribute__((weak));

namespace aleph::fuzz {
namespace {

constexpr size_t kLongestLine = 2000;

std::atomic<bool> watching{false};
std::atomic<size_t> largest{0};

// Sees operator new, malloc, and what C libraries allocate.
void note_allocation(const volatile void*, size_t bytes) {
  if (watching && bytes > largest) largest = bytes;
}
void ignore_free(const volatile void*) {}

const bool seen = __sanitizer_install_malloc_and_free_hooks != nullptr &&
                  __sanitizer_install_malloc_and_free_hooks(note_allocation, ignore_free) != 0;

std::string fault_of_line(std::string_view line) {
  const auto fault = [&](const char* what) { return fmt::format("a message {}: {}", what, line); };
  const bool clear =
      line.find(": found ") != std::string_view::npos && line.find(", expected ") != std::string_view::npos;
  if (!clear) return fault("that does not say what was found and expected");
  if (line.size() > kLongestLine) return fault("of more than 2000 bytes");
  if (text::valid_utf8_length(line, 0) != line.size()) return fault("that is no UTF-8");
  const auto control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
  return std::any_of(line.begin(), line.end(), control) ? fault("with control characters") : "";
}

Outcome outcome_of(std::string_view file) {
  try {
    kParser.parse(file);
  } catch (const Error& error) {
    return {.fault = fault_of_line(error.what())};
  } catch (const std::exception& exception) {
    return {.fault = fmt::format("an exception that is no Error: {}", exception.what())};
  }
  return {.taken = true};
}

Outcome run_watched(std::string_view file) {
  largest = 0;
  watching = true;
  Outcome outcome = outcome_of(file);
  watching = false;
  const size_t limit = std::max(10 * file.size(), kParser.small_allocation);
  if (outcome.fault.empty() && seen && largest > limit)
    outcome.fault =
        fmt::format("an allocation of {} bytes for a file of {}, more than {}", largest, file.size(), limit);
  return outcome;
}

}  // namespace

void parsed() { watching = false; }

Outcome run_parser(std::string_view file) {
  const Outcome outcome = run_watched(file);
  return outcome.fault.empty() && kParser.repair != nullptr ? run_watched(kParser.repair(file)) : outcome;
}

std::string scratch_root() {
  const std::filesystem::path memory = "/dev/shm";
  return (std::filesystem::is_directory(memory) ? memory : std::filesystem::temp_directory_path()).string();
}

void write_scratch(const std::string& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

}  // namespace aleph::fuzz
