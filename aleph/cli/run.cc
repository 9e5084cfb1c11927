// The whole program behind main: picks the command and turns exceptions into exit statuses.
#include <cstdio>
#include <functional>
#include <new>

#include "aleph/base/error.h"
#include "aleph/base/text_util.h"
#include "aleph/base/version.h"
#include "aleph/cli/arguments.h"
#include "aleph/cli/tools.h"
#include "aleph/kernels/simd/simd.h"
#include "aleph/zero/planner.h"

namespace aleph::cli {
namespace {

using Arguments = std::vector<std::string>;

struct Command {
  std::string name;
  std::string summary;
  std::function<CommandSyntax()> syntax;
  std::function<int(const Arguments&)> run;
};

template <typename Options>
std::function<CommandSyntax()> syntax_of(CommandSyntax (*make)(Options&)) {
  return [make] {
    Options options;
    return make(options);
  };
}

int run_train(const Arguments& arguments) {
  const train::TrainConfig config = parse_train_arguments(arguments);
  Console console = Console::detect(config.log.quiet);
  return train_command(config, console);
}

int run_generate(const Arguments& arguments) {
  const GenerateOptions options = parse_generate_arguments(arguments);
  Console console = Console::detect(options.quiet);
  return generate_command(options, console);
}

int run_verify(const Arguments& arguments) {
  const VerifyOptions options = parse_verify_arguments(arguments);
  Console console = Console::detect(options.quiet);
  return verify_command(options, console);
}

const std::vector<Command>& commands() {
  static const std::vector<Command> all = {
      {"train", "train or fine-tune", syntax_of(train_syntax), run_train},
      {"generate", "text from a model", syntax_of(generate_syntax), run_generate},
      {"verify", "compare models with reference outputs", syntax_of(verify_syntax), run_verify},
      {"tokenizer", "train a tokenizer; encode and decode", tokenizer_syntax, tokenizer_command},
      {"info", "what a model, checkpoint or data file holds", info_syntax, info_command},
      {"doctor", "what this machine offers", doctor_syntax, doctor_command},
  };
  return all;
}

std::string program_help() {
  std::string text =
      "usage: aleph COMMAND [flags]\n\nTrains and runs transformer language models larger than memory.\n\n";
  for (const Command& command : commands())
    text += fmt::format("  {:<12}{}\n", command.name, command.summary);
  return text + "\naleph COMMAND --help lists the flags; aleph --version tells which build this is.\n";
}

std::string version_text() {
  return fmt::format(
      "aleph {} ({}), built for x86-64 with AVX2 and AVX-512 chosen at run time, using {} here", version(),
      commit(), kernels::cpu_level_name(kernels::cpu_level()));
}

const Command& find_command(const std::string& name) {
  std::vector<std::string> names;
  for (const Command& command : commands()) {
    if (command.name == name) return command;
    names.push_back(command.name);
  }
  const std::string nearest = nearest_name(name, names);
  throw UsageError(
      "aleph", "unknown command '" + printable(name) + "'",
      nearest.empty() ? "a command of aleph --help" : "a command of aleph --help, such as " + nearest);
}

int dispatch(Arguments arguments) {
  if (arguments.empty()) throw UsageError("aleph", "no command", "a command of aleph --help");
  const std::string first = arguments.front();
  arguments.erase(arguments.begin());
  if (first == "--help" || first == "-h" || first == "help") {
    fmt::print("{}", program_help());
    return kDone;
  }
  if (first == "--version") {
    fmt::print("{}\n", version_text());
    return kDone;
  }
  const Command& command = find_command(first);
  if (!wants_help(arguments)) return command.run(arguments);
  fmt::print("{}", help_text(command.syntax()));
  return kDone;
}

int report(const char* what, ExitStatus status) {
  fmt::print(stderr, "aleph: error: {}\n", what);
  return status;
}

}  // namespace

int run(int argc, const char* const* argv) {
  try {
    return dispatch(Arguments(argv + std::min(argc, 1), argv + argc));
  } catch (const UsageError& error) {
    return report(error.what(), kWrongUsage);
  } catch (const zero::PlanError& error) {
    fmt::print(stderr, "{}\n", error.table());
    return report(error.what(), kWorldsFault);
  } catch (const Error& error) {
    return report(error.what(), kWorldsFault);
  } catch (const std::bad_alloc&) {
    return report("memory: found the system out of memory, expected enough for this run", kWorldsFault);
  } catch (const std::exception& error) {
    return report(fmt::format("a bug of this program: {}", error.what()).c_str(), kOwnBug);
  }
}

}  // namespace aleph::cli
