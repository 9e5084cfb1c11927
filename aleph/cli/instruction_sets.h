// Which instruction sets the program has code for, and which of them run here.
#pragma once

#include <string>

namespace aleph::cli {

/// "AVX2, AVX-512, AVX-512 BF16, AVX-512 VNNI": beyond plain x86-64, each taken where the processor has it.
std::string built_instruction_sets();
/// Those of built_instruction_sets that this processor has and ALEPH_CPU leaves; "none beyond x86-64".
std::string used_instruction_sets();

}  // namespace aleph::cli
