// What files that compile for an instruction set include above their target pragma: the intrinsics, and all
// that their -inl.h files take from elsewhere, whose inline functions must not be compiled for that set, as
// they may be linked for all.
#pragma once

// g++ 12 takes the undefined sources of its own AVX-512 intrinsics for mistakes (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numbers>
#include <type_traits>

#include "aleph/base/error.h"
#include "aleph/base/philox.h"
#include "aleph/kernels/simd/prefetch.h"
#include "aleph/kernels/simd/vector.h"
