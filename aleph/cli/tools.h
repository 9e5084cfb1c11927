// The commands that do not compute with a model: tokenizer, info, doctor.
#pragma once

#include <string>
#include <vector>

#include "aleph/cli/flags.h"

namespace aleph::cli {

CommandSyntax tokenizer_syntax();
CommandSyntax info_syntax();
CommandSyntax doctor_syntax();

/// Arguments without the program's and the command's names. Results go to standard output. Return an exit
/// status.
int tokenizer_command(const std::vector<std::string>& arguments);
int info_command(const std::vector<std::string>& arguments);
int doctor_command(const std::vector<std::string>& arguments);

}  // namespace aleph::cli
