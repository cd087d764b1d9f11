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
#include "kernels/random_values.h"
#include "kernels/reference.h"

namespace dvlm {
namespace {

constexpr WeightFormat kFormats[] = {WeightFormat::f32_panels, WeightFormat::bf16_panels,
                                     WeightFormat::fp8_panels, WeightFormat::int8_panels,
                                     WeightFormat::int4_panels};

TensorView view(const std::vector<float>& values, std::vector<int64_t> shape) {
  return {DType::f32, std::move(shape), reinterpret_cast<const std::byte*>(values.data())};
}

struct Layer {
  int inputs, outputs;
  std::vector<float> weights, bias;
  std::vector<e4m3> codes;  // fp8
  std::vector<float> scales;
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
    if (format == WeightFormat::fp8_panels) quantize();
    if (format == WeightFormat::int8_panels) round_to_int8();
    if (format == WeightFormat::int4_panels) round_to_int4();
  }

  void round_to_int4() {
    for (int n = 0; n < outputs; ++n) {
      const auto groups = size_t(int4_groups(inputs));
      const auto group = [&](size_t g) {
        const size_t first = g * kInt4Group;
        return std::span(weights).subspan(size_t(n) * size_t(inputs) + first,
                                          std::min(size_t{kInt4Group}, size_t(inputs) - first));
      };
      std::vector<float> wide(groups);
      std::vector<f16> half(groups);
      for (size_t g = 0; g < groups; ++g) wide[g] = int4_scale(group(g));
      const float factor = halve_scales(wide, half.data());
      for (size_t g = 0; g < groups; ++g) {
        uint8_t halves[kInt4Group];
        const float scale = to_float(half[g]) * factor;
        quantize_int4(group(g), scale, halves);
        for (size_t k = 0; k < group(g).size(); ++k) group(g)[k] = static_cast<float>(halves[k] - 8) * scale;
      }
    }
  }

  void round_to_int8() {
    std::vector<int8_t> row(static_cast<size_t>(inputs));
    for (int n = 0; n < outputs; ++n) {
      float* w = weights.data() + size_t(n) * size_t(inputs);
      const float scale = quantize_int8(std::span(w, row.size()), row.data());
      for (size_t k = 0; k < row.size(); ++k) w[k] = static_cast<float>(row[k]) * scale;
    }
  }

  void quantize() {
    codes.resize(weights.size());
    for (int n = 0; n < outputs; ++n) {
      const size_t at = size_t(n) * size_t(inputs);
      scales.push_back(quantize_e4m3(std::span(weights).subspan(at, size_t(inputs)), codes.data() + at));
      for (size_t k = at; k < at + size_t(inputs); ++k) weights[k] = to_float(codes[k]) * scales.back();
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

// Inputs of `columns` values per row as the kernels round them.
std::vector<float> rounded(std::vector<float> x, WeightFormat format, int columns) {
  if (format == WeightFormat::int8_panels || format == WeightFormat::int4_panels) {
    for (size_t first = 0; first < x.size(); first += size_t(columns)) {
      const std::span<float> row(x.data() + first, size_t(columns));
      for (float& value : row) value = round_to_bf16(value);
      std::vector<int8_t> codes(row.size());
      const float scale = quantize_int8(row, codes.data());
      for (size_t k = 0; k < row.size(); ++k)
        row[k] = static_cast<float>(std::nearbyint(row[k] * (1 / scale))) * scale;
    }
  }
  if (format == WeightFormat::bf16_panels) {
    for (float& value : x) value = round_to_bf16(value);
  }
  return x;
}

// W8A8 results are bf16: an error of f32 sums may move one across a rounding boundary before the bias and
// after it.
void expect_close_fp8(const Layer& layer, const std::vector<float>& x, int rows, const std::vector<float>& y,
                      float offset) {
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
void expect_close(const Layer& layer, const std::vector<float>& x, int rows, const std::vector<float>& y,
                  float offset) {
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
      const Layer layer(in, out, format(), pool, bias);
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
  const Layer layer(257, 203, format(), one);
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
  const Layer layer(6000, 70, format(), one);
  const std::vector<float> x = random_values(130 * 6000, 5), y = layer.run(x, 130, one);
  EXPECT_EQ(layer.run(x, 130, three), y);
  const std::vector<float> last(x.end() - 6000, x.end());
  EXPECT_EQ(layer.run(last, 1, three), std::vector<float>(y.end() - 70, y.end()));
}

// Every set sums integers, exactly, and then makes the same multiplications by scales.
TEST(LinearIntegers, have_the_same_bits_on_all_sets) {
  ThreadPool pool(2);
  for (const WeightFormat format : {WeightFormat::int8_panels, WeightFormat::int4_panels}) {
    std::map<std::string, std::vector<float>> results;
    for (const std::string& isa : isas()) {
      force_isa(isa);
      for (const int inputs : {13, 130, 6000}) {
        const Layer layer(inputs, 70, format, pool);
        for (const int rows : {1, 11, 40}) {
          const std::vector<float> y = layer.run(random_values(size_t(rows) * size_t(inputs), 5), rows, pool);
          results[isa].insert(results[isa].end(), y.begin(), y.end());
        }
      }
    }
    force_isa("");
    for (const auto& [isa, result] : results) EXPECT_EQ(result, results.begin()->second) << isa;
  }
}

// A large integer times its scale is no float: who rounds the product before it is added has other bits.
TEST(LinearIntegers, have_them_where_sums_are_large) {
  ThreadPool pool(1);
  constexpr int kInputs = 640, kOutputs = 64;
  std::vector<float> weights = random_values(size_t{kInputs} * kOutputs, 3), x = random_values(kInputs, 4);
  for (std::vector<float>* values : {&weights, &x})
    for (float& value : *values) value = 0.5f + std::abs(value);
  const TensorView w = view(weights, {kOutputs, kInputs});
  std::map<std::string, std::vector<float>> results;
  for (const std::string& isa : isas()) {
    force_isa(isa);
    LinearScratch scratch;
    const PackedMatrix packed({&w, 1}, {}, WeightFormat::int4_panels, pool);
    std::vector<float>& y = results[isa];
    y.resize(kOutputs);
    linear(packed, {x.data(), kInputs, 1}, {y.data(), kOutputs, 1}, LinearMode::store, scratch, pool);
  }
  force_isa("");
  for (const auto& [isa, result] : results) EXPECT_EQ(result, results.begin()->second) << isa;
}

TEST(LinearIntegers, of_more_inputs_than_sums_hold_are_refused) {
  ThreadPool pool(1);
  const std::vector<float> weights(132'105, 1);
  const TensorView w = view(weights, {1, std::ssize(weights)});
  EXPECT_THROW(PackedMatrix({&w, 1}, {}, WeightFormat::int8_panels, pool), Error);
}

TEST(LinearIntegers, of_rows_below_the_normal_numbers_are_zero) {
  std::array<int8_t, 2> codes = {1, 1};
  EXPECT_EQ(quantize_int8(std::array{2e-43f, -2e-43f}, codes.data()), 1);
  EXPECT_EQ(codes, (std::array<int8_t, 2>{0, 0}));
}

// Codes that a file holds stay as they are, and are those that would be made of its numbers.
TEST(LinearIntegers, of_a_file_are_not_rounded_again) {
  ThreadPool pool(1);
  constexpr int kInputs = 30, kOutputs = 40;
  const std::vector<float> weights = random_values(kInputs * kOutputs, 3);
  std::vector<int8_t> codes(weights.size());
  std::vector<float> scales;
  for (size_t at = 0; at < weights.size(); at += kInputs)
    scales.push_back(quantize_int8(std::span(weights).subspan(at, kInputs), codes.data() + at));
  const TensorView w{DType::i8, {kOutputs, kInputs}, reinterpret_cast<const std::byte*>(codes.data())};
  const TensorView s = view(scales, {kOutputs, 1});
  const TensorView wide = view(weights, {kOutputs, kInputs});
  PackedMatrix packed({&w, 1}, {}, WeightFormat::int8_panels, pool, {&s, 1}),
      rounded({&wide, 1}, {}, WeightFormat::int8_panels, pool);
  const auto of_file = packed.parts(), of_numbers = rounded.parts();
  for (size_t i = 0; i < of_file.size(); ++i) EXPECT_TRUE(std::ranges::equal(of_file[i], of_numbers[i])) << i;
  std::vector<float> row(kInputs);
  for (int n = 0; n < kOutputs; ++n) {
    packed.unpack_row(n, row.data());
    for (int k = 0; k < kInputs; ++k)
      EXPECT_EQ(row[k], static_cast<float>(codes[n * kInputs + k]) * scales[n]);
  }
  EXPECT_THROW(PackedMatrix({&w, 1}, {}, WeightFormat::int8_panels, pool), Error);
}

// A layer of four-bit codes with zero points, as a file has them.
struct FourBits {
  int inputs, outputs;
  std::vector<uint8_t> codes, zero_points;
  std::vector<float> scales;
  PackedMatrix packed;

  FourBits(int in, int out, ThreadPool& pool, const std::function<float(float)>& scale_of)
      : inputs(in), outputs(out) {
    const std::vector<float> random = random_values(size_t(out) * size_t(in), 8);
    for (const float value : random) codes.push_back(static_cast<uint8_t>(std::abs(value) * 1e4f) & 15);
    const int64_t groups = int4_groups(in);
    for (int64_t i = 0; i < out * groups; ++i) {
      zero_points.push_back(static_cast<uint8_t>(i * 7 % 16));
      scales.push_back(scale_of(1 + std::abs(random[size_t(i)])));
    }
    const TensorView w{DType::u8, {out, in}, reinterpret_cast<const std::byte*>(codes.data())},
        z{DType::u8, {out, groups}, reinterpret_cast<const std::byte*>(zero_points.data())},
        s = view(scales, {out, groups});
    packed = PackedMatrix({&w, 1}, {}, WeightFormat::int4_panels, pool, {&s, 1}, {&z, 1});
  }
  std::vector<float> row(int n) const {
    std::vector<float> out(static_cast<size_t>(inputs));
    for (size_t k = 0; k < out.size(); ++k) {
      const size_t group = size_t(n) * size_t(int4_groups(inputs)) + k / kInt4Group;
      out[k] = static_cast<float>(codes[size_t(n) * out.size() + k] - zero_points[group]) * scales[group];
    }
    return out;
  }
};

TEST(LinearIntegers, of_four_bits_in_a_file_stay_as_they_are) {
  ThreadPool pool(2);
  const std::function<float(float)> kinds[] = {[](float x) { return to_float(to_f16(x * 0.01f)); },
                                               [](float x) { return to_float(to_f16(x * 1e-7f)); },
                                               [](float x) { return round_to_bf16(x * 1e-9f); },
                                               [](float x) { return round_to_bf16(x * -3e8f); }};
  for (const auto& scale_of : kinds) {
    const FourBits layer(200, 70, pool, scale_of);
    std::vector<float> row(200);
    for (int n = 0; n < 70; ++n) {
      layer.packed.unpack_row(n, row.data());
      ASSERT_EQ(row, layer.row(n)) << n;
    }
  }
}

TEST(LinearIntegers, with_zero_points_have_the_same_bits_on_all_sets) {
  ThreadPool pool(2);
  for (const int inputs : {13, 130, 6000}) {
    const FourBits layer(inputs, 70, pool, [](float x) { return to_float(to_f16(x * 0.01f)); });
    std::vector<float> weights;
    for (int n = 0; n < 70; ++n) {
      const std::vector<float> row = layer.row(n);
      weights.insert(weights.end(), row.begin(), row.end());
    }
    for (const int rows : {1, 11, 40}) {
      const std::vector<float> x = random_values(size_t(rows) * size_t(inputs), 5),
                               in = rounded(x, WeightFormat::int4_panels, inputs);
      std::vector<float> expected(size_t(rows) * 70), first;
      reference::linear(in, weights, {}, rows, inputs, 70, expected);
      for (const std::string& isa : isas()) {
        force_isa(isa);
        std::vector<float> y(expected.size()), copy = x;
        LinearScratch scratch;
        linear(layer.packed, {copy.data(), size_t(inputs), rows}, {y.data(), 70, rows}, LinearMode::store,
               scratch, pool);
        for (size_t i = 0; i < y.size(); ++i) ASSERT_NEAR(y[i], expected[i], 2e-5 * inputs) << isa;
        if (first.empty()) first = y;
        ASSERT_EQ(y, first) << isa << ", " << inputs << " inputs, " << rows << " rows";
      }
      force_isa("");
    }
  }
}

TEST(LinearIntegers, with_inputs_in_another_order_meet_the_inputs_they_name) {
  constexpr int kInputs = 200, kOutputs = 70, kRows = 5;
  ThreadPool pool(2);
  FourBits layer(kInputs, kOutputs, pool, [](float x) { return to_float(to_f16(x * 0.01f)); });
  const std::vector<float> x = random_values(size_t(kRows) * kInputs, 5);
  std::vector<int32_t> order(kInputs);
  for (int k = 0; k < kInputs; ++k) order[size_t(k)] = k * 77 % kInputs;
  std::vector<float> scattered(x.size());
  for (size_t r = 0; r < kRows; ++r)
    for (size_t k = 0; k < kInputs; ++k) scattered[r * kInputs + size_t(order[k])] = x[r * kInputs + k];
  const auto results = [&](std::vector<float> in) {
    std::vector<float> y(size_t(kRows) * kOutputs);
    LinearScratch scratch;
    linear(layer.packed, {in.data(), kInputs, kRows}, {y.data(), kOutputs, kRows}, LinearMode::store, scratch,
           pool);
    return y;
  };
  const std::vector<float> expected = results(x);
  layer.packed.set_input_order(order);
  EXPECT_EQ(results(scattered), expected);
  EXPECT_NE(results(x), expected);
  std::vector<float> row(kInputs);
  layer.packed.unpack_row(3, row.data());
  for (size_t k = 0; k < kInputs; ++k) EXPECT_EQ(row[size_t(order[k])], layer.row(3)[k]);
}

// Sums beyond the integers that a float holds, in layers of the width of a 7B model.
TEST(LinearIntegers, are_exact_where_floats_are_not) {
  constexpr int kInputs = 18944;
  ThreadPool pool(1);
  std::vector<float> weights(kInputs, 1.0f), x(kInputs, 1.0f);
  weights.back() = x.back() = -1.0f / 127;
  const TensorView w = view(weights, {1, kInputs});
  const PackedMatrix packed({&w, 1}, {}, WeightFormat::int8_panels, pool);
  const auto exact = static_cast<float>(int64_t{kInputs - 1} * 127 * 127 + 1);
  for (const std::string& isa : isas()) {
    force_isa(isa);
    LinearScratch scratch;
    float y = 0;
    linear(packed, {x.data(), kInputs, 1}, {&y, 1, 1}, LinearMode::store, scratch, pool);
    EXPECT_EQ(y, exact * (1 / 127.0f) * packed.scales()[0]) << isa;
  }
  force_isa("");
}

std::string case_name(const testing::TestParamInfo<EachIsa::ParamType>& info) {
  constexpr const char* kNames[] = {"_f32", "_bf16", "_fp8", "_int8", "_int4"};
  return std::get<0>(info.param) + kNames[static_cast<int>(std::get<1>(info.param))];
}

INSTANTIATE_TEST_SUITE_P(Linear, EachIsa,
                         testing::Combine(testing::ValuesIn(isas()), testing::ValuesIn(kFormats)), case_name);

TEST(LinearFp8, rows_of_zeros_give_the_bias_and_rows_with_nan_give_nan) {
  ThreadPool pool(1);
  const Layer layer(37, 40, WeightFormat::fp8_panels, pool);
  std::vector<float> x = random_values(4 * 37, 3);
  std::fill_n(x.begin() + 37, 37, 0.0f);
  x[2 * 37 + 36] = NAN;
  x[3 * 37] = INFINITY;
  const std::vector<float> y = layer.run(x, 4, pool);
  for (size_t n = 0; n < 40; ++n) {
    EXPECT_TRUE(std::isfinite(y[n]));
    EXPECT_EQ(y[40 + n], round_to_bf16(layer.bias[n]));
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
    const Layer layer(70, 75, format, pool);
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
  std::vector<float> weights(75 * 70), bias(75, 0.5f);
  for (size_t i = 0; i < weights.size(); ++i)
    weights[i] = static_cast<float>(static_cast<int>(i * 2654435761u >> 16 & 4095) - 2048) * 0x1p-12f;
  const TensorView w = view(weights, {75, 70}), b = view(bias, {75});
  std::string hashes;
  for (WeightFormat format : kFormats) {
    PackedMatrix packed({&w, 1}, {&b, 1}, format, pool);
    uint64_t hash = 0xCBF29CE484222325u;
    for (const auto part : packed.parts())
      for (const std::byte byte : part) hash = (hash ^ std::to_integer<uint64_t>(byte)) * 0x100000001B3u;
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
