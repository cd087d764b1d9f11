#include "train/masks.h"

#include <algorithm>

namespace dvlm {

bool visible(const StreamToken& query, const StreamToken& key, CleanAttention attention) {
  const bool noisy_query = query.stream != StreamToken::kClean, noisy_key = key.stream != StreamToken::kClean;
  if (noisy_query && noisy_key) return query.stream == key.stream && query.turn == key.turn;
  if (noisy_query) return key.turn < query.turn;
  if (noisy_key) return false;
  return attention == CleanAttention::block ? key.turn <= query.turn : key.index <= query.index;
}

void fill_visibility(std::span<const StreamToken> row, int64_t stride, bool* out, CleanAttention attention) {
  const auto is_clean = [](const StreamToken& token) { return token.stream == StreamToken::kClean; };
  const int64_t clean = std::find_if(row.begin(), row.end(), is_clean) - row.begin();
  const auto size = static_cast<int64_t>(row.size());
  // What a noisy token sees is two ranges: its turn in its own copy, and a prefix of the clean half.
  for (int64_t begin = 0; begin < clean;) {
    const StreamToken& first = row[static_cast<size_t>(begin)];
    int64_t end = begin;
    while (end < clean && row[static_cast<size_t>(end)].stream == first.stream &&
           row[static_cast<size_t>(end)].turn == first.turn)
      ++end;
    int64_t context = clean;
    while (context < size && row[static_cast<size_t>(context)].turn < first.turn) ++context;
    for (int64_t q = begin; q < end; ++q) {
      std::fill(out + q * stride + begin, out + q * stride + end, true);
      std::fill(out + q * stride + clean, out + q * stride + context, true);
    }
    begin = end;
  }
  for (int64_t q = clean, end = clean; q < size; ++q) {
    end = std::max(end, q + 1);
    if (attention == CleanAttention::block)
      while (end < size && row[static_cast<size_t>(end)].turn == row[static_cast<size_t>(q)].turn) ++end;
    std::fill(out + q * stride + clean, out + q * stride + end, true);
  }
}

}  // namespace dvlm
