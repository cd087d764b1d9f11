// Texts that follow a grammar: whatever the decoder, the same one, and one of the grammar.
#include <gtest/gtest.h>

#include <set>

#include "decode/shared_pass.h"
#include "fake_model.h"
#include "grammar/grammar_error.h"
#include "grammar/source.h"
#include "grammar/token_grammar.h"

namespace dvlm {
namespace {

const GrammarSource kSources[] = {
    {GrammarKind::regex, "(left|right|top|bottom) of the [a-z]{3,9}"},
    {GrammarKind::regex, "[0-9]{1,30}x"},
    {GrammarKind::regex, "a*"},
    {GrammarKind::regex, "always the same text, however long it is"},
    {GrammarKind::gbnf, "root ::= \"[\" (item (\", \" item)*)? \"]\"\nitem ::= [0-9] | root"},
    {GrammarKind::json_schema,
     R"({"type":"object","properties":{"bbox_2d":{"type":"array","items":{"type":"integer"},
      "minItems":4,"maxItems":4},"label":{"type":"string","maxLength":5}},"required":["bbox_2d","label"]})"},
    {GrammarKind::json_schema,
     R"({"type":"array","items":{"type":"object","properties":{"color":{"enum":["red","blue",
      "orange"]},"seen":{"type":"boolean"}},"required":["color","seen"]},"maxItems":3})"},
    {GrammarKind::json_schema, R"({"type":"array","items":{"$ref":"#"},"maxItems":2})", JsonSpaces::none},
    {GrammarKind::json_schema, R"({"type":["null","boolean"]})", JsonSpaces::any},
};

class GrammarText : public testing::Test {
 protected:
  const Tokenizer tokenizer_{std::string(DVLM_MODELS) + "/dvlm-tiny"};
  const TokenId mask_ = *tokenizer_.find(kMaskToken), end_ = *tokenizer_.find("<|im_end|>");
  const int size_ = tokenizer_.size();
  const Vocabulary vocabulary_{tokenizer_, size_, mask_};

  std::shared_ptr<TokenGrammar> follow(const GrammarSource& source) {
    return std::make_shared<TokenGrammar>(read_grammar(source), vocabulary_, tokenizer_, std::vector{end_});
  }
  std::string text_of(const std::vector<TokenId>& tokens) const {
    std::string out;
    for (const TokenId token : tokens)
      if (token != end_) out += tokenizer_.bytes_of(token);
    return out;
  }
  // Drafts see through the grammar: they are right where its first choice is.
  FakeModel model_of(uint64_t seed, double accuracy) const {
    const auto next = hashed_next(size_, seed);
    return {size_, next, hashed_draft(size_, next, mask_, accuracy)};
  }
  Prompt prompt_of(uint64_t seed) const {
    return make_prompt({static_cast<TokenId>(seed % 50), 3, static_cast<TokenId>(seed % 7)}, {end_});
  }
};

TEST_F(GrammarText, is_the_same_with_every_decoder) {
  int forced = 0, whole = 0, cut = 0, compared = 0;
  for (const GrammarSource& source : kSources) {
    const auto grammar = follow(source);
    Automaton automaton = read_grammar(source);
    for (uint64_t seed = 0; seed < 12; ++seed) {
      FakeModel model = model_of(seed, 0.25 * static_cast<double>(seed % 5));
      const Prompt prompt = prompt_of(seed);
      DecodeOptions options{
          .kind = DecoderKind::autoregressive, .max_tokens = seed % 4 ? 60 : 7, .logprobs = 2};
      if (seed % 3 == 1) options.sampling = {1.0, 0, 0.95, seed};
      if (seed % 3 == 2) options.sampling = {3.0, 8, 1.0, seed};
      DecodeContext context{.mask_token = mask_, .valid_tokens = size_, .grammar = grammar};
      const Decoded ar = decode(model, prompt, options, context);
      const std::string text = text_of(ar.tokens);
      ASSERT_NE(automaton.step(Automaton::kStart, text), Automaton::kDead) << source.text << "\n" << text;
      const bool complete = automaton.complete(automaton.step(Automaton::kStart, text));
      ASSERT_TRUE(complete || ar.finish == FinishReason::length) << text;
      (ar.finish == FinishReason::stop ? whole : cut) += 1;
      forced += ar.stats.forced;
      EXPECT_LE(ar.stats.nfe, ar.stats.tokens - 1);
      for (const auto& [kind, block] : {std::pair{DecoderKind::speculative, 2},
                                        {DecoderKind::speculative, 8},
                                        {DecoderKind::speculative, 32},
                                        {DecoderKind::fused, 4},
                                        {DecoderKind::fused, 16},
                                        {DecoderKind::automatic, 16}}) {
        options.kind = kind, options.block_size = block, options.draft_p_min = block == 8 ? 0.1 : 0;
        const CostCurve costs{{{1, 1.0}, {64, 1 + static_cast<double>(seed % 3)}}};
        context.chooser = std::make_shared<BlockChooser>(PassCosts{costs, costs}, block);
        const Decoded got = decode(model, prompt, options, context);
        ASSERT_EQ(got.tokens, ar.tokens) << name_of(kind) << ", block " << block << ": " << text << "\n"
                                         << text_of(got.tokens);
        ASSERT_EQ(got.logprobs, ar.logprobs);
        ASSERT_EQ(got.finish, ar.finish);
        ASSERT_EQ(got.stats.forced, ar.stats.forced);
        ++compared;
      }
    }
  }
  EXPECT_GT(forced, 500);
  EXPECT_GT(whole, 50);
  EXPECT_GT(cut, 10);
  EXPECT_EQ(compared, static_cast<int>(std::size(kSources)) * 12 * 6);
}

// A draft that is too long for the grammar becomes tokens of what may follow, more than one for a row.
TEST_F(GrammarText, is_the_same_where_drafts_are_cut_into_several_tokens) {
  const TokenId longer = tokenizer_.encode("screwdriver", ControlTokens::as_text)[0];
  const auto next = hashed_next(size_, 3);
  FakeModel model(size_, next, [&](std::span<const TokenId>, std::span<const TokenId>, int) {
    FakeModel::Row row(static_cast<size_t>(size_), 0.0f);
    row[static_cast<size_t>(longer)] = 12;
    return row;
  });
  const auto grammar = follow({GrammarKind::regex, "(screwdr|ham|tab)+"});
  ASSERT_GT(grammar->possible_part(TokenGrammar::kStart, longer).size(), 2u);
  DecodeContext context{.mask_token = mask_, .valid_tokens = size_, .grammar = grammar};
  DecodeOptions options{.kind = DecoderKind::autoregressive, .max_tokens = 300};
  const Decoded ar = decode(model, prompt_of(1), options, context);
  for (const DecoderKind kind : {DecoderKind::speculative, DecoderKind::fused, DecoderKind::automatic}) {
    for (const int block : {2, 4, 32, 256}) {
      for (const double p_min : {0.0, 0.01}) {
        options.kind = kind, options.block_size = block, options.draft_p_min = p_min;
        const CostCurve flat{{{1, 1.0}, {1024, 1.0}}};
        context.chooser = std::make_shared<BlockChooser>(PassCosts{flat, flat}, block);
        EXPECT_EQ(decode(model, prompt_of(1), options, context).tokens, ar.tokens)
            << name_of(kind) << ", block " << block;
      }
    }
  }
}

TEST_F(GrammarText, what_must_follow_costs_no_passes) {
  FakeModel model = model_of(1, 0);
  const DecodeContext context{.mask_token = mask_, .grammar = follow(kSources[3])};
  for (const DecoderKind kind : {DecoderKind::autoregressive, DecoderKind::speculative, DecoderKind::fused}) {
    const Decoded got =
        decode(model, prompt_of(1), {.kind = kind, .block_size = 8, .max_tokens = 60}, context);
    EXPECT_EQ(text_of(got.tokens), kSources[3].text);
    EXPECT_EQ(got.finish, FinishReason::stop);
    EXPECT_EQ(got.stats.nfe, 1) << name_of(kind) << ": one pass writes all but the first token";
    EXPECT_EQ(got.stats.forced, got.stats.tokens);
    EXPECT_NE(got.tokens.back(), end_) << "the text ends by itself";
  }
}

TEST_F(GrammarText, neighbours_do_not_change_it) {
  std::vector<std::vector<TokenId>> expected, got(6);
  FakeModel model = model_of(5, 0.6);
  std::vector<std::unique_ptr<Sequence>> sequences;
  std::vector<std::unique_ptr<Decoder>> decoders;
  std::vector<Prompt> prompts;
  for (uint64_t i = 0; i < got.size(); ++i) prompts.push_back(prompt_of(i));
  const auto shared = follow(kSources[6]);
  for (size_t i = 0; i < got.size(); ++i) {
    const DecodeContext context{.mask_token = mask_,
                                .grammar = i == 5  ? nullptr
                                           : i % 2 ? shared
                                                   : follow(kSources[i])};
    DecodeOptions options{.kind = DecoderKind::autoregressive, .block_size = 8, .max_tokens = 40};
    expected.push_back(decode(model, prompts[i], options, context).tokens);
    options.kind = i % 2 ? DecoderKind::speculative : DecoderKind::fused;
    sequences.push_back(model.new_sequence(200));
    decoders.push_back(make_decoder(prompts[i], *sequences.back(), options, context));
  }
  for (;;) {
    SharedPass pass;
    std::vector<size_t> parts;
    for (size_t i = 0; i < decoders.size(); ++i) {
      if (decoders[i]->finished() != FinishReason::none) continue;
      pass.add(*decoders[i], 10);
      parts.push_back(i);
    }
    if (parts.empty()) break;
    const auto chosen = model.forward(pass.segments());
    for (size_t k = 0; k < parts.size(); ++k) {
      const auto emitted = decoders[parts[k]]->take(pass.rows_of(k, chosen));
      got[parts[k]].insert(got[parts[k]].end(), emitted.begin(), emitted.end());
    }
  }
  EXPECT_EQ(got, expected);
}

TEST_F(GrammarText, one_beyond_its_limits_ends_its_own_answer_alone) {
  FakeModel model = model_of(5, 0.6);
  const Prompt prompt = prompt_of(1);
  const DecodeOptions options{.kind = DecoderKind::autoregressive, .max_tokens = 5};
  const auto bad_sequence = model.new_sequence(200), good_sequence = model.new_sequence(200);
  const auto bad =
      make_decoder(prompt, *bad_sequence, options,
                   {.mask_token = mask_,
                    .grammar = follow({GrammarKind::gbnf, R"(root ::= "x" | "c" ("a"?){4500,4500} "b")"})});
  const auto good = make_decoder(prompt, *good_sequence, options, {.mask_token = mask_});
  SharedPass pass;
  pass.add(*bad, 100), pass.add(*good, 100);
  const auto chosen = model.forward(pass.segments());
  EXPECT_THROW(bad->take(pass.rows_of(0, chosen)), GrammarError);
  EXPECT_EQ(good->take(pass.rows_of(1, chosen)).size(), 1u);
}

TEST_F(GrammarText, masked_diffusion_cannot_follow_one) {
  DecodeContext context{.mask_token = mask_, .grammar = follow(kSources[0])};
  EXPECT_NE(context.problem(DecoderKind::masked_diffusion).find("grammar"), std::string::npos);
  EXPECT_EQ(context.problem(DecoderKind::speculative), "");
}

}  // namespace
}  // namespace dvlm
