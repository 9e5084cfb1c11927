// Training data as one JSON document a line.
#include <array>

#include "aleph/io/temporary_directory.h"
#include "aleph/text/utf8.h"
#include "aleph/train/dataset.h"
#include "fuzz/parser.h"

namespace aleph::fuzz {
namespace {

/// One token, whatever the text.
size_t encode(const text::TextPart& part, const text::IdSink& sink) {
  ALEPH_CHECK(!part.begins || !part.ends || text::valid_utf8_length(part.text, 0) == part.text.size());
  constexpr int32_t kToken = 1;
  sink({&kToken, 1});
  return part.text.size();
}

void parse(std::string_view file) {
  static const io::TemporaryDirectory directory(scratch_root());
  static const std::array<std::filesystem::path, 1> files = {directory / "data.jsonl"};
  write_scratch(files[0].string(), file);
  const auto dataset =
      train::load_dataset({.files = files, .encode = encode, .end_of_text = 0, .eval_split = 0.3});
  ALEPH_CHECK(dataset.train.documents + dataset.eval.documents > 0);
}

}  // namespace

const Parser kParser = {.parse = parse};

}  // namespace aleph::fuzz
