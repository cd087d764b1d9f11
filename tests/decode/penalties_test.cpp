// What penalties make of logits, against transformers and the formulas of OpenAI's documents
// (tools/fixtures/make_penalties_fixture.py).
#include "decode/penalties.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "checkpoint/json.h"

namespace dvlm {
namespace {

TEST(Penalties, AreThoseOfTransformersAndOpenAi) {
  const nlohmann::json cases = read_json(DVLM_FIXTURES "/choose/penalties.json");
  ASSERT_EQ(cases.size(), 60);
  for (const nlohmann::json& one : cases) {
    SamplingOptions sampling{.repetition_penalty = one["repetition"],
                             .presence_penalty = one["presence"],
                             .frequency_penalty = one["frequency"]};
    for (const auto& [token, bias] : one["bias"].items())
      sampling.logit_bias.emplace_back(std::stoi(token), bias.get<float>());
    const auto prompt = one["prompt"].get<std::vector<TokenId>>(),
               text = one["text"].get<std::vector<TokenId>>();
    // However the text is divided between what is written and what is drafted.
    for (size_t written = 0; written <= text.size(); ++written) {
      Penalties penalties(sampling, prompt);
      for (size_t i = 0; i < written; ++i) penalties.add(text[i]);
      auto logits = one["logits"].get<std::vector<float>>();
      TokenId last = -1;
      for (const LogitChange& change : penalties.behind(std::span(text).subspan(written))) {
        EXPECT_GT(change.token, std::exchange(last, change.token));
        logits[static_cast<size_t>(change.token)] = change.of(logits[static_cast<size_t>(change.token)]);
      }
      for (size_t id = 0; id < logits.size(); ++id)
        ASSERT_NEAR(logits[id], one["expected"][id].get<float>(), 2e-6) << one << id;
    }
  }
}

TEST(Penalties, AreRefusedOutOfRangeAndByMaskedDiffusion) {
  const auto problem = [](const SamplingOptions& sampling, DecoderKind kind = DecoderKind::speculative) {
    return DecodeOptions{.kind = kind, .sampling = sampling}.problem();
  };
  EXPECT_EQ(problem({.repetition_penalty = 1.5,
                     .presence_penalty = -2,
                     .frequency_penalty = 2,
                     .logit_bias = {{3, -100}}}),
            "");
  EXPECT_NE(problem({.repetition_penalty = 0}), "");
  EXPECT_NE(problem({.repetition_penalty = 11}), "");
  EXPECT_NE(problem({.presence_penalty = 2.1}), "");
  EXPECT_NE(problem({.frequency_penalty = std::nan("")}), "");
  EXPECT_NE(problem({.logit_bias = {{3, 101}}}), "");
  EXPECT_NE(problem({.logit_bias = {{-1, 1}}}), "");
  EXPECT_NE(problem({.presence_penalty = 1}, DecoderKind::masked_diffusion), "");
}

}  // namespace
}  // namespace dvlm
