// Instruction sets that the vectorised kernels are compiled for. Include before any Highway header.
#pragma once
#include <string>
#include <string_view>

// Kernels keep whole tiles in registers, which vectors of unknown length do not allow, and the sets left out
// here gain nothing over their neighbours for f32 arithmetic.
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)

namespace dvlm {

// The instruction set that kernels run on: the best of this machine, or what DVLM_ISA names (docs/model.md).
std::string_view isa_name();

// All that this machine can run, best first.
std::string supported_isas();

// Runs kernels on the named set from now on, "" for the best. Not while kernels run. Throws Error when the
// machine lacks it.
void force_isa(std::string_view name);

// Applies the variable DVLM_ISA, once per process.
void apply_isa_variable();

}  // namespace dvlm
