// Weights as inference reads them: units (blocks, pieces of the head) that are all resident, or pass through
// the device one after another while the next one is being fetched.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "aleph/kernels/matmul/matmul.h"
#include "aleph/models/transformer_spec.h"
#include "aleph/models/weights.h"
#include "aleph/tensor/device.h"

namespace aleph::infer {

/// Where weights live while they are not used.
enum class WeightHome : uint8_t {
  kDevice,  ///< resident
  kHost,    ///< host memory
  kNvme,    ///< the model's own files
};
/// The value of --offload-param: "none", "cpu", "nvme".
const char* weight_home_flag(WeightHome home);

struct NormWeights {
  Tensor weight;
  Tensor bias;  ///< empty: none
};
struct LinearWeights {
  kernels::PackedWeight weight;
  Tensor bias;  ///< empty: none
};
struct BlockWeights {
  NormWeights attention_norm, mlp_norm;
  LinearWeights qkv, attention_output, up, down;
};

/// What products run on: bf16 for bf16, fp32 for everything else (fp16 is only stored).
inline DType compute_dtype(DType stored) { return stored == DType::kBF16 ? DType::kBF16 : DType::kF32; }

/// Brings parameters to the device in the form kernels want. One thread at a time.
class WeightLoader {
 public:
  /// Keeps references to device and spec. `reader` may be null on a meta device. With kHost everything but
  /// the embedding is read into host memory here, matrices in the layout of products where that is no larger.
  WeightLoader(DeviceContext& device, const models::TransformerSpec& spec,
               const models::ParameterReader* reader, DType stored, WeightHome home);

  BlockWeights load_block(int64_t index);
  NormWeights load_head_norm();
  /// The head's projection comes in tiles of this many rows.
  static constexpr int64_t kHeadTileRows = 4096;
  int64_t head_tiles() const;
  kernels::PackedWeight load_head_tile(int64_t index);
  Tensor load_head_bias();

 private:
  NormWeights load_norm(const std::string& name, nn::NormKind kind, int64_t n);
  LinearWeights load_linear(const std::string& name, int64_t out, int64_t in, bool bias);
  Tensor load_vector(const std::string& name, int64_t n);
  kernels::PackedWeight load_matrix(const std::string& name, int64_t row_begin, const Shape& shape);
  /// From the files, into the layout of products.
  kernels::PackedWeight pack_rows(const std::string& name, int64_t row_begin, const Shape& shape);
  /// From the files, as they are stored.
  Tensor read_rows(const std::string& name, int64_t row_begin, const Shape& shape);
  bool keeps_packed(const Shape& shape) const {
    return shape.rank() == 2 && stored_ == compute_dtype(stored_);
  }
  Tensor host_copy(const std::string& name, int64_t row_begin, const Shape& shape);
  void keep_on_host();

  DeviceContext& device_;
  const models::TransformerSpec& spec_;
  const models::ParameterReader* reader_;
  DType stored_;
  WeightHome home_;
  std::map<std::pair<std::string, int64_t>, Tensor> host_copies_;  // kHost: by name and first row
};

/// Hands out units by index: blocks first, then tiles of the head.
class WeightUnits {
 public:
  /// Keeps a reference to the loader. Resident weights are loaded here.
  WeightUnits(DeviceContext& device, const models::TransformerSpec& spec, WeightLoader& loader,
              WeightHome home);
  /// Waits for what is being fetched.
  ~WeightUnits();
  WeightUnits(const WeightUnits&) = delete;
  WeightUnits& operator=(const WeightUnits&) = delete;

  /// Unit `index`, valid until the next call. `next` is what will be asked for then: it is fetched meanwhile.
  /// Throws the Error of a fetch that failed.
  const BlockWeights& block(int64_t index, int64_t next) {
    return std::get<BlockWeights>(acquire(index, next));
  }
  const kernels::PackedWeight& head_tile(int64_t index, int64_t next) {
    return std::get<kernels::PackedWeight>(acquire(blocks_ + index, next));
  }
  int64_t blocks() const { return blocks_; }
  int64_t head_tiles() const { return tiles_; }
  /// Seconds the caller stood waiting for weights.
  double stall_seconds() const { return stall_seconds_; }

 private:
  using Unit = std::variant<std::monostate, BlockWeights, kernels::PackedWeight>;
  struct Slot {
    int64_t index = -1;
    Unit unit;
    Event ready;
  };
  const Unit& acquire(int64_t index, int64_t next);
  Unit load(int64_t index);
  void fetch(int64_t index);

  DeviceContext& device_;
  WeightLoader& loader_;
  int64_t blocks_, tiles_;
  std::vector<Unit> resident_;
  Slot current_, next_;
  double stall_seconds_ = 0;
};

}  // namespace aleph::infer
