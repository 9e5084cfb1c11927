// The whole program behind main: picks the command and turns exceptions into exit statuses.
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <functional>
#include <new>
#include <system_error>

#include "aleph/base/error.h"
#include "aleph/base/log.h"
#include "aleph/base/text_util.h"
#include "aleph/base/version.h"
#include "aleph/cli/arguments.h"
#include "aleph/cli/instruction_sets.h"
#include "aleph/cli/tools.h"
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

int run_verify(const Arguments& arguments) { return verify_command(parse_verify_arguments(arguments)); }

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
  return fmt::format("aleph {} ({})\nbuilt for x86-64 with {}, chosen at run time\nuses here: {}\n",
                     version(), commit(), built_instruction_sets(), used_instruction_sets());
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

/// Variables of other commands are fine, misspelled ones are not.
void check_variables() {
  std::vector<std::string> names;
  for (const Command& command : commands()) {
    for (const Flag& flag : command.syntax().flags) names.push_back(environment_name(flag.name));
  }
  check_environment(names);
}

int run_command(const Command& command, const Arguments& arguments) {
  const CommandSyntax syntax = command.syntax();
  if (wants_help(syntax, arguments)) {
    fmt::print("{}", help_text(syntax));
    return kDone;
  }
  check_variables();
  return command.run(arguments);
}

int dispatch(Arguments arguments) {
  if (arguments.empty()) throw UsageError("aleph", "no command", "a command of aleph --help");
  const std::string first = arguments.front();
  arguments.erase(arguments.begin());
  if (first == "help" && !arguments.empty()) return run_command(find_command(arguments[0]), {"--help"});
  if (first == "--help" || first == "-h" || first == "help") {
    fmt::print("{}", program_help());
  } else if (first == "--version") {
    fmt::print("{}", version_text());
  } else {
    return run_command(find_command(first), arguments);
  }
  return kDone;
}

Error lost_output(const std::string& reason) {
  return Error("standard output", reason, "that it takes the results");
}

/// Results that did not arrive are no success.
void finish_output() {
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) throw lost_output(std::strerror(errno));
}

/// One line, whatever names stand in it.
int report(const std::string& what, ExitStatus status) {
  std::string line;
  for (const char c : what) line += c == '\n' ? "\\n" : c == '\r' ? "\\r" : std::string(1, c);
  print_error(fmt::format("aleph: error: {}\n", line));
  return status;
}

}  // namespace

int report_failure(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const UsageError& error) {
    return report(error.what(), kWrongUsage);
  } catch (const zero::PlanError& error) {
    print_error(error.table() + "\n");
    return report(error.what(), kWorldsFault);
  } catch (const Error& error) {
    return report(error.what(), kWorldsFault);
  } catch (const std::bad_alloc&) {
    return report("memory: found the system out of memory, expected enough for this run", kWorldsFault);
  } catch (const std::system_error& error) {
    if (std::ferror(stdout) != 0) return report(lost_output(error.code().message()).what(), kWorldsFault);
    if (error.code() == std::errc::resource_unavailable_try_again)
      return report(
          "threads: found the system refusing to start one, expected room for it (ulimit -v, ulimit -u)",
          kWorldsFault);
    return report(fmt::format("system: found {}, expected success", error.what()), kWorldsFault);
  } catch (const std::exception& error) {
    return report(fmt::format("a bug of this program: {}", error.what()), kOwnBug);
  }
}

int run(int argc, const char* const* argv) {
  try {
    const int status = dispatch(Arguments(argv + std::min(argc, 1), argv + argc));
    finish_output();
    return status;
  } catch (...) {
    return report_failure(std::current_exception());
  }
}

}  // namespace aleph::cli
