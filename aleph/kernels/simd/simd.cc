#include "aleph/kernels/simd/simd.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "aleph/base/error.h"
#include "aleph/base/text_util.h"

namespace aleph::kernels {

const char* cpu_level_name(CpuLevel level) {
  if (level == CpuLevel::kAvx512Bf16) return "avx512_bf16";
  if (level == CpuLevel::kAvx512) return "avx512";
  return level == CpuLevel::kAvx2 ? "avx2" : "portable";
}

CpuLevel machine_cpu_level() {
  const bool avx2 =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  if (!avx2) return CpuLevel::kPortable;
  if (!avx512) return CpuLevel::kAvx2;
  return __builtin_cpu_supports("avx512bf16") ? CpuLevel::kAvx512Bf16 : CpuLevel::kAvx512;
}

CpuLevel cpu_level() {
  const char* name = std::getenv("ALEPH_CPU");
  if (name == nullptr || *name == '\0') return machine_cpu_level();
  for (const CpuLevel level : kCpuLevels) {
    if (std::string_view(name) == cpu_level_name(level)) return std::min(level, machine_cpu_level());
  }
  throw UsageError("ALEPH_CPU", "'" + printable(name) + "'", "portable, avx2, avx512 or avx512_bf16");
}

}  // namespace aleph::kernels
