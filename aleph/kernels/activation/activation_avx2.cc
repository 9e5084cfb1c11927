// Activations with AVX2 and FMA.
#include "aleph/kernels/activation/activation_rows.h"
#include "aleph/kernels/simd/intrinsics.h"

#pragma GCC target("avx2,fma,f16c,bmi,bmi2")
#include "aleph/kernels/activation/activation_rows-inl.h"
#include "aleph/kernels/simd/vector_avx2-inl.h"

namespace aleph::kernels::activation {

const Kernels& Levels::avx2() { return kKernels<simd::Avx2Vector>; }

}  // namespace aleph::kernels::activation
