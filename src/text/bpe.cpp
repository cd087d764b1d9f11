#include "text/bpe.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <queue>
#include <unordered_map>

#include "core/error.h"

namespace dvlm {
namespace {

constexpr uint32_t kNoRank = ~uint32_t{0};
constexpr size_t kShortWord = 32;  // below, scanning for the lowest rank beats a heap

uint64_t pair_key(TokenId left, TokenId right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

size_t mix(uint64_t key) {
  key ^= key >> 32;
  key *= 0x9E3779B97F4A7C15u;
  return static_cast<size_t>(key ^ (key >> 29));
}

// The tokens of one word as a linked list.
class LongWord {
 public:
  struct Node {
    TokenId token;
    int32_t previous, next;  // -1 at the ends
    uint32_t rank;           // of the merge with the next node
  };

  LongWord(std::string_view word, const std::array<TokenId, 256>& byte_tokens) : nodes_(word.size()) {
    DVLM_ASSERT(word.size() < (size_t{1} << 31));
    for (size_t i = 0; i < word.size(); ++i) {
      const auto at = static_cast<int32_t>(i);
      nodes_[i] = {byte_tokens[static_cast<unsigned char>(word[i])], at - 1, at + 1, kNoRank};
    }
    nodes_.back().next = -1;
  }

  Node& operator[](int32_t at) { return nodes_[static_cast<size_t>(at)]; }

  // The node at `at` becomes `result`, the next one leaves the list.
  void join(int32_t at, TokenId result) {
    Node& node = (*this)[at];
    Node& gone = (*this)[node.next];
    node.token = result;
    node.next = gone.next;
    gone.rank = kNoRank;
    if (node.next >= 0) (*this)[node.next].previous = at;
  }

 private:
  std::vector<Node> nodes_;
};

// Positions by rank, then from left to right. One list per rank instead of a heap of all positions: a merge
// mostly queues neighbours at the end of a list, so that a word of millions of bytes costs little more than
// reading it.
class MergeQueue {
 public:
  struct Entry {
    uint32_t rank = 0;
    int32_t at = 0;
  };

  void push(uint32_t rank, int32_t at) {
    auto [found, is_new] = lists_.try_emplace(rank);
    if (is_new) ranks_.push(rank);
    List& list = found->second;
    if (!list.positions.empty() && list.positions.back() > at) list.sorted = false;
    list.positions.push_back(at);
  }

  bool pop(Entry& entry) {
    while (!ranks_.empty()) {
      const auto found = lists_.find(ranks_.top());
      List& list = found->second;
      if (static_cast<size_t>(list.next) < list.positions.size()) {
        if (!list.sorted) std::sort(list.positions.begin() + list.next, list.positions.end());
        list.sorted = true;
        entry = {found->first, list.positions[static_cast<size_t>(list.next++)]};
        return true;
      }
      lists_.erase(found);
      ranks_.pop();
    }
    return false;
  }

 private:
  struct List {
    std::vector<int32_t> positions;
    ptrdiff_t next = 0;  // the first that was not popped
    bool sorted = true;
  };
  std::unordered_map<uint32_t, List> lists_;
  std::priority_queue<uint32_t, std::vector<uint32_t>, std::greater<>> ranks_;
};

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
  LongWord tokens(word, byte_tokens_);
  MergeQueue queue;
  const auto update = [&](int32_t at) {
    const int32_t next = tokens[at].next;
    tokens[at].rank = next < 0 ? kNoRank : find(tokens[at].token, tokens[next].token).rank;
    if (tokens[at].rank != kNoRank) queue.push(tokens[at].rank, at);
  };
  for (int32_t at = 0; at >= 0; at = tokens[at].next) update(at);
  for (MergeQueue::Entry entry; queue.pop(entry);) {
    if (tokens[entry.at].rank != entry.rank) continue;  // one of the two was merged with another
    const TokenId result = find(tokens[entry.at].token, tokens[tokens[entry.at].next].token).result;
    tokens.join(entry.at, result);
    update(entry.at);
    if (tokens[entry.at].previous >= 0) update(tokens[entry.at].previous);
  }
  for (int32_t at = 0; at >= 0; at = tokens[at].next) ids.push_back(tokens[at].token);
}

}  // namespace dvlm
