// Not for other rooms.
#pragma once
#include <string_view>

#include "grammar/automaton.h"

namespace dvlm {

inline bool takes(Automaton& automaton, std::string_view text) {
  return automaton.complete(automaton.step(Automaton::kStart, text));
}

}  // namespace dvlm
