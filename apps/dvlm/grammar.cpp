// dvlm grammar: whether texts are of a grammar, where they leave it, and what could follow.
#include <iostream>
#include <nlohmann/json.hpp>

#include "checkpoint/json.h"
#include "command.h"
#include "core/error.h"
#include "grammar/automaton.h"
#include "grammar/vocabulary.h"
#include "options.h"
#include "output.h"
#include "text/mask_token.h"

namespace dvlm {

namespace {

struct CheckOptions {
  GrammarFlags grammar;
  std::string text, model;
  bool json = false, masks = false;
};

// Bytes that could follow, as ranges: a-z, 0x80-0xbf.
std::string shown(const ByteSet& bytes) {
  std::string out;
  const auto name = [](int byte) {
    const bool plain = byte > 0x20 && byte < 0x7f;
    return plain ? std::string(1, static_cast<char>(byte)) : fmt::format("0x{:02x}", byte);
  };
  for (int first = 0; first < 256; ++first) {
    if (!bytes[static_cast<size_t>(first)]) continue;
    int last = first;
    while (last < 255 && bytes[static_cast<size_t>(last) + 1]) ++last;
    out += (out.empty() ? "" : " ") + name(first) + (last > first ? "-" + name(last) : "");
    first = last;
  }
  return out;
}

std::string hex_of(const TokenMask& mask) {
  std::string out;
  for (const uint64_t word : mask) out += fmt::format("{:016x}", word);
  return out;
}

// Follows the text as far as it goes. `state`: there.
size_t follow(Automaton& automaton, std::string_view text, int& state) {
  size_t read = 0;
  for (; read < text.size(); ++read) {
    const int next = automaton.step(state, static_cast<uint8_t>(text[read]));
    if (next == Automaton::kDead) break;
    state = next;
  }
  return read;
}

class Checker {
 public:
  explicit Checker(const CheckOptions& options)
      : options_(options), automaton_(read_grammar(*grammar_source(options.grammar))) {
    if (!options.masks) return;
    const std::filesystem::path folder = model_folder(options.model);
    const ModelConfig config = read_config(folder);
    tokenizer_.emplace(folder);
    const int size = std::min(tokenizer_->size(), config.text.vocab_size);
    vocabulary_.emplace(*tokenizer_, size, mask_token(*tokenizer_, config).value_or(-1));
  }

  // Whether all of it is a text of the grammar.
  bool check(const std::string& text) {
    if (automaton_.worn()) automaton_ = read_grammar(*grammar_source(options_.grammar));
    int state = Automaton::kStart;
    const size_t read = follow(automaton_, text, state);
    const bool fits = read == text.size() && automaton_.complete(state);
    if (options_.json) {
      nlohmann::json out = {{"fits", fits},
                            {"possible", read == text.size()},
                            {"read", read},
                            {"complete", automaton_.complete(state)},
                            {"next", shown(automaton_.following(state))}};
      if (vocabulary_) out["allowed"] = hex_of(vocabulary_->allowed(automaton_, state, ""));
      print_json(out);
      return fits;
    }
    if (fits) {
      print("yes: " + text + "\n");
      return true;
    }
    const std::string next = shown(automaton_.following(state));
    print(fmt::format("no: behind \"{}\" may follow: {}{}\n",
                      printable(std::string_view(text).substr(0, read), 4096),
                      next.empty() ? "nothing" : next, automaton_.complete(state) ? ", or the end" : ""));
    return false;
  }

 private:
  const CheckOptions& options_;
  Automaton automaton_;
  std::optional<Tokenizer> tokenizer_;
  std::optional<Vocabulary> vocabulary_;
};

void check(const CheckOptions& options) {
  if (!grammar_source(options.grammar)) fail("give --json-schema, --regex or --grammar");
  Checker checker(options);
  bool all = true;
  if (!options.text.empty()) {
    all = checker.check(options.text);
  } else {
    for (std::string line; std::getline(std::cin, line);) {
      if (!options.json) {
        all = checker.check(line) && all;
        continue;
      }
      const auto text = parse_json(line, "standard input");
      if (!text.is_string()) fail("standard input: with --json each line must be a JSON string");
      all = checker.check(text.get<std::string>()) && all;
    }
  }
  if (!all) end_with(1);
}

}  // namespace

void add_grammar(Command app) {
  auto options = std::make_shared<CheckOptions>();
  Command command =
      app.add("grammar", "Check texts against a JSON schema, a regular expression or a grammar");
  add_grammar_options(command, options->grammar);
  command.text("--text", options->text, "A text to check (default: each line of standard input)");
  command.flag("--json", options->json, "Read JSON strings, one a line, and print one JSON object for each");
  command.flag("--masks", options->masks,
               "With --json: the tokens that could follow, bit by bit, 16 hexadecimal digits for 64 ids");
  command.text("-m,--model", options->model,
               "With --masks: whose tokens (default: the dvlm-tiny that comes with dvlm)");
  command.needs("--masks", "--json");
  command.needs("--model", "--masks");
  command.runs([options] { check(*options); },
               "Ends with 0 when every text fits and with 1 when one does not.\n"
               "Examples:\n"
               "  dvlm grammar --regex \"(left|right) of the [a-z]+\" --text \"left of the cup\"\n"
               "  dvlm grammar --json-schema boxes.json < answers.txt\n"
               "  dvlm grammar --grammar chess.gbnf --text \"1. e4 e5\"");
}

}  // namespace dvlm
