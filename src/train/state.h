// What a stopped run needs to continue exactly, in safetensors files: each process writes what it owns.
#pragma once
#include <filesystem>
#include <span>

#include "train/optimizer.h"
#include "train/ranks.h"
#include "train/run_state.h"

namespace dvlm {

// The first process's file, which counts for all: it is replaced last, and atomically. It names no other;
// theirs are training-STEP-NUMBER-of-PARTS.safetensors.
inline constexpr const char* kStateFile = "training.safetensors";

// Writes all processes' pieces and `run` to the folder, and removes the state that was there. Every process
// calls it.
void save_state(const std::filesystem::path& folder, std::span<const StatePiece> pieces, RunState run,
                const Ranks& ranks);

// Fills the pieces, whichever processes wrote them. Throws Error when a file is missing or damaged, or a
// tensor is missing or has another shape.
RunState load_state(const std::filesystem::path& folder, std::span<const StatePiece> pieces);

}  // namespace dvlm
