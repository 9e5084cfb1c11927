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
  double operations = 0;      ///< of the model's own products, over a micro-batch of tokens
  double bytes = 0;           ///< of memory: STREAM triad
  double disk_read = 0;       ///< bytes of the swap files, large and in order; 0: the run has none
  double disk_written = 0;
};
Ceilings measure_ceilings(const zero::EngineContext& context, const models::TransformerSpec& spec,
                          DType dtype, int64_t tokens);

/// The products of one pass of `tokens` forward: the linear layers of all blocks, and the head in parts.
std::vector<kernels::ProductSize> product_sizes(const models::TransformerSpec& spec, int64_t tokens);

/// Lines of a table: each phase of a step and the kernels in it, and each kind of kernel over all phases, in
/// seconds per step and percent; matmul and attention with operations per second, the others with bytes per
/// second, as percent of the ceilings; what computation waited for, and how fast NVMe transfers were.
std::vector<std::string> profile_lines(const RunTotals& totals, const KernelProfile& kernels,
                                       const Ceilings& ceilings);

}  // namespace aleph::train
