// Norms in the compiler's own vectors.
#include "aleph/kernels/norm/norm_rows-inl.h"
#include "aleph/kernels/simd/vector_portable-inl.h"

namespace aleph::kernels::norm {

const Kernels& Levels::portable() { return kKernels<simd::PortableVector>; }

}  // namespace aleph::kernels::norm
