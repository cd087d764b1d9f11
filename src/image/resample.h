// Inside of resizing: target sizes with fractional bounds (videos have them), the weights of an antialiased
// bicubic resize along one axis, and the resize that videos use.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "image/preprocess.h"

namespace dvlm {

// smart_resize with sides that are multiples of `side` and an area within [minimum, maximum].
Size smart_resize_within(Size size, int side, double minimum, double maximum);

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

// torchvision's resize of a uint8 video frame (torch.nn.functional.interpolate with mode="bicubic",
// antialias=True in float32, clamped, rounded half to even). Equal to it up to 1 level: torch's order of
// additions depends on its build.
Image resize_bicubic_float(const Image& image, Size size);

}  // namespace dvlm
