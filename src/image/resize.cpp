// Pillow's 8-bit bicubic resize: two passes of 22-bit fixed point with an 8-bit picture between them.
#include <algorithm>
#include <cmath>
#include <vector>

#include "core/error.h"
#include "image/preprocess.h"

namespace dvlm {

namespace {

// Keys' cubic with a = -0.5.
template <class T>
T cubic_filter(T x) {
  constexpr T a = static_cast<T>(-0.5);
  x = std::fabs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

// Output i is the sum over k < count[i] of weights[i * taps + k] * input[first[i] + k].
template <class T>
struct Axis {
  int taps = 0;
  std::vector<int> first, count;
  std::vector<T> weights;
};

// All in T: double for Pillow, float for torch.
template <class T>
Axis<T> bicubic_axis(int in, int out) {
  const T scale = static_cast<T>(in) / static_cast<T>(out), stretch = scale < 1 ? T{1} : scale;
  const T half = static_cast<T>(0.5), support = 2 * stretch;
  const T shrink = static_cast<T>(1.0 / static_cast<double>(stretch));
  Axis<T> axis;
  axis.taps = static_cast<int>(std::ceil(support)) * 2 + 1;
  axis.first.resize(out);
  axis.count.resize(out);
  axis.weights.assign(static_cast<size_t>(out) * axis.taps, T{0});
  for (int i = 0; i < out; ++i) {
    const T center = (static_cast<T>(i) + half) * scale;
    const int first = std::max(0, static_cast<int>(center - support + half));
    const int last = std::min(in, static_cast<int>(center + support + half));
    const int count = std::clamp(last - first, 0, axis.taps);
    T* weights = &axis.weights[static_cast<size_t>(i) * axis.taps];
    T sum = 0;
    for (int k = 0; k < count; ++k) {
      weights[k] = cubic_filter((static_cast<T>(k + first) - center + half) * shrink);
      sum += weights[k];
    }
    if (sum != 0)
      for (int k = 0; k < count; ++k) weights[k] /= sum;
    axis.first[i] = first;
    axis.count[i] = count;
  }
  return axis;
}

// The loops below are plain C++ with constant trip counts. On x86-64 they are compiled a second time for
// AVX2, which has the 32-bit multiply that the baseline lacks; integers make both exact.
#if defined(__x86_64__) && defined(__GNUC__)
#define DVLM_RESIZE_AVX2 1
#endif

constexpr int kPrecisionBits = 32 - 8 - 2;
constexpr int kRows = 16;         // the horizontal pass handles that many rows as one transposed tile
constexpr int kTile = 3 * kRows;  // bytes per column of the tile
constexpr int kColumns = 64;      // the vertical pass handles that many bytes of a row at once

Axis<int32_t> fixed_point(const Axis<double>& axis) {
  Axis<int32_t> fixed{axis.taps, axis.first, axis.count, {}};
  fixed.weights.reserve(axis.weights.size());
  for (const double w : axis.weights)
    fixed.weights.push_back(static_cast<int32_t>(w * (1 << kPrecisionBits) + (w < 0 ? -0.5 : 0.5)));
  return fixed;
}

// out[j] = the rounded sum over k < count of weights[k] * in[k * stride + j], for j < kWidth.
template <int kWidth>
[[gnu::always_inline]] inline void weighted_sum(const uint8_t* in, size_t stride, const int32_t* weights,
                                                int count, uint8_t* out) {
  int32_t sum[kWidth];
  for (int j = 0; j < kWidth; ++j) sum[j] = 1 << (kPrecisionBits - 1);
  for (int k = 0; k < count; ++k, in += stride) {
    const int32_t weight = weights[k];
    for (int j = 0; j < kWidth; ++j) sum[j] += in[j] * weight;
  }
  for (int j = 0; j < kWidth; ++j) {
    const int32_t value = sum[j] >> kPrecisionBits;
    out[j] = static_cast<uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
  }
}

// tile and out: [columns][3][kRows].
[[gnu::always_inline]] inline void horizontal_tile(const uint8_t* tile, const Axis<int32_t>& axis,
                                                   uint8_t* out) {
  for (size_t x = 0; x < axis.first.size(); ++x)
    weighted_sum<kTile>(tile + static_cast<size_t>(axis.first[x]) * kTile, kTile,
                        &axis.weights[x * axis.taps], axis.count[x], out + x * kTile);
}

// One output row of `width` bytes from `count` input rows that are `width` bytes apart.
[[gnu::always_inline]] inline void vertical_row(const uint8_t* in, size_t width, const int32_t* weights,
                                                int count, uint8_t* out) {
  size_t x = 0;
  for (; x + kColumns <= width; x += kColumns) weighted_sum<kColumns>(in + x, width, weights, count, out + x);
  for (; x < width; ++x) weighted_sum<1>(in + x, width, weights, count, out + x);
}

struct Passes {
  void (*horizontal)(const uint8_t*, const Axis<int32_t>&, uint8_t*);
  void (*vertical)(const uint8_t*, size_t, const int32_t*, int, uint8_t*);
};

constexpr Passes kPlain = {
    [](const uint8_t* tile, const Axis<int32_t>& axis, uint8_t* out) { horizontal_tile(tile, axis, out); },
    [](const uint8_t* in, size_t width, const int32_t* weights, int count, uint8_t* out) {
      vertical_row(in, width, weights, count, out);
    }};

#ifdef DVLM_RESIZE_AVX2
[[gnu::target("avx2")]] void horizontal_avx2(const uint8_t* tile, const Axis<int32_t>& axis, uint8_t* out) {
  horizontal_tile(tile, axis, out);
}
[[gnu::target("avx2")]] void vertical_avx2(const uint8_t* in, size_t width, const int32_t* weights, int count,
                                           uint8_t* out) {
  vertical_row(in, width, weights, count, out);
}
#endif

Passes best_passes() {
#ifdef DVLM_RESIZE_AVX2
  if (__builtin_cpu_supports("avx2")) return {horizontal_avx2, vertical_avx2};
#endif
  return kPlain;
}

Image resize_width(const Image& image, int width) {
  const Axis<int32_t> axis = fixed_point(bicubic_axis<double>(image.width, width));
  const Passes passes = best_passes();
  Image result{width, image.height, std::vector<uint8_t>(static_cast<size_t>(width) * image.height * 3)};
  const size_t in_stride = static_cast<size_t>(image.width) * 3, out_stride = static_cast<size_t>(width) * 3;
  std::vector<uint8_t> tile(in_stride * kRows), narrow(out_stride * kRows);
  for (int y = 0; y < image.height; y += kRows) {
    const int rows = std::min(kRows, image.height - y);
    for (int r = 0; r < rows; ++r) {
      const uint8_t* in = image.pixels.data() + (y + r) * in_stride;
      for (size_t i = 0; i < in_stride; ++i) tile[i * kRows + r] = in[i];
    }
    passes.horizontal(tile.data(), axis, narrow.data());
    for (int r = 0; r < rows; ++r) {
      uint8_t* out = result.pixels.data() + (y + r) * out_stride;
      for (size_t i = 0; i < out_stride; ++i) out[i] = narrow[i * kRows + r];
    }
  }
  return result;
}

Image resize_height(const Image& image, int height) {
  const Axis<int32_t> axis = fixed_point(bicubic_axis<double>(image.height, height));
  const Passes passes = best_passes();
  Image result{image.width, height, std::vector<uint8_t>(static_cast<size_t>(image.width) * height * 3)};
  const size_t stride = static_cast<size_t>(image.width) * 3;
  for (int y = 0; y < height; ++y)
    passes.vertical(image.pixels.data() + axis.first[y] * stride, stride,
                    &axis.weights[size_t{1} * y * axis.taps], axis.count[y],
                    result.pixels.data() + y * stride);
  return result;
}

// Sum over taps of one axis, in float, for `inner` interleaved values per position.
void resample_float(const std::vector<float>& in, size_t outer, size_t in_size, size_t inner,
                    const Axis<float>& axis, std::vector<float>& out) {
  const size_t out_size = axis.first.size();
  out.assign(outer * out_size * inner, 0.0f);
  for (size_t o = 0; o < outer; ++o) {
    for (size_t i = 0; i < out_size; ++i) {
      float* to = &out[(o * out_size + i) * inner];
      for (int k = 0; k < axis.count[i]; ++k) {
        const float weight = axis.weights[i * axis.taps + k];
        const float* from = &in[(o * in_size + axis.first[i] + k) * inner];
        for (size_t j = 0; j < inner; ++j) to[j] += from[j] * weight;
      }
    }
  }
}

void check_resize(const Image& image, Size size) {
  if (image.width < 1 || image.height < 1 || size.width < 1 || size.height < 1)
    fail("[resize] cannot make a {} x {} picture from one of {} x {} pixels", size.width, size.height,
         image.width, image.height);
  DVLM_ASSERT(image.pixels.size() == static_cast<size_t>(image.width) * image.height * 3);
}

}  // namespace

Image resize_bicubic(const Image& image, Size size) {
  check_resize(image, size);
  if (size.width == image.width && size.height == image.height) return image;
  if (size.width == image.width) return resize_height(image, size.height);
  const Image narrow = resize_width(image, size.width);
  return size.height == image.height ? narrow : resize_height(narrow, size.height);
}

Image resize_bicubic_float(const Image& image, Size size) {
  check_resize(image, size);
  if (size.width == image.width && size.height == image.height) return image;
  std::vector<float> values(image.pixels.begin(), image.pixels.end()), narrow;
  resample_float(values, image.height, image.width, 3, bicubic_axis<float>(image.width, size.width), narrow);
  resample_float(narrow, 1, image.height, size_t{3} * size.width,
                 bicubic_axis<float>(image.height, size.height), values);
  Image result{size.width, size.height, std::vector<uint8_t>(values.size())};
  for (size_t i = 0; i < values.size(); ++i)
    result.pixels[i] = static_cast<uint8_t>(std::nearbyint(std::clamp(values[i], 0.0f, 255.0f)));
  return result;
}

}  // namespace dvlm
