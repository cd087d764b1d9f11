#include "grammar/common_texts.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "core/error.h"

namespace dvlm {

namespace {

// A pattern as an automaton over characters, nondeterministic.
class PatternMachine {
 public:
  using States = std::vector<int>;  // in ascending order
  struct Move {
    CodeRange characters;
    int to;
  };

  PatternMachine(const std::string& origin, const std::string& pattern, bool anywhere)
      : machine_(read(origin, pattern, anywhere)) {}

  int size() const { return machine_.size(); }
  States start() const { return closed({machine_.start()}); }
  bool ends(const States& states) const {
    return std::ranges::any_of(states, [&](int state) { return machine_.state(state).ends; });
  }
  std::vector<Move> moves(const States& states) const {
    std::vector<Move> out;
    for (const int state : states)
      for (const auto& first : machine_.state(state).bytes)
        for (const int middle : closed({first.to}))
          for (const auto& second : machine_.state(middle).bytes)
            for (int high = first.first; high <= first.last; ++high)
              for (int low = second.first; low <= second.last; ++low)
                for (const CodeRange& range :
                     sets_[static_cast<size_t>(high) * kDigits + static_cast<size_t>(low)])
                  out.push_back({range, second.to});
    return out;
  }
  States closed(States states) const {
    std::set<int> seen(states.begin(), states.end());
    while (!states.empty()) {
      const int state = states.back();
      states.pop_back();
      for (const int next : machine_.state(state).nothing)
        if (seen.insert(next).second) states.push_back(next);
    }
    return {seen.begin(), seen.end()};
  }

 private:
  // A set of characters is written as its number in two bytes, so that the machine over bytes is one over
  // characters.
  static constexpr int kDigits = 200;

  StackMachine read(const std::string& origin, const std::string& pattern, bool anywhere) {
    Grammar grammar(origin);
    const auto write = [&](const std::vector<CodeRange>& ranges) {
      const auto known = std::ranges::find(sets_, ranges);
      const auto number = static_cast<int>(known - sets_.begin());
      if (number == kDigits * kDigits) fail("{}: a pattern has too many sets of characters", origin);
      if (known == sets_.end()) sets_.push_back(ranges);
      const char name[] = {static_cast<char>(number / kDigits), static_cast<char>(number % kDigits)};
      return grammar.literal(std::string_view(name, 2));
    };
    const RegexOptions options{.anywhere = anywhere, .write = write};
    grammar.define("root", parse_regex(grammar, pattern, options));
    return {grammar, "root"};
  }

  std::vector<std::vector<CodeRange>> sets_;  // before machine_, which fills it
  StackMachine machine_;
};

// Where all patterns stand behind the same text, and how many characters that has.
struct Together {
  std::vector<PatternMachine::States> states;  // of each pattern; one without any: dead
  int count = 0;                               // at most what matters
  auto operator<=>(const Together&) const = default;
};

class Product {
 public:
  Product(Grammar& grammar, const std::vector<std::string>& patterns, int least, int most,
          const RegexOptions& options, std::string name)
      : grammar_(grammar), least_(least), most_(most), write_(options.write), name_(std::move(name)) {
    for (const std::string& pattern : patterns) {
      machines_.emplace_back(grammar.origin(), pattern, options.anywhere);
      grammar.spend(10 * static_cast<size_t>(machines_.back().size()));
    }
  }

  Expression read() {
    Together start;
    for (const PatternMachine& machine : machines_) start.states.push_back(machine.start());
    const Expression out = rule_of(start);
    while (!pending_.empty()) {
      const auto [number, at] = std::move(pending_.back());
      pending_.pop_back();
      grammar_.define(name_ + std::to_string(number), behind(at));
    }
    return out;
  }

 private:
  Expression rule_of(const Together& at) {
    const auto [known, is_new] = numbers_.try_emplace(at, static_cast<int>(numbers_.size()));
    if (numbers_.size() > kMaxCommonStates)
      fail("{}: the patterns and lengths of a string have more than {} states together: write them simpler",
           grammar_.origin(), kMaxCommonStates);
    if (is_new) pending_.emplace_back(known->second, at);
    return grammar_.rule(name_ + std::to_string(known->second));
  }

  // What may follow.
  Expression behind(const Together& at) {
    std::vector<Expression> out;
    bool ends = at.count >= least_;
    for (size_t i = 0; i < machines_.size(); ++i) ends = ends && machines_[i].ends(at.states[i]);
    if (ends) out.push_back(grammar_.literal(""));
    if (most_ != Grammar::kUnbounded && at.count >= most_) return grammar_.any_of(std::move(out));
    for (const auto& [next, ranges] : moves(at))
      out.push_back(grammar_.sequence({write_(ranges), rule_of(next)}));
    return grammar_.any_of(std::move(out));
  }

  // Where characters lead that all patterns take.
  std::map<Together, std::vector<CodeRange>> moves(const Together& at) {
    std::vector<std::vector<PatternMachine::Move>> all;
    std::set<char32_t> begins;  // of stretches whose characters lead to the same place
    for (size_t i = 0; i < machines_.size(); ++i) {
      all.push_back(machines_[i].moves(at.states[i]));
      for (const auto& move : all.back()) begins.insert({move.characters.first, move.characters.second + 1});
    }
    std::map<Together, std::vector<CodeRange>> out;
    for (auto begin = begins.begin(); begin != begins.end() && std::next(begin) != begins.end(); ++begin) {
      Together next{.states = {},
                    .count = std::min(at.count + 1, most_ == Grammar::kUnbounded ? least_ : most_)};
      for (size_t i = 0; i < machines_.size(); ++i)
        next.states.push_back(behind(machines_[i], all[i], *begin));
      if (std::ranges::any_of(next.states, &PatternMachine::States::empty)) continue;
      std::vector<CodeRange>& ranges = out[next];
      const CodeRange stretch{*begin, *std::next(begin) - 1};
      if (!ranges.empty() && ranges.back().second + 1 == stretch.first)
        ranges.back().second = stretch.second;
      else
        ranges.push_back(stretch);
    }
    return out;
  }

  PatternMachine::States behind(const PatternMachine& machine, const std::vector<PatternMachine::Move>& moves,
                                char32_t character) {
    PatternMachine::States out;
    for (const auto& [characters, to] : moves)
      if (characters.first <= character && character <= characters.second) out.push_back(to);
    out = machine.closed(std::move(out));
    grammar_.spend(moves.size() + 10 * out.size());
    return out;
  }

  Grammar& grammar_;
  const int least_, most_;
  const WriteCharacter& write_;
  const std::string name_;  // of its rules
  std::vector<PatternMachine> machines_;
  std::map<Together, int> numbers_;
  std::vector<std::pair<int, Together>> pending_;
};

}  // namespace

Expression common_texts(Grammar& grammar, const std::vector<std::string>& patterns, int least, int most,
                        const RegexOptions& options) {
  std::string name = fmt::format("common {} to {} of", least, most);
  for (const std::string& pattern : patterns) name += fmt::format(" {}:{}", pattern.size(), pattern);
  name += ", state ";
  // Twice in one grammar: read once.
  if (grammar.defines(name + "0")) return grammar.rule(name + "0");
  return Product(grammar, patterns, least, most, options, name).read();
}

}  // namespace dvlm
