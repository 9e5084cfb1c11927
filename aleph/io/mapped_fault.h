// What happens when a mapped file cannot be read after all.
#pragma once

namespace aleph::io {

/// From now on, touching a page of a mapped file that the system cannot load (a disk error, or a file that
/// became shorter) ends the process with one line that names the file, and exit status 1: there is no call
/// that could fail, and no result to go on with.
void report_mapped_faults();

}  // namespace aleph::io
