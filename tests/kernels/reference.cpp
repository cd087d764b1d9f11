#include "kernels/reference.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace dvlm::reference {

void linear(std::span<const float> x, std::span<const float> w, std::span<const float> bias, int rows,
            int inputs, int outputs, std::span<float> y) {
  for (int r = 0; r < rows; ++r) {
    for (int n = 0; n < outputs; ++n) {
      double sum = 0;
      for (int k = 0; k < inputs; ++k) sum += double{x[r * inputs + k]} * w[n * inputs + k];
      y[r * outputs + n] = static_cast<float>(bias.empty() ? sum : sum + bias[n]);
    }
  }
}

void linear_fp8(std::span<const float> x, std::span<const e4m3> codes, std::span<const float> scales,
                std::span<const float> bias, int rows, int inputs, int outputs, std::span<float> y) {
  for (int r = 0; r < rows; ++r) {
    const auto row = x.subspan(static_cast<size_t>(r) * inputs, inputs);
    float highest = 0;
    for (float value : row) highest = std::fmax(highest, std::fabs(round_to_bf16(value)));
    const float scale = highest / 448, inverse = scale == 0 ? 0 : 1 / scale;
    for (int n = 0; n < outputs; ++n) {
      double sum = 0;
      for (int k = 0; k < inputs; ++k) {
        sum += double{to_float(to_e4m3(round_to_bf16(row[k]) * inverse))} * to_float(codes[n * inputs + k]);
      }
      float value = round_to_bf16(static_cast<float>(sum) * scale * scales[n]);
      if (!bias.empty()) value = round_to_bf16(value + bias[n]);
      y[r * outputs + n] = value;
    }
  }
}

void rms_norm(std::span<const float> x, std::span<const float> weight, float eps, std::span<float> y) {
  double sum = 0;
  for (float value : x) sum += double{value} * value;
  const double scale = 1 / std::sqrt(sum / static_cast<double>(x.size()) + eps);
  for (size_t i = 0; i < x.size(); ++i) y[i] = static_cast<float>(weight[i] * (x[i] * scale));
}

void swiglu(std::span<const float> gate, std::span<const float> up, std::span<float> y) {
  for (size_t i = 0; i < gate.size(); ++i) {
    y[i] = static_cast<float>(gate[i] / (1 + std::exp(-double{gate[i]})) * up[i]);
  }
}

void gelu(std::span<const float> x, std::span<float> y) {
  for (size_t i = 0; i < x.size(); ++i)
    y[i] = static_cast<float>(0.5 * x[i] * (1 + std::erf(x[i] / std::sqrt(2.0))));
}

void rotary(std::span<const float> x, std::span<const float> angles, std::span<float> y) {
  const size_t half = x.size() / 2;
  for (size_t i = 0; i < half; ++i) {
    const double c = std::cos(double{angles[i]}), s = std::sin(double{angles[i]});
    y[i] = static_cast<float>(x[i] * c - x[half + i] * s);
    y[half + i] = static_cast<float>(x[half + i] * c + x[i] * s);
  }
}

void attention(std::span<const float> query, std::span<const float> keys, std::span<const float> values,
               std::span<float> y) {
  const size_t dim = query.size(), visible = keys.size() / dim;
  std::vector<double> weights(visible);
  double highest = -INFINITY, total = 0;
  for (size_t k = 0; k < visible; ++k) {
    for (size_t d = 0; d < dim; ++d) weights[k] += double{query[d]} * keys[k * dim + d];
    weights[k] /= std::sqrt(static_cast<double>(dim));
    highest = std::max(highest, weights[k]);
  }
  for (double& weight : weights) total += weight = std::exp(weight - highest);
  for (size_t d = 0; d < dim; ++d) {
    double sum = 0;
    for (size_t k = 0; k < visible; ++k) sum += weights[k] / total * values[k * dim + d];
    y[d] = static_cast<float>(sum);
  }
}

}  // namespace dvlm::reference
