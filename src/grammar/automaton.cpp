#include "grammar/automaton.h"

#include <algorithm>
#include <utility>

#include "grammar/grammar_error.h"

namespace dvlm {

namespace {

// Together at most about 150 MB.
constexpr size_t kMaxStates = 1 << 16, kMaxFrames = 1 << 20, kMaxWays = 1 << 12, kMaxHeld = 1 << 23;
// About a second, in which nobody else's pass goes on.
constexpr size_t kMaxWork = 1 << 23;

template <class... Args>
[[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) {
  throw GrammarError(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace

Automaton::Automaton(StackMachine machine, std::string origin)
    : machine_(std::move(machine)), origin_(std::move(origin)) {
  states_.emplace_back();
  state_numbers_[{{}, false}] = kDead;
  const int start = close({frame(machine_.start(), kNone)});
  if (start == kDead) fail("{}: no text is one of this grammar", origin_);
}

int Automaton::frame(int state, int below) {
  const uint64_t key = uint64_t{static_cast<uint32_t>(state)} << 32 | static_cast<uint32_t>(below);
  if (const auto known = frame_numbers_.find(key); known != frame_numbers_.end()) return known->second;
  if (frames_.size() >= kMaxFrames)
    refuse("{}: an answer nests its rules in more than {} ways", origin_, kMaxFrames);
  frames_.push_back({state, below});
  seen_.push_back(0);
  return frame_numbers_[key] = static_cast<int>(frames_.size()) - 1;
}

int Automaton::close(const std::vector<int>& from) {
  std::vector<int> frames, kept;
  bool complete = false;
  size_t met = 0;
  ++closes_;
  const auto visit = [&](int number) {
    if (std::exchange(seen_[static_cast<size_t>(number)], closes_) == closes_) return;
    frames.push_back(number);
    ++met;
  };
  for (const int number : from) visit(number);
  while (!frames.empty()) {
    const int number = frames.back();
    frames.pop_back();
    const auto [position, below] = frames_[static_cast<size_t>(number)];
    const StackMachine::State& state = machine_.state(position);
    if (!state.bytes.empty()) kept.push_back(number);
    if (state.ends && below == kNone) complete = true;
    if (state.ends && below != kNone) visit(below);
    for (const int next : state.nothing) visit(frame(next, below));
    for (const StackMachine::Call& call : state.calls) {
      const StackMachine::State& then = machine_.state(call.then);
      // A call that is the last thing a rule does leaves nothing to come back to.
      const bool last = then.ends && then.bytes.empty() && then.nothing.empty() && then.calls.empty();
      visit(frame(call.rule_state, last ? below : frame(call.then, below)));
    }
    if (met > kMaxWays)
      refuse("{}: at one place of an answer it has more than {} ways to go on", origin_, kMaxWays);
  }
  if ((work_ += met) > kMaxWork)
    refuse("{} takes too much work to follow: write it with fewer choices that look alike", origin_);
  std::ranges::sort(kept);
  if ((states_.size() >= kMaxStates || held_ > kMaxHeld) && !state_numbers_.contains({kept, complete}))
    refuse("{}: answers reach too many states of the grammar ({})", origin_, states_.size());
  const auto [known, is_new] = state_numbers_.try_emplace({kept, complete}, static_cast<int>(states_.size()));
  held_ += is_new ? kept.size() : 0;
  if (is_new) states_.push_back({std::move(kept), complete});
  return known->second;
}

bool Automaton::worn() const {
  return 2 * states_.size() > kMaxStates || 2 * frames_.size() > kMaxFrames || 2 * held_ > kMaxHeld ||
         2 * work_ > kMaxWork;
}

int Automaton::step(int state, uint8_t byte) {
  State& from = states_[static_cast<size_t>(state)];
  if (!from.next) {
    from.next = std::make_unique<std::array<int, 256>>();
    from.next->fill(kUnknown);
  }
  if (const int known = (*from.next)[byte]; known != kUnknown) return known;
  std::vector<int> reached;
  for (const int number : from.frames) {
    const auto [position, below] = frames_[static_cast<size_t>(number)];
    for (const StackMachine::ByteEdge& edge : machine_.state(position).bytes)
      if (edge.first <= byte && byte <= edge.last) reached.push_back(frame(edge.to, below));
  }
  const int next = close(reached);
  (*states_[static_cast<size_t>(state)].next)[byte] = next;
  return next;
}

int Automaton::step(int state, std::string_view text) {
  for (const char c : text) {
    if (state == kDead) break;
    state = step(state, static_cast<uint8_t>(c));
  }
  return state;
}

ByteSet Automaton::following(int state) const {
  ByteSet out;
  for (const int number : at(state).frames)
    for (const auto& [first, last, to] : machine_.state(frames_[static_cast<size_t>(number)].state).bytes)
      for (int byte = first; byte <= last; ++byte) out.set(static_cast<size_t>(byte));
  return out;
}

std::string Automaton::forced(int state, size_t most) {
  std::string out;
  while (out.size() < most && !complete(state)) {
    const ByteSet bytes = following(state);
    if (bytes.count() != 1) break;
    const auto byte = static_cast<uint8_t>(bytes._Find_first());
    out += static_cast<char>(byte);
    state = step(state, byte);
  }
  return out;
}

}  // namespace dvlm
