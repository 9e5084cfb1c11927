// Where the time of a training step goes: by phase, by kind of operation, and as a share of what this machine
// does at best.
#pragma once

#include <string>
#include <vector>

#include "aleph/kernels/ceilings.h"
#include "aleph/models/transformer_spec.h"
#include "aleph/train/run_report.h"

namespace aleph::train {

/// Rates per second that the profile compares with, measured when the run is over.
struct Ceilings {
  DType dtype = DType::kF32;  ///< of the products
  kernels::ProductSize size;  ///< tokens of a micro-batch through the first linear layer of an MLP
  double operations = 0;      ///< of products of that size
  double bytes = 0;           ///< STREAM triad
};
Ceilings measure_ceilings(DeviceContext& device, const models::TransformerSpec& spec, DType dtype,
                          int64_t tokens);

/// Lines of a table: each phase of a step and the kernels in it, in seconds per step and percent; matmul and
/// attention with operations per second, the others with bytes per second, as percent of the ceilings; what
/// computation waited for.
std::vector<std::string> profile_lines(const RunTotals& totals, const KernelProfile& kernels,
                                       const Ceilings& ceilings);

}  // namespace aleph::train
