// aleph tokenizer train | encode | decode.
#include <fmt/ranges.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <sstream>

#include "aleph/base/clock.h"
#include "aleph/base/error.h"
#include "aleph/base/text_util.h"
#include "aleph/cli/commands.h"
#include "aleph/cli/tools.h"
#include "aleph/io/file.h"
#include "aleph/text/bpe_trainer.h"
#include "aleph/text/tokenizer.h"
#include "aleph/train/dataset.h"

namespace aleph::cli {
namespace {

using Values = std::vector<std::string>;
constexpr int64_t kLargestText = int64_t{4} << 30;

struct TokenizerOptions {
  std::string tokenizer;
  std::string output;
  std::string file;
  bool no_special = false;
  text::BpeTrainerOptions training;
};

CommandSyntax syntax(TokenizerOptions& options) {
  const auto text = [](std::string& target) {
    return [&target](const Values& values, const std::string&) { target = values.at(0); };
  };
  const auto integer = [](int64_t& target, int64_t least) {
    return [&target, least](const Values& values, const std::string& source) {
      target = parse_integer(values.at(0), source, least);
    };
  };
  return {.name = "aleph tokenizer",
          .summary = "Train a byte-level BPE tokenizer, or turn text into token ids and back, byte for byte.",
          .flags = {{.name = "vocab-size",
                     .group = "train",
                     .value = "N",
                     .help = "tokens, bytes and special ones included",
                     .fallback = "2048",
                     .set = integer(options.training.vocab_size, 1)},
                    {.name = "output",
                     .group = "train",
                     .value = "DIR",
                     .help = "where the tokenizer is written",
                     .set = text(options.output)},
                    {.name = "special",
                     .group = "train",
                     .value = "TOKEN",
                     .help = "special tokens; the first ends texts",
                     .fallback = "<|endoftext|>",
                     .arity = Flag::Arity::kMany,
                     .set = [&options](const Values& values,
                                       const std::string&) { options.training.special_tokens = values; }},
                    {.name = "model-max-length",
                     .group = "train",
                     .value = "N",
                     .help = "written to tokenizer_config.json",
                     .fallback = "1024",
                     .set = integer(options.training.model_max_length, 1)},
                    {.name = "tokenizer",
                     .group = "encode, decode",
                     .value = "DIR",
                     .help = "directory or tokenizer.json",
                     .set = text(options.tokenizer)},
                    {.name = "file",
                     .group = "encode, decode",
                     .value = "FILE",
                     .help = "input from a file; without it and without arguments: standard input",
                     .set = text(options.file)},
                    {.name = "no-special",
                     .group = "encode, decode",
                     .value = "",
                     .help = "encode: add no begin or end token; decode: leave special tokens out",
                     .arity = Flag::Arity::kSwitch,
                     .set = [&options](const Values&, const std::string&) { options.no_special = true; }}},
          .positional = "train FILE... | encode [TEXT...] | decode [ID...]",
          .examples = {"aleph tokenizer train book.txt --vocab-size 2048 --output tokenizer",
                       "aleph tokenizer encode --tokenizer tokenizer 'To be, or not to be'",
                       "aleph tokenizer decode --tokenizer tokenizer 12 34 56"}};
}

/// The flags that one action knows.
CommandSyntax syntax_of(const std::string& action, TokenizerOptions& options) {
  CommandSyntax own = syntax(options);
  own.name += " " + action;
  std::erase_if(own.flags, [&](const Flag& flag) { return flag.group.find(action) == std::string::npos; });
  return own;
}

std::string standard_input() { return {std::istreambuf_iterator<char>(std::cin), {}}; }

/// The text a subcommand works on: its arguments, a file, or standard input.
std::string input_text(const TokenizerOptions& options, const Values& words) {
  if (!words.empty() && !options.file.empty())
    throw UsageError("--file", "words as well", "one source of input");
  if (!words.empty()) return fmt::format("{}", fmt::join(words, " "));
  return options.file.empty() ? standard_input() : io::read_file(options.file, kLargestText);
}

text::Tokenizer load_tokenizer(const TokenizerOptions& options) {
  if (options.tokenizer.empty()) throw UsageError("aleph tokenizer", "no --tokenizer", "--tokenizer DIR");
  return text::Tokenizer::load(options.tokenizer);
}

/// Calls `visit` with each document of .jsonl files, and with other files whole.
template <typename Visit>
void for_each_text(const Values& files, const Visit& visit) {
  for (const std::string& file : files) {
    if (std::filesystem::path(file).extension() == ".jsonl") {
      train::for_each_document(file, visit);
      continue;
    }
    const std::string content = io::read_file(file, kLargestText);
    if (content.empty()) throw Error(file, "an empty file", "text");
    visit(content);
  }
}

int train_tokenizer(const TokenizerOptions& options, const Values& files) {
  if (files.empty()) throw UsageError("aleph tokenizer train", "no file", "text files to learn from");
  if (options.output.empty()) throw UsageError("aleph tokenizer train", "no --output", "--output DIR");
  if (std::filesystem::exists(std::filesystem::path(options.output) / "config.json"))
    throw Error("--output " + options.output, "a model, which has its own tokenizer", "another directory");
  const bool replaces = std::filesystem::exists(std::filesystem::path(options.output) / "tokenizer.json");
  const Stopwatch watch;
  text::BpeTrainer trainer(options.training);
  int64_t bytes = 0;
  for_each_text(files, [&](std::string_view content) {
    bytes += static_cast<int64_t>(content.size());
    trainer.add_text(content);
  });
  const text::TrainedBpe trained = trainer.train();
  trained.save(options.output);
  fmt::print("{}: {} tokens, {} merges, from {} in {:.1f} s{}\n", options.output, trained.tokens.size(),
             trained.merges.size(), format_bytes(bytes), watch.seconds(),
             replaces ? ", in place of the tokenizer that was there" : "");
  return kDone;
}

int encode(const TokenizerOptions& options, const Values& words) {
  const std::vector<int32_t> ids =
      load_tokenizer(options).encode(input_text(options, words), {.add_special_tokens = !options.no_special});
  fmt::print("{}\n", fmt::join(ids, " "));
  return kDone;
}

int decode(const TokenizerOptions& options, const Values& words) {
  const text::Tokenizer tokenizer = load_tokenizer(options);
  std::vector<int32_t> ids;
  std::stringstream stream(input_text(options, words));
  for (std::string word; stream >> word;) {
    const int64_t id = parse_integer(word, "token id");
    if (id >= tokenizer.vocab_size()) {
      throw Error("token id", word, fmt::format("at most {}", tokenizer.vocab_size() - 1));
    }
    ids.push_back(static_cast<int32_t>(id));
  }
  std::string text = tokenizer.decode_bytes(ids, options.no_special);
  if (::isatty(STDOUT_FILENO) != 0 && !text.ends_with('\n')) text += '\n';  // before the next prompt
  std::fwrite(text.data(), 1, text.size(), stdout);
  return kDone;
}

}  // namespace

CommandSyntax tokenizer_syntax() {
  TokenizerOptions options;
  return syntax(options);
}

int tokenizer_command(const Values& arguments) {
  TokenizerOptions options;
  const Values all = parse_flags(syntax(options), arguments);
  const std::string action = all.empty() ? "" : all.front();
  if (action != "train" && action != "encode" && action != "decode") {
    throw UsageError("aleph tokenizer", action.empty() ? "no action" : "'" + printable(action) + "'",
                     "train, encode or decode");
  }
  options = {};
  const Values words = parse_flags(syntax_of(action, options), arguments);
  const Values rest(words.begin() + 1, words.end());
  if (action == "train") return train_tokenizer(options, rest);
  return action == "encode" ? encode(options, rest) : decode(options, rest);
}

}  // namespace aleph::cli
