// The syntax of the commands that compute, each writing into an options struct.
#pragma once

#include "aleph/cli/commands.h"
#include "aleph/cli/flags.h"

namespace aleph::cli {

CommandSyntax train_syntax(train::TrainConfig& config);
CommandSyntax generate_syntax(GenerateOptions& options);
CommandSyntax verify_syntax(VerifyOptions& options);

}  // namespace aleph::cli
