#include "kernels/isa.h"

#include "kernels/targets.h"
// Highway reads what targets.h leaves out.
#include <hwy/highway.h>

#include <atomic>
#include <cstdlib>
#include <mutex>
#include <vector>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "core/error.h"
#include "kernels/attention_task.h"
#include "kernels/linear_tiles.h"

namespace dvlm {

namespace {

bool always() {
  return true;
}

#if defined(__x86_64__)
bool has_avx512_vnni() {
  return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni");
}
bool has_avx512_bf16() {
  return has_avx512_vnni() && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vbmi");
}
// Clang 14 has no name for it.
bool has_avx2_vnni() {
  constexpr unsigned kAvxVnni = 1u << 4;
  unsigned a, b, c, d;
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & kAvxVnni) != 0;
}
#endif

#if defined(__aarch64__) && defined(__linux__)
bool has_neon_dot() {
  constexpr unsigned long kDotProducts = 1u << 20;  // HWCAP_ASIMDDP
  return (::getauxval(AT_HWCAP) & kDotProducts) != 0;
}
bool has_neon_i8mm() {
  constexpr unsigned long kMatrixProducts = 1u << 13;  // HWCAP2_I8MM
  return has_neon_dot() && (::getauxval(AT_HWCAP2) & kMatrixProducts) != 0;
}
#endif

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

// Asked only when they are going to be used.
bool enable_amx() {
  constexpr int kRequest = 0x1023;
  return ::syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
}
#endif

int64_t targets_of_machine() {
  static const int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;  // before any is forced
  return targets;
}

std::vector<Isa> make_isas() {
  std::vector<Isa> out;
#if defined(__x86_64__)
#if defined(__linux__)
  out.push_back({"AMX", HWY_TARGETS, has_amx, enable_amx, false, amx_tiles, amx_attention, amx_multiply});
#endif
  out.push_back({"AVX512_BF16", HWY_TARGETS, has_avx512_bf16, always, false, avx512_bf16_tiles,
                 avx512_bf16_attention, avx512_bf16_multiply});
  out.push_back({"AVX512_VNNI", HWY_TARGETS, has_avx512_vnni, always, false, avx512_vnni_tiles,
                 highway_attention, highway_multiply});
  // No AVX-512 of Highway's beside it: who has that has the set above, too.
  out.push_back({"AVX2_VNNI", HWY_TARGETS & ~HWY_AVX3, has_avx2_vnni, always, false, avx2_vnni_tiles,
                 highway_attention, highway_multiply});
#endif
#if defined(__aarch64__) && defined(__linux__)
  out.push_back({"NEON_I8MM", HWY_TARGETS, has_neon_i8mm, always, false, neon_i8mm_tiles, highway_attention,
                 highway_multiply});
  out.push_back({"NEON_DOT", HWY_TARGETS, has_neon_dot, always, false, neon_dot_tiles, highway_attention,
                 highway_multiply});
#endif
  for (int64_t rest = HWY_TARGETS; rest != 0; rest &= rest - 1) {
    const int64_t best = rest & -rest;  // Highway numbers better sets lower
    out.push_back({hwy::TargetName(best), best, always, always, false, highway_tiles, highway_attention,
                   highway_multiply});
  }
#if defined(__x86_64__)
  // AMX's code with the tile unit played by plain code.
  out.push_back({"AMX_EMULATED", HWY_TARGETS, has_avx512_bf16, always, true, emulated_amx_tiles,
                 emulated_amx_attention, avx512_bf16_multiply});
#endif
  return out;
}

std::atomic<const Isa*> current{nullptr};  // null: nobody has asked yet

const Isa* find_isa(std::string_view name) {
  for (const Isa& isa : all_isas()) {
    const bool wanted = name.empty() ? !isa.for_tests : name == isa.name;
    if (wanted && isa.supported() && isa.enabled()) return &isa;
  }
  return nullptr;
}

}  // namespace

std::span<const Isa> all_isas() {
  static const std::vector<Isa> isas = make_isas();
  return isas;
}

bool Isa::supported() const {
  return (targets & targets_of_machine()) != 0 && detected();
}

const Isa& current_isa() {
  const Isa* isa = current.load(std::memory_order_relaxed);
  if (!isa) current = isa = find_isa("");
  return *isa;
}

std::string_view isa_name() {
  return current_isa().name;
}

std::string supported_isas() {
  std::string names;
  for (const Isa& isa : all_isas())
    if (!isa.for_tests && isa.supported()) names.append(names.empty() ? "" : ", ").append(isa.name);
  return names;
}

void force_isa(std::string_view name) {
  const Isa* isa = find_isa(name);
  if (!isa) {
    fail("the instruction set '{}' is not one that this machine and program have: use one of {}",
         printable(name), supported_isas());
  }
  hwy::SetSupportedTargetsForTest(isa->targets & targets_of_machine());
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  current = isa;
}

void apply_isa_variable() {
  static std::once_flag once;
  std::call_once(once, [] {
    if (const char* name = std::getenv("DVLM_ISA")) force_isa(name);
  });
}

}  // namespace dvlm
