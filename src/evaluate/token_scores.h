// How probable a model found the tokens that it wrote.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace dvlm {

// A token's text and the natural logarithm of its probability.
using ScoredToken = std::pair<std::string, double>;

struct TokenScore {
  ScoredToken chosen;
  std::vector<ScoredToken> top = {};  // the likeliest, best first
};

// OpenAI's: [{"token", "logprob", "top_logprobs": [{"token", "logprob"}, ...]}, ...]. Throws Error for what
// is none, is above 0 or names more than 20 tokens beside one.
std::vector<TokenScore> token_scores_from_json(const nlohmann::json& content);
nlohmann::json to_json(std::span<const TokenScore> scores);

// KL(ours || theirs) in nats, of what both lists name and all other tokens as one: at most the divergence
// over the whole vocabulary.
double divergence(const TokenScore& ours, const TokenScore& theirs);

}  // namespace dvlm
