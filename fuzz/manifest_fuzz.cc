// The manifest of a training checkpoint: what is made of it again, and where a run that it continues stands.
#include <fmt/format.h>

#include "aleph/base/error.h"
#include "aleph/base/json.h"
#include "aleph/checkpoint/crc32c.h"
#include "aleph/checkpoint/manifest.h"
#include "aleph/train/training_state.h"
#include "fuzz/parser.h"

namespace aleph::fuzz {
namespace {

constexpr size_t kChecksumBegin = std::string_view("{\n \"crc32c\": \"").size();
constexpr size_t kChecksumEnd = kChecksumBegin + 8;

/// With the checksum that fits.
std::string with_fitting_checksum(std::string_view bytes) {
  if (bytes.size() < kChecksumEnd) return std::string(bytes);
  const std::string_view rest = bytes.substr(kChecksumEnd);
  return fmt::format("{}{:08x}{}", bytes.substr(0, kChecksumBegin),
                     checkpoint::crc32c(std::as_bytes(std::span(rest))), rest);
}

void parse(std::string_view text) {
  const checkpoint::Manifest manifest = checkpoint::parse_manifest(text, "manifest.json");
  parsed();
  const std::string again = checkpoint::manifest_text(manifest);
  ALEPH_CHECK(checkpoint::manifest_text(checkpoint::parse_manifest(again, "again")) == again);
  const train::TrainingState start = {.scaler = optim::LossScaler({})};
  train::parse_training_state(manifest.state, manifest.step, start, "manifest.json");
  const train::Fingerprint run = {.fixed = R"({"dtype": "f32", "seed": 7})",
                                  .other = R"({"lr": 0.001})"};  // that of corpus/manifest/two-ranks
  Console console(Console::Options{.quiet = true});
  train::check_fingerprint(run, json_object(manifest.state, "run", "manifest.json"), "manifest.json",
                           console);
}

}  // namespace

const Parser kParser = {.parse = parse, .repair = with_fitting_checksum};

}  // namespace aleph::fuzz
