#include "kernels/elementwise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/random_values.h"
#include "kernels/reference.h"
#include "kernels/vocabulary.h"

namespace dvlm {
namespace {

constexpr int kSizes[] = {1, 7, 16, 31, 32, 33, 100, 1280, 3420};

void expect_close(const std::vector<float>& found, const std::vector<float>& expected, double relative) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    ASSERT_NEAR(found[i], expected[i], relative * (std::abs(expected[i]) + 1e-6)) << "element " << i;
  }
}

TEST(RmsNorm, agrees_with_the_reference) {
  ThreadPool pool(1);
  for (int n : kSizes) {
    std::vector<float> x = random_values(size_t(n), 1), weight = random_values(size_t(n), 2), y(x.size()),
                       expected(x.size());
    rms_norm({x.data(), size_t(n), 1}, n, weight.data(), 1e-6f, {y.data(), size_t(n), 1}, pool);
    reference::rms_norm(x, weight, 1e-6f, expected);
    expect_close(y, expected, 1e-6);
  }
}

TEST(Swiglu, agrees_with_the_reference_from_tiny_to_saturated) {
  ThreadPool pool(1);
  for (int n : kSizes) {
    for (double scale : {0.01, 1.0, 30.0}) {
      std::vector<float> row = random_values(2 * size_t(n), 3, scale), expected(static_cast<size_t>(n));
      reference::swiglu(std::span(row).first(size_t(n)), std::span(row).subspan(size_t(n)), expected);
      swiglu({row.data(), row.size(), 1}, n, pool);
      row.resize(size_t(n));
      expect_close(row, expected, 2e-6);
    }
  }
}

TEST(Swiglu, extremes_give_zero_or_the_input) {
  ThreadPool pool(1);
  std::vector<float> row = {-1000, 1000, -88.5f, 0, 1, 1, 1, 1};
  swiglu({row.data(), 8, 1}, 4, pool);
  EXPECT_NEAR(row[0], 0, 1e-30);
  EXPECT_EQ(row[1], 1000);
  EXPECT_NEAR(row[2], 0, 1e-30);
  EXPECT_EQ(row[3], 0);
}

TEST(Gelu, agrees_with_the_reference) {
  ThreadPool pool(2);
  std::vector<float> x = random_values(999, 4, 3), expected(x.size());
  reference::gelu(x, expected);
  gelu({x.data(), 333, 3}, 333, pool);
  for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(x[i], expected[i], 1e-6);
}

TEST(Rotary, turns_each_head_by_its_rows_angles) {
  ThreadPool pool(2);
  for (int dim : {2, 8, 12, 40, 80, 128, 256}) {
    const int heads = 3, rows = 5, half = dim / 2;
    std::vector<float> x = random_values(size_t(rows) * size_t(heads) * size_t(dim), 5),
                       angles = random_values(size_t(rows) * size_t(half), 6, 10);
    std::vector<float> cos(angles.size()), sin(angles.size()), expected(x.size());
    for (size_t i = 0; i < angles.size(); ++i) cos[i] = std::cos(angles[i]), sin[i] = std::sin(angles[i]);
    for (int i = 0; i < rows * heads; ++i) {
      const auto at = [&](std::vector<float>& v) {
        return std::span(v).subspan(size_t(i) * size_t(dim), size_t(dim));
      };
      reference::rotary(at(x), std::span(angles).subspan(size_t(i / heads) * size_t(half), size_t(half)),
                        at(expected));
    }
    rotary({x.data(), size_t(heads * dim), rows}, heads, dim, cos.data(), sin.data(), pool);
    for (size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(x[i], expected[i], 2e-6) << dim;
  }
}

TEST(ExponentialSum, agrees_with_doubles) {
  for (const size_t n : {1u, 15u, 1000u, 5003u, 151'936u}) {
    std::vector<float> x = random_values(n, 7, 12);
    x[n / 2] = 20;
    if (n > 1) x[0] = -std::numeric_limits<float>::infinity();
    double expected = 0;
    for (const float v : x) expected += std::exp(static_cast<double>(v) - 20);
    EXPECT_NEAR(exponential_sum(x, 20) / expected, 1, 1e-6) << n;
  }
}

}  // namespace
}  // namespace dvlm
