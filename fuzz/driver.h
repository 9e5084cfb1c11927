// Runs a parser on the files of a corpus and on many damaged copies of them:
//
//   fuzz_X CORPUS [--runs N] [--first I] [--seconds S] [--dictionary FILE] [--keep FILE]
#pragma once

#include <string>
#include <vector>

namespace aleph::fuzz {

/// Stops at the first fault: a crash, a report of a sanitizer, an outcome that breaks the promise of
/// run_parser, more than --seconds of computing for one file. Then keeps the file and says so. Returns the
/// exit status.
int drive(const std::vector<std::string>& arguments);

}  // namespace aleph::fuzz
