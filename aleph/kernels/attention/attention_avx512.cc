// Sixteen lanes with AVX-512.
#include "aleph/kernels/attention/attention_tiles.h"
#include "aleph/kernels/simd/intrinsics.h"

#pragma GCC target("avx2,fma,f16c,bmi,bmi2,avx512f,avx512bw,avx512vl,avx512dq")
#include "aleph/kernels/attention/attention_tiles-inl.h"
#include "aleph/kernels/simd/vector_avx512-inl.h"

namespace aleph::kernels::attention {

const Kernels& Levels::avx512() { return kKernels<simd::Avx512Vector>; }

}  // namespace aleph::kernels::attention
