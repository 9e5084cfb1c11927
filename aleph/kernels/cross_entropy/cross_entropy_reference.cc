#include <algorithm>
#include <cmath>
#include <limits>

#include "aleph/kernels/checks.h"
#include "aleph/kernels/cross_entropy/cross_entropy.h"
#include "aleph/kernels/reference.h"

namespace aleph::kernels {

void cross_entropy_reference(const CrossEntropyArgs& args) {
  const int64_t n = columns_of("logits", args.logits), rows = rows_of("logits", args.logits);
  for (int64_t row = 0; row < rows; ++row) {
    const auto label = static_cast<int64_t>(get(args.labels, row));
    const bool counts = label != args.ignored;
    double largest = -std::numeric_limits<double>::infinity(), sum = 0;
    for (int64_t j = 0; j < n; ++j) largest = std::max(largest, get(args.logits, row * n + j));
    for (int64_t j = 0; j < n; ++j) sum += std::exp(get(args.logits, row * n + j) - largest);
    put(args.losses, row, counts ? largest + std::log(sum) - get(args.logits, row * n + label) : 0);
    if (args.gradient_scale == 0) continue;
    for (int64_t j = 0; j < n; ++j) {
      const double probability = std::exp(get(args.logits, row * n + j) - largest) / sum;
      put(args.gradient, row * n + j,
          counts ? (probability - (j == label ? 1 : 0)) * args.gradient_scale : 0);
    }
  }
}

}  // namespace aleph::kernels
