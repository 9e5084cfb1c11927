// What a fuzz program is made of: a parser, defined in its x_fuzz.cc, and the promise every parser is held
// to.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace aleph::fuzz {

struct Parser {
  /// Parses `file` as the program would. May return, or throw Error; anything else is a fault.
  void (*parse)(std::string_view file);
  /// Bytes that it may allocate at once however small the file is.
  size_t small_allocation = 1 << 16;
  /// The file with what guards it (a length, a checksum) made right, so that a change reaches what is behind
  /// the guard.
  std::string (*repair)(std::string_view file) = nullptr;
};

/// Each program defines its own.
extern const Parser kParser;

/// Says, within Parser::parse, that the file is read; what it is used for may allocate as it likes.
void parsed();

struct Outcome {
  bool taken = false;  ///< the parser did not refuse the file
  std::string fault;   ///< how the promise was broken; empty where it was kept
};
/// Runs the parser on the file, and on the repaired one. It promises to return, or to throw an Error of one
/// printable line, and that no single allocation is larger than ten times the file, or than
/// Parser::small_allocation (seen in builds with address sanitizer).
Outcome run_parser(std::string_view file);

/// Where files cost least: /dev/shm where it is there.
std::string scratch_root();
/// Replaces the contents of a file.
void write_scratch(const std::string& path, std::string_view bytes);

}  // namespace aleph::fuzz
