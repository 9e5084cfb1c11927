#include "aleph/cli/flags.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <sstream>

#include "aleph/base/error.h"
#include "aleph/base/text_util.h"

namespace aleph::cli {
namespace {

constexpr size_t kColumns = 100, kHelpColumn = 36;

std::string with(std::string name, char from, char to) {
  std::replace(name.begin(), name.end(), from, to);
  return name;
}

std::string environment_name(const std::string& name) {
  std::string upper = "ALEPH_ARG_";
  for (const char c : name)
    upper += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return upper;
}

std::vector<std::string> split(const Flag& flag, const std::vector<std::string>& values) {
  if (!flag.commas) return values;
  std::vector<std::string> parts;
  for (const std::string& value : values) {
    std::stringstream stream(value);
    for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
  }
  return parts;
}

void apply_environment(const Flag& flag) {
  const std::string name = environment_name(flag.name);
  const char* text = std::getenv(name.c_str());
  if (text == nullptr) return;
  const std::string value = text;
  if (flag.arity != Flag::Arity::kSwitch) return flag.set(split(flag, {value}), name);
  if (value == "1" || value == "true" || value == "on") return flag.set({}, name);
  if (value != "0" && value != "false" && value != "off" && !value.empty()) {
    throw UsageError(name, "'" + printable(value) + "'", "1 or 0");
  }
}

std::string names_of(const Flag& flag) {
  const std::string kebab = "--" + flag.name, snake = "--" + with(flag.name, '-', '_');
  return kebab == snake ? kebab : kebab + "," + snake;
}

CLI::Option* add_option(CLI::App& app, const Flag& flag, std::vector<std::string>& values) {
  if (flag.arity == Flag::Arity::kSwitch) return app.add_flag(names_of(flag));
  CLI::Option* option = app.add_option(names_of(flag), values);
  if (flag.arity == Flag::Arity::kOne) option->expected(1);
  if (flag.arity == Flag::Arity::kMany) option->expected(1, CLI::detail::expected_max_vector_size);
  if (flag.arity == Flag::Arity::kOptional) option->expected(0, 1);
  return option->take_all();
}

[[noreturn]] void refuse_unknown(const CommandSyntax& syntax, const std::string& argument) {
  if (!argument.starts_with('-')) {
    throw UsageError(syntax.name, "'" + printable(argument) + "'",
                     syntax.positional.empty() ? "flags only (see --help)" : syntax.positional);
  }
  std::vector<std::string> known;
  for (const Flag& flag : syntax.flags) known.push_back("--" + flag.name);
  const std::string nearest = nearest_name(with(argument.substr(0, argument.find('=')), '_', '-'), known);
  throw UsageError(syntax.name, "unknown flag '" + printable(argument) + "'",
                   nearest.empty() ? "a flag of --help" : "a flag of --help, such as " + nearest);
}

/// CLI11's own words, shortened to one line of ours.
UsageError usage_error(const CommandSyntax& syntax, const CLI::ParseError& error) {
  return UsageError(fmt::format("{}: {} (see --help)", syntax.name, error.what()));
}

/// `text` in lines that start at kHelpColumn.
std::string wrapped(const std::string& text) {
  std::string out;
  size_t column = kHelpColumn;
  std::stringstream words(text);
  for (std::string word; words >> word;) {
    if (column + 1 + word.size() > kColumns && column > kHelpColumn) {
      out += "\n" + std::string(kHelpColumn, ' ');
      column = kHelpColumn;
    }
    if (column > kHelpColumn) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
  }
  return out;
}

std::string flag_lines(const Flag& flag) {
  std::string left = "  --" + flag.name;
  if (!flag.value.empty())
    left += flag.arity == Flag::Arity::kOptional ? " [" + flag.value + "]" : " " + flag.value;
  if (flag.arity == Flag::Arity::kMany) left += "...";
  left = left.size() + 2 > kHelpColumn ? left + "\n" + std::string(kHelpColumn, ' ')
                                       : left + std::string(kHelpColumn - left.size(), ' ');
  return left + wrapped(flag.fallback.empty() ? flag.help : flag.help + " (default " + flag.fallback + ")") +
         "\n";
}

template <typename T>
T parse_as(const std::string& text, const std::string& source, T least, const char* kind) {
  T value{};
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (status != std::errc() || end != text.data() + text.size() || !(value >= least)) {
    throw UsageError(source, "'" + printable(text) + "'", fmt::format("{} of at least {}", kind, least));
  }
  return value;
}

}  // namespace

std::vector<std::string> parse_flags(const CommandSyntax& syntax, const std::vector<std::string>& arguments) {
  CLI::App app;
  app.set_help_flag();
  app.allow_extras();
  std::vector<std::vector<std::string>> values(syntax.flags.size());
  std::vector<CLI::Option*> options;
  for (size_t i = 0; i < syntax.flags.size(); ++i)
    options.push_back(add_option(app, syntax.flags[i], values[i]));
  try {
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::ParseError& error) {
    throw usage_error(syntax, error);
  }
  const std::vector<std::string> rest = app.remaining();
  for (const std::string& argument : rest) {
    if (syntax.positional.empty() || argument.starts_with("--")) refuse_unknown(syntax, argument);
  }
  for (size_t i = 0; i < syntax.flags.size(); ++i) {
    const Flag& flag = syntax.flags[i];
    if (options[i]->count() == 0) {
      apply_environment(flag);
    } else {
      flag.set(split(flag, values[i]), "--" + flag.name);
    }
  }
  return rest;
}

bool wants_help(const std::vector<std::string>& arguments) {
  return std::any_of(arguments.begin(), arguments.end(),
                     [](const std::string& argument) { return argument == "--help" || argument == "-h"; });
}

std::string help_text(const CommandSyntax& syntax) {
  std::string text = fmt::format("usage: {}{} [flags]\n\n{}\n", syntax.name,
                                 syntax.positional.empty() ? "" : " " + syntax.positional, syntax.summary);
  std::vector<std::string> groups;
  for (const Flag& flag : syntax.flags) {
    if (std::find(groups.begin(), groups.end(), flag.group) == groups.end()) groups.push_back(flag.group);
  }
  for (const std::string& group : groups) {
    text += "\n" + group + "\n";
    for (const Flag& flag : syntax.flags) {
      if (flag.group == group) text += flag_lines(flag);
    }
  }
  if (!syntax.examples.empty()) text += "\nexamples\n";
  for (const std::string& example : syntax.examples) text += "  " + example + "\n";
  return text + "\nEvery flag can be given as ALEPH_ARG_FLAG in the environment, too.\n";
}

int64_t parse_integer(const std::string& text, const std::string& source, int64_t least) {
  return parse_as<int64_t>(text, source, least, "an integer");
}

double parse_number(const std::string& text, const std::string& source, double least) {
  return parse_as<double>(text, source, least, "a number");
}

}  // namespace aleph::cli
