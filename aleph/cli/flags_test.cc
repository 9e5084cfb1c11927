#include "aleph/cli/flags.h"

#include <gmock/gmock.h>

#include <map>
#include <sstream>

#include "aleph/base/error.h"
#include "aleph/base/random.h"
#include "aleph/cli/testing.h"

namespace aleph::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Values = std::vector<std::string>;
using Arity = Flag::Arity;

/// A command with a flag of every kind, and what was set in which order.
class Command {
 public:
  explicit Command(const std::string& positional = "WORD...") {
    syntax_ = {.name = "aleph x",
               .summary = "Does x.",
               .flags = {flag("seq-len", "N", Arity::kOne), flag("data", "FILE", Arity::kMany),
                         flag("resume", "DIR", Arity::kOptional), flag("quiet", "", Arity::kSwitch),
                         flag("paths", "DIR[,DIR]", Arity::kMany), flag("base", "FILE", Arity::kOne)},
               .positional = positional,
               .examples = {"aleph x --seq-len 3"}};
    syntax_.flags[4].commas = true;
    syntax_.flags[5].first = true;
  }
  Command(const Command&) = delete;
  Command& operator=(const Command&) = delete;

  Values parse(const Values& arguments) {
    set_.clear();
    sources_.clear();
    order_.clear();
    return parse_flags(syntax_, arguments);
  }
  std::string fault(const Values& arguments) {
    try {
      parse(arguments);
    } catch (const UsageError& error) {
      return error.what();
    }
    return "no error";
  }
  bool has(const std::string& name) const { return set_.contains(name); }
  const Values& operator[](const std::string& name) const { return set_.at(name); }
  const std::string& source(const std::string& name) const { return sources_.at(name); }
  const Values& order() const { return order_; }
  CommandSyntax& syntax() { return syntax_; }

 private:
  Flag flag(const std::string& name, const std::string& value, Arity arity) {
    return {.name = name,
            .group = arity == Arity::kSwitch ? "Talk" : "Work",
            .value = value,
            .help = "the " + name,
            .arity = arity,
            .set = [this, name](const Values& values, const std::string& source) {
              set_[name] = values;
              sources_[name] = source;
              order_.push_back(name);
            }};
  }

  CommandSyntax syntax_;
  std::map<std::string, Values> set_;
  std::map<std::string, std::string> sources_;
  Values order_;
};

TEST(ParseFlags, TakesValuesBehindTheFlagOrInIt) {
  Command command;
  for (const Values& arguments : {Values{"--seq-len", "3"}, Values{"--seq-len=3"}, Values{"--seq_len", "3"},
                                  Values{"--seq_len=3"}, Values{"--seq-len", "9", "--seq_len", "3"}}) {
    EXPECT_THAT(command.parse(arguments), IsEmpty());
    EXPECT_THAT(command["seq-len"], ElementsAre("3")) << arguments[0];
    EXPECT_EQ(command.source("seq-len"), "--seq-len");
    EXPECT_FALSE(command.has("data"));
  }
  command.parse({"--seq-len="});
  EXPECT_THAT(command["seq-len"], ElementsAre(""));
  command.parse({"--seq-len=a=b"});
  EXPECT_THAT(command["seq-len"], ElementsAre("a=b"));
}

TEST(ParseFlags, ValuesMayBeginWithADash) {
  Command command;
  for (const std::string value :
       {"-5", "-1e-3", "-", "-x", "- item", "--- rule", "--5", "-- and then", "--really? yes", "-h"}) {
    command.parse({"--seq-len", value});
    EXPECT_THAT(command["seq-len"], ElementsAre(value));
    command.parse({"--data", value, value});
    EXPECT_THAT(command["data"], ElementsAre(value, value));
  }
  command.parse({"--seq-len=--quiet"});
  EXPECT_THAT(command["seq-len"], ElementsAre("--quiet"));
  EXPECT_FALSE(command.has("quiet"));
}

TEST(ParseFlags, ManyValuesEndAtTheNextFlag) {
  Command command;
  command.parse({"--data", "a", "b", "--quiet", "--data=c", "--data", "d"});
  EXPECT_THAT(command["data"], ElementsAre("a", "b", "c", "d"));
  EXPECT_TRUE(command.has("quiet"));
  EXPECT_THAT(command.parse({"--data", "a", "--", "b", "--quiet"}), ElementsAre("b", "--quiet"));
  EXPECT_THAT(command["data"], ElementsAre("a"));
  EXPECT_FALSE(command.has("quiet"));
  command.parse({"--paths", "/a,/b", "/c"});
  EXPECT_THAT(command["paths"], ElementsAre("/a", "/b", "/c"));
  command.parse({"--data", "a,b"});
  EXPECT_THAT(command["data"], ElementsAre("a,b"));
}

TEST(ParseFlags, AnOptionalValueMayBeLeftOut) {
  Command command;
  command.parse({"--resume"});
  EXPECT_THAT(command["resume"], IsEmpty());
  command.parse({"--resume", "--quiet"});
  EXPECT_THAT(command["resume"], IsEmpty());
  EXPECT_TRUE(command.has("quiet"));
  EXPECT_THAT(command.parse({"--resume", "there", "word"}), ElementsAre("word"));
  EXPECT_THAT(command["resume"], ElementsAre("there"));
}

TEST(ParseFlags, SwitchesTakeNoWordButMayBeTurnedOff) {
  Command command;
  EXPECT_THAT(command.parse({"--quiet", "word"}), ElementsAre("word"));
  EXPECT_THAT(command["quiet"], IsEmpty());
  for (const char* on : {"--quiet=1", "--quiet=true", "--quiet=on"}) {
    command.parse({on});
    EXPECT_TRUE(command.has("quiet")) << on;
  }
  command.parse({"--quiet=off"});
  EXPECT_FALSE(command.has("quiet"));
  EXPECT_EQ(command.fault({"--quiet=perhaps"}), "--quiet: found 'perhaps', expected 1 or 0");
}

TEST(ParseFlags, WordsAndFlagsMixInAnyOrder) {
  Command command;
  const std::vector<Values> units = {{"a"}, {"--seq-len", "3"}, {"b c"}, {"--quiet"}, {""}, {"--base=f"}};
  const RandomStream random({.seed = 5});
  uint64_t position = 0;
  for (int round = 0; round < 50; ++round) {
    std::vector<Values> shuffled = units;
    for (size_t i = shuffled.size() - 1; i > 0; --i)
      std::swap(shuffled[i], shuffled[random.below(i + 1, 2 * position++)]);
    Values arguments, words;
    for (const Values& unit : shuffled) {
      arguments.insert(arguments.end(), unit.begin(), unit.end());
      if (!unit[0].starts_with("--")) words.push_back(unit[0]);
    }
    EXPECT_EQ(command.parse(arguments), words);
    EXPECT_THAT(command["seq-len"], ElementsAre("3"));
    EXPECT_TRUE(command.has("quiet") && command.has("base"));
    EXPECT_EQ(command.order().front(), "base");
  }
}

TEST(ParseFlags, SaysWhatIsWrong) {
  Command command("");
  const std::vector<std::pair<Values, std::string>> cases = {
      {{"--seq-len"}, "--seq-len: found no value, expected N"},
      {{"--seq-len", "--quiet"}, "--seq-len: found no value, expected N"},
      {{"--quiet", "--data"}, "--data: found no value, expected FILE"},
      {{"--sq-len", "3"},
       "aleph x: found unknown flag '--sq-len', expected a flag of --help, such as --seq-len"},
      {{"--sq_len=3"},
       "aleph x: found unknown flag '--sq_len=3', expected a flag of --help, such as --seq-len"},
      {{"--zzzzzzzzzzzz"}, "aleph x: found unknown flag '--zzzzzzzzzzzz', expected a flag of --help"},
      {{"word"}, "aleph x: found 'word', expected flags only (see --help)"},
      {{"-q"}, "aleph x: found unknown flag '-q', expected a flag of --help"},
      {{"--data", "a", "--quite"},
       "aleph x: found unknown flag '--quite', expected a flag of --help, such as --quiet"},
      {{"--seq-len\n"},
       "aleph x: found unknown flag '--seq-len\\x0a', expected a flag of --help, such as --seq-len"}};
  for (const auto& [arguments, message] : cases) EXPECT_EQ(command.fault(arguments), message);
  EXPECT_EQ(command.order(), Values{}) << "nothing may be set when something is wrong";
}

TEST(Environment, StandsInForFlags) {
  Command command;
  EXPECT_EQ(environment_name("seq-len"), "ALEPH_ARG_SEQ_LEN");
  const ScopedVariable length("ALEPH_ARG_SEQ_LEN", "7"), quiet("ALEPH_ARG_QUIET", "true"),
      paths("ALEPH_ARG_PATHS", "/a,/b"), data("ALEPH_ARG_DATA", "a b,c"), base("ALEPH_ARG_BASE", "");
  command.parse({});
  EXPECT_THAT(command["seq-len"], ElementsAre("7"));
  EXPECT_EQ(command.source("seq-len"), "ALEPH_ARG_SEQ_LEN");
  EXPECT_THAT(command["quiet"], IsEmpty());
  EXPECT_THAT(command["paths"], ElementsAre("/a", "/b"));
  EXPECT_THAT(command["data"], ElementsAre("a b,c"));
  EXPECT_FALSE(command.has("base")) << "an empty variable counts as none";
  command.parse({"--seq-len", "8", "--quiet=0"});
  EXPECT_THAT(command["seq-len"], ElementsAre("8"));
  EXPECT_FALSE(command.has("quiet"));
}

TEST(Environment, SwitchesAndOptionalValuesKnowYesAndNo) {
  Command command;
  for (const char* text : {"1", "true", "on", "0", "false", "off", "/some/dir"}) {
    const bool yes = text == std::string("1") || text == std::string("true") || text == std::string("on");
    const bool directory = text[0] == '/';
    const ScopedVariable resume("ALEPH_ARG_RESUME", text);
    command.parse({});
    ASSERT_EQ(command.has("resume"), yes || directory) << text;
    if (yes || directory) {
      EXPECT_EQ(command["resume"], directory ? Values{text} : Values{}) << text;
    }
  }
  const ScopedVariable quiet("ALEPH_ARG_QUIET", "loud");
  EXPECT_EQ(command.fault({}), "ALEPH_ARG_QUIET: found 'loud', expected 1 or 0");
}

TEST(Environment, MisspelledVariablesAreRefused) {
  const Values names = {"ALEPH_ARG_SEQ_LEN", "ALEPH_ARG_QUIET"};
  EXPECT_NO_THROW(check_environment(names));
  const ScopedVariable fine("ALEPH_ARG_QUIET", "1"), other("ALEPH_OTHER", "1");
  EXPECT_NO_THROW(check_environment(names));
  const ScopedVariable wrong("ALEPH_ARG_SEQLEN", "1");
  try {
    check_environment(names);
    FAIL() << "no error";
  } catch (const UsageError& error) {
    EXPECT_STREQ(error.what(),
                 "environment: found unknown variable ALEPH_ARG_SEQLEN, expected the name of a "
                 "flag, such as ALEPH_ARG_SEQ_LEN");
  }
}

TEST(Help, IsAskedForWhereAFlagCanStand) {
  Command command;
  const auto wants = [&](const Values& arguments) { return wants_help(command.syntax(), arguments); };
  EXPECT_TRUE(wants({"--help"}));
  EXPECT_TRUE(wants({"word", "-h"}));
  EXPECT_TRUE(wants({"--no-such", "--seq-len", "--help"}));
  EXPECT_FALSE(wants({}));
  EXPECT_FALSE(wants({"--data", "-h"}));
  EXPECT_FALSE(wants({"--data=--help"}));
  EXPECT_FALSE(wants({"--", "--help"}));
}

TEST(Help, ShowsGroupsValuesAndDefaultsWithinAHundredColumns) {
  Command command;
  CommandSyntax& syntax = command.syntax();
  syntax.flags[0].fallback = "1024";
  syntax.flags[1].help = "words that go on and on ";
  for (int i = 0; i < 5; ++i) syntax.flags[1].help += syntax.flags[1].help;
  syntax.flags[5].value = "a|value|that|is|wider|than|its|column";
  const std::string help = help_text(syntax);
  EXPECT_THAT(help, HasSubstr("usage: aleph x WORD... [flags]\n\nDoes x.\n\nWork\n"));
  EXPECT_THAT(help, HasSubstr("\n  --seq-len N                       the seq-len (default 1024)\n"));
  EXPECT_THAT(help, HasSubstr("\n  --data FILE...  "));
  EXPECT_THAT(help, HasSubstr("\n  --resume [DIR]  "));
  EXPECT_THAT(help, HasSubstr("\n  --paths DIR[,DIR]  "));
  EXPECT_THAT(help, HasSubstr("\nTalk\n  --quiet  "));
  EXPECT_THAT(help, HasSubstr("column\n                                    the base\n"));
  EXPECT_THAT(help, HasSubstr("examples\n  aleph x --seq-len 3\n"));
  EXPECT_THAT(help, HasSubstr("--seq-len as ALEPH_ARG_SEQ_LEN"));
  std::stringstream lines(help);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100u) << line;
}

TEST(ParseNumbers, KeepTheirRanges) {
  EXPECT_EQ(parse_integer("0", "--n"), 0);
  EXPECT_EQ(parse_integer("-3", "--n", -5), -3);
  EXPECT_EQ(parse_integer("9223372036854775807", "--n"), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(parse_number("1e-3", "--x"), 1e-3);
  EXPECT_EQ(parse_number("-0.5", "--x", -1, 1), -0.5);
  const auto fault = [](const auto& parse) -> std::string {
    try {
      parse();
    } catch (const UsageError& error) {
      return error.what();
    }
    return "no error";
  };
  for (const char* text : {"", "x", "1.5", "1 ", " 1", "0x10", "9223372036854775808", "-1", "+1", "1e3"})
    EXPECT_EQ(fault([&] { parse_integer(text, "--n"); }),
              fmt::format("--n: found '{}', expected an integer of at least 0", text));
  EXPECT_EQ(fault([] { parse_integer("7", "--n", 1, 6); }),
            "--n: found '7', expected an integer from 1 to 6");
  for (const char* text : {"", "nan", "inf", "-inf", "1e999", "1,5", "one", "-0.1"})
    EXPECT_EQ(fault([&] { parse_number(text, "--x"); }),
              fmt::format("--x: found '{}', expected a number of at least 0", text));
  EXPECT_EQ(fault([] { parse_number("1.1", "--x", 0, 1); }),
            "--x: found '1.1', expected a number from 0 to 1");
}

}  // namespace
}  // namespace aleph::cli
