// Four lanes in the compiler's own vectors: what every machine has.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>

#include "aleph/kernels/attention/attention_tiles-inl.h"
#include "aleph/kernels/simd/vector_portable-inl.h"

namespace aleph::kernels::attention {

const Kernels& Levels::portable() { return kKernels<simd::PortableVector>; }

}  // namespace aleph::kernels::attention
