#include "aleph/text/tokenizer.h"

#include "aleph/base/error.h"
#include "aleph/io/file.h"
#include "aleph/text/tokenizer_parts.h"

namespace aleph::text {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxFileBytes = int64_t{1} << 30;

/// Scratch space for the time of one call.
class BorrowedScratch {
 public:
  explicit BorrowedScratch(ScratchPool& pool) : pool_(pool), scratch_(pool.take()) {}
  ~BorrowedScratch() { pool_.give_back(std::move(scratch_)); }
  BorrowedScratch(const BorrowedScratch&) = delete;
  BorrowedScratch& operator=(const BorrowedScratch&) = delete;
  BpeScratch& operator*() const { return *scratch_; }

 private:
  ScratchPool& pool_;
  std::unique_ptr<BpeScratch> scratch_;
};

constexpr size_t kMostIds = 1 << 14;  // held back from a sink

/// One call of encode or encode_part.
class Encoding {
 public:
  Encoding(const TokenizerParts& parts, bool parse_special, BpeScratch& scratch, const IdSink& sink)
      : parts_(parts), parse_special_(parse_special), scratch_(scratch), sink_(sink) {}

  void run(const TextPart& part) {
    parts_.added.split(part.text, false, parse_special_, [&](const AddedTokens::Part& found) {
      if (found.id)
        ids_.push_back(*found.id);
      else
        normalize({found.text, part.begins && found.begin == 0, !part.begins && found.begin == 0});
    });
    flush();
  }

 private:
  struct Stretch {
    std::string_view text;
    bool at_start;   // of the whole text
    bool continues;  // what came before it was encoded by another call
  };

  void normalize(const Stretch& from) {
    const Normalizer* normalizer = parts_.normalizer.get();
    if (normalizer == nullptr || normalizer->leaves(from.text))
      return find_normalized(from.text, from.at_start);
    find_normalized(from.continues ? normalizer->apply_rest(from.text) : normalizer->apply(from.text),
                    from.at_start);
  }

  void find_normalized(std::string_view text, bool at_start) {
    if (!parts_.added.has_normalized()) return pieces(text, at_start);
    parts_.added.split(text, true, parse_special_, [&](const AddedTokens::Part& part) {
      if (part.id)
        ids_.push_back(*part.id);
      else
        pieces(part.text, at_start && part.begin == 0);
    });
  }

  void pieces(std::string_view text, bool at_start) {
    const bool bytes = parts_.pre_tokenizer.yields_bytes();
    parts_.pre_tokenizer.split({text, at_start}, [&](const Piece& piece) {
      if (bytes)
        parts_.model.encode_bytes(piece.text, scratch_, ids_);
      else
        parts_.model.encode(piece.text, scratch_, ids_);
      if (ids_.size() >= kMostIds) flush();
    });
  }

  void flush() {
    sink_(ids_);
    ids_.clear();
  }

  const TokenizerParts& parts_;
  bool parse_special_;
  BpeScratch& scratch_;
  const IdSink& sink_;
  std::vector<int32_t> ids_;
};

}  // namespace

std::unique_ptr<BpeScratch> ScratchPool::take() {
  {
    const std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      auto scratch = std::move(free_.back());
      free_.pop_back();
      return scratch;
    }
  }
  return std::make_unique<BpeScratch>();
}

void ScratchPool::give_back(std::unique_ptr<BpeScratch> scratch) {
  const std::lock_guard lock(mutex_);
  free_.push_back(std::move(scratch));
}

std::optional<int32_t> TokenizerParts::id(std::string_view token) const {
  const auto known = added.id(token);
  return known ? known : model.vocabulary().id(token);
}

const std::string* TokenizerParts::token(int64_t id) const {
  const AddedToken* known = added.token(id);
  return known != nullptr ? &known->content : model.vocabulary().token(id);
}

void TokenizerParts::name_special(const SpecialNames& names) {
  const auto set = [&](const std::optional<std::string>& name, std::optional<int32_t>& target) {
    if (name) target = id(*name);
  };
  set(names.bos, bos);
  set(names.eos, eos);
  set(names.pad, pad);
  set(names.unk, unk);
}

Cuts TokenizerParts::cuts() const {
  const auto normal = [&](const char* text) { return normalizer ? normalizer->apply_rest(text) : text; };
  Cuts cuts = added.cuts() & (normalizer ? normalizer->cuts() : kAllCuts);
  const bool marks = normal(" ") == "\u2581";
  const Cuts pieces = pre_tokenizer.cuts();
  cuts.space =
      cuts.space && (marks ? pre_tokenizer.empty() && !pre_tokenizer.yields_bytes() && model.cuts_at_marks()
                           : normal(" ") == " " && pieces.space);
  cuts.line = cuts.line && normal("\n") == "\n" && pieces.line;
  return cuts;
}

IncrementalDecoder::IncrementalDecoder(const TokenizerParts& parts, bool skip_special, bool lossless)
    : parts_(&parts), skip_special_(skip_special), pipeline_(parts.decoder.start(lossless)) {}

IncrementalDecoder::IncrementalDecoder(IncrementalDecoder&&) noexcept = default;
IncrementalDecoder& IncrementalDecoder::operator=(IncrementalDecoder&&) noexcept = default;
IncrementalDecoder::~IncrementalDecoder() = default;

void IncrementalDecoder::push(int32_t id, std::string& out) {
  const std::string* token = parts_->token(id);
  if (token == nullptr || (skip_special_ && parts_->added.is_special(*token))) return;
  pipeline_->push(*token, out);
}

std::string IncrementalDecoder::push(int32_t id) {
  std::string out;
  push(id, out);
  return out;
}

std::string IncrementalDecoder::finish() {
  std::string out;
  pipeline_->finish(out);
  return out;
}

Tokenizer::Tokenizer(std::unique_ptr<TokenizerParts> parts)
    : parts_(std::move(parts)), cuts_(parts_->cuts()) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::load(const fs::path& dir_or_file) {
  const bool is_directory = fs::is_directory(dir_or_file);
  const fs::path directory = is_directory ? dir_or_file : dir_or_file.parent_path();
  const fs::path json = is_directory ? dir_or_file / "tokenizer.json" : dir_or_file;
  if (is_directory && !fs::exists(json)) {
    if (!fs::exists(directory / "vocab.json") || !fs::exists(directory / "merges.txt"))
      throw Error(directory.string(), "no tokenizer", "tokenizer.json, or vocab.json and merges.txt");
    return Tokenizer(parts_from_gpt2_files(directory, read_tokenizer_config(directory)));
  }
  Tokenizer tokenizer = from_json(io::read_file(json, kMaxFileBytes), json.string());
  tokenizer.parts_->name_special(read_tokenizer_config(directory).names);
  return tokenizer;
}

Tokenizer Tokenizer::from_json(std::string_view json, const std::string& object) {
  return Tokenizer(parts_from_json(json, object));
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  const BorrowedScratch scratch(parts_->pool);
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 4 + 8);
  const auto append = [&](std::span<const int32_t> more) { ids.insert(ids.end(), more.begin(), more.end()); };
  Encoding(*parts_, options.parse_special, *scratch, append).run({.text = text});
  return options.add_special_tokens ? parts_->post_processor.apply(std::move(ids)) : ids;
}

size_t Tokenizer::encode_part(const TextPart& part, const IdSink& sink) const {
  const size_t end = part.ends ? part.text.size() : last_cut(part.text, cuts_);
  if (end == 0) return 0;
  const BorrowedScratch scratch(parts_->pool);
  Encoding(*parts_, true, *scratch, sink).run({part.text.substr(0, end), part.begins, part.ends});
  return end;
}

std::string Tokenizer::decode_all(std::span<const int32_t> ids, bool skip_special, bool lossless) const {
  IncrementalDecoder decoder(*parts_, skip_special, lossless);
  std::string out;
  for (const int32_t id : ids) decoder.push(id, out);
  return out + decoder.finish();
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  return decode_all(ids, skip_special, false);
}

std::string Tokenizer::decode_bytes(std::span<const int32_t> ids, bool skip_special) const {
  return decode_all(ids, skip_special, true);
}

IncrementalDecoder Tokenizer::incremental_decoder(bool skip_special) const {
  return IncrementalDecoder(*parts_, skip_special, false);
}

int64_t Tokenizer::vocab_size() const {
  return std::max(parts_->model.vocabulary().end(), parts_->added.end());
}

std::optional<std::string> Tokenizer::token(int32_t id) const {
  const std::string* token = parts_->token(id);
  return token == nullptr ? std::nullopt : std::optional(*token);
}

std::optional<int32_t> Tokenizer::id(std::string_view token) const { return parts_->id(token); }

bool Tokenizer::is_special(int32_t id) const {
  const std::string* token = parts_->token(id);
  return token != nullptr && parts_->added.is_special(*token);
}

std::optional<int32_t> Tokenizer::bos_id() const { return parts_->bos; }
std::optional<int32_t> Tokenizer::eos_id() const { return parts_->eos; }
std::optional<int32_t> Tokenizer::pad_id() const { return parts_->pad; }
std::optional<int32_t> Tokenizer::unk_id() const { return parts_->unk; }

}  // namespace aleph::text
