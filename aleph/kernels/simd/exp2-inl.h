// 2^x for the part of x that is no whole number; for each file that compiles for an instruction set.
#pragma once

namespace aleph::kernels::simd {
namespace {

/// 2^x on [-1/2, 1/2] with relative error 2e-7: a minimax polynomial of degree 5.
template <typename V>
inline typename V::Reg exp2_of_fraction(typename V::Reg x) {
  typename V::Reg y = V::set1(0x1.5bba14p-10f);
  y = V::fma(y, x, V::set1(0x1.3cea88p-7f));
  y = V::fma(y, x, V::set1(0x1.c6b752p-5f));
  y = V::fma(y, x, V::set1(0x1.ebf9bcp-3f));
  y = V::fma(y, x, V::set1(0x1.62e42ap-1f));
  return V::fma(y, x, V::set1(1.0f));
}

}  // namespace
}  // namespace aleph::kernels::simd
