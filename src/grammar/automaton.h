// Follows a grammar byte by byte: a deterministic automaton over a StackMachine's stacks of calls, whose
// states are made when they are first reached. A grammar without recursion has finitely many.
#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "grammar/grammar.h"

namespace dvlm {

// Not for several threads at once: reading makes states.
class Automaton {
 public:
  // `origin`: as Grammar's.
  Automaton(StackMachine machine, std::string origin);

  static constexpr int kDead = 0;  // the state of texts that nothing can complete
  static constexpr int kStart = 1;

  // The state behind one more byte, or behind all of `text`. Throws Error beyond the limits on states, on
  // calls within each other, on ways to read a text at the same time and on the work of finding all of them.
  int step(int state, uint8_t byte);
  int step(int state, std::string_view text);

  // The text so far is one of the grammar.
  bool complete(int state) const { return at(state).complete; }
  // The bytes that may follow.
  ByteSet following(int state) const;
  // What must follow, up to `most` bytes: nothing else can, and the text cannot end before.
  std::string forced(int state, size_t most);

  int states() const { return static_cast<int>(states_.size()); }
  // Half of a limit is used up.
  bool worn() const;

 private:
  // A state of the machine inside calls: what happens behind the innermost one, and so on.
  struct Frame {
    int state, below;  // below: another frame, or kNone
  };
  static constexpr int kNone = -1, kUnknown = -1;
  struct State {
    std::vector<int> frames;  // that can read a byte, ascending
    bool complete = false;
    std::unique_ptr<std::array<int, 256>> next = {};  // or null: never left yet
  };
  const State& at(int state) const { return states_[static_cast<size_t>(state)]; }
  int frame(int state, int below);
  // Whatever can be reached from these frames without a byte, as a state.
  int close(const std::vector<int>& from);

  StackMachine machine_;
  std::string origin_;
  std::vector<Frame> frames_;
  std::unordered_map<uint64_t, int> frame_numbers_;  // by state and below
  std::vector<int> seen_;                            // of each frame: the last close() that met it
  int closes_ = 0;
  std::vector<State> states_;
  std::map<std::pair<std::vector<int>, bool>, int> state_numbers_;
  size_t held_ = 0;  // frames of all states together
  size_t work_ = 0;  // frames that were visited to find them
};

}  // namespace dvlm
