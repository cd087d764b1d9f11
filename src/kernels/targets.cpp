#include "kernels/targets.h"

#include <hwy/highway.h>

#include <atomic>
#include <cstdlib>
#include <mutex>

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "core/error.h"

namespace dvlm {

namespace {

constexpr int64_t kAll = HWY_TARGETS;

int64_t best_of(int64_t targets) {
  return targets & -targets;
}  // Highway numbers better sets lower

bool has_avx512_bf16() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vbmi") &&
         __builtin_cpu_supports("avx512vnni");
#else
  return false;
#endif
}

#if defined(__x86_64__) && defined(__linux__)
constexpr int kTileData = 18;  // the number of the tiles' state, see arch_prctl(2)

// The processor has tiles of bf16 and bytes, and the system would let this process use them.
bool has_amx() {
  constexpr unsigned kBf16 = 1u << 22, kTile = 1u << 24, kInt8 = 1u << 25, kNeeded = kBf16 | kTile | kInt8;
  constexpr int kSupported = 0x1021;
  unsigned a, b, c, d;
  unsigned long long states = 0;
  return has_avx512_bf16() && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & kNeeded) == kNeeded &&
         ::syscall(SYS_arch_prctl, kSupported, &states) == 0 && (states >> kTileData & 1) != 0;
}

// For the whole process, for good: only when they are going to be used.
bool allow_amx() {
  constexpr int kRequest = 0x1023;
  return ::syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
}
#else
bool has_amx() {
  return false;
}
bool allow_amx() {
  return false;
}
#endif

bool has(DotProducts set) {
  static const bool amx = has_amx();
  return set == DotProducts::amx ? amx : set == DotProducts::none || has_avx512_bf16();
}

std::string_view name_of(DotProducts set) {
  switch (set) {
    case DotProducts::none:
      return "";
    case DotProducts::avx512_bf16:
      return "AVX512_BF16";
    case DotProducts::amx:
      return "AMX";
    case DotProducts::emulated_amx:
      return "AMX_EMULATED";
  }
  return "";
}

DotProducts best_dot_products() {
  if (has(DotProducts::amx) && allow_amx()) return DotProducts::amx;
  return has(DotProducts::avx512_bf16) ? DotProducts::avx512_bf16 : DotProducts::none;
}

std::atomic<int> chosen_dot_products{-1};  // a DotProducts; -1: nobody has asked yet

}  // namespace

DotProducts dot_products() {
  int chosen = chosen_dot_products.load(std::memory_order_relaxed);
  if (chosen < 0) chosen_dot_products = chosen = static_cast<int>(best_dot_products());
  return static_cast<DotProducts>(chosen);
}

std::string supported_isas() {
  std::string names;
  const auto add = [&](std::string_view name) { names.append(names.empty() ? "" : ", ").append(name); };
  for (const DotProducts set : {DotProducts::amx, DotProducts::avx512_bf16}) {
    if (has(set)) add(name_of(set));
  }
  const int64_t forced = hwy::SupportedTargets();
  hwy::SetSupportedTargetsForTest(0);
  for (int64_t rest = hwy::SupportedTargets() & kAll; rest != 0; rest &= rest - 1)
    add(hwy::TargetName(best_of(rest)));
  hwy::SetSupportedTargetsForTest(forced);
  return names;
}

std::string_view isa_name() {
  const DotProducts set = dot_products();
  return set != DotProducts::none ? name_of(set) : hwy::TargetName(best_of(hwy::SupportedTargets() & kAll));
}

void force_isa(std::string_view name) {
  hwy::SetSupportedTargetsForTest(0);
  const int64_t all = hwy::SupportedTargets() & kAll;
  DotProducts set = name.empty() ? best_dot_products() : DotProducts::none;
  for (const DotProducts some : {DotProducts::avx512_bf16, DotProducts::amx, DotProducts::emulated_amx}) {
    if (name == name_of(some) && has(some) && (some != DotProducts::amx || allow_amx())) set = some;
  }
  const bool best = name.empty() || set != DotProducts::none;
  int64_t chosen = best ? all : 0;
  for (int64_t rest = all; rest != 0 && !best; rest &= rest - 1) {
    if (name == hwy::TargetName(best_of(rest))) chosen = best_of(rest);
  }
  if (chosen == 0) {
    fail("the instruction set '{}' is not one that this machine and program have: use one of {}",
         printable(name), supported_isas());
  }
  chosen_dot_products = static_cast<int>(set);
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
