// Eight lanes with AVX2 and FMA.
#include "aleph/kernels/attention/attention_tiles.h"
#include "aleph/kernels/simd/intrinsics.h"

#pragma GCC target("avx2,fma,f16c,bmi,bmi2")
#include "aleph/kernels/attention/attention_tiles-inl.h"
#include "aleph/kernels/simd/vector_avx2-inl.h"

namespace aleph::kernels::attention {

const Kernels& Levels::avx2() { return kKernels<simd::Avx2Vector>; }

}  // namespace aleph::kernels::attention
