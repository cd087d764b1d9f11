// Small integers: the sums are exact in any order, so that every error of layout shows.
#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "cuda/linear_tile.h"

namespace dvlm::cuda {
namespace {

int weight(int output, int input) {
  return (output * 7 + input * 3) % 11 - 5;
}
int value(int row, int input) {
  return (row * 5 + input) % 7 - 3;
}

struct Case {
  int outputs, inputs, row_tiles, slices, splits;
};

// Weights, inputs and outputs of a linear layer in the kernels' order.
template <class Weights>
class Layer {
 public:
  Layer(const Case& c, int splits) : case_(c), out_(static_cast<size_t>(splits) * rows() * outputs(), NAN) {
    for (int o = 0; o < c.outputs; ++o)
      for (int k = 0; k < c.inputs; ++k) {
        const auto w = static_cast<float>(weight(o, k));
        if constexpr (Weights::kScaled)
          bytes()[e4m3_index(o, k, c.inputs)] = to_e4m3(w).bits;
        else
          words16()[weight_index(o, k, c.inputs)] = bf16_bits(w);
      }
    for (int n = 0; n < c.row_tiles * 8; ++n)
      for (int k = 0; k < c.inputs; ++k) {
        const auto v = static_cast<float>(value(n, k));
        inputs16()[input_index(k, n, c.row_tiles)] = Weights::kScaled ? half_bits(v) : bf16_bits(v);
      }
  }

  LinearJob job() {
    LinearJob job;
    job.weights = {weights_.data(), weights_.size()}, job.inputs = {inputs_.data(), inputs_.size()};
    job.out = {out_.data(), out_.size()}, job.outputs = case_.outputs;
    job.tiles = case_.inputs / (Weights::kScaled ? 32 : 16), job.row_tiles = case_.row_tiles;
    return job;
  }

  void expect_sums(int splits) const {
    for (size_t n = 0; n < rows(); ++n)
      for (size_t o = 0; o < outputs(); ++o) {
        int sum = 0;
        float got = 0;
        for (int k = 0; k < case_.inputs; ++k)
          sum += weight(static_cast<int>(o), k) * value(static_cast<int>(n), k);
        for (size_t s = 0; s < static_cast<size_t>(splits); ++s)
          got += out_[(s * rows() + n) * outputs() + o];
        ASSERT_EQ(got, static_cast<float>(sum)) << "row " << n << ", output " << o;
      }
  }

 private:
  size_t rows() const { return static_cast<size_t>(case_.row_tiles) * 8; }
  size_t outputs() const { return static_cast<size_t>(case_.outputs); }
  uint8_t* bytes() { return reinterpret_cast<uint8_t*>(weights_.data()); }
  uint16_t* words16() { return reinterpret_cast<uint16_t*>(weights_.data()); }
  uint16_t* inputs16() { return reinterpret_cast<uint16_t*>(inputs_.data()); }

  const Case case_;
  std::vector<Word4> weights_ =
      std::vector<Word4>(outputs() * static_cast<size_t>(case_.inputs) / (Weights::kScaled ? 16 : 8));
  std::vector<Word4> inputs_ = std::vector<Word4>(rows() * static_cast<size_t>(case_.inputs) / 8);
  std::vector<float> out_;
};

template <class Weights, int kRowTiles, int kSlices>
void stream(const Case& c) {
  using Kernel = StreamLinear<Weights, Epilogue::store, kRowTiles, kSlices, 5>;
  Layer<Weights> layer(c, c.splits);
  LinearJob job = layer.job();
  job.splits = c.splits;
  for (const unsigned blocks : {1u, 3u}) {
    HostLauncher(blocks).launch<Kernel>({blocks, static_cast<unsigned>(c.splits)},
                                        Kernel::shared_bytes(job.tiles, c.splits), job);
    layer.expect_sums(c.splits);
  }
}

template <class Weights>
void streams() {
  stream<Weights, 1, 1>({384, 256, 1, 1, 1});
  stream<Weights, 2, 1>({128, 512, 2, 1, 8});
  stream<Weights, 4, 2>({192, 192, 4, 2, 1});
  stream<Weights, 4, 8>({80, 256, 4, 8, 1});
}

TEST(StreamLinear, gives_exact_sums_of_small_integers) {
  streams<Bf16Weights>();
  streams<E4m3Weights>();
}

template <class Weights, int kTilesM, int kTilesN, int kWarpsM, int kWarpsN>
void tile(const Case& c, int parts) {
  constexpr int kStage = Weights::kScaled ? 1 : 2;
  using Kernel = TileLinear<Weights, Epilogue::store, kTilesM, kTilesN, kWarpsM, kWarpsN, kStage, 4>;
  Layer<Weights> layer(c, c.splits);
  typename Kernel::Job job;
  static_cast<LinearJob&>(job) = layer.job();
  job.splits = c.splits, job.parts = parts;
  const auto blocks_m = static_cast<unsigned>((c.outputs / 16 + kTilesM - 1) / kTilesM);
  HostLauncher(3).launch<Kernel>(
      {blocks_m, static_cast<unsigned>(c.row_tiles / kTilesN), static_cast<unsigned>(c.splits)},
      Kernel::kSharedBytes, job);
  layer.expect_sums(c.splits);
}

template <class Weights>
void tiles() {
  tile<Weights, 4, 8, 2, 2>({208, 256, 8, 1, 1}, 8);
  tile<Weights, 4, 8, 2, 2>({80, 384, 16, 1, 2}, 3);
  tile<Weights, 8, 16, 4, 2>({128, 160, 32, 1, 1}, 1);
}

TEST(TileLinear, gives_exact_sums_of_small_integers) {
  tiles<Bf16Weights>();
  tiles<E4m3Weights>();
}

}  // namespace
}  // namespace dvlm::cuda
