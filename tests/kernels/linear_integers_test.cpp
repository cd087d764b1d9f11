// Linear layers in integers, whose bits depend on nothing but the numbers.
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "core/error.h"
#include "kernels/isas.h"
#include "kernels/random_layer.h"
#include "kernels/reference.h"

namespace dvlm {
namespace {

// Every set sums integers, exactly, and then makes the same multiplications by scales.
TEST(LinearIntegers, have_the_same_bits_on_all_sets) {
  ThreadPool pool(2);
  for (const WeightFormat format : {WeightFormat::int8_panels, WeightFormat::int4_panels}) {
    std::map<std::string, std::vector<float>> results;
    for (const std::string& isa : isas()) {
      force_isa(isa);
      for (const int inputs : {13, 130, 6000}) {
        const RandomLayer layer(inputs, 70, format, pool);
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

// And on all machines, NEON among them.
TEST(LinearIntegers, have_the_bits_of_every_other_machine) {
  ThreadPool pool(1);
  std::string hashes;
  for (const WeightFormat format : {WeightFormat::int8_panels, WeightFormat::int4_panels}) {
    const std::vector<float> weights = scrambled_values(70 * 1300, 1), bias = scrambled_values(70, 2);
    const TensorView w = view(weights, {70, 1300}), b = view(bias, {70});
    const PackedMatrix packed({&w, 1}, {&b, 1}, format, pool);
    for (const int rows : {1, 11, 40}) {
      std::vector<float> x = scrambled_values(size_t(rows) * 1300, 3), y(size_t(rows) * 70);
      LinearScratch scratch;
      linear(packed, {x.data(), 1300, rows}, {y.data(), 70, rows}, LinearMode::store, scratch, pool);
      hashes += fmt::format("{:x} ", hash_of(std::as_bytes(std::span(y))));
    }
  }
  EXPECT_EQ(hashes,
            "8665a123b72c5e4b 9109fb1cc1761737 a3a4d240ebe4d387 96f4f917d3b78ef4 564c90d74cd33d39 "
            "aa025ba6b3aa38ad ");
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

}  // namespace
}  // namespace dvlm
