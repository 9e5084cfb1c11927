// The manifest of a training checkpoint, and what is made of it again.
#include <fmt/format.h>

#include "aleph/base/error.h"
#include "aleph/checkpoint/crc32c.h"
#include "aleph/checkpoint/manifest.h"
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
}

}  // namespace

const Parser kParser = {.parse = parse, .repair = with_fitting_checksum};

}  // namespace aleph::fuzz
