#include "aleph/kernels/reference.h"
#include "aleph/kernels/rotary/rotary.h"

namespace aleph::kernels {

void rotary_reference(const RotaryArgs& args) {
  const int64_t tokens = args.x.shape()[0], all_heads = args.x.shape()[1], head_dim = args.x.shape()[2];
  const int64_t half = args.cosines.shape()[1];
  for (int64_t token = 0; token < tokens; ++token) {
    const auto position = static_cast<int64_t>(get(args.positions, token));
    for (int64_t head = 0; head < args.heads; ++head) {
      const int64_t start = (token * all_heads + head) * head_dim;
      for (int64_t i = 0; i < half; ++i) {
        const bool halves = args.layout == RotaryLayout::kHalves;
        const int64_t first = start + (halves ? i : 2 * i), second = start + (halves ? i + half : 2 * i + 1);
        const double cosine = get(args.cosines, position * half + i);
        const double sine =
            get(args.sines, position * half + i) * (args.direction == RotaryDirection::kForward ? 1 : -1);
        const double x1 = get(args.x, first), x2 = get(args.x, second);
        put(args.x, first, x1 * cosine - x2 * sine);
        put(args.x, second, x2 * cosine + x1 * sine);
      }
    }
  }
}

}  // namespace aleph::kernels
