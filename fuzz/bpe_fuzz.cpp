// Byte-pair merges against the slow and obvious way, with a table of merges that the input gives: which pair
// of the tokens so far is merged by each rank.
#include "text/bpe.h"

#include "fuzzing.h"

namespace {

using namespace dvlm;

std::vector<Merge> merges_of(fuzz::Input input) {
  constexpr uint32_t kLetters = 6;
  std::vector<Merge> merges;
  std::set<std::pair<TokenId, TokenId>> pairs;
  TokenId next = 256;
  while (!input.empty()) {
    const auto token = [&] {
      const uint32_t choice = input.below(kLetters + static_cast<uint32_t>(next) - 256);
      return static_cast<TokenId>(choice < kLetters ? 'a' + choice : 256 + choice - kLetters);
    };
    const TokenId left = token(), right = token();
    if (pairs.insert({left, right}).second) merges.push_back({left, right, next++});
  }
  return merges;
}

// The pair of the lowest rank is merged, the leftmost of several, until there is none.
std::vector<TokenId> slowly(std::vector<TokenId> ids, const std::vector<Merge>& merges) {
  for (size_t rank = 0; rank < merges.size();) {
    const Merge& merge = merges[rank];
    size_t at = 0;
    while (at + 1 < ids.size() && !(ids[at] == merge.left && ids[at + 1] == merge.right)) ++at;
    if (at + 1 >= ids.size()) {
      ++rank;
      continue;
    }
    ids[at] = merge.result;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(at) + 1);
    rank = 0;  // a merge may make a pair of a lower rank
  }
  return ids;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr size_t kMaxMerges = 60, kMaxText = 400;
  fuzz::Input input(data, size);
  const std::string_view table = input.take(std::min<size_t>(input.below(256), kMaxMerges));
  const auto merges = merges_of({reinterpret_cast<const uint8_t*>(table.data()), table.size()});
  std::array<TokenId, 256> bytes{};
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<TokenId>(i);
  const Bpe bpe(bytes, merges);
  std::string word(input.take(kMaxText));
  for (char& c : word) c = static_cast<char>('a' + static_cast<unsigned char>(c) % 6);
  const uint32_t repeats = 1 + input.below(4);
  for (std::string once = word; word.size() < repeats * once.size();) word += once;
  std::vector<TokenId> ids, expected(word.begin(), word.end());
  bpe.encode(word, ids);
  DVLM_ASSERT(ids == slowly(std::move(expected), merges));
  return 0;
}
