#include "text/bpe.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <queue>

#include "core/error.h"

namespace dvlm {
namespace {

constexpr size_t kShortWord = 32;  // below, scanning for the lowest rank beats a heap

uint64_t pair_key(TokenId left, TokenId right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

size_t mix(uint64_t key) {
  key ^= key >> 32;
  key *= 0x9E3779B97F4A7C15u;
  return static_cast<size_t>(key ^ (key >> 29));
}

}  // namespace

Bpe::Bpe(const std::array<TokenId, 256>& byte_tokens, const std::vector<Merge>& merges)
    : byte_tokens_(byte_tokens), slots_(std::bit_ceil(2 * merges.size() + 2)) {
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const Merge& merge = merges[rank];
    Slot& slot = slots_[locate(merge.left, merge.right)];
    if (slot.rank != kNoRank)
      fail("the tokenizer's merge {} repeats merge {}; its files are damaged", rank, slot.rank);
    slot = {pair_key(merge.left, merge.right), static_cast<uint32_t>(rank), merge.result};
  }
}

size_t Bpe::locate(TokenId left, TokenId right) const {
  const uint64_t key = pair_key(left, right);
  const size_t mask = slots_.size() - 1;
  for (size_t at = mix(key) & mask;; at = (at + 1) & mask)
    if (slots_[at].pair == key || slots_[at].rank == kNoRank) return at;
}

void Bpe::encode(std::string_view word, std::vector<TokenId>& ids) const {
  if (word.size() <= kShortWord)
    encode_short(word, ids);
  else
    encode_long(word, ids);
}

void Bpe::encode_short(std::string_view word, std::vector<TokenId>& ids) const {
  TokenId tokens[kShortWord];
  const Slot* merges[kShortWord];  // merges[i] joins tokens i and i + 1
  size_t count = word.size();
  for (size_t i = 0; i < count; ++i) tokens[i] = byte_tokens_[static_cast<unsigned char>(word[i])];
  for (size_t i = 0; i + 1 < count; ++i) merges[i] = &find(tokens[i], tokens[i + 1]);
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i)
      if (merges[i]->rank < merges[best]->rank) best = i;
    if (merges[best]->rank == kNoRank) break;
    tokens[best] = merges[best]->result;
    std::copy(tokens + best + 2, tokens + count, tokens + best + 1);
    std::copy(merges + best + 1, merges + count - 1, merges + best);
    --count;
    if (best > 0) merges[best - 1] = &find(tokens[best - 1], tokens[best]);
    if (best + 1 < count) merges[best] = &find(tokens[best], tokens[best + 1]);
  }
  ids.insert(ids.end(), tokens, tokens + count);
}

void Bpe::encode_long(std::string_view word, std::vector<TokenId>& ids) const {
  DVLM_ASSERT(word.size() < (size_t{1} << 31));
  struct Node {
    TokenId token;
    int32_t previous, next;  // -1 at the ends
    uint32_t rank;           // of the merge with the next node; stale queue entries differ from it
  };
  const auto count = static_cast<int32_t>(word.size());
  std::vector<Node> nodes(word.size());
  std::vector<uint64_t> initial;
  const auto update = [&](int32_t at) {
    Node& node = nodes[static_cast<size_t>(at)];
    node.rank = node.next < 0 ? kNoRank : find(node.token, nodes[static_cast<size_t>(node.next)].token).rank;
    return static_cast<uint64_t>(node.rank) << 32 | static_cast<uint32_t>(at);
  };
  for (int32_t i = 0; i < count; ++i) {
    const TokenId token = byte_tokens_[static_cast<unsigned char>(word[static_cast<size_t>(i)])];
    nodes[static_cast<size_t>(i)] = {token, i - 1, i + 1 < count ? i + 1 : -1, kNoRank};
  }
  for (int32_t i = 0; i < count; ++i)
    if (const uint64_t entry = update(i); entry >> 32 != kNoRank) initial.push_back(entry);
  std::priority_queue<uint64_t, std::vector<uint64_t>, std::greater<>> queue(std::greater<>{},
                                                                             std::move(initial));

  while (!queue.empty()) {
    const uint64_t entry = queue.top();
    queue.pop();
    const auto at = static_cast<int32_t>(static_cast<uint32_t>(entry));
    Node& node = nodes[static_cast<size_t>(at)];
    if (node.rank != entry >> 32) continue;
    Node& gone = nodes[static_cast<size_t>(node.next)];
    node.token = find(node.token, gone.token).result;
    node.next = gone.next;
    gone.rank = kNoRank;
    if (node.next >= 0) nodes[static_cast<size_t>(node.next)].previous = at;
    if (const uint64_t fresh = update(at); fresh >> 32 != kNoRank) queue.push(fresh);
    if (node.previous >= 0)
      if (const uint64_t fresh = update(node.previous); fresh >> 32 != kNoRank) queue.push(fresh);
  }
  for (int32_t i = 0; i >= 0; i = nodes[static_cast<size_t>(i)].next)
    ids.push_back(nodes[static_cast<size_t>(i)].token);
}

}  // namespace dvlm
