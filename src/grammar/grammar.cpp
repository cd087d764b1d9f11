#include "grammar/grammar.h"

#include <algorithm>
#include <set>

#include "core/error.h"
#include "core/utf8.h"

namespace dvlm {

namespace {

// A run of byte ranges: UTF-8 sequences that differ in nothing but that.
using ByteRun = std::vector<std::pair<uint8_t, uint8_t>>;

// Cuts a range until both ends have as many bytes and every byte but the last of the part that differs is
// whole.
void add_runs(char32_t first, char32_t last, std::vector<ByteRun>& out) {
  for (const char32_t edge : {0x7Fu, 0x7FFu, 0xFFFFu}) {
    if (first > edge || last <= edge) continue;
    add_runs(first, edge, out);
    return add_runs(edge + 1, last, out);
  }
  for (int shift = 6; shift <= 18; shift += 6) {
    const char32_t low = (char32_t{1} << shift) - 1;
    if ((first & ~low) == (last & ~low)) break;
    if ((first & low) != 0 && last > (first | low)) {
      add_runs(first, first | low, out);
      return add_runs((first | low) + 1, last, out);
    }
    if ((last & low) != low && (last & ~low) > first) {
      add_runs(first, (last & ~low) - 1, out);
      return add_runs(last & ~low, last, out);
    }
  }
  std::string from, to;
  append_utf8(from, first), append_utf8(to, last);
  ByteRun run;
  for (size_t i = 0; i < from.size(); ++i)
    run.emplace_back(static_cast<uint8_t>(from[i]), static_cast<uint8_t>(to[i]));
  out.push_back(std::move(run));
}

ByteSet range_of(uint8_t first, uint8_t last) {
  ByteSet set;
  for (int byte = first; byte <= last; ++byte) set.set(static_cast<size_t>(byte));
  return set;
}

}  // namespace

std::string token_mark(TokenId id) {
  std::string out = "\xff";
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(id >> shift & 0xff);
  return out;
}

TokenId marked_token(std::string_view mark) {
  if (mark.size() < token_mark(0).size()) return -1;
  TokenId out = 0;
  for (const char c : mark.substr(1, 4)) out = out << 8 | static_cast<uint8_t>(c);
  return out;
}

void Grammar::spend(size_t work) {
  constexpr size_t kMost = size_t{1} << 23;
  if ((work_ += work) > kMost) fail("{} takes too much work to read: write it simpler", origin_);
}

Expression Grammar::add(Node node) {
  constexpr size_t kMaxNodes = size_t{1} << 20;
  constexpr int kDeepest = 2'000;  // who walks over them calls itself
  if (nodes_.size() >= kMaxNodes) fail("{} is too large: it has more than {} parts", origin_, kMaxNodes);
  for (const Expression part : node.parts) {
    DVLM_ASSERT(part >= 0 && part < std::ssize(nodes_));  // of this grammar
    node.depth = std::max(node.depth, nodes_[static_cast<size_t>(part)].depth + 1);
  }
  if (node.depth > kDeepest) fail("{} nests more than {} parts in one another", origin_, kDeepest);
  nodes_.push_back(std::move(node));
  return static_cast<Expression>(nodes_.size() - 1);
}

Expression Grammar::bytes(const ByteSet& set) {
  return add({.kind = Kind::bytes, .set = set});
}

Expression Grammar::literal(std::string_view text) {
  std::vector<Expression> parts;
  for (const char c : text)
    parts.push_back(bytes(range_of(static_cast<uint8_t>(c), static_cast<uint8_t>(c))));
  return sequence(std::move(parts));
}

Expression Grammar::token(TokenId id) {
  return literal(token_mark(id));
}

Expression Grammar::characters(const std::vector<CodeRange>& ranges) {
  std::vector<ByteRun> runs;
  for (const auto& [first, last] : ranges) {
    constexpr char32_t kSurrogates = 0xD800, kAfter = 0xE000, kMost = 0x10FFFF;
    if (first < kSurrogates) add_runs(first, std::min<char32_t>(last, kSurrogates - 1), runs);
    if (last >= kAfter && first <= kMost) add_runs(std::max(first, kAfter), std::min(last, kMost), runs);
  }
  ByteSet single;  // one byte each: together they are one edge
  std::vector<Expression> out;
  for (const ByteRun& run : runs) {
    if (run.size() == 1) {
      single |= range_of(run[0].first, run[0].second);
      continue;
    }
    std::vector<Expression> parts;
    for (const auto& [first, last] : run) parts.push_back(bytes(range_of(first, last)));
    out.push_back(sequence(std::move(parts)));
  }
  if (single.any()) out.push_back(bytes(single));
  return any_of(std::move(out));
}

Expression Grammar::sequence(std::vector<Expression> parts) {
  return parts.size() == 1 ? parts[0] : add({.kind = Kind::sequence, .parts = std::move(parts)});
}

Expression Grammar::any_of(std::vector<Expression> alternatives) {
  return alternatives.size() == 1 ? alternatives[0]
                                  : add({.kind = Kind::any_of, .parts = std::move(alternatives)});
}

Expression Grammar::repeat(Expression what, int least, int most) {
  return add({.kind = Kind::repeat, .parts = {what}, .least = least, .most = most});
}

Expression Grammar::rule(const std::string& name) {
  return add({.kind = Kind::rule, .name = name});
}

void Grammar::define(const std::string& name, Expression expression) {
  if (!rules_.emplace(name, expression).second) fail("{}: the rule {} is defined twice", origin_, name);
}

StackMachine::StackMachine(const Grammar& grammar, const std::string& start) : grammar_(&grammar) {
  start_ = entry(start);
  while (!pending_.empty()) {
    const std::string name = std::move(pending_.back());
    pending_.pop_back();
    const auto found = grammar.rules_.find(name);
    if (found == grammar.rules_.end()) fail("{}: there is no rule {}", grammar.origin(), printable(name));
    const int end = new_state();
    states_[static_cast<size_t>(end)].ends = true;
    connect(entries_.at(name), end, found->second);
  }
  check_left_recursion();
  leave_dead_ends();
  grammar_ = nullptr;
}

int StackMachine::new_state() {
  if (size() >= kMaxStates)
    fail("{} is too large: it needs more than {} states", grammar_->origin(), kMaxStates);
  states_.emplace_back();
  return size() - 1;
}

int StackMachine::entry(const std::string& name) {
  if (const auto known = entries_.find(name); known != entries_.end()) return known->second;
  pending_.push_back(name);
  return entries_[name] = new_state();
}

void StackMachine::connect_bytes(int from, int to, const ByteSet& set) {
  const auto has = [&](int byte) { return byte < 256 && set[static_cast<size_t>(byte)]; };
  for (int first = 0; first < 256; ++first) {
    if (!has(first)) continue;
    int last = first;
    while (has(last + 1)) ++last;
    at(from).bytes.push_back({static_cast<uint8_t>(first), static_cast<uint8_t>(last), to});
    first = last;
  }
}

void StackMachine::connect_repeat(int from, int to, Expression what, int least, int most) {
  const auto once = [&] {
    const int next = new_state();
    connect(from, next, what);
    from = next;
  };
  for (int i = 0; i < least; ++i) once();
  if (most == Grammar::kUnbounded) {
    const int loop = new_state();
    at(from).nothing.push_back(loop);
    connect(loop, loop, what);
    from = loop;
  }
  for (int i = least; i < most; ++i) {
    at(from).nothing.push_back(to);
    once();
  }
  at(from).nothing.push_back(to);
}

void StackMachine::connect(int from, int to, Expression expression) {
  const Grammar::Node& node = grammar_->nodes_[static_cast<size_t>(expression)];
  switch (node.kind) {
    case Grammar::Kind::bytes:
      return connect_bytes(from, to, node.set);
    case Grammar::Kind::sequence:
      if (node.parts.empty()) at(from).nothing.push_back(to);
      for (size_t i = 0; i < node.parts.size(); ++i) {
        const int next = i + 1 < node.parts.size() ? new_state() : to;
        connect(from, next, node.parts[i]);
        from = next;
      }
      return;
    case Grammar::Kind::any_of:
      for (const Expression part : node.parts) {
        const int inside = new_state();  // or the loop of a repetition could be entered from another part
        at(from).nothing.push_back(inside);
        connect(inside, to, part);
      }
      return;
    case Grammar::Kind::repeat:
      return connect_repeat(from, to, node.parts[0], node.least, node.most);
    case Grammar::Kind::rule: {
      const int called = entry(node.name);
      at(from).calls.push_back({called, to});
      return;
    }
  }
}

// A rule that can come back to its own beginning before a byte is read would be called for ever.
void StackMachine::check_left_recursion() const {
  std::set<int> empty;                         // rules that can be the empty text
  std::map<int, std::set<int>> begins, begun;  // rules that a rule can begin with, and the other way round
  std::vector<int> waiting;                    // to be looked at, again where another turned out to be empty
  for (const auto& [name, rule] : entries_) waiting.push_back(rule);
  while (!waiting.empty()) {
    const int rule = waiting.back();
    waiting.pop_back();
    std::vector<int> stack = {rule};
    std::set<int> seen = {rule};
    bool ends = false;
    const auto visit = [&](int next) {
      if (seen.insert(next).second) stack.push_back(next);
    };
    while (!stack.empty()) {
      const State& now = state(stack.back());
      stack.pop_back();
      ends = ends || now.ends;
      for (const int next : now.nothing) visit(next);
      for (const Call& call : now.calls) {
        begins[rule].insert(call.rule_state), begun[call.rule_state].insert(rule);
        if (empty.count(call.rule_state)) visit(call.then);
      }
    }
    if (ends && empty.insert(rule).second)
      waiting.insert(waiting.end(), begun[rule].begin(), begun[rule].end());
  }
  refuse_cycles(begins);
}

// Walks every way once; a rule that is met again on the way that led to it begins with itself.
void StackMachine::refuse_cycles(const std::map<int, std::set<int>>& begins) const {
  std::set<int> done, on_way;
  for (const auto& [name, first] : entries_) {
    std::vector<std::pair<int, bool>> stack = {{first, false}};
    while (!stack.empty()) {
      const auto [rule, left] = stack.back();
      stack.pop_back();
      if (left) {
        on_way.erase(rule), done.insert(rule);
        continue;
      }
      if (done.count(rule)) continue;
      if (!on_way.insert(rule).second) continue;
      stack.emplace_back(rule, true);
      const auto next = begins.find(rule);
      if (next == begins.end()) continue;
      for (const int other : next->second) {
        if (on_way.count(other))
          fail("{}: the rule {} begins with itself, which never ends: let it begin with something else",
               grammar_->origin(), printable(name_of(other)));
        stack.emplace_back(other, false);
      }
    }
  }
}

std::string StackMachine::name_of(int rule) const {
  const auto found = std::ranges::find(entries_, rule, [](const auto& entry) { return entry.second; });
  return found == entries_.end() ? "?" : found->first;
}

// Takes away what leads to states from which no text is ever completed: nobody should begin it.
void StackMachine::leave_dead_ends() {
  std::vector<std::vector<int>> leading(states_.size());  // states to look at again once this one completes
  std::vector<bool> completes(states_.size());
  std::vector<int> stack;
  const auto of = [&](int i) { return static_cast<bool>(completes[static_cast<size_t>(i)]); };
  for (int i = 0; i < size(); ++i) {
    const State& now = state(i);
    for (const ByteEdge& edge : now.bytes) leading[static_cast<size_t>(edge.to)].push_back(i);
    for (const int next : now.nothing) leading[static_cast<size_t>(next)].push_back(i);
    for (const Call& call : now.calls) {
      leading[static_cast<size_t>(call.rule_state)].push_back(i);
      leading[static_cast<size_t>(call.then)].push_back(i);
    }
    if (now.ends) completes[static_cast<size_t>(i)] = true, stack.push_back(i);
  }
  while (!stack.empty()) {
    const int done = stack.back();
    stack.pop_back();
    for (const int i : leading[static_cast<size_t>(done)]) {
      const auto calls = [&](const Call& call) { return of(call.rule_state) && of(call.then); };
      const State& now = state(i);
      if (of(i) || !(std::ranges::any_of(now.bytes, [&](const ByteEdge& edge) { return of(edge.to); }) ||
                     std::ranges::any_of(now.nothing, of) || std::ranges::any_of(now.calls, calls)))
        continue;
      completes[static_cast<size_t>(i)] = true;
      stack.push_back(i);
    }
  }
  for (State& now : states_) {
    std::erase_if(now.bytes, [&](const ByteEdge& edge) { return !of(edge.to); });
    std::erase_if(now.nothing, [&](int next) { return !of(next); });
    std::erase_if(now.calls, [&](const Call& call) { return !of(call.rule_state) || !of(call.then); });
  }
}

}  // namespace dvlm
