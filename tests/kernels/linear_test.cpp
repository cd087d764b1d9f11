#include "kernels/linear.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "core/error.h"
#include "core/random.h"
#include "kernels/reference.h"
#include "kernels/targets.h"

namespace dvlm {
namespace {

std::vector<float> random_values(size_t count, uint64_t seed) {
  Random random(seed);
  std::vector<float> out(count);
  for (float& value : out) value = static_cast<float>(random.normal());
  return out;
}

TensorView view(const std::vector<float>& values, std::vector<int64_t> shape) {
  return {DType::f32, std::move(shape), reinterpret_cast<const std::byte*>(values.data())};
}

struct Layer {
  int inputs, outputs;
  std::vector<float> weights, bias;
  PackedMatrix packed;

  Layer(int in, int out, WeightFormat format, ThreadPool& pool, bool with_bias = true)
      : inputs(in),
        outputs(out),
        weights(random_values(size_t(in) * size_t(out), 1)),
        bias(random_values(size_t(out), 2)) {
    if (!with_bias) bias.clear();
    const TensorView w = view(weights, {out, in}), b = view(bias, {out});
    packed = PackedMatrix({&w, 1}, std::span(&b, with_bias ? 1 : 0), format, pool);
    if (format == WeightFormat::bf16_panels) {
      for (float& value : weights) value = round_to_bf16(value);
    }
  }

  std::vector<float> run(std::vector<float> x, int rows, ThreadPool& pool,
                         LinearMode mode = LinearMode::store) const {
    std::vector<float> y(size_t(rows) * size_t(outputs), 0.5f);
    LinearScratch scratch;
    linear(packed, {x.data(), size_t(inputs), rows}, {y.data(), size_t(outputs), rows}, mode, scratch, pool);
    return y;
  }
};

std::vector<float> rounded(std::vector<float> x, WeightFormat format) {
  if (format == WeightFormat::bf16_panels) {
    for (float& value : x) value = round_to_bf16(value);
  }
  return x;
}

// Summing n products in f32 in any order errs by at most n * epsilon * sum |x w|.
void expect_close(const Layer& layer, const std::vector<float>& x, int rows, const std::vector<float>& y,
                  float offset) {
  std::vector<float> expected(y.size());
  reference::linear(x, layer.weights, layer.bias, rows, layer.inputs, layer.outputs, expected);
  for (int r = 0; r < rows; ++r) {
    for (int n = 0; n < layer.outputs; ++n) {
      double magnitude = 1;
      for (int k = 0; k < layer.inputs; ++k) {
        magnitude += std::abs(double{x[r * layer.inputs + k]} * layer.weights[n * layer.inputs + k]);
      }
      const size_t at = size_t(r) * size_t(layer.outputs) + size_t(n);
      ASSERT_NEAR(y[at], expected[at] + offset, (layer.inputs + 2) * 6e-8 * magnitude)
          << "row " << r << " output " << n;
    }
  }
}

class EachIsa : public testing::TestWithParam<std::tuple<std::string, WeightFormat>> {
 protected:
  EachIsa() { force_isa(std::get<0>(GetParam())); }
  ~EachIsa() override { force_isa(""); }
  WeightFormat format() const { return std::get<1>(GetParam()); }
};

TEST_P(EachIsa, linear_agrees_with_the_reference_on_odd_sizes) {
  ThreadPool pool(2);
  for (auto [in, out] : {std::pair{1, 1}, {15, 31}, {16, 32}, {17, 33}, {100, 65}, {333, 200}, {64, 1000}}) {
    for (bool bias : {false, true}) {
      const Layer layer(in, out, format(), pool, bias);
      for (int rows : {1, 2, 3, 5, 8, 12, 13, 25, 40}) {
        const std::vector<float> x = random_values(size_t(rows) * size_t(in), 3);
        expect_close(layer, rounded(x, format()), rows, layer.run(x, rows, pool), 0);
        expect_close(layer, rounded(x, format()), rows, layer.run(x, rows, pool, LinearMode::add), 0.5f);
        if (HasFatalFailure()) FAIL() << in << " inputs, " << out << " outputs, " << rows << " rows";
      }
    }
  }
}

TEST_P(EachIsa, a_row_has_the_same_bits_alone_and_in_company) {
  ThreadPool one(1), two(2);
  const Layer layer(257, 203, format(), one);
  constexpr int kRows = 64;
  const std::vector<float> x = random_values(kRows * 257, 4), together = layer.run(x, kRows, one);
  EXPECT_EQ(layer.run(x, kRows, two), together);
  for (int rows = 1; rows <= kRows; ++rows) {
    for (int first : {0, kRows - rows}) {
      const std::vector<float> some(x.begin() + first * 257, x.begin() + (first + rows) * 257);
      const std::vector<float> y = layer.run(some, rows, two);
      ASSERT_EQ(std::memcmp(y.data(), together.data() + first * 203, y.size() * 4), 0)
          << rows << " rows from " << first;
    }
  }
}

TEST_P(EachIsa, a_large_job_split_over_passes_and_threads_has_the_same_bits) {
  ThreadPool one(1), three(3);
  const Layer layer(6000, 70, format(), one);
  const std::vector<float> x = random_values(130 * 6000, 5), y = layer.run(x, 130, one);
  EXPECT_EQ(layer.run(x, 130, three), y);
  const std::vector<float> last(x.end() - 6000, x.end());
  EXPECT_EQ(layer.run(last, 1, three), std::vector<float>(y.end() - 70, y.end()));
}

std::vector<std::string> isas() {
  std::vector<std::string> out;
  const std::string all = supported_isas();
  for (size_t at = 0; at < all.size();
       at = all.find(", ", at) == all.npos ? all.size() : all.find(", ", at) + 2) {
    out.push_back(all.substr(at, all.find(", ", at) - at));
  }
  return out;
}

INSTANTIATE_TEST_SUITE_P(Linear, EachIsa,
                         testing::Combine(testing::ValuesIn(isas()),
                                          testing::Values(WeightFormat::f32_panels,
                                                          WeightFormat::bf16_panels)),
                         [](const auto& param) {
                           return std::get<0>(param.param) +
                                  (std::get<1>(param.param) == WeightFormat::f32_panels ? "_f32" : "_bf16");
                         });

TEST(PackedMatrix, rows_come_back_from_the_panels) {
  ThreadPool pool(2);
  for (WeightFormat format : {WeightFormat::f32_panels, WeightFormat::bf16_panels}) {
    const Layer layer(70, 75, format, pool);
    std::vector<float> row(70);
    for (int n = 0; n < 75; ++n) {
      layer.packed.unpack_row(n, row.data());
      EXPECT_EQ(row,
                std::vector<float>(layer.weights.begin() + n * 70, layer.weights.begin() + (n + 1) * 70));
    }
  }
}

TEST(PackedMatrix, stacked_weights_give_the_outputs_of_each) {
  ThreadPool pool(1);
  const std::vector<float> a = random_values(33 * 20, 1), b = random_values(7 * 20, 2),
                           x = random_values(20, 3);
  const TensorView views[] = {view(a, {33, 20}), view(b, {7, 4, 5})};
  const PackedMatrix both(views, {}, WeightFormat::f32_panels, pool);
  EXPECT_EQ(both.outputs(), 40);
  std::vector<float> y(40), expected(40), in = x;
  LinearScratch scratch;
  linear(both, {in.data(), 20, 1}, {y.data(), 40, 1}, LinearMode::store, scratch, pool);
  reference::linear(x, a, {}, 1, 20, 33, std::span(expected).first(33));
  reference::linear(x, b, {}, 1, 20, 7, std::span(expected).subspan(33));
  for (size_t i = 0; i < 40; ++i) EXPECT_NEAR(y[i], expected[i], 1e-5);
}

TEST(PackedMatrix, weights_that_do_not_stack_are_refused) {
  ThreadPool pool(1);
  const std::vector<float> a(60), b(60);
  const TensorView views[] = {view(a, {3, 20}), view(b, {4, 15})};
  EXPECT_THROW(PackedMatrix(views, {}, WeightFormat::f32_panels, pool), Error);
}

TEST(Isa, an_unknown_set_is_refused_by_name) {
  EXPECT_THROW(force_isa("AVX9"), Error);
}

}  // namespace
}  // namespace dvlm
