#include "kernels/matrix.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "kernels/quantize_rows.h"

namespace dvlm {

namespace {

constexpr int kTile = 64;  // inputs that are transposed at a time, so that source and panel lines stay in L1

// The place that output row n of the stacked matrix comes from.
struct Source {
  const TensorView* tensor = nullptr;
  int64_t row = 0;
  const TensorView *scales = nullptr, *zero_points = nullptr;  // beside codes

  float scale() const {
    float value = 1;
    if (scales) copy_to_float(*scales, row, 1, &value);
    return value;
  }
  bool of_four_bits() const { return tensor->type == DType::u8; }
};

bool is_code(DType type) {
  return type == DType::f8_e4m3 || type == DType::i8 || type == DType::u8;
}

std::vector<Source> source_rows(std::span<const TensorView> weights, std::span<const TensorView> scales,
                                std::span<const TensorView> zero_points, int inputs, WeightFormat format) {
  std::vector<Source> rows;
  for (size_t i = 0; i < weights.size(); ++i) {
    const bool four_bits = weights[i].type == DType::u8;
    const int64_t count = weights[i].elements() / inputs,
                  groups = four_bits ? count * int4_groups(inputs) : count;
    const TensorView* scale = scales.empty() ? nullptr : &scales[i];
    const TensorView* zero = four_bits && !zero_points.empty() ? &zero_points[i] : nullptr;
    if (!scale && is_code(weights[i].type))
      fail("a linear layer with {} weights got no scales", name_of(weights[i].type));
    if (scale && scale->elements() != groups) {
      fail("a linear layer with {} outputs got scales of shape {}", count, to_string(scale->shape));
    }
    DVLM_ASSERT(!four_bits || (format == WeightFormat::int4_panels && zero && zero->elements() == groups));
    for (int64_t n = 0; n < count; ++n) rows.push_back({&weights[i], n, scale, zero});
  }
  return rows;
}

void read_bf16(const Source& source, int inputs, int first, int count, uint16_t* out) {
  const int64_t at = source.row * inputs + first;
  if (source.tensor->type == DType::bf16) {
    std::memcpy(out, source.tensor->data + at * 2, static_cast<size_t>(count) * 2);
    return;
  }
  float values[kTile];
  copy_to_float(*source.tensor, at, count, values);
  for (int i = 0; i < count; ++i) out[i] = to_bf16(values[i]).bits;
}

void pack_f32(std::span<const Source> rows, int inputs, float* panel) {
  float tile[kTile];
  for (int first = 0; first < inputs; first += kTile) {
    const int count = std::min(kTile, inputs - first);
    for (size_t j = 0; j < rows.size(); ++j) {
      copy_to_float(*rows[j].tensor, rows[j].row * inputs + first, count, tile);
      for (int k = 0; k < count; ++k) panel[static_cast<size_t>(first + k) * kPanel + j] = tile[k];
    }
  }
}

void pack_bf16(std::span<const Source> rows, int inputs, uint32_t* panel) {
  uint16_t tile[kPanel][kTile] = {};
  for (int first = 0; first < inputs; first += kTile) {
    const int count = std::min(kTile, inputs - first);
    for (size_t j = 0; j < rows.size(); ++j) {
      read_bf16(rows[j], inputs, first, count, tile[j]);
      if (count % 2 != 0) tile[j][count] = 0;
    }
    for (int k = 0; k < count; k += 2) {
      uint32_t* out = panel + static_cast<size_t>((first + k) / 2) * kPanel;
      for (int j = 0; j < kPanel; ++j) out[j] = tile[j][k] | (static_cast<uint32_t>(tile[j][k + 1]) << 16);
    }
  }
}

// A row as floats; NaN when a code or scale is.
void read_row(const Source& source, int inputs, std::vector<float>& row) {
  row.resize(static_cast<size_t>(inputs));
  copy_to_float(*source.tensor, source.row * inputs, inputs, row.data());
  if (!source.scales) return;
  const float scale = source.scale();
  for (float& value : row) value *= scale;
}

bool all_finite(std::span<const float> values) {
  float not_finite = 0;  // NaN once a value is NaN or infinite
  for (float value : values) not_finite += value * 0.0f;
  return not_finite == 0;
}

// The codes of one row, [inputs], and its scale: NaN when a code or a value is not finite.
float read_fp8(const Source& source, int inputs, e4m3* codes, std::vector<float>& row) {
  const int64_t at = source.row * inputs;
  if (source.tensor->type != DType::f8_e4m3) {
    read_row(source, inputs, row);
    return all_finite(row) ? quantize_e4m3(row, codes) : NAN;
  }
  std::memcpy(codes, source.tensor->data + at, static_cast<size_t>(inputs));
  if (std::any_of(codes, codes + inputs, [](e4m3 code) { return (code.bits & 0x7F) == 0x7F; })) return NAN;
  return source.scale();
}

void pack_fp8(std::span<const Source> rows, int inputs, uint16_t* panel, float* scales) {
  std::vector<e4m3> codes(static_cast<size_t>(inputs + 1));  // the last is zero
  std::vector<float> row;
  for (size_t j = 0; j < rows.size(); ++j) {
    scales[j] = read_fp8(rows[j], inputs, codes.data(), row);
    for (int k = 0; k < inputs; k += 2) {
      panel[static_cast<size_t>(k / 2) * kPanel + static_cast<size_t>(fp8_place(static_cast<int>(j)))] =
          static_cast<uint16_t>(codes[k].bits | (codes[k + 1].bits << 8));
    }
  }
}

void pack_int8(std::span<const Source> rows, int inputs, int8_t* panel, float* scales, int32_t* sums) {
  std::vector<int8_t> codes(static_cast<size_t>(inputs));
  std::vector<float> row;
  for (size_t j = 0; j < rows.size(); ++j) {
    if (rows[j].tensor->type == DType::i8) {
      std::memcpy(codes.data(), rows[j].tensor->data + rows[j].row * inputs, codes.size());
      scales[j] = rows[j].scale();
    } else {
      read_row(rows[j], inputs, row);
      scales[j] = all_finite(row) ? quantize_int8(row, codes.data()) : NAN;
      if (std::isnan(scales[j])) continue;
    }
    for (size_t k = 0; k < codes.size(); ++k) {
      panel[(k / 4 * kPanel + j) * 4 + k % 4] = codes[k];
      sums[j] += codes[k];
    }
  }
}

// A row of an int4 panel: inputs to the end of the last group, and its groups.
struct Int4Row {
  explicit Int4Row(int inputs)
      : codes(static_cast<size_t>(int4_groups(inputs)) * kInt4Group),
        scales(static_cast<size_t>(int4_groups(inputs))),
        zero_points(scales.size()) {}

  // Returns the factor of the scales: NaN when a weight is not finite.
  float read(const Source& source, int inputs) {
    std::vector<float> wide(scales.size());
    if (source.of_four_bits()) {
      const auto groups = static_cast<int64_t>(scales.size());
      copy_to_float(*source.scales, source.row * groups, groups, wide.data());
      std::memcpy(codes.data(), source.tensor->data + source.row * inputs, static_cast<size_t>(inputs));
      std::memcpy(zero_points.data(), source.zero_points->data + source.row * groups, zero_points.size());
      return halve_scales(wide, scales.data());
    }
    std::vector<float> row;
    read_row(source, inputs, row);
    if (!all_finite(row)) return NAN;
    row.resize(codes.size());
    const auto group = [&](size_t g) { return std::span(row).subspan(g * kInt4Group, kInt4Group); };
    for (size_t g = 0; g < wide.size(); ++g) wide[g] = int4_scale(group(g));
    const float factor = halve_scales(wide, scales.data());
    for (size_t g = 0; g < wide.size(); ++g)
      quantize_int4(group(g), to_float(scales[g]) * factor, codes.data() + g * kInt4Group);
    std::fill(zero_points.begin(), zero_points.end(), uint8_t{8});
    return factor;
  }

  std::vector<uint8_t> codes;
  std::vector<f16> scales;
  std::vector<uint8_t> zero_points;
};

void pack_int4(std::span<const Source> rows, int inputs, std::byte* panel, float* factors) {
  auto* scales = reinterpret_cast<f16*>(panel);
  auto* zero_points = reinterpret_cast<uint8_t*>(panel) + int4_scale_bytes(inputs);
  auto* words = reinterpret_cast<uint8_t*>(panel) + int4_head_bytes(inputs);
  Int4Row row(inputs);
  for (size_t j = 0; j < rows.size(); ++j) {
    factors[j] = row.read(rows[j], inputs);
    if (std::isnan(factors[j])) continue;
    const int shift = j < 16 ? 0 : 4;
    for (size_t g = 0; g < row.scales.size(); ++g) {
      scales[g * kPanel + j] = row.scales[g];
      zero_points[g * kPanel / 2 + j % 16] |= static_cast<uint8_t>(row.zero_points[g] << shift);
    }
    for (size_t k = 0; k < row.codes.size(); ++k)
      words[k / 4 * 64 + j % 16 * 4 + k % 4] |= static_cast<uint8_t>(row.codes[k] << shift);
  }
}

int inputs_of(const TensorView& weight) {
  if (weight.shape.size() < 2 || weight.elements() == 0) {
    fail("a linear layer expects a weight of shape [outputs, inputs] but got {}", to_string(weight.shape));
  }
  return static_cast<int>(weight.elements() / weight.shape[0]);
}

}  // namespace

size_t PackedMatrix::packed_bytes(int64_t outputs, int64_t inputs, WeightFormat format) {
  constexpr int kInputs[kWeightFormats] = {1, 2, 2, 4, kInt4Group};     // that stand together
  constexpr int kBytes[kWeightFormats] = {4, 4, 2, 4, kInt4Group / 2};  // they take, for each output
  const auto at = static_cast<size_t>(format);
  const auto panels = static_cast<size_t>((outputs + kPanel - 1) / kPanel),
             words = static_cast<size_t>((inputs + kInputs[at] - 1) / kInputs[at] * kBytes[at]);
  const size_t head = format == WeightFormat::int4_panels ? int4_head_bytes(static_cast<int>(inputs)) : 0;
  return panels * (head + kPanel * words);
}

PackedMatrix::PackedMatrix(int outputs, int inputs, WeightFormat format, bool with_bias)
    : format_(format), outputs_(outputs), inputs_(inputs), memory_(packed_bytes(outputs, inputs, format)) {
  const size_t padded = static_cast<size_t>(panels()) * kPanel;
  if (with_bias) bias_.resize(padded);
  if (format != WeightFormat::f32_panels && format != WeightFormat::bf16_panels) scales_.resize(padded);
  if (format == WeightFormat::int8_panels) code_sums_.resize(padded);
}

std::vector<std::span<std::byte>> PackedMatrix::parts() {
  std::vector<std::span<std::byte>> out = {{memory_.data(), memory_.size()}};
  if (!bias_.empty()) out.push_back(std::as_writable_bytes(std::span(bias_)));
  if (!scales_.empty()) out.push_back(std::as_writable_bytes(std::span(scales_)));
  if (!code_sums_.empty()) out.push_back(std::as_writable_bytes(std::span(code_sums_)));
  return out;
}

PackedMatrix::PackedMatrix(std::span<const TensorView> weights, std::span<const TensorView> biases,
                           WeightFormat format, ThreadPool& pool, std::span<const TensorView> scales,
                           std::span<const TensorView> zero_points) {
  DVLM_ASSERT(!weights.empty() && (biases.empty() || biases.size() == weights.size()) &&
              (scales.empty() || scales.size() == weights.size()) &&
              (zero_points.empty() || zero_points.size() == weights.size()));
  inputs_ = inputs_of(weights[0]);
  for (const TensorView& weight : weights) {
    if (inputs_of(weight) != inputs_) {
      fail("stacked linear layers disagree: {} and {}", to_string(weights[0].shape), to_string(weight.shape));
    }
  }
  constexpr int kMaxInt8 = 132'104;  // inputs times 127 times 128: sums of 32 bits hold them
  if (format == WeightFormat::int8_panels && inputs_ > kMaxInt8)
    fail("a layer with {} inputs is too wide for weights of eight bits, whose sums hold {}", inputs_,
         kMaxInt8);
  const std::vector<Source> rows = source_rows(weights, scales, zero_points, inputs_, format);
  *this = PackedMatrix(static_cast<int>(rows.size()), inputs_, format, !biases.empty());
  pool.parallel_for(panels(), [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const int64_t first = p * kPanel, count = std::min<int64_t>(kPanel, outputs_ - first);
      const auto part = std::span(rows).subspan(first, count);
      std::byte* panel = memory_.data() + static_cast<size_t>(p) * panel_bytes();
      float* scale = scales_.empty() ? nullptr : scales_.data() + first;
      switch (format) {
        case WeightFormat::f32_panels:
          pack_f32(part, inputs_, reinterpret_cast<float*>(panel));
          break;
        case WeightFormat::bf16_panels:
          pack_bf16(part, inputs_, reinterpret_cast<uint32_t*>(panel));
          break;
        case WeightFormat::fp8_panels:
          pack_fp8(part, inputs_, reinterpret_cast<uint16_t*>(panel), scale);
          break;
        case WeightFormat::int8_panels:
          pack_int8(part, inputs_, reinterpret_cast<int8_t*>(panel), scale, code_sums_.data() + first);
          break;
        case WeightFormat::int4_panels:
          pack_int4(part, inputs_, panel, scale);
          break;
      }
    }
  });
  for (int n = 0; n < std::ssize(scales_) && n < outputs_; ++n) {
    if (!std::isfinite(scales_[n]))
      fail("row {} of a quantised weight holds NaN or has a scale that is not finite", n);
  }
  set_biases(weights, biases);
}

void PackedMatrix::set_biases(std::span<const TensorView> weights, std::span<const TensorView> biases) {
  int64_t at = 0;
  for (size_t i = 0; i < biases.size(); ++i) {
    const int64_t count = weights[i].elements() / inputs_;
    if (biases[i].elements() != count) {
      fail("a linear layer with {} outputs got a bias of shape {}", count, to_string(biases[i].shape));
    }
    copy_to_float(biases[i], 0, count, bias_.data() + at);
    at += count;
  }
}

void PackedMatrix::unpack_row(int output, float* row) const {
  DVLM_ASSERT(output >= 0 && output < outputs_);
  const size_t panel = static_cast<size_t>(output / kPanel), j = static_cast<size_t>(output % kPanel);
  const std::byte* data = memory_.data() + panel * panel_bytes();
  const auto weight = [&](size_t k) -> float {
    switch (format_) {
      case WeightFormat::f32_panels:
        return reinterpret_cast<const float*>(data)[k * kPanel + j];
      case WeightFormat::bf16_panels:
        return to_float(reinterpret_cast<const bf16*>(data)[(k / 2 * kPanel + j) * 2 + k % 2]);
      case WeightFormat::fp8_panels: {
        const auto place = static_cast<size_t>(fp8_place(static_cast<int>(j)));
        return to_float(reinterpret_cast<const e4m3*>(data)[(k / 2 * kPanel + place) * 2 + k % 2]) *
               scales_[output];
      }
      case WeightFormat::int8_panels: {
        const int8_t code = reinterpret_cast<const int8_t*>(data)[(k / 4 * kPanel + j) * 4 + k % 4];
        return static_cast<float>(code) * scales_[output];
      }
      case WeightFormat::int4_panels: {
        const auto* words = reinterpret_cast<const uint8_t*>(data) + int4_head_bytes(inputs_);
        const auto* zero_points = reinterpret_cast<const uint8_t*>(data) + int4_scale_bytes(inputs_);
        const size_t group = k / kInt4Group;
        const int shift = j < 16 ? 0 : 4,
                  difference = (words[k / 4 * 64 + j % 16 * 4 + k % 4] >> shift & 15) -
                               (zero_points[group * kPanel / 2 + j % 16] >> shift & 15);
        const float scale = to_float(reinterpret_cast<const f16*>(data)[group * kPanel + j]);
        return static_cast<float>(difference) * (scale * scales_[output]);
      }
    }
    return 0;
  };
  for (size_t k = 0; k < static_cast<size_t>(inputs_); ++k)
    row[input_order_.empty() ? k : static_cast<size_t>(input_order_[k])] = weight(k);
}

void PackedMatrix::set_input_order(std::span<const int32_t> order) {
  DVLM_ASSERT(order.empty() || std::ssize(order) == inputs_);
  input_order_.assign(order.begin(), order.end());
}

}  // namespace dvlm
