// The choice of a token where the logits are: what every row needs, and the greedy choice. The vocabulary is
// cut into slices that do not depend on the rows.
#pragma once
#include <cmath>

#include "cuda/rows.h"
#include "cuda/tower.h"

namespace dvlm::cuda {
inline namespace DVLM_LAYER {

constexpr float kLog2E = 1.44269504f;

DVLM_DEVICE bool may_choose(const RowWish& wish, Global<const uint64_t> masks, int id) {
  if (id == wish.excluded || (wish.limit > 0 && id >= wish.limit)) return false;
  return wish.mask < 0 || (id / 64 < wish.mask_words &&
                           (load(masks, static_cast<size_t>(wish.mask) + id / 64) >> id % 64 & 1) != 0);
}

// exp2((logit - base) * sharpness); infinite logits share everything.
DVLM_DEVICE float share(float logit, float base, float sharpness) {
  return logit == base ? 1.0f : exp2_fast((logit - base) * sharpness);
}

// Before all else: what penalties and biases make of a row's logits. grid: (rows).
struct ChangeLogits {
  struct Job {
    Global<float> logits;  // [rows][stride]
    Global<const RowWish> wishes;
    Global<const RowChange> changes;
    int vocab = 0, stride = 0;
  };
  static constexpr int kThreads = 256;

  static DVLM_DEVICE void run(Block& block, const Job& job) {
    block.release_successor();
    block.wait_for_predecessor();
    const int row = block.x();
    const RowWish wish = load(job.wishes, row);
    const size_t base = static_cast<size_t>(row) * job.stride;
    block.lanes([&](int lane) {
      for (int i = block.warp() * kWarp + lane; i < wish.changes; i += kThreads) {
        const RowChange change = load(job.changes, static_cast<size_t>(wish.change) + i);
        if (change.token >= job.vocab) continue;
        const float x = load(job.logits, base + change.token) + change.add;
        store(job.logits, base + change.token,
              (x > 0 ? x / change.divide : x * change.divide) - change.subtract);
      }
    });
  }
};

// grid: (slices, rows).
struct ChooseInSlices {
  struct Job {
    Global<const float> logits;  // [rows][stride]
    Global<const RowWish> wishes;
    Global<const uint64_t> masks;
    Global<SliceBest> best;  // [rows][kSlices]
    int vocab = 0, stride = 0;
  };
  static constexpr int kThreads = 256, kWarps = kThreads / kWarp;
  static constexpr size_t kSharedBytes = size_t{kWarps} * (sizeof(SliceBest) + 4);

  static DVLM_DEVICE void run(Block& block, const Job& job) {
    const Shared<SliceBest> warps = block.shared<SliceBest>(0, kWarps);
    const Shared<float> scratch = block.shared<float>(kWarps * sizeof(SliceBest), kWarps);
    block.release_successor();
    block.wait_for_predecessor();
    const int row = block.y(), each = (job.vocab + kSlices - 1) / kSlices;
    const int first = block.x() * each, end = first + each < job.vocab ? first + each : job.vocab;
    const RowWish wish = load(job.wishes, row);
    const size_t base = static_cast<size_t>(row) * job.stride;
    Lanes<float> most, best;
    Lanes<int> token;
    block.lanes([&](int lane) {
      most[lane] = best[lane] = -INFINITY, token[lane] = -1;
      for (int id = first + block.warp() * kWarp + lane; id < end; id += kThreads) {
        const float v = load(job.logits, base + id);
        most[lane] = maximum(most[lane], v);
        if (v > best[lane] && may_choose(wish, job.masks, id)) best[lane] = v, token[lane] = id;
      }
    });
    const float largest = reduce<true>(block, most, kWarps, scratch);
    Lanes<float> sum;
    block.lanes([&](int lane) {
      sum[lane] = 0;
      for (int id = first + block.warp() * kWarp + lane; id < end; id += kThreads)
        sum[lane] += share(load(job.logits, base + id), largest, kLog2E);
    });
    const float total = reduce<false>(block, sum, kWarps, scratch);
    for (int mask = 1; mask < kWarp; mask *= 2) {
      const Lanes<float> other = shuffle_xor(best, mask);
      const Lanes<int> other_token = shuffle_xor(token, mask);
      block.lanes([&](int lane) { take(best[lane], token[lane], other[lane], other_token[lane]); });
    }
    block.lanes([&](int lane) {
      if (lane == 0) warps[block.warp()] = {best[lane], token[lane], 0, 0};
    });
    block.sync();
    block.lanes([&](int lane) {
      if (block.warp() != 0 || lane != 0) return;
      SliceBest out = warps[0];
      for (int w = 1; w < kWarps; ++w) take(out.largest, out.token, warps[w].largest, warps[w].token);
      out.base = largest, out.sum = total;
      store(job.best, static_cast<size_t>(row) * kSlices + block.x(), out);
    });
  }

  static DVLM_DEVICE void take(float& best, int& token, float other, int other_token) {
    if (other_token >= 0 && (token < 0 || other > best || (other == best && other_token < token)))
      best = other, token = other_token;
  }
};

// The slices of a row, in their order. grid: (rows).
struct ChooseInRow {
  struct Job {
    Global<const SliceBest> best;
    Global<Chosen> chosen;
  };
  static constexpr int kThreads = 32;

  static DVLM_DEVICE void run(Block& block, const Job& job) {
    block.release_successor();
    block.wait_for_predecessor();
    const int row = block.x();
    Lanes<float> best, base, sum;
    Lanes<int> token;
    block.lanes([&](int lane) {
      const SliceBest slice = load(job.best, static_cast<size_t>(row) * kSlices + lane);
      best[lane] = slice.largest, token[lane] = slice.token, base[lane] = slice.base, sum[lane] = slice.sum;
    });
    Lanes<float> most = base;
    for (int mask = 1; mask < kWarp; mask *= 2) {
      const Lanes<float> other = shuffle_xor(best, mask), other_most = shuffle_xor(most, mask);
      const Lanes<int> other_token = shuffle_xor(token, mask);
      block.lanes([&](int lane) {
        ChooseInSlices::take(best[lane], token[lane], other[lane], other_token[lane]);
        most[lane] = maximum(most[lane], other_most[lane]);
      });
    }
    block.lanes([&](int lane) { sum[lane] *= share(base[lane], most[lane], kLog2E); });
    for (int mask = 1; mask < kWarp; mask *= 2) {
      const Lanes<float> other = shuffle_xor(sum, mask);
      block.lanes([&](int lane) { sum[lane] += other[lane]; });
    }
    block.lanes([&](int lane) {
      if (lane == 0)
        store(job.chosen, row,
              Chosen{token[lane], best[lane], share(best[lane], most[lane], kLog2E) / sum[lane], most[lane],
                     sum[lane], 0});
    });
  }
};
static_assert(kSlices == kWarp);

}  // namespace DVLM_LAYER
}  // namespace dvlm::cuda
