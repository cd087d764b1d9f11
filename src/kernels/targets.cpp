#include "kernels/targets.h"

#include <hwy/highway.h>

#include <cstdlib>
#include <mutex>

#include "core/error.h"

namespace dvlm {

namespace {

constexpr int64_t kAll = HWY_TARGETS;

int64_t best_of(int64_t targets) {
  return targets & -targets;
}  // Highway numbers better sets lower

}  // namespace

std::string supported_isas() {
  std::string names;
  hwy::SetSupportedTargetsForTest(0);
  for (int64_t rest = hwy::SupportedTargets() & kAll; rest != 0; rest &= rest - 1) {
    if (!names.empty()) names += ", ";
    names += hwy::TargetName(best_of(rest));
  }
  return names;
}

std::string_view isa_name() {
  return hwy::TargetName(best_of(hwy::SupportedTargets() & kAll));
}

void force_isa(std::string_view name) {
  hwy::SetSupportedTargetsForTest(0);
  const int64_t all = hwy::SupportedTargets() & kAll;
  int64_t chosen = all;
  if (!name.empty()) {
    chosen = 0;
    for (int64_t rest = all; rest != 0; rest &= rest - 1) {
      if (name == hwy::TargetName(best_of(rest))) chosen = best_of(rest);
    }
    if (chosen == 0) {
      fail("the instruction set '{}' is not one that this machine and program have: use one of {}",
           printable(name), supported_isas());
    }
  }
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
