// The fused bf16 functions against the plain formula in f32 on the same numbers.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <functional>

#include "torch/cpu_layers.h"
#include "torch/plain.h"

namespace dvlm {
namespace {

using torch::Tensor;

// bf16 keeps 8 bits: 2^-9 relative error for each rounding. The functions round a handful of times, and sums
// of rounded terms do not grow faster than the sums themselves.
constexpr double kTolerance = 8.0 / 512;

double error(const Tensor& found, const Tensor& expected) {
  const Tensor f = found.to(torch::kFloat64), e = expected.to(torch::kFloat64);
  return ((f - e).norm() / e.norm().clamp_min(1e-12)).item<double>();
}

Tensor rounded(const at::IntArrayRef shape) {
  return torch::randn(shape).to(torch::kBFloat16).to(torch::kFloat32);
}

class Fused : public testing::Test {
 protected:
  void SetUp() override { torch::manual_seed(11); }
};

TEST_F(Fused, add_norm_is_the_sum_and_its_norm_with_gradients) {
  for (const bool with_delta : {true, false}) {
    const Tensor x0 = torch::randn({1100, 45}), d0 = rounded({1100, 45}), w0 = torch::randn({45});
    const Tensor g_sum = torch::randn({1100, 45}), g_y = rounded({1100, 45});
    std::vector<std::vector<Tensor>> results;
    for (const bool fast : {true, false}) {
      const auto type = fast ? torch::kBFloat16 : torch::kFloat32;
      const Tensor x = x0.clone().requires_grad_(), d = d0.to(type).requires_grad_(),
                   w = w0.clone().requires_grad_();
      const Tensor delta = with_delta ? d : Tensor();
      const auto [sum, y] =
          fast ? cpu::add_norm(x, delta, w, 1e-6) : plain::add_norm(x, delta, w, 1e-6, type);
      ((sum * g_sum).sum() + (y.to(torch::kFloat32) * g_y).sum()).backward();
      results.push_back({sum.detach(), y.detach(), x.grad(), w.grad()});
      if (with_delta) results.back().push_back(d.grad());
    }
    for (size_t i = 0; i < results[0].size(); ++i)
      EXPECT_LE(error(results[0][i], results[1][i]), kTolerance)
          << "result " << i << ", delta " << with_delta;
  }
}

// The results of a linear layer and its gradients: y, d_x, d_w and, with a bias, d_b.
std::vector<Tensor> linear_results(const Tensor& x0, const Tensor& w0, const Tensor& b0, const Tensor& d_y,
                                   torch::Dtype type) {
  const Tensor x = x0.to(type).detach().requires_grad_(), w = w0.to(type).detach().requires_grad_(),
               b = b0.defined() ? b0.to(type).detach().requires_grad_() : Tensor();
  const Tensor y = type == torch::kBFloat16 ? cpu::linear_in_float(x, w, b)
                                            : at::linear(x, w, b.defined() ? std::optional(b) : std::nullopt);
  y.backward(d_y.to(type));
  std::vector<Tensor> results = {y.detach(), x.grad(), w.grad()};
  if (b.defined()) results.push_back(b.grad());
  return results;
}

TEST_F(Fused, linear_in_float_and_its_gradients) {
  const auto check = [](int64_t rows, int64_t inputs, int64_t outputs, bool with_bias) {
    SCOPED_TRACE(testing::Message() << rows << ", " << inputs << " -> " << outputs << ", " << with_bias);
    const Tensor x = rounded({3, rows, inputs}), w = rounded({outputs, inputs}),
                 d_y = rounded({3, rows, outputs}), b = with_bias ? rounded({outputs}) : Tensor();
    const auto found = linear_results(x, w, b, d_y, torch::kBFloat16);
    const auto expected = linear_results(x, w, b, d_y, torch::kFloat32);
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(found[i].scalar_type(), torch::kBFloat16);
      EXPECT_LE(error(found[i], expected[i]), kTolerance) << "result " << i;
    }
  };
  check(70, 37, 45, true);
  check(70, 37, 45, false);
  check(1, 1, 1, true);
  check(230, 300, 420, true);  // several blocks, panels and visits to each sum
}

TEST_F(Fused, linear_in_float_does_not_depend_on_threads) {
  const int threads = torch::get_num_threads();
  const Tensor x = rounded({1, 600, 70}), w = rounded({90, 70}), b = rounded({90}),
               d_y = rounded({1, 600, 90});
  torch::set_num_threads(1);
  const auto one = linear_results(x, w, b, d_y, torch::kBFloat16);
  torch::set_num_threads(3);
  const auto three = linear_results(x, w, b, d_y, torch::kBFloat16);
  torch::set_num_threads(threads);
  for (size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(torch::equal(one[i], three[i])) << "result " << i;
}

TEST_F(Fused, swiglu_and_its_gradient) {
  const Tensor x0 = 4 * rounded({70, 2 * 37}), g = rounded({70, 37});
  const Tensor a = x0.to(torch::kBFloat16).requires_grad_(), b = x0.clone().requires_grad_();
  const Tensor fast = cpu::swiglu(a), plain = plain::swiglu(b);
  fast.backward(g.to(torch::kBFloat16));
  plain.backward(g);
  EXPECT_LE(error(fast, plain), kTolerance);
  EXPECT_LE(error(a.grad(), b.grad()), kTolerance);
}

TEST_F(Fused, swiglu_survives_extreme_gates) {
  const Tensor x =
      torch::tensor({{-1e4f, 1e4f, 3e38f, -3e38f, 1.f, 1.f, 0.f, 1.f}}).to(torch::kBFloat16).requires_grad_();
  const Tensor y = cpu::swiglu(x);
  y.sum().backward();
  EXPECT_TRUE(torch::isfinite(y).all().item<bool>());
  EXPECT_TRUE(torch::isfinite(x.grad()).all().item<bool>());
}

struct Case {
  const char* name;
  layers::AttentionShape shape;
};

Tensor random_mask(int64_t segments, int64_t length) {
  Tensor mask = torch::rand({segments, 1, length, length}) < 0.2;
  return mask.logical_or(torch::eye(length, torch::kBool));
}

// Every row sees three columns 170 to 178 rows ahead or behind, so that most blocks begin far from column 0.
Tensor far_mask(int64_t length) {
  Tensor mask = torch::zeros({length, length}, torch::kBool);
  for (const int64_t shift : {170, 173, 178})
    mask = mask.logical_or(torch::eye(length, torch::kBool).roll(shift, 0));
  return mask.view({1, 1, length, length});
}

std::vector<Case> cases() {
  torch::manual_seed(5);
  return {{"causal, grouped keys", {4, 2, 64, {0, 100, 200}, true, {}}},
          {"unequal windows, head of 48", {3, 3, 48, {0, 64, 80, 81, 145, 209}, false, {}}},
          {"causal, short head", {4, 1, 12, {0, 7, 9, 40}, true, {}}},
          {"mask", {4, 2, 32, {0, 130, 260}, false, random_mask(2, 130)}},
          {"mask of far blocks", {2, 2, 16, {0, 300}, false, far_mask(300)}}};
}

struct Attended {
  Tensor out, gradient;
};

using Function = Tensor (*)(const Tensor&, const Tensor&, const Tensor&, const layers::AttentionShape&);

Attended attend(Function function, const Tensor& qkv, const Tensor& angles, const Tensor& d_out,
                const layers::AttentionShape& shape, torch::Dtype type) {
  const Tensor in = qkv.to(type).detach().requires_grad_();
  const Tensor out = function(in, angles.cos(), angles.sin(), shape);
  out.backward(d_out.to(type));
  return {out.detach(), in.grad()};
}

TEST_F(Fused, attention_and_its_gradient) {
  for (const auto& [name, shape] : cases()) {
    SCOPED_TRACE(name);
    const int64_t rows = shape.cumulative.back(), width = (shape.heads + 2 * shape.kv_heads) * shape.head_dim;
    const Tensor qkv = rounded({rows, width}), angles = torch::randn({rows, shape.head_dim / 2});
    const Tensor d_out = rounded({rows, shape.heads * shape.head_dim});
    const Attended fast = attend(cpu::rotary_attention, qkv, angles, d_out, shape, torch::kBFloat16);
    const Attended slow = attend(plain::rotary_attention, qkv, angles, d_out, shape, torch::kFloat32);
    EXPECT_LE(error(fast.out, slow.out), kTolerance);
    int64_t start = 0;
    for (const int heads :
         {shape.heads, shape.kv_heads, shape.kv_heads}) {  // q, k, v apart: their sizes differ
      const int64_t columns = int64_t{heads} * shape.head_dim;
      EXPECT_LE(error(fast.gradient.narrow(1, start, columns), slow.gradient.narrow(1, start, columns)),
                kTolerance)
          << "columns from " << start;
      start += columns;
    }
  }
}

TEST_F(Fused, a_masked_column_has_no_influence) {
  const int64_t length = 150;
  Tensor mask = random_mask(1, length);
  mask.select(3, 77).fill_(false);  // nobody sees row 77, not even itself
  mask.select(2, 20).fill_(false);  // row 20 sees nobody
  const layers::AttentionShape shape{2, 1, 32, {0, length}, false, mask};
  const Tensor qkv = rounded({length, 4 * 32}), angles = torch::randn({length, 16}),
               d_out = rounded({length, 64});
  const Attended before = attend(cpu::rotary_attention, qkv, angles, d_out, shape, torch::kBFloat16);
  Tensor changed = qkv.clone();
  changed.select(0, 77).narrow(0, 64, 64).fill_(1e30f);
  const Attended after = attend(cpu::rotary_attention, changed, angles, d_out, shape, torch::kBFloat16);
  EXPECT_TRUE(torch::equal(before.out, after.out));
  EXPECT_TRUE(torch::equal(before.gradient, after.gradient));
  EXPECT_EQ(before.gradient.select(0, 77).narrow(0, 64, 64).abs().sum().item<float>(), 0);
  EXPECT_EQ(before.out.select(0, 20).abs().sum().item<float>(), 0);
  EXPECT_EQ(before.gradient.select(0, 20).narrow(0, 0, 64).abs().sum().item<float>(), 0);
}

TEST_F(Fused, attention_does_not_depend_on_threads_or_neighbours) {
  const int threads = torch::get_num_threads();
  const layers::AttentionShape both{4, 2, 64, {0, 90, 180}, true, {}}, one{4, 2, 64, {0, 90}, true, {}};
  const Tensor qkv = rounded({180, 8 * 64}), angles = torch::randn({180, 32}), d_out = rounded({180, 256});
  torch::set_num_threads(1);
  const Attended a = attend(cpu::rotary_attention, qkv, angles, d_out, both, torch::kBFloat16);
  torch::set_num_threads(2);
  const Attended b = attend(cpu::rotary_attention, qkv, angles, d_out, both, torch::kBFloat16);
  const auto head = [](const Tensor& x) { return x.slice(0, 0, 90); };
  const Attended c =
      attend(cpu::rotary_attention, head(qkv), head(angles), head(d_out), one, torch::kBFloat16);
  torch::set_num_threads(threads);
  EXPECT_TRUE(torch::equal(a.out, b.out) && torch::equal(a.gradient, b.gradient));
  EXPECT_TRUE(torch::equal(head(a.out), c.out) && torch::equal(head(a.gradient), c.gradient));
}

// Rows that see their own stretch and a prefix, the prefix alone, or nobody, as in training.
Tensor streams_mask(int64_t length, int64_t noisy) {
  Tensor mask = torch::zeros({2, 1, length, length}, torch::kBool);
  for (int64_t row = 0; row < length - 40; ++row) {  // and padding behind
    Tensor seen = mask.select(2, row);               // [2, 1, columns]
    const int64_t own = row / 32 * 32;
    if (row < noisy) seen.slice(2, own, std::min(own + 32, noisy)).fill_(true);
    seen.slice(2, noisy, row < noisy ? noisy + own : row + 1).fill_(true);
  }
  mask.select(0, 1).slice(2, 0, 100).fill_(false);  // the second row begins with more of it
  return mask;
}

TEST(Plain, attention_by_tiles_is_attention) {
  torch::manual_seed(3);
  constexpr int64_t kLength = 1337, kNoisy = 600;
  layers::AttentionShape shape{4, 2, 16, {0, kLength, 2 * kLength}, false, streams_mask(kLength, kNoisy), {}};
  const Tensor qkv = torch::randn({2 * kLength, 8 * 16}), angles = torch::randn({2 * kLength, 8}),
               d_out = torch::randn({2 * kLength, 64});
  const Attended whole = attend(plain::rotary_attention, qkv, angles, d_out, shape, torch::kFloat32);
  shape.tiles = layers::attention_tiles(shape.mask, torch::kFloat32);
  ASSERT_EQ(shape.tiles.size(), 3u);
  EXPECT_EQ(shape.tiles[0].columns, (decltype(shape.tiles[0].columns){{0, 512}, {600, 600 + 480}}));
  EXPECT_EQ(shape.tiles[2].columns, (decltype(shape.tiles[2].columns){{600, kLength - 40}}));
  const Attended tiled = attend(plain::rotary_attention, qkv, angles, d_out, shape, torch::kFloat32);
  EXPECT_LE(error(tiled.out, whole.out), 1e-6);
  EXPECT_LE(error(tiled.gradient, whole.gradient), 1e-6);
  EXPECT_EQ(tiled.out.slice(0, kLength - 40, kLength).abs().sum().item<float>(), 0);
}

TEST(Plain, small_masks_and_those_of_kernels_that_look_for_themselves_have_no_tiles) {
  const Tensor small = torch::ones({1, 1, 512, 512}, torch::kBool),
               large = torch::zeros({1, 1, 513, 513}, torch::kBool);
  EXPECT_TRUE(layers::attention_tiles({}, torch::kFloat32).empty());
  EXPECT_TRUE(layers::attention_tiles(small, torch::kFloat32).empty());
  const auto tiles = layers::attention_tiles(large, torch::kFloat32);
  ASSERT_EQ(tiles.size(), 2u);
  EXPECT_EQ(tiles[1].end, 513);
  EXPECT_TRUE(tiles[1].columns.empty());
  EXPECT_TRUE(layers::attention_tiles(large, torch::kBFloat16).empty()) << "on the CPU";
}

}  // namespace
}  // namespace dvlm
