#include "kernels/linear.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <functional>
#include <map>

#include "core/error.h"
#include "kernels/isas.h"
#include "kernels/quantize_rows.h"
#include "kernels/random_layer.h"
#include "kernels/random_values.h"
#include "kernels/reference.h"

namespace dvlm {
namespace {

constexpr WeightFormat kFormats[] = {WeightFormat::f32_panels, WeightFormat::bf16_panels,
                                     WeightFormat::fp8_panels, WeightFormat::int8_panels,
                                     WeightFormat::int4_panels};

// W8A8 results are bf16: an error of f32 sums may move one across a rounding boundary before the bias and
// after it.
void expect_close_fp8(const RandomLayer& layer, const std::vector<float>& x, int rows,
                      const std::vector<float>& y, float offset) {
  std::vector<float> expected(y.size()), without_bias(y.size());
  reference::linear_fp8(x, layer.codes, layer.scales, layer.bias, rows, layer.inputs, layer.outputs,
                        expected);
  reference::linear_fp8(x, layer.codes, layer.scales, {}, rows, layer.inputs, layer.outputs, without_bias);
  int equal = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    const float step = 0x1p-7f * (std::abs(expected[i]) + std::abs(without_bias[i])) + 1e-5f;
    ASSERT_NEAR(y[i], expected[i] + offset, step) << i;
    equal += y[i] == expected[i] + offset;
  }
  EXPECT_GE(equal, 0.97 * static_cast<double>(y.size()));
}

// Summing n products in f32 in any order errs by at most n * epsilon * sum |x w|.
void expect_close(const RandomLayer& layer, const std::vector<float>& x, int rows,
                  const std::vector<float>& y, float offset) {
  if (!layer.codes.empty()) return expect_close_fp8(layer, x, rows, y, offset);
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
      const RandomLayer layer(in, out, format(), pool, bias);
      for (int rows : {1, 2, 3, 5, 8, 12, 13, 25, 40}) {
        const std::vector<float> x = random_values(size_t(rows) * size_t(in), 3);
        expect_close(layer, rounded(x, format(), in), rows, layer.run(x, rows, pool), 0);
        expect_close(layer, rounded(x, format(), in), rows, layer.run(x, rows, pool, LinearMode::add), 0.5f);
        if (HasFatalFailure()) FAIL() << in << " inputs, " << out << " outputs, " << rows << " rows";
      }
    }
  }
}

TEST_P(EachIsa, a_row_has_the_same_bits_alone_and_in_company) {
  ThreadPool one(1), two(2);
  const RandomLayer layer(257, 203, format(), one);
  constexpr int kRows = 129;
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

TEST_P(EachIsa, a_large_job_split_over_mc_blocks_and_threads_has_the_same_bits) {
  ThreadPool one(1), three(3);
  const RandomLayer layer(6000, 70, format(), one);
  const std::vector<float> x = random_values(130 * 6000, 5), y = layer.run(x, 130, one);
  EXPECT_EQ(layer.run(x, 130, three), y);
  const std::vector<float> last(x.end() - 6000, x.end());
  EXPECT_EQ(layer.run(last, 1, three), std::vector<float>(y.end() - 70, y.end()));
}

std::string case_name(const testing::TestParamInfo<EachIsa::ParamType>& info) {
  constexpr const char* kNames[] = {"_f32", "_bf16", "_fp8", "_int8", "_int4"};
  return std::get<0>(info.param) + kNames[static_cast<int>(std::get<1>(info.param))];
}

INSTANTIATE_TEST_SUITE_P(Linear, EachIsa,
                         testing::Combine(testing::ValuesIn(isas()), testing::ValuesIn(kFormats)), case_name);

TEST_P(EachIsa, rows_of_zeros_give_the_bias_and_rows_with_nan_give_nan) {
  if (format() == WeightFormat::f32_panels || format() == WeightFormat::bf16_panels) GTEST_SKIP();
  ThreadPool pool(1);
  const RandomLayer layer(37, 40, format(), pool);
  std::vector<float> x = random_values(4 * 37, 3);
  std::fill_n(x.begin() + 37, 37, 0.0f);
  x[2 * 37 + 36] = NAN;
  x[3 * 37] = INFINITY;
  const std::vector<float> y = layer.run(x, 4, pool);
  for (size_t n = 0; n < 40; ++n) {
    EXPECT_TRUE(std::isfinite(y[n]));
    EXPECT_EQ(y[40 + n], format() == WeightFormat::fp8_panels ? round_to_bf16(layer.bias[n]) : layer.bias[n]);
    EXPECT_TRUE(std::isnan(y[80 + n]) && std::isnan(y[120 + n]));
  }
}

// Every code as a weight times 1 and every code as an input times 1.
TEST_P(EachIsa, fp8_multiplies_every_code_exactly) {
  if (format() != WeightFormat::fp8_panels) GTEST_SKIP();
  ThreadPool pool(1);
  std::vector<uint8_t> weights;
  for (int code = 0; code < 256; ++code) {
    if ((code & 0x7F) == 0x7F) continue;
    weights.push_back(static_cast<uint8_t>(code));
    weights.push_back(0);
  }
  const std::vector<float> scales(254, 1.0f);
  const TensorView w{DType::f8_e4m3, {254, 2}, reinterpret_cast<const std::byte*>(weights.data())};
  const TensorView s = view(scales, {254, 1});
  const PackedMatrix packed({&w, 1}, {}, WeightFormat::fp8_panels, pool, {&s, 1});
  std::vector<float> x = {448, 0}, y(254);  // absmax 448: the scale is 1
  LinearScratch scratch;
  linear(packed, {x.data(), 2, 1}, {y.data(), 254, 1}, LinearMode::store, scratch, pool);
  for (size_t i = 0; i < 254; ++i) {
    EXPECT_EQ(y[i], round_to_bf16(448 * to_float(e4m3{weights[2 * i]}))) << int(weights[2 * i]);
  }
  const uint8_t one[] = {0, 0x38};
  const TensorView identity{DType::f8_e4m3, {1, 2}, reinterpret_cast<const std::byte*>(one)};
  const TensorView unit = view(scales, {1});
  const PackedMatrix second({&identity, 1}, {}, WeightFormat::fp8_panels, pool, {&unit, 1});
  for (int bits = 0; bits < 65536; ++bits) {
    const float value = to_float(bf16{static_cast<uint16_t>(bits)});
    if (!(std::abs(value) <= 448)) continue;
    x = {448, value};
    linear(second, {x.data(), 2, 1}, {y.data(), 1, 1}, LinearMode::store, scratch, pool);
    ASSERT_EQ(y[0], to_float(to_e4m3(value))) << value;
  }
}

TEST(LinearFp8, tensors_that_do_not_fit_are_refused) {
  ThreadPool pool(1);
  const std::vector<float> not_finite = {1, NAN, 1, INFINITY};
  const TensorView floats = view(not_finite, {2, 2});
  EXPECT_THROW(PackedMatrix({&floats, 1}, {}, WeightFormat::fp8_panels, pool), Error);
  const uint8_t codes[] = {0x38, 0x38, 0x38, 0xFF};
  const std::vector<float> scales = {1, 1, 1};
  const TensorView w{DType::f8_e4m3, {2, 2}, reinterpret_cast<const std::byte*>(codes)};
  const TensorView three = view(scales, {3}), two = view(scales, {2, 1});
  EXPECT_THROW(PackedMatrix({&w, 1}, {}, WeightFormat::fp8_panels, pool), Error);
  EXPECT_THROW(PackedMatrix({&w, 1}, {}, WeightFormat::fp8_panels, pool, {&three, 1}), Error);
  EXPECT_THROW(PackedMatrix({&w, 1}, {}, WeightFormat::fp8_panels, pool, {&two, 1}), Error);  // NaN
}

TEST(PackedMatrix, rows_come_back_from_the_panels) {
  ThreadPool pool(2);
  for (WeightFormat format : kFormats) {
    const RandomLayer layer(70, 75, format, pool);
    std::vector<float> row(70);
    for (int n = 0; n < 75; ++n) {
      layer.packed.unpack_row(n, row.data());
      EXPECT_EQ(row,
                std::vector<float>(layer.weights.begin() + n * 70, layer.weights.begin() + (n + 1) * 70));
    }
  }
}

// Files of repacked weights outlive the program: a change that makes this fail raises kPackedLayout.
TEST(PackedMatrix, lays_weights_out_as_packed_files_have_them) {
  ThreadPool pool(1);
  const std::vector<float> weights = scrambled_values(75 * 70, 0), bias(75, 0.5f);
  const TensorView w = view(weights, {75, 70}), b = view(bias, {75});
  std::string hashes;
  for (WeightFormat format : kFormats) {
    PackedMatrix packed({&w, 1}, {&b, 1}, format, pool);
    uint64_t hash = 0xCBF29CE484222325u;
    for (const auto part : packed.parts()) hash = hash_of(part, hash);
    hashes += fmt::format("{:x} ", hash);
  }
  EXPECT_EQ(kPackedLayout, 2);
  EXPECT_EQ(hashes, "fdb962f953f8dc65 3816336307c86719 762ac225b556a4b7 7905b710a962fb41 66f26a66abebe9c0 ");
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

#if defined(__aarch64__)
TEST(Isa, arm_runs_on_neon) {
  EXPECT_EQ(supported_isas(), "NEON");
  EXPECT_EQ(isa_name(), "NEON");
}
#endif

}  // namespace
}  // namespace dvlm
