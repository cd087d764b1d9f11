// Grammars over bytes, as plain data: what regular expressions, GBNF and JSON schemas become, and what an
// Automaton follows.
#pragma once
#include <bitset>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/types.h"

namespace dvlm {

using ByteSet = std::bitset<256>;
using CodeRange = std::pair<char32_t, char32_t>;  // Unicode, both ends included

// The part of a text that an expression describes. Expressions are numbers that their Grammar gives out; one
// may stand in any number of others.
using Expression = int;

// What stands for a token that is no text, of a call or of control: bytes that no UTF-8 has.
std::string token_mark(TokenId id);
TokenId marked_token(std::string_view mark);  // the inverse; -1 where it is cut off

// Rules and their expressions. All limits end in an Error that names the grammar's `origin`.
class Grammar {
 public:
  static constexpr int kUnbounded = -1;

  // `origin`: what sentences call it: a file, a field of a request.
  explicit Grammar(std::string origin) : origin_(std::move(origin)) {}

  Expression bytes(const ByteSet& set);
  Expression literal(std::string_view text);  // "": the empty text
  Expression token(TokenId id);               // a token that is no text: see token_mark()
  Expression characters(
      const std::vector<CodeRange>& ranges);                // one of them, as UTF-8; surrogates are left out
  Expression sequence(std::vector<Expression> parts);       // none: the empty text
  Expression any_of(std::vector<Expression> alternatives);  // none: no text at all
  Expression repeat(Expression what, int least, int most);  // most: kUnbounded, or at least `least`
  Expression rule(const std::string& name);                 // which may be defined later
  void define(const std::string& name, Expression expression);  // once for each name
  // True once for each name: to whoever will define it.
  bool claim(const std::string& name) { return claimed_.insert(name).second; }
  bool defines(const std::string& name) const { return rules_.count(name) > 0; }

  // Counts work that reading it takes beyond its size, in steps of some ten nanoseconds; too much is an
  // Error.
  void spend(size_t work);

  const std::string& origin() const { return origin_; }

 private:
  friend class StackMachine;
  enum class Kind : uint8_t { bytes, sequence, any_of, repeat, rule };
  struct Node {
    Kind kind;
    ByteSet set = {};
    std::vector<Expression> parts = {};
    int least = 0, most = 0;
    std::string name = {};
    int depth = 1;  // of parts within parts
  };
  Expression add(Node node);

  std::string origin_;
  std::vector<Node> nodes_;
  std::map<std::string, Expression> rules_;
  std::set<std::string> claimed_;
  size_t work_ = 0;
};

// A grammar as states and edges: a nondeterministic automaton whose edges read a byte, read nothing, or call
// a rule.
class StackMachine {
 public:
  // From the rule `start` on. Throws Error for rules that are missing or begin with themselves, and beyond
  // kMaxStates.
  StackMachine(const Grammar& grammar, const std::string& start);

  static constexpr int kMaxStates = 1 << 18;
  struct ByteEdge {
    uint8_t first, last;
    int to;
  };
  struct Call {
    int rule_state, then;  // where the rule begins, and what follows it here
  };
  struct State {
    std::vector<ByteEdge> bytes;
    std::vector<int> nothing;
    std::vector<Call> calls;
    bool ends = false;  // its rule
  };
  const State& state(int i) const { return states_[static_cast<size_t>(i)]; }
  int size() const { return static_cast<int>(states_.size()); }
  int start() const { return start_; }

 private:
  int new_state();
  int entry(const std::string& name);
  void connect(int from, int to, Expression expression);
  void connect_bytes(int from, int to, const ByteSet& set);
  void connect_repeat(int from, int to, Expression what, int least, int most);
  State& at(int state) { return states_[static_cast<size_t>(state)]; }
  void check_left_recursion() const;
  void refuse_cycles(const std::map<int, std::set<int>>& begins) const;
  std::string name_of(int rule) const;
  void leave_dead_ends();

  const Grammar* grammar_;  // while it is read
  std::vector<State> states_;
  std::map<std::string, int> entries_;
  std::vector<std::string> pending_;
  int start_ = 0;
};

}  // namespace dvlm
