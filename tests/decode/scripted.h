// Models that follow a script, for tests of decoders.
#pragma once
#include <algorithm>
#include <cmath>

#include "decode/decoder.h"
#include "fake_model.h"

namespace dvlm {

// A model that follows `script` (prompt included) and then counts 0, 1, 2...; drafts are right for the first
// `right` drafted tokens of a block and wrong (kVocab - 3) behind them, and less sure there.
inline FakeModel scripted(const std::vector<TokenId>& script, int right) {
  const auto next_token = [script](size_t length) {
    return length < script.size() ? script[length] : static_cast<TokenId>((length - script.size()) % 10);
  };
  const auto one_hot = [](TokenId token, float logit = 8) {
    FakeModel::Row row(kVocab, 0.0f);
    row[token] = logit;
    return row;
  };
  return FakeModel(
      kVocab, [=](std::span<const TokenId> prefix) { return one_hot(next_token(prefix.size())); },
      [=](std::span<const TokenId> prefix, std::span<const TokenId>, int i) {
        return i < right ? one_hot(next_token(prefix.size() + i + 1)) : one_hot(kVocab - 3, 2);
      });
}

// As scripted({7}, right), but the i-th draft of a block has the i-th of these probabilities, or the last.
inline FakeModel confident(int right, const std::vector<double>& probabilities) {
  const auto row_of = [](TokenId token, double p) {
    FakeModel::Row row(kVocab, 0.0f);
    row[token] = static_cast<float>(std::log(p / (1 - p) * (kVocab - 1)));
    return row;
  };
  return FakeModel(
      kVocab,
      [=](std::span<const TokenId> prefix) {
        return row_of(static_cast<TokenId>((prefix.size() - 1) % 10), 0.9);
      },
      [=](std::span<const TokenId> prefix, std::span<const TokenId>, int i) {
        const double p = probabilities[std::min(static_cast<size_t>(i), probabilities.size() - 1)];
        return row_of(i < right ? static_cast<TokenId>((prefix.size() + i) % 10) : kVocab - 3, p);
      });
}

inline DecodeOptions speculative(int block, int max_tokens) {
  return {.kind = DecoderKind::speculative, .block_size = block, .max_tokens = max_tokens};
}

inline std::vector<TokenId> count_to(int n) {
  std::vector<TokenId> tokens(static_cast<size_t>(n));
  for (int i = 0; i < n; ++i) tokens[static_cast<size_t>(i)] = i % 10;
  return tokens;
}

}  // namespace dvlm
