// Flags of a command as a table: one list drives parsing, environment variables and --help.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "aleph/train/config_fields.h"

namespace aleph::cli {

struct Flag {
  using Arity = train::ConfigField::Arity;

  std::string name;   ///< kebab-case, without dashes; the snake_case twin and ALEPH_ARG_NAME are accepted too
  std::string group;  ///< heading in --help
  std::string value;  ///< what stands for the value, "N"; "" for switches
  std::string help;
  std::string fallback;  ///< the default as --help shows it; "": none
  Arity arity = Arity::kOne;
  bool commas = false;  ///< several values may stand in one argument
  /// Receives the values and where they came from ("--lr", "ALEPH_ARG_LR"). Throws UsageError.
  std::function<void(const std::vector<std::string>& values, const std::string& source)> set;
};

struct CommandSyntax {
  std::string name;     ///< "aleph train"
  std::string summary;  ///< one line
  std::vector<Flag> flags;
  std::string positional;  ///< "DIR..." or "": none are taken
  std::vector<std::string> examples;
};

/// Calls `set` of every flag that is given, those of the environment first; returns the positional arguments.
/// Throws UsageError: unknown flags with the nearest known one, missing values.
std::vector<std::string> parse_flags(const CommandSyntax& syntax, const std::vector<std::string>& arguments);

/// True where --help or -h is among the arguments.
bool wants_help(const std::vector<std::string>& arguments);
/// Grouped, at most 100 columns, with defaults.
std::string help_text(const CommandSyntax& syntax);

/// Reads a number; throws UsageError naming `source` where `text` is none or below `least`.
int64_t parse_integer(const std::string& text, const std::string& source, int64_t least = 0);
double parse_number(const std::string& text, const std::string& source, double least = 0);

}  // namespace aleph::cli
