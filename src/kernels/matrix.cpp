#include "kernels/matrix.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"

namespace dvlm {

namespace {

constexpr int kTile = 64;  // inputs that are transposed at a time, so that source and panel lines stay in L1

// Where output row n of the stacked matrix comes from.
struct Source {
  const TensorView* tensor = nullptr;
  int64_t row = 0;
};

std::vector<Source> source_rows(std::span<const TensorView> weights, int inputs) {
  std::vector<Source> rows;
  for (const TensorView& weight : weights) {
    for (int64_t n = 0; n < weight.elements() / inputs; ++n) rows.push_back({&weight, n});
  }
  return rows;
}

void read_floats(const Source& source, int inputs, int first, int count, float* out) {
  copy_to_float(*source.tensor, source.row * inputs + first, count, out);
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
      read_floats(rows[j], inputs, first, count, tile);
      for (int k = 0; k < count; ++k) panel[static_cast<size_t>(first + k) * kPanel + j] = tile[k];
    }
  }
}

void pack_bf16(std::span<const Source> rows, int inputs, uint32_t* panel) {
  constexpr int kHalf = kPanel / 2;
  uint16_t tile[kPanel][kTile] = {};
  for (int first = 0; first < inputs; first += kTile) {
    const int count = std::min(kTile, inputs - first);
    for (size_t j = 0; j < rows.size(); ++j) read_bf16(rows[j], inputs, first, count, tile[j]);
    for (int k = 0; k < count; ++k) {
      uint32_t* out = panel + static_cast<size_t>(first + k) * kHalf;
      for (int j = 0; j < kHalf; ++j) out[j] = tile[j][k] | (static_cast<uint32_t>(tile[j + kHalf][k]) << 16);
    }
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
  const int64_t padded = (outputs + kPanel - 1) / kPanel * kPanel;
  return static_cast<size_t>(padded * inputs) * (format == WeightFormat::f32_panels ? 4 : 2);
}

PackedMatrix::PackedMatrix(std::span<const TensorView> weights, std::span<const TensorView> biases,
                           WeightFormat format, ThreadPool& pool)
    : format_(format) {
  DVLM_ASSERT(!weights.empty() && (biases.empty() || biases.size() == weights.size()));
  inputs_ = inputs_of(weights[0]);
  for (const TensorView& weight : weights) {
    if (inputs_of(weight) != inputs_) {
      fail("stacked linear layers disagree: {} and {}", to_string(weights[0].shape), to_string(weight.shape));
    }
  }
  const std::vector<Source> rows = source_rows(weights, inputs_);
  outputs_ = static_cast<int>(rows.size());
  pages_ = Pages(packed_bytes(outputs_, inputs_, format));
  const size_t panel_bytes = pages_.size() / panels();
  pool.parallel_for(panels(), [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const int64_t first = p * kPanel, count = std::min<int64_t>(kPanel, outputs_ - first);
      const auto part = std::span(rows).subspan(first, count);
      std::byte* panel = pages_.data() + p * panel_bytes;
      if (format == WeightFormat::f32_panels)
        pack_f32(part, inputs_, reinterpret_cast<float*>(panel));
      else
        pack_bf16(part, inputs_, reinterpret_cast<uint32_t*>(panel));
    }
  });
  if (biases.empty()) return;
  bias_.resize(static_cast<size_t>(panels()) * kPanel);
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
  if (format_ == WeightFormat::f32_panels) {
    const float* data = reinterpret_cast<const float*>(pages_.data()) + panel * inputs_ * kPanel + j;
    for (int k = 0; k < inputs_; ++k) row[k] = data[static_cast<size_t>(k) * kPanel];
  } else {
    constexpr size_t kHalf = kPanel / 2;
    const uint32_t* data =
        reinterpret_cast<const uint32_t*>(pages_.data()) + panel * inputs_ * kHalf + j % kHalf;
    const int shift = j < kHalf ? 0 : 16;
    for (int k = 0; k < inputs_; ++k) {
      row[k] = to_float(bf16{static_cast<uint16_t>(data[static_cast<size_t>(k) * kHalf] >> shift)});
    }
  }
}

}  // namespace dvlm
