// Linear layers of many rows: prompts, pictures, many sequences at once.
#pragma once
#include "cuda/linear.h"

namespace dvlm::cuda {
inline namespace DVLM_LAYER {

// A block makes kTilesM * 16 outputs of kTilesN * 8 rows; both operands pass through shared memory in stages
// of kStage tiles of A. Warps: kWarpsM x kWarpsN. grid: (outputs, rows, splits). A block adds the parts of
// its split one after the other; a part must be whole stages. row_tiles must be a multiple of kTilesN.
template <class Weights, Epilogue kEpilogue, int kTilesM, int kTilesN, int kWarpsM, int kWarpsN, int kStage,
          int kDepth>
struct TileLinear {
  struct Job : LinearJob {
    int parts = 1;  // of a split
  };
  static constexpr int kWarps = kWarpsM * kWarpsN, kThreads = kWarps * kWarp;
  static constexpr int kM = kTilesM / kWarpsM, kN = kTilesN / kWarpsN;  // tiles of a warp
  static constexpr int kPanels = Weights::kPanels;
  static constexpr int kWeightWords = kStage * kTilesM * kTileWords;  // of a stage
  static constexpr int kInputWords = kStage * kPanels * kTilesN * kPanelWords;
  static constexpr size_t kSharedBytes = size_t{16} * kDepth * (kWeightWords + kInputWords);

  static DVLM_DEVICE void run(Block& block, const Job& job) {
    const int stages = job.tiles / kStage / job.splits, part_stages = stages / job.parts;
    block.release_successor();
    block.wait_for_predecessor();
    for (int i = 0; i < kDepth - 1; ++i) fetch(block, job, i, stages);

    Lanes<Float4> c[kM][kN], total[kM][kN];
    fill(block, total, -0.0f);  // what is added first stays what it is, a negative zero too
    fill(block, c, 0.0f);
    int in_part = 0;
    for (int s = 0; s < stages; ++s) {
      block.template wait_copies<kDepth - 2>();
      block.sync();
      fetch(block, job, s + kDepth - 1, stages);
      multiply_stage(block, s % kDepth, c);
      if (++in_part == part_stages) {
        in_part = 0;
        add(block, total, c);
        fill(block, c, 0.0f);
      }
    }
    const int warp_m = block.warp() % kWarpsM, warp_n = block.warp() / kWarpsM;
    DVLM_UNROLL
    for (int m = 0; m < kM; ++m) {
      DVLM_UNROLL
      for (int n = 0; n < kN; ++n) {
        const int tile = block.x() * kTilesM + warp_m * kM + m;
        if (tile < job.outputs / 16)
          finish<Weights, kEpilogue>(block, job, block.z(), tile, block.y() * kTilesN + warp_n * kN + n,
                                     total[m][n]);
      }
    }
  }

 private:
  static DVLM_DEVICE void fill(const Block& block, Lanes<Float4> (&c)[kM][kN], float v) {
    DVLM_UNROLL
    for (int m = 0; m < kM; ++m) {
      DVLM_UNROLL
      for (int n = 0; n < kN; ++n) block.lanes([&](int lane) { c[m][n][lane] = {v, v, v, v}; });
    }
  }
  static DVLM_DEVICE void add(const Block& block, Lanes<Float4> (&total)[kM][kN],
                              const Lanes<Float4> (&c)[kM][kN]) {
    DVLM_UNROLL
    for (int m = 0; m < kM; ++m) {
      DVLM_UNROLL
      for (int n = 0; n < kN; ++n)
        block.lanes([&](int lane) {
          DVLM_UNROLL
          for (int i = 0; i < 4; ++i) total[m][n][lane].v[i] += c[m][n][lane].v[i];
        });
    }
  }
  static DVLM_DEVICE Shared<Word4> stage_weights(const Block& block, int slot) {
    return block.shared<Word4>(static_cast<size_t>(slot) * (kWeightWords + kInputWords) * 16, kWeightWords);
  }
  static DVLM_DEVICE size_t stage_inputs(int slot) {
    return (static_cast<size_t>(slot) * (kWeightWords + kInputWords) + kWeightWords) * 16;
  }

  // Weights of a stage: [outputs' tile][stage tile][lane]; inputs: [panel][row tile][..].
  static DVLM_DEVICE void fetch(Block& block, const Job& job, int stage, int stages) {
    if (stage < stages) {
      const int first_tile = (block.z() * stages + stage) * kStage;
      const Shared<Word4> weights = stage_weights(block, stage % kDepth),
                          inputs = block.shared<Word4>(stage_inputs(stage % kDepth), kInputWords);
      const int last_tile = job.outputs / 16 - 1;
      block.lanes([&](int lane) {
        const int thread = block.warp() * kWarp + lane;
        DVLM_UNROLL
        for (int i = thread; i < kWeightWords; i += kThreads) {
          const int wanted = block.x() * kTilesM + i / (kStage * kTileWords),
                    in_tile = i % (kStage * kTileWords);
          const int tile = wanted < last_tile ? wanted : last_tile;
          block.copy_async(weights, i, job.weights,
                           (static_cast<size_t>(tile) * job.tiles + first_tile) * kTileWords + in_tile);
        }
        DVLM_UNROLL
        for (int i = thread; i < kInputWords; i += kThreads) {
          const int panel = i / (kTilesN * kPanelWords), in_panel = i % (kTilesN * kPanelWords);
          block.copy_async(
              inputs, i, job.inputs,
              (static_cast<size_t>(first_tile * kPanels + panel) * job.row_tiles + block.y() * kTilesN) *
                      kPanelWords +
                  in_panel);
        }
      });
    }
    block.commit_copies();
  }

  static DVLM_DEVICE void multiply_stage(const Block& block, int slot, Lanes<Float4> (&c)[kM][kN]) {
    const int warp_m = block.warp() % kWarpsM, warp_n = block.warp() / kWarpsM;
    const Shared<Word4> weights = stage_weights(block, slot);
    const Shared<Word2> inputs = block.shared<Word2>(stage_inputs(slot), kInputWords * 2);
    DVLM_UNROLL
    for (int t = 0; t < kStage; ++t) {
      Lanes<Word4> tile[kM];
      DVLM_UNROLL
      for (int m = 0; m < kM; ++m)
        block.lanes(
            [&](int lane) { tile[m][lane] = weights[((warp_m * kM + m) * kStage + t) * kTileWords + lane]; });
      DVLM_UNROLL
      for (int p = 0; p < kPanels; ++p) {
        Lanes<Word4> a[kM];
        Lanes<Word2> b[kN];
        DVLM_UNROLL
        for (int m = 0; m < kM; ++m)
          block.lanes([&](int lane) { a[m][lane] = fragment<Weights>(tile[m][lane], p); });
        DVLM_UNROLL
        for (int n = 0; n < kN; ++n)
          block.lanes([&](int lane) {
            b[n][lane] = inputs[((t * kPanels + p) * kTilesN + warp_n * kN + n) * kWarp + lane];
          });
        DVLM_UNROLL
        for (int m = 0; m < kM; ++m) {
          DVLM_UNROLL
          for (int n = 0; n < kN; ++n) multiply<Weights>(c[m][n], a[m], b[n]);
        }
      }
    }
  }
};

}  // namespace DVLM_LAYER
}  // namespace dvlm::cuda
