// Reference models for the tests of this folder.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "aleph/base/json.h"
#include "aleph/checkpoint/safetensors.h"
#include "aleph/io/json_file.h"
#include "aleph/models/registry.h"
#include "aleph/models/weights.h"

namespace aleph::infer {

/// One folder of tests/data/goldens.
struct Golden {
  explicit Golden(const std::string& name)
      : directory(std::filesystem::path(ALEPH_TEST_DATA) / "goldens" / name),
        spec(models::read_spec(io::parse_json_file(directory / "config.json"), name)),
        weights(models::WeightSource::open(directory, spec)) {}

  Json expected() const { return io::parse_json_file(directory / "expected.json"); }
  checkpoint::SafetensorsFile tensors() const {
    return checkpoint::SafetensorsFile::open(directory / "expected.safetensors");
  }

  std::filesystem::path directory;
  models::TransformerSpec spec;
  models::WeightSource weights;
};

/// Names of the goldens that have expected outputs.
inline constexpr const char* kGoldenNames[] = {"gpt2", "gpt_neo", "llama", "llama-rope-llama3-tied",
                                               "llama-rope-linear-bias"};

/// ||x - y|| / ||y||
inline double relative_error(std::span<const float> x, std::span<const float> y) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    const double d = static_cast<double>(x[i]) - static_cast<double>(y[i]);
    difference += d * d;
    norm += static_cast<double>(y[i]) * static_cast<double>(y[i]);
  }
  return std::sqrt(difference / norm);
}

}  // namespace aleph::infer
