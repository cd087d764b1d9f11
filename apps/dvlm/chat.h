// The interactive chat of `dvlm run`.
#pragma once
#include "engine/engine.h"

namespace dvlm {

// Reads lines from the terminal (or a pipe) until /exit or the end of input. `first` holds decoding settings,
// an optional system message and images for the first turn. Ctrl-C stops the answer being written; at the
// prompt it leaves.
void run_chat(Engine& engine, const Request& first, bool stats);

}  // namespace dvlm
