// A linear layer of random weights, and what the weights and inputs of each format stand for.
#pragma once
#include <cmath>
#include <span>
#include <utility>
#include <vector>

#include "kernels/linear.h"
#include "kernels/quantize_rows.h"
#include "kernels/random_values.h"

namespace dvlm {

inline TensorView view(const std::vector<float>& values, std::vector<int64_t> shape) {
  return {DType::f32, std::move(shape), reinterpret_cast<const std::byte*>(values.data())};
}

struct RandomLayer {
  int inputs, outputs;
  std::vector<float> weights, bias;
  std::vector<e4m3> codes;  // fp8
  std::vector<float> scales;
  PackedMatrix packed;

  RandomLayer(int in, int out, WeightFormat format, ThreadPool& pool, bool with_bias = true)
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
inline std::vector<float> rounded(std::vector<float> x, WeightFormat format, int columns) {
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

// Numbers that need no library's functions, so that their bits are the same everywhere.
inline std::vector<float> scrambled_values(size_t count, uint32_t seed) {
  std::vector<float> out(count);
  for (size_t i = 0; i < count; ++i) {
    const uint32_t scrambled = (static_cast<uint32_t>(i) + seed) * 2654435761u;
    out[i] = static_cast<float>(static_cast<int>(scrambled >> 16 & 4095) - 2048) * 0x1p-12f;
  }
  return out;
}

inline uint64_t hash_of(std::span<const std::byte> bytes, uint64_t hash = 0xCBF29CE484222325u) {
  for (const std::byte byte : bytes) hash = (hash ^ std::to_integer<uint64_t>(byte)) * 0x100000001B3u;
  return hash;
}

}  // namespace dvlm
