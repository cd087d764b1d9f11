// Chooses tokens from rows of logits inside the head's pass, on all threads: model/choose.h at the speed of
// memory.
#pragma once

#include "core/thread_pool.h"
#include "kernels/linear.h"
#include "kernels/vocabulary.h"
#include "model/model.h"

namespace dvlm {

// Logits come in pieces of the vocabulary, in order; every row sees the same pieces, so that what it adds up
// does not depend on its neighbours. Greedy rows need nothing but the running piece. A draw needs its whole
// row, in which what may not be chosen has become -infinity.
class Chooser {
 public:
  static constexpr int kPiece = 8192;  // ids: 32 rows take 1 MiB, which stays in L2

  explicit Chooser(ThreadPool& pool) : pool_(pool) {}

  // Whether the answers can be given piece by piece.
  static bool streams(std::span<const Wanted> wanted);

  void begin(std::span<const Wanted> wanted);
  // Logits [wanted rows, ids] of ids [first, first + ids). Overwrites what changes and what may not be
  // chosen.
  void look(Rows logits, int first, int ids);
  // The answers, valid until begin(). `logits`: whole rows, unless streams().
  std::span<const Chosen> finish(Rows logits, int vocab);

 private:
  // What a row has shown so far.
  struct Seen {
    float best = 0;     // of what may be chosen, -infinity at first
    float highest = 0;  // of all, likewise
    double sum = 0;     // of exp(x - highest) over all
    TokenId token = -1;
    bool nan = false;
    std::vector<std::pair<TokenId, float>> top;  // ids and logits, best first
  };
  static void look(const Wanted& wanted, std::span<float> piece, int first, Seen& seen);
  static void add_up(std::span<const float> piece, float highest, Seen& seen);
  static void add_top(const Wanted& wanted, std::span<const float> piece, int first, Seen& seen);
  static void answer(const Wanted& wanted, std::span<const float> row, const Seen& seen, Chosen& chosen);

  ThreadPool& pool_;
  std::span<const Wanted> wanted_;
  std::vector<Seen> seen_;
  std::vector<Chosen> chosen_;
};

}  // namespace dvlm
