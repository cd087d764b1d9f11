// Grammars of all kinds, which are read or refused, and texts that follow them: what may follow a state does,
// what must follow is the only way, and nothing else goes on. The first byte names the kind, the second a
// walk.
#include "grammar/automaton.h"
#include "grammar/source.h"

#include "fuzzing.h"

namespace {

using namespace dvlm;

void follow(Automaton& automaton, uint32_t walk) {
  constexpr int kSteps = 40;
  int state = Automaton::kStart;
  for (int i = 0; i < kSteps; ++i) {
    const ByteSet next = automaton.following(state);
    DVLM_ASSERT(automaton.complete(state) || next.any());  // nobody is led to where nothing ends
    if (next.none()) return;
    for (size_t byte = 0; byte < next.size(); ++byte)
      DVLM_ASSERT(next[byte] == (automaton.step(state, static_cast<uint8_t>(byte)) != Automaton::kDead));
    const std::string forced = automaton.forced(state, 8);
    DVLM_ASSERT(forced.empty() || (next.count() == 1 && next[static_cast<uint8_t>(forced[0])]));
    walk = walk * 1664525 + 1013904223;
    size_t steps = (walk >> 16) % next.count(), byte = next._Find_first();
    while (steps-- > 0) byte = next._Find_next(byte);
    state = automaton.step(state, static_cast<uint8_t>(byte));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr size_t kMost = 4096;  // larger ones only take longer
  fuzz::Input input(data, size);
  const auto kind = static_cast<GrammarKind>(input.below(3));
  const uint32_t walk = input.number(1);
  const std::string text(input.take(kMost));
  fuzz::accepts([&] {
    Automaton automaton = read_grammar({kind, text, static_cast<JsonSpaces>(walk % 3)});
    for (uint32_t i = 0; i < 4; ++i) follow(automaton, walk + i);
  });
  return 0;
}
