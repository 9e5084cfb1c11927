// The manifest of a training checkpoint: which files and pieces belong to it, and their checksums.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "aleph/base/json.h"
#include "aleph/checkpoint/training_checkpoint.h"

namespace aleph::checkpoint {

inline constexpr const char* kManifestFile = "manifest.json";

struct ManifestPiece {
  StatePiece piece;
  std::vector<uint32_t> checksums;  ///< CRC-32C of each chunk
};

struct ManifestFile {
  std::string name;
  int64_t bytes = 0;
  uint32_t header_checksum = 0;  ///< of everything before the data
  std::vector<ManifestPiece> pieces;
};

struct Manifest {
  int64_t step = 0;
  int64_t world_size = 1;
  std::vector<ManifestFile> files;  ///< by rank
  Json state = Json::object();
};

/// The entry of one file, as it stands in the manifest.
std::string file_entry_text(const ManifestFile& file);
ManifestFile parse_file_entry(const Json& json, const std::string& object);

/// Text whose first line holds the checksum of all that follows.
std::string manifest_text(const Manifest& manifest);
/// Throws Error naming `object` when the checksum is wrong or anything in it does not fit together.
Manifest parse_manifest(std::string_view text, const std::string& object);
/// Reads the manifest of a checkpoint and checks that all its files are there with their sizes.
Manifest read_manifest(const std::filesystem::path& directory, io::SystemCalls* calls = nullptr);

}  // namespace aleph::checkpoint
