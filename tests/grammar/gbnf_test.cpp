// Grammars in llama.cpp's notation, and what tokens they allow.
#include "grammar/gbnf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>

#include "core/error.h"
#include "core/random.h"
#include "grammar/source.h"
#include "grammar/takes.h"
#include "grammar/token_grammar.h"

namespace dvlm {
namespace {

Automaton gbnf(std::string_view text) {
  return read_grammar({GrammarKind::gbnf, std::string(text)});
}

TEST(Gbnf, reads_what_llama_cpp_reads) {
  Automaton moves = gbnf(R"(# chess, a little
root   ::= "1. " move " " move "\n" ([1-9] [0-9]? ". " move " " move "\n")+
move   ::= (pawn |
            nonpawn) [+#]?
nonpawn ::= [NBKQR] [a-h]? "x"? [a-h] [1-8]
pawn   ::= ([a-h] "x")? [a-h] [1-8] ("=" [NBKQR])?
)");
  EXPECT_TRUE(takes(moves, "1. e4 e5\n2. Nf3 Nc6\n"));
  EXPECT_TRUE(takes(moves, "1. e4 exd5+\n10. Nbd2 a8=Q#\n"));
  EXPECT_FALSE(takes(moves, "1. e4 e5\n"));
  EXPECT_FALSE(takes(moves, "1. e9 e5\n2. Nf3 Nc6\n"));
  Automaton escapes = gbnf("root ::= [^\\x41-\\x5a\\]] \"\\u00e4\\\"\" . {2,3}\n");
  EXPECT_TRUE(takes(escapes, "a\u00e4\"xy"));
  EXPECT_TRUE(takes(escapes, "\u20ac\u00e4\"\u00fc\n\t"));
  EXPECT_FALSE(takes(escapes, "A\u00e4\"xy"));
  EXPECT_FALSE(takes(escapes, "]\u00e4\"xy"));
  EXPECT_FALSE(takes(escapes, "a\u00e4\"xyzu"));
  Automaton nested = gbnf("root ::= \"(\" root \")\" | \"x\"");
  EXPECT_TRUE(takes(nested, "(((x)))"));
  EXPECT_FALSE(takes(nested, "(((x))"));
}

TEST(Gbnf, says_where_it_is_wrong) {
  const std::vector<std::pair<const char*, const char*>> kWrong = {
      {"", "root"},
      {"a ::= \"x\"", "root"},
      {"root ::= b", "no rule b"},
      {"root ::= \"x", "second"},
      {"root ::= [a", "["},
      {"root ::= (\"a\"", "("},
      {"\n\nroot := \"x\"", "line 3"},
      {"root ::= \"a\"{3,2}", "ends before"},
      {"root ::= \"a\"{99999}", "10,000"},
      {"root ::= <think>", "tokens"},
      {"root ::= \"a\"\nroot ::= \"b\"", "twice"},
      {"root ::= root \"a\" | \"b\"", "begins with itself"},
      {"root ::= \"\\q\"", "escape"},
      {"root ::= \"\\", "backslash"},
      {"root ::= [a\\", "backslash"},
      {"root ::= \"\\ud800\"", "surrogates"},
      {"root ::= \"\xff\"", "UTF-8"},
  };
  for (const auto& [text, named] : kWrong) {
    try {
      gbnf(text);
      ADD_FAILURE() << text << " is not refused";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr(named)) << text;
    }
  }
  EXPECT_THROW(gbnf("root ::= " + std::string(200, '(') + "\"a\"" + std::string(200, ')')), Error);
}

class Tokens : public testing::Test {
 protected:
  const Tokenizer tokenizer_{std::string(DVLM_MODELS) + "/dvlm-tiny"};
  const TokenId mask_ = *tokenizer_.find(kMaskToken), end_ = *tokenizer_.find("<|im_end|>");
  const Vocabulary vocabulary_{tokenizer_, tokenizer_.size(), mask_};
  TokenGrammar follow(const GrammarSource& source) {
    return TokenGrammar(read_grammar(source), vocabulary_, tokenizer_, {end_});
  }
  static bool allows(const TokenMask& mask, TokenId id) {
    const auto at = static_cast<size_t>(id);
    return at / 64 < mask.size() && (mask[at / 64] >> at % 64 & 1) != 0;
  }
};

TEST_F(Tokens, masks_hold_what_goes_on) {
  Random random(3, 3);
  for (const char* schema :
       {R"({"type":"object"})", R"({"type":"string","pattern":"^[a-zé]{2,9}( [a-z]+)*$"})",
        R"({"enum":["hammer","phone","ham"]})"}) {
    Automaton automaton = read_grammar({GrammarKind::json_schema, schema});
    int state = Automaton::kStart;
    for (int step = 0; step < 40 && state != Automaton::kDead; ++step) {
      const TokenMask mask = vocabulary_.allowed(automaton, state, "");
      std::vector<TokenId> open;
      for (TokenId id = 0; id < tokenizer_.size(); ++id) {
        const std::string_view bytes = tokenizer_.bytes_of(id);
        const bool added = std::ranges::count(tokenizer_.added_tokens(), id, &AddedToken::id) > 0;
        const bool text = !added && !bytes.empty();
        const bool goes_on = text && automaton.step(state, bytes) != Automaton::kDead;
        ASSERT_EQ(allows(mask, id), goes_on) << schema << ", token " << id;
        if (goes_on) open.push_back(id);
      }
      EXPECT_EQ(vocabulary_.only(automaton, state, ""), open.size() == 1 ? open[0] : -1);
      if (open.empty()) break;
      state = automaton.step(state,
                             tokenizer_.bytes_of(open[static_cast<size_t>(random.below(std::ssize(open)))]));
    }
  }
}

TEST_F(Tokens, what_must_be_written_is_written_as_the_tokenizer_would) {
  TokenGrammar grammar = follow({GrammarKind::regex, R"(\{"bbox_2d": \[[0-9]\])"});
  std::vector<TokenId> written;
  int state = TokenGrammar::kStart;
  while (!grammar.ended(state)) {
    const auto mask = grammar.mask(state);
    TokenId next = grammar.only(state);
    if (next < 0) {  // the digit, or what begins with it
      EXPECT_TRUE(written.size() > 4);
      for (TokenId id = 0; id < tokenizer_.size() && next < 0; ++id)
        if (allows(*mask, id)) next = id;
    }
    size_t count = 0;
    for (const uint64_t bits : *mask) count += static_cast<size_t>(std::popcount(bits));
    EXPECT_EQ(count == 1, grammar.only(state) >= 0);
    EXPECT_TRUE(allows(*mask, next));
    written.push_back(next);
    state = grammar.step(state, next);
    ASSERT_NE(state, TokenGrammar::kDead);
  }
  const std::vector<TokenId> usual = tokenizer_.encode("{\"bbox_2d\": [0]}", ControlTokens::as_text);
  EXPECT_TRUE(std::equal(written.begin(), written.begin() + 5, usual.begin()));
}

TEST(Gbnf, repetitions_of_repetitions_have_an_end) {
  for (const char* sign : {"*", "?", "+", "{0,1}"}) {
    std::string text = "root ::= \"a\"";
    for (int i = 0; i < 40'000; ++i) text += sign;
    EXPECT_THAT(
        [&] {
          read_grammar({GrammarKind::gbnf, text});
        },
        testing::ThrowsMessage<Error>(testing::HasSubstr("nests more than")));
  }
}

TEST_F(Tokens, an_answer_may_end_where_its_text_is_complete) {
  TokenGrammar grammar = follow({GrammarKind::regex, "a+"});
  const TokenId a = tokenizer_.encode("a", ControlTokens::as_text)[0];
  EXPECT_FALSE(allows(*grammar.mask(TokenGrammar::kStart), end_));
  const int state = grammar.step(TokenGrammar::kStart, a);
  EXPECT_TRUE(allows(*grammar.mask(state), end_));
  EXPECT_TRUE(allows(*grammar.mask(state), a));
  EXPECT_FALSE(grammar.ended(state));
  EXPECT_EQ(grammar.step(state, end_), TokenGrammar::kDead);
  EXPECT_EQ(grammar.step(state, mask_), TokenGrammar::kDead);
}

TEST_F(Tokens, part_of_a_token_may_be_possible) {
  TokenGrammar grammar = follow({GrammarKind::regex, "the cat"});
  const TokenId space_the = tokenizer_.encode(" the", ControlTokens::as_text)[0];
  EXPECT_TRUE(grammar.possible_part(TokenGrammar::kStart, space_the).empty());
  TokenGrammar digits = follow({GrammarKind::regex, "la[0-9]"});
  const TokenId label = tokenizer_.encode("label", ControlTokens::as_text)[0];
  ASSERT_EQ(tokenizer_.bytes_of(label), "label");
  std::string part;
  for (const TokenId token : digits.possible_part(TokenGrammar::kStart, label))
    part += tokenizer_.bytes_of(token);
  EXPECT_EQ(part, "la");
}

}  // namespace
}  // namespace dvlm
