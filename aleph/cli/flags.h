// Flags of a command as a table: one list drives parsing, environment variables and --help.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
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
  bool first = false;   ///< set before all others, so that they win over what it sets
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

/// Calls `set` of every flag that is given; returns the positional arguments, which may stand anywhere.
///
/// A value is the argument behind its flag or stands in it, "--lr=1e-3"; it may begin with a dash, as long as
/// it is not spelled like a flag ("--stop"). A flag with several values takes all up to the next flag; given
/// again, it takes more. Of other flags the last one counts. "--" ends the flags. A flag that is not among
/// the arguments is looked up in the environment, where an empty variable counts as none. Throws UsageError:
/// unknown flags with the nearest known one, missing values.
std::vector<std::string> parse_flags(const CommandSyntax& syntax, const std::vector<std::string>& arguments);

/// True where --help or -h stands among the flags, whatever else is wrong.
bool wants_help(const CommandSyntax& syntax, const std::vector<std::string>& arguments);
/// Grouped, at most 100 columns, with defaults.
std::string help_text(const CommandSyntax& syntax);

/// "seq-len" of "seq_len".
std::string kebab(std::string name);
/// "ALEPH_ARG_SEQ_LEN" of "seq-len".
std::string environment_name(const std::string& flag);
/// Throws UsageError for a variable ALEPH_ARG_... of the environment that is none of `names`.
void check_environment(const std::vector<std::string>& names);

/// Reads a number; throws UsageError naming `source` where `text` is none or out of range.
int64_t parse_integer(const std::string& text, const std::string& source, int64_t least = 0,
                      int64_t most = std::numeric_limits<int64_t>::max());
double parse_number(const std::string& text, const std::string& source, double least = 0,
                    double most = std::numeric_limits<double>::max());

}  // namespace aleph::cli
