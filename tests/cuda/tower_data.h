// A small random tower and a pass through it as plain numbers, for the kernels on either layer and for a
// plain model.
#pragma once
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

namespace dvlm::test {

struct MatrixData {
  int outputs = 0, inputs = 0;
  std::vector<float> values;  // [outputs, inputs], exact in bf16 or e4m3
  std::vector<float> scale;   // [outputs]; e4m3 only
  bool e4m3() const { return !scale.empty(); }
};

struct LayerData {
  MatrixData qkv, output, gate_up, down;  // gate_up: gate j at 2 j, up j at 2 j + 1
  std::vector<float> qkv_bias, attention_norm, mlp_norm;
};

struct TowerData {
  int heads = 0, kv_heads = 0, dim = 0, hidden = 0, intermediate = 0, vocab = 0;
  std::vector<LayerData> layers;
  std::vector<float> norm;
  MatrixData table;  // head and embedding
};

// New tokens of one sequence, behind `context` of earlier passes.
struct SegmentData {
  std::vector<int> tokens, positions;
  int context = 0;
  bool causal = true;
  std::vector<int> pages;
};
// Its rows from `first` on, behind those before.
SegmentData part(const SegmentData& s, int first, int rows);

struct PassData {
  std::vector<SegmentData> segments;
  std::vector<int> wanted;  // rows
};

struct PassResult {
  std::vector<float> logits;  // [wanted, vocab]
  std::vector<int> tokens;
  std::vector<float> probabilities;
  int launches = 0;
};

TowerData random_tower(int heads, int kv_heads, int dim, int hidden, int intermediate, int vocab, int layers,
                       bool e4m3, uint64_t seed);

// A tower on one of the layers, with its pages.
class TowerRunner {
 public:
  virtual ~TowerRunner() = default;
  virtual PassResult run(const PassData& pass) = 0;
};
std::unique_ptr<TowerRunner> host_runner(const TowerData& data, int pages, uint64_t seed,
                                         size_t shared = size_t{227} << 10);
std::unique_ptr<TowerRunner> device_runner(const TowerData& data, int pages);

// The same in plain loops: f32 with the roundings of the kernels left out.
std::unique_ptr<TowerRunner> plain_runner(const TowerData& data, int pages);

}  // namespace dvlm::test
