// aleph train: prints the configuration, or trains.
#include <cstdio>

#include "aleph/base/interrupt.h"
#include "aleph/cli/commands.h"
#include "aleph/train/trainer.h"

namespace aleph::cli {

int train_command(const train::TrainConfig& config, Console& console) {
  if (config.print_config) {
    fmt::print("{}\n", train::describe_config(config));
    return kDone;
  }
  train::validate(config);
  for (const std::string& note : config.notes) console.line("note: " + note);
  guard_until_exit();
  return train::train(config, console) == train::Outcome::kFinished ? kDone : kInterrupted;
}

}  // namespace aleph::cli
