#include "aleph/cli/instruction_sets.h"

#include <vector>

#include "aleph/kernels/simd/simd.h"

namespace aleph::cli {
namespace {

using kernels::CpuLevel;

struct InstructionSet {
  const char* name;
  CpuLevel level;  // kernels use it from this level on
  bool here;       // the processor has it
};

// The last two through oneDNN and through kernels of their own.
std::vector<InstructionSet> instruction_sets() {
  const CpuLevel machine = kernels::machine_cpu_level();
  return {{"AVX2", CpuLevel::kAvx2, machine >= CpuLevel::kAvx2},
          {"AVX-512", CpuLevel::kAvx512, machine >= CpuLevel::kAvx512},
          {"AVX-512 BF16", CpuLevel::kAvx512Bf16, machine >= CpuLevel::kAvx512Bf16},
          {"AVX-512 VNNI", CpuLevel::kAvx512, __builtin_cpu_supports("avx512vnni") != 0}};
}

std::string listed(bool only_used) {
  std::string names;
  for (const InstructionSet& set : instruction_sets()) {
    if (only_used && (!set.here || set.level > kernels::cpu_level())) continue;
    names += (names.empty() ? "" : ", ") + std::string(set.name);
  }
  return names.empty() ? "none beyond x86-64" : names;
}

}  // namespace

std::string built_instruction_sets() { return listed(false); }

std::string used_instruction_sets() { return listed(true); }

}  // namespace aleph::cli
