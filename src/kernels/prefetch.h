// Prefetching of weights; keys and values have KvPrefetcher. Not for other rooms.
#pragma once
#include "kernels/linear_tiles.h"

namespace dvlm {

// Asks for weights that will be needed soon. A lone row block reads each line once, so it looks a little
// ahead in its own panel into L1, and further ahead into L2 where it multiplies for longer than memory needs
// to bring a line. Several row blocks read a panel from L2 after the first, so all of them together fetch the
// next panel meanwhile.
class Prefetcher {
 public:
  // `rows` are multiplied one by one with weights at `w`; the next ones lie `bytes_to_next` later.
  Prefetcher(const void* w, int rows, int bytes_per_input, size_t bytes_to_next, const RowBlock& row_block) {
    const int readers = row_block.row_blocks_in_mc;
    const size_t all =
        static_cast<size_t>(row_block.last - row_block.first) * static_cast<size_t>(bytes_per_input);
    lines_ = (kInputBlock * bytes_per_input / kLine + readers - 1) / readers;
    to_l1_ = readers == 1;
    to_l2_ = !to_l1_ || rows * kPanel >= kManyProducts * bytes_per_input;
    next_ = static_cast<const char*>(w) +
            (to_l1_ ? kDistance
                    : bytes_to_next + all / static_cast<size_t>(readers) / kLine * kLine *
                                          static_cast<size_t>(row_block.number_in_mc));
  }

  // Asks for the share of one input block.
  void issue() {
    if (to_l1_ && to_l2_) {
      for (int i = 0; i < lines_; ++i, next_ += kLine) {
        __builtin_prefetch(next_);
        __builtin_prefetch(next_ + kFurther, 0, 2);
      }
    } else if (to_l1_) {
      for (int i = 0; i < lines_; ++i, next_ += kLine) __builtin_prefetch(next_);
    } else {
      for (int i = 0; i < lines_; ++i, next_ += kLine) __builtin_prefetch(next_, 0, 2);
    }
  }

 private:
  static constexpr int kLine = 64;
  // The latency of memory at its bandwidth, for one thread: 24 and 80 lines are as good, 128 are worse.
  static constexpr size_t kDistance = 40 * kLine;
  static constexpr size_t kFurther = 60 * kLine;  // from there
  static constexpr int kManyProducts = 8;         // with each byte
  const char* next_;
  int lines_;  // per input block
  bool to_l1_, to_l2_;
};

}  // namespace dvlm
