// Linear layers of small shapes on every instruction set that this machine has, against the scalar one:
// integers to the bit, others within what the order of sums may change.
#include "kernels/linear.h"

#include <cmath>
#include <limits>
#include <optional>

#include "fuzzing.h"
#include "kernels/isas.h"
#include "kernels/random_values.h"
#include "plain_isa.h"

namespace {

using namespace dvlm;

struct Case {
  int inputs, outputs, rows;
  WeightFormat format;
  bool bias;
  LinearMode mode;
  std::vector<float> w, b, x;
  std::optional<PackedMatrix> packed;
};

// Numbers as the input says: some rows of zeros, some values far from the others.
std::vector<float> values(fuzz::Input& input, size_t count) {
  std::vector<float> out = random_values(count, input.number(2));
  for (uint32_t left = input.below(6); left > 0; --left) {
    const size_t first = input.below(static_cast<uint32_t>(count)), length = 1 + input.below(80);
    const float factor = input.below(3) == 0 ? 0 : std::ldexp(1.0f, static_cast<int>(input.below(40)) - 20);
    for (size_t i = first; i < std::min(count, first + length); ++i) out[i] *= factor;
  }
  return out;
}

Case case_of(fuzz::Input& input, ThreadPool& pool) {
  Case out{1 + static_cast<int>(input.below(300)),
           1 + static_cast<int>(input.below(100)),
           1 + static_cast<int>(input.below(20)),
           static_cast<WeightFormat>(input.below(kWeightFormats)),
           input.below(2) == 1,
           input.below(2) ? LinearMode::add : LinearMode::store,
           {},
           {},
           {},
           {}};
  const auto columns = static_cast<size_t>(out.inputs), outputs = static_cast<size_t>(out.outputs);
  out.w = values(input, columns * outputs), out.b = values(input, outputs);
  out.x = values(input, columns * static_cast<size_t>(out.rows));
  const auto view = [](const std::vector<float>& v, std::vector<int64_t> shape) {
    return TensorView{DType::f32, std::move(shape), reinterpret_cast<const std::byte*>(v.data())};
  };
  const TensorView w = view(out.w, {out.outputs, out.inputs}), b = view(out.b, {out.outputs});
  out.packed.emplace(std::span(&w, 1), std::span(&b, out.bias ? 1 : 0), out.format, pool);
  return out;
}

std::vector<float> run(const Case& given, std::string_view isa, ThreadPool& pool) {
  force_isa(isa);
  std::vector<float> x = given.x,
                     y(static_cast<size_t>(given.rows) * static_cast<size_t>(given.outputs), 0.5f);
  LinearScratch scratch;
  linear(*given.packed, {x.data(), static_cast<size_t>(given.inputs), given.rows},
         {y.data(), static_cast<size_t>(given.outputs), given.rows}, given.mode, scratch, pool);
  return y;
}

// The sum of what is added for one output, without its signs; rounding inputs and weights makes it no more
// than a quarter larger.
double magnitude(const Case& given, size_t row, size_t output, std::span<const float> weights) {
  double sum = 1 + std::abs(given.b[output]);
  for (size_t k = 0; k < weights.size(); ++k)
    sum += 1.25 * std::abs(double{given.x[row * weights.size() + k]} * weights[k]);
  return sum;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static ThreadPool pool(1);
  static const std::vector<std::string> sets = isas();
  fuzz::Input input(data, size);
  const Case given = case_of(input, pool);
  const std::vector<float> expected = run(given, fuzz::plain_isa(), pool);
  const auto outputs = static_cast<size_t>(given.outputs);
  std::vector<float> weights(static_cast<size_t>(given.inputs));
  for (const std::string& isa : sets) {
    const std::vector<float> y = run(given, isa, pool);
    for (size_t i = 0; i < y.size(); ++i) {
      if (y[i] == expected[i] || (std::isnan(y[i]) && std::isnan(expected[i]))) continue;
      DVLM_ASSERT(given.format != WeightFormat::int8_panels && given.format != WeightFormat::int4_panels);
      given.packed->unpack_row(static_cast<int>(i % outputs), weights.data());
      const double sum = magnitude(given, i / outputs, i % outputs, weights);
      // Two orders of a sum, each within n epsilon; fp8's results are rounded to bf16 twice.
      const double rounding = given.format == WeightFormat::fp8_panels ? 0x1p-6 : 0;
      const double most = 2 * (given.inputs + 2) * 6e-8 * sum +
                          rounding * (std::abs(expected[i]) + std::abs(given.b[i % outputs]) + 0.5);
      // A sum beyond the largest float may become infinite early or late.
      const bool may_overflow = sum > double{std::numeric_limits<float>::max()};
      DVLM_ASSERT(may_overflow || std::abs(double{y[i]} - expected[i]) <= most);
    }
  }
  return 0;
}
