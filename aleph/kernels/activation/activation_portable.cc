// Activations in the compiler's own vectors.
#include "aleph/kernels/activation/activation_rows-inl.h"
#include "aleph/kernels/simd/vector_portable-inl.h"

namespace aleph::kernels::activation {

const Kernels& Levels::portable() { return kKernels<simd::PortableVector>; }

}  // namespace aleph::kernels::activation
