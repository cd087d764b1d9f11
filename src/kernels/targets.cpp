#include "kernels/targets.h"

#include <hwy/highway.h>

#include <atomic>
#include <cstdlib>
#include <mutex>

#include "core/error.h"

namespace dvlm {

namespace {

constexpr int64_t kAll = HWY_TARGETS;
constexpr const char* kAvx512Bf16 = "AVX512_BF16";

int64_t best_of(int64_t targets) {
  return targets & -targets;
}  // Highway numbers better sets lower

bool machine_has_avx512_bf16() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vbmi") &&
         __builtin_cpu_supports("avx512vnni");
#else
  return false;
#endif
}

std::atomic<bool> avx512_bf16{machine_has_avx512_bf16()};

}  // namespace

bool uses_avx512_bf16() {
  return avx512_bf16.load(std::memory_order_relaxed);
}

std::string supported_isas() {
  std::string names = machine_has_avx512_bf16() ? kAvx512Bf16 : "";
  hwy::SetSupportedTargetsForTest(0);
  for (int64_t rest = hwy::SupportedTargets() & kAll; rest != 0; rest &= rest - 1) {
    if (!names.empty()) names += ", ";
    names += hwy::TargetName(best_of(rest));
  }
  return names;
}

std::string_view isa_name() {
  return uses_avx512_bf16() ? kAvx512Bf16 : hwy::TargetName(best_of(hwy::SupportedTargets() & kAll));
}

void force_isa(std::string_view name) {
  hwy::SetSupportedTargetsForTest(0);
  const int64_t all = hwy::SupportedTargets() & kAll;
  const bool best = name.empty() || (name == kAvx512Bf16 && machine_has_avx512_bf16());
  int64_t chosen = best ? all : 0;
  for (int64_t rest = all; rest != 0 && !best; rest &= rest - 1) {
    if (name == hwy::TargetName(best_of(rest))) chosen = best_of(rest);
  }
  if (chosen == 0) {
    fail("the instruction set '{}' is not one that this machine and program have: use one of {}",
         printable(name), supported_isas());
  }
  avx512_bf16 = best && machine_has_avx512_bf16();
  hwy::SetSupportedTargetsForTest(chosen);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

void apply_isa_variable() {
  static std::once_flag once;
  std::call_once(once, [] {
    if (const char* name = std::getenv("DVLM_ISA")) force_isa(name);
  });
}

}  // namespace dvlm
