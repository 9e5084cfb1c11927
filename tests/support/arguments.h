// Arguments of the program, put together from those of another run, and errors that it answers with.
#pragma once

#include <string>
#include <vector>

#include "tests/support/program.h"

namespace aleph::tests {

using Arguments = std::vector<std::string>;

Arguments operator+(Arguments all, const Arguments& more);
/// `arguments` with `flag` at `value`, in place of the value it has there.
Arguments with(Arguments arguments, const std::string& flag, const std::string& value);
/// All states of the run at one home: none, cpu, nvme.
Arguments with_states_on(const std::string& home, Arguments arguments);

/// The program has ended with `status` and one line of an error that contains `words`, and no result.
void expect_one_line(const ProgramResult& result, int status, const std::string& words);

}  // namespace aleph::tests
