// Linear layers and whole passes, against the machine's own bandwidth and multiply rate of the same run.
// "of_bandwidth": weight bytes read per second over what a plain read reaches; "of_peak": operations per
// second over what fused multiply-adds on registers reach. The larger of the two says how near a case is to
// its bound.
#include <benchmark/benchmark.h>

#include <numeric>

#include "core/memory.h"
#include "core/random.h"
#include "kernels/linear.h"
#include "kernels/targets.h"
#include "measure/probes.h"
#include "model/native.h"
#include "temporary_folder.h"

namespace dvlm {
namespace {

ThreadPool& pool() {
  static ThreadPool threads(ThreadPool::default_threads());
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
  for (size_t bytes = 0; bytes < (size_t{1} << 30); bytes += layers.back().bytes()) {
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

BENCHMARK_CAPTURE(BM_Linear, bf16_2048x22016, WeightFormat::bf16_panels, 2048, 22016)
    ->Arg(1)
    ->Arg(8)
    ->Arg(32)
    ->Arg(256)
    ->UseRealTime();
BENCHMARK_CAPTURE(BM_Linear, bf16_11008x2048, WeightFormat::bf16_panels, 11008, 2048)
    ->Arg(1)
    ->Arg(8)
    ->Arg(32)
    ->Arg(256)
    ->UseRealTime();
BENCHMARK_CAPTURE(BM_Linear, fp8_2048x22016, WeightFormat::fp8_panels, 2048, 22016)
    ->Arg(1)
    ->Arg(8)
    ->Arg(32)
    ->Arg(256)
    ->UseRealTime();
BENCHMARK_CAPTURE(BM_Linear, f32_2048x22016, WeightFormat::f32_panels, 2048, 22016)
    ->Arg(1)
    ->Arg(8)
    ->Arg(32)
    ->Arg(256)
    ->UseRealTime();

ModelConfig tiny_shape() {
  return read_config(DVLM_ROOT "/examples/tiny/model");
}

// Four of the 3B model's 36 layers and a small vocabulary: enough to leave every cache.
ModelConfig slice_of_3b() {
  ModelConfig config = tiny_shape();
  config.text = {.vocab_size = 1024,
                 .hidden_size = 2048,
                 .intermediate_size = 11008,
                 .layers = 4,
                 .heads = 16,
                 .kv_heads = 2,
                 .head_dim = 128,
                 .mrope_section = {16, 24, 24},
                 .max_positions = 4096};
  config.vision = {.depth = 1,
                   .hidden_size = 1280,
                   .intermediate_size = 3420,
                   .heads = 16,
                   .out_hidden_size = 2048,
                   .full_attention_blocks = {0}};
  return config;
}

std::unique_ptr<Model> random_model(const ModelConfig& config, Precision precision) {
  const TemporaryFolder folder;
  const auto shapes = expected_tensors(config);
  int64_t largest = 0;
  std::vector<NamedTensor> tensors;
  for (const auto& [name, shape] : shapes) tensors.push_back({name, {DType::bf16, shape, nullptr}});
  for (const NamedTensor& tensor : tensors) largest = std::max(largest, tensor.tensor.elements());
  const std::vector<std::byte> data = weights_like(static_cast<size_t>(largest) * 2 + 4, DType::bf16);
  for (NamedTensor& tensor : tensors) tensor.tensor.data = data.data();
  write_config(folder.path(), config);
  write_safetensors(folder / "model.safetensors", tensors);
  return load_native(Checkpoint(folder.path()), pool(), {.precision = precision});
}

int64_t text_weights(const TextConfig& text) {
  const int64_t hidden = text.hidden_size, query = int64_t{text.heads} * text.head_dim;
  const int64_t kv = int64_t{text.kv_heads} * text.head_dim;
  return text.layers * hidden * (2 * query + 2 * kv + int64_t{3} * text.intermediate_size) +
         hidden * text.vocab_size;
}

// A pass of `rows` tokens after `context` committed ones, logits for all: one round of decoding.
void BM_Pass(benchmark::State& state, const ModelConfig& config, Precision precision, int context) {
  const int rows = static_cast<int>(state.range(0));
  const auto model = random_model(config, precision);
  const auto sequence = model->new_sequence(context + rows);
  const auto pass = [&](int length, int from, bool keep, std::span<const int> logits) {
    std::vector<TokenId> tokens(static_cast<size_t>(length), 5);
    std::vector<Position> positions(tokens.size());
    for (int i = 0; i < length; ++i) positions[i] = {from + i, from + i, from + i};
    const Segment segment{.sequence = sequence.get(),
                          .tokens = tokens,
                          .positions = positions,
                          .features = {},
                          .context = from,
                          .keep = keep,
                          .logit_rows = logits};
    benchmark::DoNotOptimize(model->forward({&segment, 1}).values.data());
  };
  if (context > 0) pass(context, 0, true, {});
  std::vector<int> every(static_cast<size_t>(rows));
  std::iota(every.begin(), every.end(), 0);
  for (auto _ : state) pass(rows, context, false, every);
  const double weights = static_cast<double>(text_weights(config.text));
  report(state, weights * (precision == Precision::f32 ? 4 : 2), 2 * weights * rows);
}

BENCHMARK_CAPTURE(BM_Pass, tiny_bf16_after_256, tiny_shape(), Precision::bf16, 256)
    ->Arg(1)
    ->Arg(8)
    ->Arg(32)
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(BM_Pass, tiny_f32_after_256, tiny_shape(), Precision::f32, 256)
    ->Arg(1)
    ->Arg(32)
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(BM_Pass, slice_of_3b_bf16_after_512, slice_of_3b(), Precision::bf16, 512)
    ->Arg(1)
    ->Arg(8)
    ->Arg(32)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(BM_Pass, slice_of_3b_bf16_prefill, slice_of_3b(), Precision::bf16, 0)
    ->Arg(512)
    ->Arg(2048)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace dvlm
