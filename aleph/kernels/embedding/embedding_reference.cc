#include "aleph/kernels/checks.h"
#include "aleph/kernels/embedding/embedding.h"
#include "aleph/kernels/reference.h"

namespace aleph::kernels {

void embedding_forward_reference(const EmbeddingForwardArgs& args) {
  const int64_t n = columns_of("y", args.y);
  for (int64_t i = 0; i < args.y.elements(); ++i) {
    const auto id = static_cast<int64_t>(get(args.ids, i / n));
    put(args.y, i, get(args.table, id * n + i % n) + (args.accumulate ? get(args.y, i) : 0));
  }
}

void embedding_backward_reference(const EmbeddingBackwardArgs& args) {
  const int64_t n = columns_of("dy", args.dy);
  for (int64_t i = 0; i < args.dy.elements(); ++i) {
    const auto id = static_cast<int64_t>(get(args.ids, i / n));
    if (id == args.padding_id) continue;
    put(args.dtable, id * n + i % n, get(args.dtable, id * n + i % n) + get(args.dy, i));
  }
}

}  // namespace aleph::kernels
