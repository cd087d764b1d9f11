// What a stopped run needs to continue exactly, in safetensors files: each process writes what it owns.
#pragma once
#include <filesystem>
#include <span>
#include <vector>

#include "train/optimizer.h"
#include "train/ranks.h"
#include "train/run_state.h"

namespace dvlm {

// The first process's file, which counts for all: it is replaced last, and atomically. The others are
// training-STEP-NUMBER-of-PARTS.safetensors, as is this one before all are written.
inline constexpr const char* kStateFile = "training.safetensors";

// One process's part of a run's state, on its way to the disk.
class StateWriter {
 public:
  // Pieces on a card are copied; those of the CPU must stay as they are until write() is over.
  StateWriter(std::filesystem::path folder, std::span<const StatePiece> pieces, RunState run,
              const Ranks& ranks);
  void write() const;  // on any thread
  // Once all processes have written: makes it the state of the run, and removes the one that was there. Every
  // process calls it.
  void commit(const Ranks& ranks) const;

 private:
  std::filesystem::path folder_;
  RunState run_;
  int part_;
  std::vector<StatePiece> pieces_;
};

// Fills the pieces, whichever processes wrote them. Throws Error when a file is missing or damaged, or a
// tensor is missing or has another shape.
RunState load_state(const std::filesystem::path& folder, std::span<const StatePiece> pieces);

}  // namespace dvlm
