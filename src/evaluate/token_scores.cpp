#include "evaluate/token_scores.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "checkpoint/json.h"
#include "core/error.h"

namespace dvlm {

using nlohmann::json;

namespace {

constexpr size_t kMaxBeside = 20;
constexpr double kLeast = -1e6, kRounding = 1e-3;  // of a logarithm; some servers round above 0

ScoredToken scored_token(const JsonObject& object) {
  return {object.string("token", ""), std::min(0.0, object.number("logprob", kLeast, kRounding))};
}

json to_json(const ScoredToken& token) {
  return {{"token", token.first}, {"logprob", token.second}};
}

}  // namespace

std::vector<TokenScore> token_scores_from_json(const json& content) {
  if (!content.is_array()) fail("log probabilities are a list");
  std::vector<TokenScore> out;
  for (const json& entry : content) {
    const JsonObject object(entry, "a log probability");
    out.push_back({scored_token(object)});
    const json* top = object.find("top_logprobs");
    if (top == nullptr || top->is_null()) continue;
    if (!top->is_array() || top->size() > kMaxBeside)
      fail("\"top_logprobs\" is a list of {} at most", kMaxBeside);
    for (const json& beside : *top)
      out.back().top.push_back(scored_token(JsonObject(beside, "a log probability")));
  }
  return out;
}

json to_json(std::span<const TokenScore> scores) {
  json out = json::array();
  for (const TokenScore& score : scores) {
    json entry = to_json(score.chosen);
    for (const ScoredToken& beside : score.top) entry["top_logprobs"].push_back(to_json(beside));
    out.push_back(std::move(entry));
  }
  return out;
}

double divergence(const TokenScore& ours, const TokenScore& theirs) {
  constexpr double kSmallest = 1e-12;
  double sum = 0, our_rest = 1, their_rest = 1;
  const auto first_of = [](const TokenScore& score, const std::string& token) {
    return std::ranges::find(score.top, token, &ScoredToken::first);
  };
  for (auto our = ours.top.begin(); our != ours.top.end(); ++our) {
    const auto other = first_of(theirs, our->first);
    // Two tokens may have one text, halves of a character, say.
    if (other == theirs.top.end() || our != first_of(ours, our->first)) continue;
    const double p = std::exp(our->second);
    if (p > 0) sum += p * (our->second - other->second);
    our_rest -= p, their_rest -= std::exp(other->second);
  }
  if (our_rest > kSmallest) sum += our_rest * std::log(our_rest / std::max(their_rest, kSmallest));
  return std::max(0.0, sum);
}

}  // namespace dvlm
