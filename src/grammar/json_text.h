// The syntax of JSON as expressions: what every schema is made of.
#pragma once
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "grammar/decimals.h"
#include "grammar/source.h"

namespace dvlm {

class JsonText {
 public:
  JsonText(Grammar& grammar, JsonSpaces spaces) : grammar_(grammar), spaces_(spaces) {}

  // Any value; an object of anything, an array of anything.
  Expression value();
  Expression object();
  Expression array();

  // One character of a string, in every way to write it, and one of these, in one way: escaped where it must
  // be.
  Expression character();
  Expression character(const std::vector<CodeRange>& ranges);
  // Characters between quotation marks, any or so many.
  Expression string(int least = 0, int most = Grammar::kUnbounded);
  Expression quoted(Expression characters);
  // Any string but these.
  Expression string_but(const std::vector<std::string>& texts);
  // At most 16 digits before the point and behind it; exponents where nothing bounds the number.
  Expression number(const NumberRange& range = {});
  // Whole multiples of `divisor`, 2 or more.
  Expression multiple_of(int divisor);
  // `outer`, also below: a list is all of the text; its items have lines of their own where the spaces are
  // the usual ones.
  Expression constant(const nlohmann::ordered_json& value, bool outer = false);
  // One of these.
  Expression constants(const std::vector<nlohmann::ordered_json>& values, bool outer = false);

  // "key": value, and the braces, brackets and commas around such parts.
  Expression member(Expression key, Expression value);
  Expression comma(bool outer = false);
  Expression brackets(bool may_be_empty, Expression items, bool outer);
  Expression open(char bracket);
  Expression close(char bracket);

 private:
  Expression one_of(std::span<const std::u32string> texts, size_t shared);
  Expression space();  // where the policy allows any
  Expression optional(Expression what) { return grammar_.repeat(what, 0, 1); }
  // The rule `name`, which `make` defines when it is first wanted.
  template <class Make>
  Expression once(const std::string& name, const Make& make);
  Expression list(char opening, Expression item, char closing);
  Expression but(const std::vector<std::u32string>& texts, size_t from);

  Grammar& grammar_;
  const JsonSpaces spaces_;
};

}  // namespace dvlm
