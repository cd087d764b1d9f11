// Who sees whom in the dual stream (docs/reference.md, Dual stream).
#pragma once
#include <cstdint>
#include <span>

#include "checkpoint/config.h"
#include "train/layout.h"

namespace dvlm {

// A token of one training row. Rows are [noisy copies... | clean]; copies never see each other, so that a
// complementary pair shares one clean half and gives what two rows [noisy | clean] would give.
struct StreamToken {
  static constexpr int kClean = -1;
  int stream = kClean;  // number of the noisy copy, or kClean
  int turn = 0;
  int index = 0;  // in the full clean sequence
};

// The rule itself:
//   noisy sees its own copy        iff the turn is the same (bidirectional inside a block)
//   noisy sees clean               iff the clean token's turn is earlier
//   clean sees clean               iff not later in the sequence (CleanAttention::causal)
//                                  iff the turn is the same or earlier (CleanAttention::block)
//   clean never sees noisy
// With block attention a stretch of prompt is a turn like a block: its tokens, pictures included, see each
// other. Fast-dLLM v2 has blocks there as well, of its one size and from the start of the sequence.
bool visible(const StreamToken& query, const StreamToken& key,
             CleanAttention attention = CleanAttention::causal);

// Writes visible() of all pairs into out[size, size] with rows of `stride` bytes; `row` must be laid out as
// above, with turns ascending in each stream. The caller has zeroed `out`.
void fill_visibility(std::span<const StreamToken> row, int64_t stride, bool* out,
                     CleanAttention attention = CleanAttention::causal);

}  // namespace dvlm
