// Speed of tokenizers on one thread, in bytes of text.
//
//   tokenizer_bench [--tokenizer DIR] [--text FILE] [--filter TEXT] [--seconds S] [--json FILE]
//
// Without a tokenizer and a text it takes GPT-2's and the excerpts in tests/data/tokenizers.

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "aleph/io/file.h"
#include "aleph/text/bpe_trainer.h"
#include "aleph/text/tokenizer.h"
#include "bench/bench.h"

namespace aleph::text {
namespace {

namespace fs = std::filesystem;

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size() - 1) + 1;
    lines.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  return lines;
}

/// Adds up what calls return, so that none is left out as useless.
class Sink {
 public:
  void take(size_t value) { sum_ = sum_ + value; }

 private:
  volatile size_t sum_ = 0;
};

void run_text(bench::Bench& bench, const Tokenizer& tokenizer, const std::string& name,
              const std::string& text) {
  Sink sink;
  const bench::Work work{.bytes = static_cast<double>(text.size())};
  bench.run("encode " + name, work, [&] { sink.take(tokenizer.encode(text).size()); });
  const std::vector<std::string_view> lines = lines_of(text);
  bench.run("encode " + name + ", line by line", work, [&] {
    for (const std::string_view line : lines) sink.take(tokenizer.encode(line).size());
  });
  const std::vector<int32_t> ids = tokenizer.encode(text);
  bench.run("decode " + name, work, [&] { sink.take(tokenizer.decode(ids).size()); });
  bench.run("decode " + name + ", id by id", work, [&] {
    auto decoder = tokenizer.incremental_decoder();
    for (const int32_t id : ids) sink.take(decoder.push(id).size());
    sink.take(decoder.finish().size());
  });
  bench.run("count words of " + name, work, [&] {
    BpeTrainer trainer({.vocab_size = 2048});
    trainer.add_text(text);
  });
  bench.run("train 2048 tokens on " + name, work, [&] {
    BpeTrainer trainer({.vocab_size = 2048});
    trainer.add_text(text);
    sink.take(trainer.train().tokens.size());
  });
}

/// A word as long as `bytes`: the letters of the text, again and again.
std::string long_word(const std::string& text, size_t bytes) {
  std::string letters;
  for (const char c : text)
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) letters += c;
  std::string word;
  while (!letters.empty() && word.size() < bytes) word += letters;
  word.resize(std::min(word.size(), bytes));
  return word;
}

/// Time must grow with the length alone, however long a word is.
void run_long_words(bench::Bench& bench, const Tokenizer& tokenizer, const std::string& text) {
  Sink sink;
  for (const size_t megabytes : {1, 10}) {
    const std::string word = long_word(text, megabytes * 1'000'000);
    const bench::Work work{.bytes = static_cast<double>(word.size())};
    const std::string name = fmt::format("one word of {} MB", megabytes);
    bench.run("encode " + name, work, [&] { sink.take(tokenizer.encode(word).size()); });
    bench.run("train 2048 tokens on " + name, work, [&] {
      BpeTrainer trainer({.vocab_size = 2048});
      trainer.add_text(word);
      sink.take(trainer.train().tokens.size());
    });
  }
}

void run(int argc, char** argv) {
  const fs::path data = fs::path(ALEPH_BENCH_DATA) / "tokenizers";
  const bench::Options options =
      bench::parse(argc, argv, {{"--tokenizer", (data / "gpt2").string()}, {"--text", ""}});
  const std::string text_file = options.own.at("--text");
  const std::vector<fs::path> files =
      text_file.empty()
          ? std::vector<fs::path>{data / "texts" / "shakespeare.txt", data / "texts" / "udhr.txt"}
          : std::vector<fs::path>{text_file};
  const Tokenizer tokenizer = Tokenizer::load(options.own.at("--tokenizer"));
  bench::Bench bench("tokenizer", options);
  for (const fs::path& file : files) {
    const std::string text = io::read_file(file, int64_t{1} << 30);
    if (text.empty()) throw Error(file.string(), "an empty file", "text");
    run_text(bench, tokenizer, file.filename().string(), text);
    if (&file == &files.front()) run_long_words(bench, tokenizer, text);
  }
  bench.write();
}

}  // namespace
}  // namespace aleph::text

int main(int argc, char** argv) {
  return aleph::bench::main_of([&] { aleph::text::run(argc, argv); });
}
