#include "aleph/cli/flags.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <sstream>
#include <string_view>

#include "aleph/base/error.h"
#include "aleph/base/text_util.h"

namespace aleph::cli {
namespace {

using Arguments = std::vector<std::string>;
using Arity = Flag::Arity;

constexpr size_t kColumns = 100, kHelpColumn = 36;
constexpr std::string_view kEnvironmentPrefix = "ALEPH_ARG_";

/// "--name" or "--name=value": two dashes, a letter, then letters, digits, dashes and underscores.
bool spelled_like_a_flag(const std::string& argument) {
  if (argument.size() < 3 || !argument.starts_with("--")) return false;
  const std::string_view name = std::string_view(argument).substr(2, argument.find('=') - 2);
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  return !name.empty() && letter(name[0]) && std::all_of(name.begin(), name.end(), [&](char c) {
    return letter(c) || (c >= '0' && c <= '9') || c == '-' || c == '_';
  });
}

/// One flag as it stands among the arguments.
struct Given {
  std::string argument;
  const Flag* flag = nullptr;  // nullptr: unknown, or help
  std::vector<std::string> values;
  bool help = false;
};

/// What stands where among the arguments; nothing is judged yet.
struct Scan {
  std::vector<Given> given;
  Arguments words;
};

/// Cuts arguments into flags with their values and other words.
class Scanner {
 public:
  Scanner(const CommandSyntax& syntax, const Arguments& arguments) : syntax_(syntax), arguments_(arguments) {}

  Scan run() {
    for (; next_ < arguments_.size(); ++next_) {
      const std::string& argument = arguments_[next_];
      if (argument == "--") {
        scan_.words.insert(scan_.words.end(), arguments_.begin() + static_cast<ptrdiff_t>(next_) + 1,
                           arguments_.end());
        break;
      }
      if (argument == "-h" || spelled_like_a_flag(argument)) {
        take_flag(argument);
      } else {
        scan_.words.push_back(argument);
      }
    }
    return std::move(scan_);
  }

 private:
  const Flag* find(const std::string& name) const {
    const auto found = std::find_if(syntax_.flags.begin(), syntax_.flags.end(),
                                    [&](const Flag& flag) { return flag.name == name; });
    return found == syntax_.flags.end() ? nullptr : &*found;
  }

  void take_flag(const std::string& argument) {
    const size_t equals = argument.find('=');
    Given given{.argument = argument, .help = argument == "-h" || argument == "--help"};
    if (!given.help) given.flag = find(kebab(argument.substr(2, equals - 2)));
    if (equals != std::string::npos) {
      given.values.push_back(argument.substr(equals + 1));
    } else if (given.flag != nullptr) {
      take_values(given.flag->arity, given.values);
    }
    scan_.given.push_back(std::move(given));
  }

  void take_values(Arity arity, Arguments& values) {
    if (arity == Arity::kSwitch) return;
    const bool many = arity == Arity::kMany;
    while (next_ + 1 < arguments_.size() && (many || values.empty())) {
      const std::string& value = arguments_[next_ + 1];
      if (value == "--" || spelled_like_a_flag(value)) return;
      values.push_back(value);
      ++next_;
    }
  }

  const CommandSyntax& syntax_;
  const Arguments& arguments_;
  size_t next_ = 0;
  Scan scan_;
};

/// Nothing where `text` is no word for yes or no.
std::optional<bool> yes_or_no(const std::string& text) {
  if (text == "1" || text == "true" || text == "on") return true;
  if (text == "0" || text == "false" || text == "off") return false;
  return std::nullopt;
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

void apply_switch(const Flag& flag, const std::string& value, const std::string& source) {
  const std::optional<bool> on = yes_or_no(value);
  if (!on) throw UsageError(source, "'" + printable(value) + "'", "1 or 0");
  if (*on) flag.set({}, source);
}

void apply_environment(const Flag& flag) {
  const std::string name = environment_name(flag.name);
  const char* text = std::getenv(name.c_str());
  if (text == nullptr || *text == '\0') return;
  const bool words = flag.arity == Arity::kOptional && yes_or_no(text);
  if (flag.arity == Arity::kSwitch || words) return apply_switch(flag, text, name);
  flag.set(split(flag, {text}), name);
}

/// The values of all places where the flag is given: those of the last one, or of all where it takes several.
std::optional<std::vector<std::string>> values_of(const Flag& flag, const std::vector<Given>& all) {
  std::optional<std::vector<std::string>> values;
  for (const Given& given : all) {
    if (given.flag != &flag) continue;
    if (!values || flag.arity != Arity::kMany) values.emplace();
    values->insert(values->end(), given.values.begin(), given.values.end());
  }
  return values;
}

void set_flag(const Flag& flag, const std::vector<Given>& all) {
  const auto values = values_of(flag, all);
  if (!values) return apply_environment(flag);
  const std::string source = "--" + flag.name;
  if (flag.arity == Arity::kSwitch && !values->empty()) return apply_switch(flag, values->back(), source);
  flag.set(split(flag, *values), source);
}

[[noreturn]] void refuse_unknown(const CommandSyntax& syntax, const std::string& argument) {
  std::vector<std::string> known;
  for (const Flag& flag : syntax.flags) known.push_back("--" + flag.name);
  const std::string nearest = nearest_name(kebab(argument.substr(0, argument.find('='))), known);
  throw UsageError(syntax.name, "unknown flag '" + printable(argument) + "'",
                   nearest.empty() ? "a flag of --help" : "a flag of --help, such as " + nearest);
}

void check(const CommandSyntax& syntax, const Scan& scan) {
  for (const Given& given : scan.given) {
    if (given.help) continue;
    if (given.flag == nullptr) refuse_unknown(syntax, given.argument);
    const bool needs_value = given.flag->arity == Arity::kOne || given.flag->arity == Arity::kMany;
    if (needs_value && given.values.empty())
      throw UsageError("--" + given.flag->name, "no value", given.flag->value);
  }
  if (scan.words.empty() || !syntax.positional.empty()) return;
  if (scan.words[0].starts_with('-')) refuse_unknown(syntax, scan.words[0]);
  throw UsageError(syntax.name, "'" + printable(scan.words[0]) + "'", "flags only (see --help)");
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
    left += flag.arity == Arity::kOptional ? " [" + flag.value + "]" : " " + flag.value;
  if (flag.arity == Arity::kMany && !flag.commas && !left.ends_with("...")) left += "...";
  left = left.size() + 2 > kHelpColumn ? left + "\n" + std::string(kHelpColumn, ' ')
                                       : left + std::string(kHelpColumn - left.size(), ' ');
  return left + wrapped(flag.fallback.empty() ? flag.help : flag.help + " (default " + flag.fallback + ")") +
         "\n";
}

template <typename T>
T parse_as(const std::string& text, const std::string& source, T least, T most, const char* kind) {
  T value{};
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (status == std::errc() && end == text.data() + text.size() && value >= least && value <= most)
    return value;
  const bool open = most == std::numeric_limits<T>::max();
  throw UsageError(source, "'" + printable(text) + "'",
                   open ? fmt::format("{} of at least {}", kind, least)
                        : fmt::format("{} from {} to {}", kind, least, most));
}

}  // namespace

std::vector<std::string> parse_flags(const CommandSyntax& syntax, const std::vector<std::string>& arguments) {
  Scan scan = Scanner(syntax, arguments).run();
  check(syntax, scan);
  for (const bool first : {true, false}) {
    for (const Flag& flag : syntax.flags) {
      if (flag.first == first) set_flag(flag, scan.given);
    }
  }
  return std::move(scan.words);
}

bool wants_help(const CommandSyntax& syntax, const std::vector<std::string>& arguments) {
  const Scan scan = Scanner(syntax, arguments).run();
  return std::any_of(scan.given.begin(), scan.given.end(), [](const Given& given) { return given.help; });
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
  if (syntax.flags.empty()) return text;
  const std::string& name = syntax.flags.front().name;
  return text + fmt::format("\nEvery flag can be given in the environment, too: --{} as {}.\n", name,
                            environment_name(name));
}

std::string kebab(std::string name) {
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

std::string environment_name(const std::string& flag) {
  std::string upper(kEnvironmentPrefix);
  for (const char c : flag)
    upper += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return upper;
}

void check_environment(const std::vector<std::string>& names) {
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    if (!text.starts_with(kEnvironmentPrefix)) continue;
    const std::string name(text.substr(0, text.find('=')));
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    const std::string nearest = nearest_name(name, names);
    throw UsageError("environment", "unknown variable " + printable(name),
                     nearest.empty() ? "the name of a flag" : "the name of a flag, such as " + nearest);
  }
}

int64_t parse_integer(const std::string& text, const std::string& source, int64_t least, int64_t most) {
  return parse_as<int64_t>(text, source, least, most, "an integer");
}

double parse_number(const std::string& text, const std::string& source, double least, double most) {
  return parse_as<double>(text, source, least, most, "a number");
}

}  // namespace aleph::cli
