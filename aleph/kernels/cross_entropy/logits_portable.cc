// Logits in the compiler's own vectors.
#include "aleph/kernels/cross_entropy/logits-inl.h"
#include "aleph/kernels/simd/vector_portable-inl.h"

namespace aleph::kernels::logits {

const Kernels& Levels::portable() { return kKernels<simd::PortableVector>; }

}  // namespace aleph::kernels::logits
