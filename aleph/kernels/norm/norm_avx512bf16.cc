// Norms with AVX-512 and its conversion to bf16.
#include "aleph/kernels/norm/norm_rows.h"
#include "aleph/kernels/simd/intrinsics.h"

#pragma GCC target("avx2,fma,f16c,bmi,bmi2,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")
#include "aleph/kernels/norm/norm_rows-inl.h"
#include "aleph/kernels/simd/vector_avx512bf16-inl.h"

namespace aleph::kernels::norm {

const Kernels& Levels::avx512_bf16() { return kKernels<simd::Avx512Bf16Vector>; }

}  // namespace aleph::kernels::norm
