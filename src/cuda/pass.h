// Passes of the towers as lists of launches: the same list for a device and for the host's layer.
#pragma once
#include <algorithm>
#include <cmath>
#include <type_traits>

#include "cuda/attention.h"
#include "cuda/draw.h"
#include "cuda/linear_tile.h"

namespace dvlm::cuda {

// For `outputs` x `inputs` weights; `tile_inputs`: 16, with e4m3 weights 32. `whole`: the layer's sums are
// finished where they are made (gate and up, the head), which takes so many outputs that they fill a card.
inline Cut cut_for(int outputs, int inputs, int tile_inputs, bool whole) {
  const int steps = inputs / 32;  // that TileLinear's stages take
  int parts = whole ? (tile_inputs == 16 ? 8 : 2) : inputs <= 4096 && outputs <= 2048 ? 16 : 8;
  while (steps % parts != 0) parts /= 2;
  return whole ? Cut{.slices = parts, .splits = 1} : Cut{.slices = 1, .splits = parts};
}

// Tiles of 8 rows that a pass of so many rows is padded to.
inline int padded_tiles(int rows) {
  const int tiles = (rows + 7) / 8;
  return tiles <= 2 ? tiles : tiles <= 4 ? 4 : tiles <= 8 ? 8 : (tiles + 15) / 16 * 16;
}

// Outputs and rows, in tiles, of a block of TileLinear.
struct BlockTiles {
  int outputs = 0, rows = 0;
};
inline BlockTiles block_tiles(int row_tiles) {
  return row_tiles <= 8 ? BlockTiles{4, 8} : BlockTiles{8, 16};
}

// Over how many splits of the grid a layer's sums lie: with few blocks all of its own, with many each block
// adds them.
inline int splits_of(const Matrix& m, int row_tiles, int processors) {
  if (row_tiles <= 4) return m.cut.splits;
  const BlockTiles block = block_tiles(row_tiles);
  const int blocks = (m.outputs / 16 + block.outputs - 1) / block.outputs * (row_tiles / block.rows);
  return blocks >= processors ? 1 : m.cut.splits;
}

inline namespace DVLM_LAYER {

// Records the layers of a tower for `rows` rows.
template <class Launcher>
class LayerRecorder {
 public:
  // `page_layers`: layers that a page has room for.
  LayerRecorder(Launcher& launcher, const TowerShape& shape, const PassBuffers& buffers, int rows,
                int page_layers)
      : to_(launcher),
        shape_(shape),
        b_(buffers),
        rows_(rows),
        row_tiles_(padded_tiles(rows)),
        page_stride_(shape.heads.page_elements() * static_cast<size_t>(page_layers)) {}

  size_t page_stride() const { return page_stride_; }
  RowOutput output(int row_tiles) const { return {b_.inputs, b_.row_scale, row_tiles}; }
  RowOutput output() const { return output(row_tiles_); }

  // The sums of the layer's MLP, which the next step adds to the residual. `before`: of the layer before it.
  template <bool kBeforeE4m3, bool kE4m3>
  Parts layer(const LayerMatrices& layer, int page_layer, const Parts& before, bool fresh,
              const AttentionPlan& plan, Global<const float> rotation) {
    const Heads& heads = shape_.heads;
    norm<kBeforeE4m3, kE4m3>(before, layer.attention_norm, {}, rows_, output(), fresh);
    const Parts qkv = linear<kE4m3>(layer.qkv, layer.qkv_bias, b_.inputs);
    const Global<uint16_t> pages = b_.pages.tail(heads.page_elements() * static_cast<size_t>(page_layer));
    const auto blocks = static_cast<unsigned>((heads.heads + 2 * heads.kv_heads + 3) / 4);
    to_.template launch<RotateAndStore<kE4m3>>(
        {static_cast<unsigned>(rows_), blocks}, 0,
        {heads, qkv, rotation, plan.places, plan.key_copies, b_.queries, pages, page_stride_});
    switch (heads.dim) {
      case 32:
        attend<32, kE4m3>(pages, plan);
        break;
      case 64:
        attend<64, kE4m3>(pages, plan);
        break;
      case 80:
        attend<80, kE4m3>(pages, plan);
        break;
      default:
        attend<128, kE4m3>(pages, plan);
    }
    const Parts attended = linear<kE4m3>(layer.output, layer.output_bias, b_.inputs);
    norm<kE4m3, kE4m3>(attended, layer.mlp_norm, {}, rows_, output(), false);
    gate_up<kE4m3>(layer);
    return linear<kE4m3>(layer.down, layer.down_bias, b_.activated);
  }

  template <bool kPartsE4m3, bool kOutE4m3>
  void norm(const Parts& parts, Global<const float> weight, Global<const int> row_of, int count,
            const RowOutput& out, bool fresh) {
    const auto go = [&]<int kThreads>() {
      using Kernel = Norm<kPartsE4m3, kOutE4m3, kThreads>;
      to_.template launch<Kernel>(
          {static_cast<unsigned>(count)}, Kernel::shared_bytes(shape_.hidden),
          {b_.residual, parts, weight, row_of, out, shape_.hidden, shape_.norm_width, shape_.eps, fresh});
    };
    shape_.hidden >= 2048 ? go.template operator()<1024>() : go.template operator()<128>();
  }

  template <bool kE4m3>
  Parts linear(const Matrix& m, Global<const float> bias, Global<uint16_t> inputs, int row_tiles) {
    const int splits = run<kE4m3, Epilogue::store>(m, {}, inputs, row_tiles, b_.parts);
    return {b_.parts, m.scale, b_.row_scale, bias, splits, row_tiles * 8, m.outputs};
  }

  // Sums without splits, as they are.
  void head(const Matrix& m, int row_tiles, Global<float> out) {
    run<false, Epilogue::store>(m, {}, b_.inputs, row_tiles, out);
  }

 private:
  Dim rows() const { return {static_cast<unsigned>(rows_)}; }

  template <bool kE4m3>
  Parts linear(const Matrix& m, Global<const float> bias, Global<uint16_t> inputs) {
    return linear<kE4m3>(m, bias, inputs, row_tiles_);
  }

  // Leaves the attention's output as the input of the output projection.
  template <int kDim, bool kE4m3>
  void attend(Global<uint16_t> pages, const AttentionPlan& plan) {
    const Heads& heads = shape_.heads;
    const AttentionJob job{heads,
                           as<const Word4>(b_.queries),
                           as<const Word4>(pages),
                           page_stride_ / 8,
                           plan.page_table,
                           plan.tiles,
                           kLog2E / std::sqrt(static_cast<float>(shape_.head_dim))};
    const auto kv_heads = static_cast<unsigned>(heads.kv_heads),
               tiles = static_cast<unsigned>(plan.tile_count);
    const int width = heads.heads * heads.dim;
    if (takes_chunks(heads, plan.tile_count, plan.max_chunks, to_.limits().processors)) {
      Shares shares = b_.shares;
      shares.tiles = plan.tile_count;
      to_.template launch<ChunkAttention<kDim>>({static_cast<unsigned>(plan.max_chunks), kv_heads, tiles},
                                                ChunkSteps<kDim>::kBytes, {job, shares});
      to_.template launch<CombineChunks<kE4m3>>(rows(), CombineChunks<kE4m3>::shared_bytes(width),
                                                {heads, plan.places, plan.tiles, shares, output()});
      return;
    }
    using Kernel = TileAttention<kDim, kE4m3>;
    to_.template launch<Kernel>({tiles, kv_heads}, Kernel::kSharedBytes,
                                {job, b_.inputs, b_.wide, row_tiles_});
    if constexpr (kE4m3)
      to_.template launch<QuantizeRows>(rows(), QuantizeRows::shared_bytes(width),
                                        {b_.wide, output(), width});
  }

  template <bool kE4m3>
  void gate_up(const LayerMatrices& layer) {
    run<kE4m3, Epilogue::swiglu>(layer.gate_up, layer.gate_up_bias, b_.inputs, row_tiles_, {});
    if constexpr (kE4m3)
      to_.template launch<QuantizeRows>(
          rows(), QuantizeRows::shared_bytes(shape_.intermediate),
          {b_.wide, {b_.activated, b_.row_scale, row_tiles_}, shape_.intermediate});
  }

  // Returns the splits that the layer's sums lie in.
  template <bool kE4m3, Epilogue kEpilogue>
  int run(const Matrix& m, Global<const float> bias, Global<uint16_t> inputs, int row_tiles,
          Global<float> out) {
    using Weights = std::conditional_t<kE4m3, E4m3Weights, Bf16Weights>;
    LinearJob job;
    job.weights = m.weights, job.inputs = as<const Word4>(inputs);
    job.weight_scale = m.scale, job.row_scale = b_.row_scale, job.bias = bias;
    job.out = out, job.activated = kE4m3 ? b_.wide : b_.activated;
    job.outputs = m.outputs, job.tiles = m.tiles(), job.row_tiles = row_tiles, job.splits = m.cut.splits;
    switch (row_tiles) {
      case 1:
        return stream<Weights, kEpilogue, 1, 15>(m, job);
      case 2:
        return stream<Weights, kEpilogue, 2, 12>(m, job);
      case 4:
        return stream<Weights, kEpilogue, 4, 12>(m, job);
      case 8:
        return tile<TileLinear<Weights, kEpilogue, 4, 8, 2, 2, kE4m3 ? 1 : 2, 6>, 4, 8>(m, job);
      default:
        return tile<TileLinear<Weights, kEpilogue, 8, 16, 4, 2, kE4m3 ? 1 : 2, 5>, 8, 16>(m, job);
    }
  }
  template <class Kernel, int kTilesM, int kTilesN>
  int tile(const Matrix& m, const LinearJob& linear) {
    typename Kernel::Job job;
    static_cast<LinearJob&>(job) = linear;
    job.splits = splits_of(m, job.row_tiles, to_.limits().processors);
    job.parts = m.cut.parts() / job.splits;
    to_.template launch<Kernel>(
        {static_cast<unsigned>((m.outputs / 16 + kTilesM - 1) / kTilesM),
         static_cast<unsigned>(job.row_tiles / kTilesN), static_cast<unsigned>(job.splits)},
        Kernel::kSharedBytes, job);
    return job.splits;
  }
  // In tiles where a block's share of the inputs is more than the card has room for: the bits are the same.
  template <class Weights, Epilogue kEpilogue, int kRowTiles, int kDepth>
  int stream(const Matrix& m, const LinearJob& job) {
    constexpr size_t kReserved = 1024;  // of each block
    bool fits = true;
    const auto go = [&]<int kSlices>() {
      using Kernel = StreamLinear<Weights, kEpilogue, kRowTiles, kSlices, kDepth>;
      const size_t shared = Kernel::shared_bytes(m.tiles(), m.cut.splits), room = to_.limits().shared;
      fits = shared <= room;
      if (!fits) return;
      const int groups = m.outputs / 16 / Kernel::kTiles, resident = shared <= (room - kReserved) / 2 ? 2 : 1;
      const int blocks = std::max(1, std::min(groups, to_.limits().processors * resident / m.cut.splits));
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
    return fits ? m.cut.splits
                : tile<TileLinear<Weights, kEpilogue, 4, kRowTiles, 4, 1, Weights::kScaled ? 1 : 2, 6>, 4,
                       kRowTiles>(m, job);
  }

  Launcher& to_;
  const TowerShape& shape_;
  const PassBuffers& b_;
  const int rows_, row_tiles_;
  const size_t page_stride_;
};

template <class Launcher>
void record_text(Launcher& to, const TextTower& tower, const PassBuffers& b, const TextPass& pass) {
  const TowerShape& shape = tower.shape;
  LayerRecorder<Launcher> layers(to, shape, b, pass.rows, static_cast<int>(tower.layers.size()));
  if (pass.page_copies > 0)
    to.template launch<CopyPages>({16, static_cast<unsigned>(pass.page_copies)}, 0,
                                  {as<Word4>(b.pages), pass.copied, layers.page_stride() / 8});
  to.template launch<Embed>({static_cast<unsigned>(pass.rows)}, 0,
                            {tower.table, pass.tokens, pass.features, b.residual, shape.hidden});
  const bool e4m3 = tower.layers[0].qkv.e4m3;
  Parts before{};
  for (int i = 0; i < static_cast<int>(tower.layers.size()); ++i) {
    const LayerMatrices& layer = tower.layers[static_cast<size_t>(i)];
    before =
        e4m3 ? layers.template layer<true, true>(layer, i, before, false, pass.attention, pass.rotation)
             : layers.template layer<false, false>(layer, i, before, false, pass.attention, pass.rotation);
  }
  if (pass.wanted == 0) return;
  const int row_tiles = padded_tiles(pass.wanted);
  const RowOutput out = layers.output(row_tiles);
  e4m3 ? layers.template norm<true, false>(before, tower.norm, pass.wanted_rows, pass.wanted, out, false)
       : layers.template norm<false, false>(before, tower.norm, pass.wanted_rows, pass.wanted, out, false);
  layers.head(tower.head, row_tiles, pass.logits);
}

template <class Launcher>
void record_choice(Launcher& to, const TextTower& tower, const ChoicePass& pass) {
  if (pass.wanted == 0) return;
  const auto wanted = static_cast<unsigned>(pass.wanted);
  if (pass.changed)
    to.template launch<ChangeLogits>(
        {wanted}, 0, {pass.logits, pass.wishes, pass.changes, tower.vocab, tower.head.outputs});
  to.template launch<ChooseInSlices>(
      {kSlices, wanted}, ChooseInSlices::kSharedBytes,
      {pass.logits, pass.wishes, pass.masks, pass.best, tower.vocab, tower.head.outputs});
  to.template launch<ChooseInRow>({wanted}, 0, {pass.best, pass.chosen});
  if (pass.draws > 0)
    to.template launch<DrawInRow>({static_cast<unsigned>(pass.draws)}, DrawInRow::kSharedBytes,
                                  {pass.logits, pass.wishes, pass.masks, pass.drawing, pass.chosen,
                                   pass.alternatives, tower.vocab, tower.head.outputs});
}

// The last part of the vision tower. kE4m3: the merger's weights; `e4m3`: those of `before`.
template <bool kE4m3, class Launcher>
void record_merger(Launcher& to, LayerRecorder<Launcher>& layers, const VisionTower& tower,
                   const PassBuffers& b, const VisionPass& pass, const Parts& before, bool e4m3) {
  const int tokens = pass.rows / tower.patches_per_token, row_tiles = padded_tiles(tokens),
            width = tower.merger_in.inputs;
  const auto count = static_cast<unsigned>(tokens);
  const RowOutput inputs = layers.output(row_tiles);
  // e4m3 has one scale for the patches of a token.
  const RowOutput patches =
      kE4m3 ? RowOutput{b.wide, {}, 0, 1} : RowOutput{b.inputs, {}, row_tiles, tower.patches_per_token};
  e4m3 ? layers.template norm<true, false>(before, tower.merger_norm, {}, pass.rows, patches, false)
       : layers.template norm<false, false>(before, tower.merger_norm, {}, pass.rows, patches, false);
  if constexpr (kE4m3)
    to.template launch<QuantizeRows>({count}, QuantizeRows::shared_bytes(width), {b.wide, inputs, width});
  const Parts inner =
      layers.template linear<kE4m3>(tower.merger_in, tower.merger_in_bias, b.inputs, row_tiles);
  using Gelu = RoundRows<true, kE4m3>;
  to.template launch<Gelu>({count}, Gelu::shared_bytes(inner.width), {{}, inner, inputs, inner.width});
  const Parts out =
      layers.template linear<kE4m3>(tower.merger_out, tower.merger_out_bias, b.inputs, row_tiles);
  to.template launch<StoreRows<kE4m3>>({count}, 0, {out, pass.features});
}

template <class Launcher>
void record_vision(Launcher& to, const VisionTower& tower, const PassBuffers& b, const VisionPass& pass) {
  const TowerShape& shape = tower.shape;
  const auto rows = static_cast<unsigned>(pass.rows);
  LayerRecorder<Launcher> layers(to, shape, b, pass.rows, 1);
  const int width = tower.patches.inputs;
  using Round = RoundRows<false, false>;
  to.template launch<Round>({rows}, Round::shared_bytes(width), {pass.patches, {}, layers.output(), width});
  Parts before = layers.template linear<false>(tower.patches, {}, b.inputs, padded_tiles(pass.rows));
  const bool e4m3 = tower.layers[0].qkv.e4m3;
  for (size_t i = 0; i < tower.layers.size(); ++i) {
    const AttentionPlan& plan = tower.whole[i] ? pass.whole : pass.windows;
    const auto layer = [&]<bool kBefore, bool kE4m3>(bool fresh) {
      before = layers.template layer<kBefore, kE4m3>(tower.layers[i], 0, before, fresh, plan, pass.rotation);
    };
    if (!e4m3)
      layer.template operator()<false, false>(i == 0);
    else if (i == 0)  // behind the patches, which are bf16
      layer.template operator()<false, true>(true);
    else
      layer.template operator()<true, true>(false);
  }
  tower.merger_in.e4m3 ? record_merger<true>(to, layers, tower, b, pass, before, e4m3)
                       : record_merger<false>(to, layers, tower, b, pass, before, e4m3);
}

}  // namespace DVLM_LAYER
}  // namespace dvlm::cuda
