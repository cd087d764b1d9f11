// A pass of the text tower as a list of launches: the same list for a device and for the host's layer.
#pragma once
#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "cuda/attention.h"
#include "cuda/choose.h"
#include "cuda/linear_tile.h"

namespace dvlm::cuda {
inline namespace DVLM_LAYER {

// How the sum over a linear layer's inputs is cut: into `slices` inside a block or `splits` over the grid;
// one of them is 1. It belongs to the layer: every row of every pass is added in the same order.
struct Cut {
  int slices = 1, splits = 1;
  int parts() const { return slices * splits; }
};

// For `outputs` x `inputs` weights; `tile_inputs`: 16, with e4m3 weights 32. `whole`: the layer's sums are
// finished where they are made (gate and up, the head), which takes so many outputs that they fill a card.
inline Cut cut_for(int outputs, int inputs, int tile_inputs, bool whole) {
  const int steps = inputs / 32;  // that TileLinear's stages take
  int parts = whole ? (tile_inputs == 16 ? 8 : 2) : inputs <= 4096 && outputs <= 2048 ? 16 : 8;
  while (steps % parts != 0) parts /= 2;
  return whole ? Cut{.slices = parts, .splits = 1} : Cut{.slices = 1, .splits = parts};
}

struct Matrix {
  Global<const Word4> weights;
  Global<const float> scale;  // [outputs]; e4m3 only
  int outputs = 0, inputs = 0;
  bool e4m3 = false;
  Cut cut;
  int tiles() const { return inputs / (e4m3 ? 32 : 16); }
};

struct LayerMatrices {
  Matrix qkv, output, gate_up, down;
  Global<const float> qkv_bias, attention_norm, mlp_norm;
};

struct TowerShape {
  Heads heads;
  int layers = 0, hidden = 0, intermediate = 0, vocab = 0;
  float eps = 1e-6f;
};

struct Tower {
  TowerShape shape;
  std::vector<LayerMatrices> layers;
  Global<const uint16_t> table;
  Global<const float> norm;
  Matrix head;
};

// Every buffer of a pass; all have room for the widest pass.
struct PassBuffers {
  Global<float> residual;      // [rows, hidden]
  Global<uint16_t> inputs;     // B of the hidden or attention width
  Global<uint16_t> activated;  // B of the intermediate width
  Global<uint16_t> wide;       // [rows, intermediate or attention width] bf16, e4m3 only
  Global<float> parts;         // [splits][rows][outputs]
  Global<float> row_scale;     // of `inputs` and `activated`
  Global<uint16_t> queries;
  Shares shares;
  Global<float> logits;
  Global<SliceBest> best;
  Global<Chosen> chosen;
  // What the host says of a pass.
  Global<const int> tokens, page_table, wanted_rows;
  Global<const RowPlace> places;
  Global<const AttentionTile> tiles;
  Global<const float> rotation;
  Global<const Excluded> excluded;
  Global<uint16_t> pages;  // [page][layer][Heads::page_elements()]
};

struct PassSize {
  int rows = 0;        // padded to row_tiles * 8 in buffers
  int wanted = 0;      // rows of the head
  int tiles = 0;       // of attention
  int max_chunks = 0;  // an upper bound of every tile's
};

template <class Launcher>
class PassRecorder {
 public:
  PassRecorder(Launcher& launcher, const Tower& tower, const PassBuffers& buffers, PassSize size)
      : to_(launcher),
        tower_(tower),
        shape_(tower.shape),
        b_(buffers),
        size_(size),
        row_tiles_(padded_tiles(size.rows)) {}

  static constexpr size_t kSharedPerProcessor = size_t{226} * 1024;

  // Tiles of 8 rows that a pass of so many rows is padded to.
  static int padded_tiles(int rows) {
    const int tiles = (rows + 7) / 8;
    return tiles <= 2 ? tiles : tiles <= 4 ? 4 : tiles <= 8 ? 8 : round_up(tiles, 16);
  }

  void record() {
    to_.template launch<Embed>(rows(), 0, {tower_.table, b_.tokens, b_.residual, shape_.hidden});
    Parts before{};  // of the previous layer's MLP
    const bool e4m3 = tower_.layers[0].qkv.e4m3;
    for (int i = 0; i < shape_.layers; ++i) e4m3 ? layer<true>(i, before) : layer<false>(i, before);
    head(before, e4m3);
  }

 private:
  Dim rows() const { return {static_cast<unsigned>(size_.rows)}; }
  int padded_rows() const { return row_tiles_ * 8; }

  template <bool kE4m3>
  void layer(int i, Parts& before) {
    const LayerMatrices& layer = tower_.layers[static_cast<size_t>(i)];
    const Heads& heads = shape_.heads;
    norm<kE4m3, kE4m3>(before, layer.attention_norm, {}, size_.rows);
    const Parts qkv = linear<kE4m3>(layer.qkv, b_.inputs);
    const size_t stride = heads.page_elements() * static_cast<size_t>(shape_.layers);
    const auto pages = tail(b_.pages, heads.page_elements() * static_cast<size_t>(i));
    const auto blocks = static_cast<unsigned>((heads.heads + 2 * heads.kv_heads + 3) / 4);
    to_.template launch<RotateAndStore<kE4m3>>(
        {blocks, static_cast<unsigned>(size_.rows)}, 0,
        {heads, qkv, layer.qkv_bias, b_.rotation, b_.places, b_.queries, pages, stride});
    switch (heads.dim) {
      case 32:
        attend<32, kE4m3>(pages, stride);
        break;
      case 64:
        attend<64, kE4m3>(pages, stride);
        break;
      default:
        attend<128, kE4m3>(pages, stride);
    }
    const Parts attended = linear<kE4m3>(layer.output, b_.inputs);
    norm<kE4m3, kE4m3>(attended, layer.mlp_norm, {}, size_.rows);
    gate_up<kE4m3>(layer.gate_up);
    before = linear<kE4m3>(layer.down, b_.activated);
  }

  // Leaves the attention's output as the input of the output projection.
  template <int kDim, bool kE4m3>
  void attend(Global<uint16_t> pages, size_t stride) {
    const Heads& heads = shape_.heads;
    const AttentionJob job{heads,
                           as<const Word4>(b_.queries),
                           as<const Word4>(pages),
                           stride / 8,
                           b_.page_table,
                           b_.tiles,
                           1.44269504f / std::sqrt(static_cast<float>(kDim))};
    const auto kv_heads = static_cast<unsigned>(heads.kv_heads), tiles = static_cast<unsigned>(size_.tiles);
    const int width = heads.heads * heads.dim;
    if (size_.tiles * heads.kv_heads < to_.processors()) {
      to_.template launch<ChunkAttention<kDim>>({static_cast<unsigned>(size_.max_chunks), kv_heads, tiles},
                                                ChunkSteps<kDim>::kBytes, {job, b_.shares});
      to_.template launch<CombineChunks<kE4m3>>(rows(), CombineChunks<kE4m3>::shared_bytes(width),
                                                {heads, b_.places, b_.tiles, b_.shares, output()});
      return;
    }
    using Kernel = TileAttention<kDim, kE4m3>;
    to_.template launch<Kernel>({tiles, kv_heads}, Kernel::kSharedBytes,
                                {job, b_.inputs, b_.wide, row_tiles_});
    if constexpr (kE4m3)
      to_.template launch<QuantizeRows>(rows(), QuantizeRows::shared_bytes(width),
                                        {b_.wide, output(), width});
  }

  RowOutput output() const { return {b_.inputs, b_.row_scale, row_tiles_}; }

  template <bool kPartsE4m3, bool kOutE4m3>
  void norm(const Parts& parts, Global<const float> weight, Global<const int> row_of, int count,
            int row_tiles = 0) {
    RowOutput out = output();
    if (row_tiles > 0) out.row_tiles = row_tiles;
    const auto go = [&]<int kThreads>() {
      using Kernel = Norm<kPartsE4m3, kOutE4m3, kThreads>;
      to_.template launch<Kernel>({static_cast<unsigned>(count)}, Kernel::shared_bytes(shape_.hidden),
                                  {b_.residual, parts, weight, row_of, out, shape_.hidden, shape_.eps});
    };
    shape_.hidden >= 2048 ? go.template operator()<1024>() : go.template operator()<128>();
  }

  template <bool kE4m3>
  Parts linear(const Matrix& m, Global<uint16_t> inputs) {
    const int splits = run<kE4m3, Epilogue::store>(m, inputs, row_tiles_, b_.parts);
    return {b_.parts, m.scale, b_.row_scale, splits, padded_rows(), m.outputs};
  }

  template <bool kE4m3>
  void gate_up(const Matrix& m) {
    run<kE4m3, Epilogue::swiglu>(m, b_.inputs, row_tiles_, {});
    if constexpr (kE4m3)
      to_.template launch<QuantizeRows>(
          rows(), QuantizeRows::shared_bytes(shape_.intermediate),
          {b_.wide, {b_.activated, b_.row_scale, row_tiles_}, shape_.intermediate});
  }

  void head(const Parts& before, bool e4m3) {
    const int row_tiles = padded_tiles(size_.wanted);
    e4m3 ? norm<true, false>(before, tower_.norm, b_.wanted_rows, size_.wanted, row_tiles)
         : norm<false, false>(before, tower_.norm, b_.wanted_rows, size_.wanted, row_tiles);
    run<false, Epilogue::store>(tower_.head, b_.inputs, row_tiles, b_.logits);
    to_.template launch<ChooseInSlices>({kSlices, static_cast<unsigned>(size_.wanted)},
                                        ChooseInSlices::kSharedBytes,
                                        {b_.logits, b_.excluded, b_.best, shape_.vocab, tower_.head.outputs});
    to_.template launch<ChooseInRow>({static_cast<unsigned>(size_.wanted)}, 0, {b_.best, b_.chosen});
  }

  // Returns the splits that the layer's sums lie in.
  template <bool kE4m3, Epilogue kEpilogue>
  int run(const Matrix& m, Global<uint16_t> inputs, int row_tiles, Global<float> out) {
    using Weights = std::conditional_t<kE4m3, E4m3Weights, Bf16Weights>;
    const LinearJob job{m.weights, as<const Word4>(inputs),
                        m.scale,   b_.row_scale,
                        out,       kE4m3 ? b_.wide : b_.activated,
                        m.outputs, m.tiles(),
                        row_tiles, m.cut.splits};
    switch (row_tiles) {
      case 1:
        stream<Weights, kEpilogue, 1, 16>(m, job);
        return m.cut.splits;
      case 2:
        stream<Weights, kEpilogue, 2, 12>(m, job);
        return m.cut.splits;
      case 4:
        stream<Weights, kEpilogue, 4, 12>(m, job);
        return m.cut.splits;
      case 8:
        return tile<TileLinear<Weights, kEpilogue, 4, 8, 2, 2, kE4m3 ? 1 : 2, 6>, 4, 8>(m, job);
      default:
        return tile<TileLinear<Weights, kEpilogue, 8, 16, 4, 2, kE4m3 ? 1 : 2, 5>, 8, 16>(m, job);
    }
  }
  // With few blocks the splits go over the grid, with many each block adds them.
  template <class Kernel, int kTilesM, int kTilesN>
  int tile(const Matrix& m, const LinearJob& linear) {
    typename Kernel::Job job;
    static_cast<LinearJob&>(job) = linear;
    const int blocks = (m.outputs / 16 + kTilesM - 1) / kTilesM * (job.row_tiles / kTilesN);
    job.splits = blocks >= to_.processors() ? 1 : m.cut.splits;
    job.parts = m.cut.parts() / job.splits;
    to_.template launch<Kernel>(
        {static_cast<unsigned>((m.outputs / 16 + kTilesM - 1) / kTilesM),
         static_cast<unsigned>(job.row_tiles / kTilesN), static_cast<unsigned>(job.splits)},
        Kernel::kSharedBytes, job);
    return job.splits;
  }
  template <class Weights, Epilogue kEpilogue, int kRowTiles, int kDepth>
  void stream(const Matrix& m, const LinearJob& job) {
    const auto go = [&]<int kSlices>() {
      using Kernel = StreamLinear<Weights, kEpilogue, kRowTiles, kSlices, kDepth>;
      const size_t shared = Kernel::shared_bytes(m.tiles(), m.cut.splits);
      const int groups = m.outputs / 16 / Kernel::kTiles,
                resident = shared <= kSharedPerProcessor / 2 ? 2 : 1;
      const int blocks = std::max(1, std::min(groups, to_.processors() * resident / m.cut.splits));
      to_.template launch<Kernel>({static_cast<unsigned>(blocks), static_cast<unsigned>(m.cut.splits)},
                                  shared, job);
    };
    switch (m.cut.slices) {
      case 1:
        go.template operator()<1>();
        break;
      case 2:
        go.template operator()<2>();
        break;
      case 4:
        go.template operator()<4>();
        break;
      default:
        go.template operator()<8>();
    }
  }

  template <class T>
  static Global<T> tail(Global<T> from, size_t first) {
#ifdef __CUDACC__
    return {from.data + first, 0};
#else
    return {from.data + first, from.size - first};
#endif
  }

  Launcher& to_;
  const Tower& tower_;
  const TowerShape& shape_;
  const PassBuffers& b_;
  const PassSize size_;
  const int row_tiles_;
};

}  // namespace DVLM_LAYER
}  // namespace dvlm::cuda
