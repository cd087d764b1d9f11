// The instruction sets that kernels are written for. A set is one record in isa.cpp, from which follows what
// runs on it and what is forced, tested and measured. Not for other rooms but measurements.
#pragma once
#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/matrix.h"

namespace dvlm {

struct LinearTiles;
struct AttentionTask;
struct AttentionState;

struct Isa {
  std::string_view name;
  int64_t targets;     // sets of Highway; the best that the machine has runs the operators not named here
  bool (*detected)();  // the processor and the system have what the set needs beyond those
  bool (*enabled)();   // asks the system for it, for the whole process and for good
  bool for_tests;      // forced by name only
  const LinearTiles* (*linear)(WeightFormat);
  void (*bf16_attention)(const AttentionTask&, AttentionState&);  // over keys in bf16
  // Multiplies on registers alone with what `linear` uses for bf16; returns floating-point operations.
  double (*multiply)(int64_t rounds);

  bool supported() const;
};

// Best first; those for tests come last.
std::span<const Isa> all_isas();

// What kernels run on: the best set of the machine, or what force_isa named.
const Isa& current_isa();

}  // namespace dvlm
