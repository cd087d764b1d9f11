// Linear layers, against the machine's own bandwidth and multiply rate of the same run.
// "of_bandwidth": weight bytes read per second over what a plain read reaches; "of_peak": operations per
// second over what fused multiply-adds on registers reach. The larger of the two says how near a case is to
// its bound.
#include <benchmark/benchmark.h>

#include "core/memory.h"
#include "core/random.h"
#include "kernels/linear.h"
#include "kernels/targets.h"
#include "measure/probes.h"

namespace dvlm {
namespace {

ThreadPool& pool() {
  static ThreadPool threads((apply_isa_variable(), ThreadPool::default_threads()));
  return threads;
}

void report(benchmark::State& state, double bytes, double flop) {
  static const double bandwidth = probes::read_bandwidth(pool()), peak = probes::multiply_rate(pool());
  const auto rate = [](double value) {
    return benchmark::Counter(value, benchmark::Counter::kIsIterationInvariantRate);
  };
  state.counters["GB/s"] = rate(bytes / 1e9);
  state.counters["GFLOP/s"] = rate(flop / 1e9);
  state.counters["of_bandwidth"] = rate(bytes / bandwidth);
  if (peak > 0) state.counters["of_peak"] = rate(flop / peak);
}

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
  report(state, static_cast<double>(layers[0].bytes()), 2.0 * rows * inputs * outputs);
  state.SetLabel(std::string(isa_name()));
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
