// Linear layers of the 3B text tower, one copy after the other (rates.h).
#include <benchmark/benchmark.h>

#include "core/memory.h"
#include "core/random.h"
#include "kernels/linear.h"
#include "rates.h"

namespace dvlm {
namespace {

// Small values without pattern, cheap to make.
std::vector<std::byte> weights_like(size_t bytes, DType type) {
  std::vector<std::byte> out(bytes);
  uint32_t state = 1;
  const auto next = [&] {
    return static_cast<float>((state = state * 1664525u + 1013904223u) >> 8) * 0x1p-29f - 0.0156f;
  };
  for (size_t at = 0; at + 4 <= bytes; at += size_of(type)) {
    const float value = next();
    const bf16 narrow = to_bf16(value);
    std::memcpy(out.data() + at, type == DType::bf16 ? static_cast<const void*>(&narrow) : &value,
                size_of(type));
  }
  return out;
}

// As many copies of one layer as it takes to leave the caches, used in turn.
void BM_Linear(benchmark::State& state, WeightFormat format, int inputs, int outputs) {
  const int rows = static_cast<int>(state.range(0));
  const std::vector<std::byte> data =
      weights_like(static_cast<size_t>(inputs) * static_cast<size_t>(outputs) * 4, DType::f32);
  const TensorView view{DType::f32, {outputs, inputs}, data.data()};
  std::vector<PackedMatrix> layers;
  for (size_t bytes = 0; bytes < (size_t{1} << 28); bytes += layers.back().bytes()) {
    layers.emplace_back(std::span(&view, 1), std::span<const TensorView>{}, format, pool());
  }
  std::vector<float> x(static_cast<size_t>(rows) * static_cast<size_t>(inputs), 0.5f);
  std::vector<float> y(static_cast<size_t>(rows) * static_cast<size_t>(outputs));
  LinearScratch scratch;
  size_t at = 0;
  for (auto _ : state) {
    linear(layers[at++ % layers.size()], {x.data(), static_cast<size_t>(inputs), rows},
           {y.data(), static_cast<size_t>(outputs), rows}, LinearMode::store, scratch, pool());
  }
  report_rates(state, static_cast<double>(layers[0].bytes()), 2.0 * rows * inputs * outputs);
}

#define DVLM_LINEAR_BENCH(name, format, inputs, outputs)                             \
  BENCHMARK_CAPTURE(BM_Linear, name##_##inputs##x##outputs, format, inputs, outputs) \
      ->ArgsProduct({{1, 8, 16, 32, 256}})                                           \
      ->UseRealTime()

DVLM_LINEAR_BENCH(bf16, WeightFormat::bf16_panels, 2048, 22016);
DVLM_LINEAR_BENCH(bf16, WeightFormat::bf16_panels, 11008, 2048);
DVLM_LINEAR_BENCH(fp8, WeightFormat::fp8_panels, 2048, 22016);
DVLM_LINEAR_BENCH(int4, WeightFormat::int4_panels, 2048, 22016);
DVLM_LINEAR_BENCH(f32, WeightFormat::f32_panels, 2048, 22016);

}  // namespace
}  // namespace dvlm
