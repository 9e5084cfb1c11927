#include "aleph/kernels/elementwise/elementwise.h"
#include "aleph/kernels/reference.h"

namespace aleph::kernels {

void dropout_reference(const DropoutArgs& args) {
  const RandomStream stream(args.key);
  for (int64_t i = 0; i < args.x.elements(); ++i) {
    const bool kept = stream.uniform(static_cast<uint64_t>(i)) >= args.probability;
    put(args.y, i, kept ? get(args.x, i) / (1.0 - args.probability) : 0.0);
  }
}

}  // namespace aleph::kernels
