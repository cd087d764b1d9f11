// TowerRunner over one layer; included by a file of each.
#pragma once
#include <array>
#include <cmath>
#include <cstring>

#include "cuda/pass.h"
#include "tower_data.h"

namespace dvlm::test {

inline uint16_t plain_bf16(float v) {
  uint32_t bits;
  std::memcpy(&bits, &v, 4);
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}
inline uint8_t plain_e4m3(float v) {  // of values that are exact
  if (v == 0) return 0;
  int exponent;
  const float fraction = std::frexp(std::fabs(v), &exponent);
  const int biased = exponent - 1 + 7, sign = v < 0 ? 0x80 : 0;
  if (biased <= 0) return static_cast<uint8_t>(sign | std::lround(std::fabs(v) * 512));
  return static_cast<uint8_t>(sign | biased << 3 | (std::lround(fraction * 16) & 7));
}

// `Memory` has: template <class T> cuda::Global<T> upload(const std::vector<T>&), fresh<T>(size_t count)
// (poisoned), zeroed<T>(size_t), void download(Global<T>, std::vector<T>&, size_t count).
template <class Memory>
class TowerUpload {
 public:
  explicit TowerUpload(Memory& memory) : memory_(memory) {}

  cuda::TextTower upload(const TowerData& data) {
    using namespace cuda;
    TextTower tower;
    tower.shape = {
        {data.heads, data.kv_heads, data.dim}, data.hidden, data.intermediate, data.hidden, data.dim, 1e-6f};
    tower.vocab = data.vocab;
    for (const LayerData& layer : data.layers) {
      LayerMatrices& to = tower.layers.emplace_back();
      to.qkv = matrix(layer.qkv), to.output = matrix(layer.output);
      to.gate_up = matrix(swiglu_order(layer.gate_up), true), to.down = matrix(layer.down);
      to.qkv_bias = floats(padded(layer.qkv_bias));
      to.attention_norm = floats(layer.attention_norm), to.mlp_norm = floats(layer.mlp_norm);
    }
    tower.head = matrix(data.table, true), tower.norm = floats(data.norm);
    tower.table = as<const uint16_t>(tower.head.weights);
    return tower;
  }

 private:
  static std::vector<float> padded(std::vector<float> v) {
    v.resize((v.size() + 127) / 128 * 128);
    return v;
  }
  cuda::Global<const float> floats(const std::vector<float>& v) { return memory_.upload(v); }

  // Gate and up of 8 values share a tile of 16.
  static MatrixData swiglu_order(const MatrixData& m) {
    MatrixData out = m;
    for (int row = 0; row < m.outputs; ++row) {
      const int value = row / 2, to = value / 8 * 16 + row % 2 * 8 + value % 8;
      std::copy_n(m.values.begin() + static_cast<std::ptrdiff_t>(row) * m.inputs, m.inputs,
                  out.values.begin() + static_cast<std::ptrdiff_t>(to) * m.inputs);
      if (m.e4m3()) out.scale[static_cast<size_t>(to)] = m.scale[static_cast<size_t>(row)];
    }
    return out;
  }

  cuda::Matrix matrix(const MatrixData& m, bool whole = false) {
    using namespace cuda;
    const int outputs = round_up(m.outputs, 128), tile_inputs = m.e4m3() ? 32 : 16;
    std::vector<uint8_t> bytes(static_cast<size_t>(outputs) * m.inputs * (m.e4m3() ? 1 : 2));
    for (int o = 0; o < m.outputs; ++o)
      for (int k = 0; k < m.inputs; ++k) {
        const float v = m.values[static_cast<size_t>(o) * m.inputs + k];
        if (m.e4m3()) {
          bytes[e4m3_index(o, k, m.inputs)] = plain_e4m3(v);
        } else {
          const uint16_t bits = plain_bf16(v);
          std::memcpy(&bytes[weight_index(o, k, m.inputs) * 2], &bits, 2);
        }
      }
    std::vector<Word4> words(bytes.size() / 16);
    std::memcpy(words.data(), bytes.data(), bytes.size());
    Matrix out;
    out.weights = memory_.upload(words);
    if (m.e4m3()) out.scale = floats(padded(m.scale));
    out.outputs = outputs, out.inputs = m.inputs, out.e4m3 = m.e4m3();
    out.cut = cut_for(outputs, m.inputs, tile_inputs, whole);
    return out;
  }

  Memory& memory_;
};

template <class Memory, class Launcher>
class RunnerOn : public TowerRunner {
 public:
  struct Prepared {
    cuda::PassBuffers buffers;
    cuda::TextPass pass;
    cuda::ChoicePass choice;
  };

  RunnerOn(const TowerData& data, int pages, Memory memory, Launcher launcher)
      : memory_(std::move(memory)),
        launcher_(std::move(launcher)),
        tower_(TowerUpload(memory_).upload(data)),
        pages_(fresh_pages(pages)) {}
  RunnerOn(cuda::TextTower tower, int pages, Memory memory, Launcher launcher)
      : memory_(std::move(memory)),
        launcher_(std::move(launcher)),
        tower_(std::move(tower)),
        pages_(fresh_pages(pages)) {}

  cuda::TextTower& tower() { return tower_; }
  Launcher& launcher() { return launcher_; }

  Prepared prepare(const PassData& pass) {
    using namespace cuda;
    Prepared p;
    describe(pass, p.pass);
    const TowerShape& shape = tower_.shape;
    PassBuffers& b = p.buffers;
    const auto rows = static_cast<size_t>(round_up(p.pass.rows, 128)),
               inner = static_cast<size_t>(shape.heads.heads) * static_cast<size_t>(shape.heads.dim),
               hidden = std::max(static_cast<size_t>(shape.hidden), inner),
               wide = std::max(static_cast<size_t>(shape.intermediate), inner);
    b.residual = memory_.template fresh<float>(rows * hidden),
    b.inputs = memory_.template fresh<uint16_t>(rows * hidden);
    b.activated = memory_.template fresh<uint16_t>(rows * wide),
    b.wide = memory_.template fresh<uint16_t>(rows * wide);
    const size_t outputs =
        static_cast<size_t>(std::max(tower_.layers[0].qkv.outputs, tower_.layers[0].down.outputs));
    b.parts = memory_.template fresh<float>(rows * outputs * (p.pass.rows <= 512 ? 16 : 1));
    b.row_scale = memory_.template fresh<float>(rows);
    const size_t queries = static_cast<size_t>(p.pass.attention.tile_count * shape.heads.kv_heads) * kChunk,
                 shares = queries * static_cast<size_t>(p.pass.attention.max_chunks),
                 dim = static_cast<size_t>(shape.heads.dim);
    b.queries = memory_.template fresh<uint16_t>(queries * dim);
    b.shares = {memory_.template fresh<float>(shares * dim), memory_.template fresh<float>(shares),
                memory_.template fresh<float>(shares), 0};
    const auto wanted = static_cast<size_t>(round_up(p.pass.wanted, 128));
    p.pass.logits = memory_.template fresh<float>(wanted * static_cast<size_t>(tower_.head.outputs));
    p.choice.wanted = p.pass.wanted, p.choice.logits = p.pass.logits;
    p.choice.wishes = memory_.upload(std::vector<RowWish>(pass.wanted.size()));
    p.choice.best = memory_.template fresh<SliceBest>(wanted * kSlices),
    p.choice.chosen = memory_.template fresh<cuda::Chosen>(wanted);
    b.pages = pages_;
    return p;
  }

  template <class To>
  void record(To& launcher, const Prepared& p) {
    cuda::record_text(launcher, tower_, p.buffers, p.pass);
    cuda::record_choice(launcher, tower_, p.choice);
  }

  PassResult run(const PassData& pass) override {
    const Prepared p = prepare(pass);
    const int before = launcher_.launches();
    record(launcher_, p);
    PassResult out;
    out.launches = launcher_.launches() - before;
    std::vector<float> logits;
    std::vector<cuda::Chosen> chosen;
    memory_.download(p.pass.logits, logits, pass.wanted.size() * static_cast<size_t>(tower_.head.outputs));
    memory_.download(p.choice.chosen, chosen, pass.wanted.size());
    for (size_t i = 0; i < pass.wanted.size(); ++i) {
      const auto row = logits.begin() + static_cast<std::ptrdiff_t>(i) * tower_.head.outputs;
      out.logits.insert(out.logits.end(), row, row + tower_.vocab);
      out.tokens.push_back(chosen[i].token), out.probabilities.push_back(chosen[i].probability);
    }
    return out;
  }

 private:
  cuda::Global<uint16_t> fresh_pages(int pages) {
    return memory_.template zeroed<uint16_t>(tower_.shape.heads.page_elements() * tower_.layers.size() *
                                             static_cast<size_t>(pages));
  }

  void describe(const PassData& pass, cuda::TextPass& to) {
    using namespace cuda;
    const int dim = tower_.shape.heads.dim;
    std::vector<int> tokens, table;
    std::vector<RowPlace> places;
    std::vector<AttentionTile> tiles;
    std::vector<float> rotation;
    for (const SegmentData& s : pass.segments) {
      const int rows = static_cast<int>(s.tokens.size()), tile_rows = tower_.shape.heads.tile_rows();
      const int first_page = static_cast<int>(table.size());
      table.insert(table.end(), s.pages.begin(), s.pages.end());
      for (int i = 0; i < rows; ++i) {
        if (i % tile_rows == 0) {
          tiles.push_back({first_page, s.context + (s.causal ? i + 1 : rows), s.causal ? 1 : 0,
                           std::min(tile_rows, rows - i), static_cast<int>(tokens.size())});
        }
        const int key = s.context + i;
        places.push_back({static_cast<int>(tiles.size()) - 1,
                          i % tile_rows,
                          s.pages[static_cast<size_t>(key / kChunk)],
                          key % kChunk,
                          0,
                          0,
                          {}});
        tokens.push_back(s.tokens[static_cast<size_t>(i)]);
        for (int part = 0; part < 2; ++part)
          for (int d = 0; d < dim / 2; ++d) {
            const double angle = s.positions[static_cast<size_t>(i)] * std::pow(1e6, -2.0 * d / dim);
            rotation.push_back(static_cast<float>(part == 0 ? std::cos(angle) : std::sin(angle)));
          }
      }
      to.attention.max_chunks = std::max(to.attention.max_chunks, (s.context + rows + kChunk - 1) / kChunk);
    }
    to.rows = static_cast<int>(tokens.size()), to.wanted = static_cast<int>(pass.wanted.size());
    to.attention.tile_count = static_cast<int>(tiles.size());
    to.tokens = memory_.upload(tokens), to.attention.page_table = memory_.upload(table);
    to.wanted_rows = memory_.upload(pass.wanted);
    to.attention.places = memory_.upload(places), to.attention.tiles = memory_.upload(tiles);
    to.rotation = memory_.upload(rotation);
  }

  Memory memory_;
  Launcher launcher_;
  cuda::TextTower tower_;
  cuda::Global<uint16_t> pages_;
};

}  // namespace dvlm::test
