// Rows of logits and settings of draws, for both choosers.
#pragma once
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "checkpoint/json.h"
#include "core/random.h"
#include "model/model.h"

namespace dvlm {

// Of some ids below `vocab` and one beyond.
inline std::vector<LogitChange> random_changes(Random& random, size_t vocab) {
  std::vector<LogitChange> out;
  for (TokenId id = 0; id < static_cast<TokenId>(vocab); ++id)
    if (random.below(4) == 0)
      out.push_back({id, random.below(2) == 0 ? 0 : static_cast<float>(random.between(-3, 3)),
                     random.below(2) == 0 ? 1 : static_cast<float>(random.between(0.5, 2)),
                     static_cast<float>(random.below(3))});
  out.push_back({static_cast<TokenId>(vocab) + 3, 1, 1, 0});
  return out;
}

// What tests/fixtures/choose/sampled_tokens.json was drawn from.
struct GoldenDraws {
  static constexpr int kVocab = 4000, kTokens = 25, kSeeds = 200;

  static std::vector<float> row(int seed, int token) {
    std::vector<float> out;
    for (uint64_t i = 0; i < kVocab; ++i) {
      const double x = uniform(static_cast<uint64_t>(seed / 8), static_cast<uint64_t>(token), i);
      out.push_back(static_cast<float>(12 * x * x * x * x * x * x));
    }
    return out;
  }

  static Wanted wanted(int seed, int token) {
    struct Setting {
      double temperature;
      int top_k;
      double top_p;
    };
    constexpr Setting kSettings[] = {{0.8, 0, 0.95}, {1, 0, 1},   {0.3, 0, 1},      {1.5, 50, 1},
                                     {0.7, 20, 0.9}, {2, 0, 0.5}, {1, 1000, 0.999}, {0.8, 0, 1}};
    const Setting& setting = kSettings[seed % 8];
    return {.choice = Choice::draw,
            .temperature = setting.temperature,
            .top_k = setting.top_k,
            .top_p = setting.top_p,
            .u = uniform(static_cast<uint64_t>(seed), 0, 100 + static_cast<uint64_t>(token)),
            .excluded = seed % 2 ? ExcludedTokens{17, 3900} : ExcludedTokens{}};
  }

  // Calls choose(row, wanted) for all of them and compares.
  template <class Choose>
  static void expect(const Choose& choose) {
    const nlohmann::json golden = read_json(DVLM_FIXTURES "/choose/sampled_tokens.json");
    ASSERT_EQ(golden.size(), kSeeds);
    for (int seed = 0; seed < kSeeds; ++seed) {
      std::vector<TokenId> tokens(kTokens);
      for (int token = 0; token < kTokens; ++token)
        tokens[static_cast<size_t>(token)] = choose(row(seed, token), wanted(seed, token)).token;
      ASSERT_EQ(tokens, golden[static_cast<size_t>(seed)].get<std::vector<TokenId>>()) << "seed " << seed;
    }
  }
};

}  // namespace dvlm
