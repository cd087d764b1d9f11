// One training step (forward, cross entropy over all rows, backward; no optimizer) of a network of
// dvlm-tiny's size: 16 rows, a picture of 256 patches in each. `f32` runs LibTorch's own operators, `bf16`
// the fused ones. Then the parts that are fused, in bf16, beside the same in LibTorch's operators.
//   network_bench --benchmark_enable_random_interleaving=true --benchmark_repetitions=5
// The number of threads is OMP_NUM_THREADS.
#include <benchmark/benchmark.h>

#include "torch/cpu_layers.h"
#include "torch/network.h"
#include "torch/plain.h"

namespace dvlm {
namespace {

constexpr int kBatch = 16, kPatches = 256, kFeatures = 64;

ModelConfig tiny_config() {
  return read_config(DVLM_ROOT "/examples/tiny/model");
}

// A noisy half in blocks of 16 that see themselves and the clean text before them, and a causal clean half
// that begins with the picture: the mask of the conversion.
torch::Tensor dual_stream_mask(int length, int noisy) {
  torch::Tensor mask = torch::zeros({length, length}, torch::kBool);
  auto see = mask.accessor<bool, 2>();
  for (int q = 0; q < length; ++q) {
    for (int k = 0; k < length; ++k) {
      if (q >= noisy)
        see[q][k] = k >= noisy && k <= q;
      else
        see[q][k] = k < noisy ? q / 16 == k / 16 : k - noisy - kFeatures < q / 16 * 16;
    }
  }
  return mask.expand({kBatch, 1, length, length}).contiguous();
}

NetworkInput batch(int length, bool dual) {
  const int noisy = dual ? (length - kFeatures) / 2 : 0;
  NetworkInput input;
  input.tokens = torch::randint(0, 1024, {kBatch, length});
  input.positions = torch::arange(length).expand({3, kBatch, length}).contiguous();
  if (dual) input.mask = dual_stream_mask(length, noisy);
  input.patches = torch::randn({kBatch * kPatches, tiny_config().vision.patch_elements()});
  input.grids.assign(kBatch, {1, 16, 16});
  const torch::Tensor starts = torch::arange(kBatch).unsqueeze(1) * length + noisy;
  input.feature_rows = (starts + torch::arange(kFeatures)).flatten();
  return input;
}

void training_step(benchmark::State& state, torch::Dtype type, int length, bool dual) {
  torch::manual_seed(1);
  Network network(tiny_config());
  network->set_compute_type(type);
  const NetworkInput input = batch(length, dual);
  const torch::Tensor targets = torch::randint(0, 1024, {kBatch * length});
  for (auto _ : state) {
    const torch::Tensor logits = network->logits(network->hidden(input).flatten(0, 1)).to(torch::kFloat32);
    torch::cross_entropy_loss(logits, targets).backward();
    network->zero_grad();
  }
  state.counters["samples/s"] = benchmark::Counter(kBatch, benchmark::Counter::kIsIterationInvariantRate);
}

BENCHMARK_CAPTURE(training_step, ar_f32, torch::kFloat32, 256, false)
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
BENCHMARK_CAPTURE(training_step, ar_bf16, torch::kBFloat16, 256, false)
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
BENCHMARK_CAPTURE(training_step, dual_f32, torch::kFloat32, 560, true)
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
BENCHMARK_CAPTURE(training_step, dual_bf16, torch::kBFloat16, 560, true)
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

// What a step does with one part of a layer of the text tower: forward and backward.
template <class Part>
void part(benchmark::State& state, const std::vector<torch::Tensor>& inputs, const Part& run) {
  for (auto _ : state) {
    run().sum().backward();
    for (const torch::Tensor& input : inputs) torch::Tensor(input).mutable_grad() = torch::Tensor();
  }
}

torch::Tensor leaf(torch::IntArrayRef shape, torch::Dtype type) {
  return torch::randn(shape).to(type).requires_grad_(true);
}

void attention(benchmark::State& state, bool fused, int length, bool dual) {
  const TextConfig text = tiny_config().text;
  layers::AttentionShape shape;
  shape.heads = text.heads, shape.kv_heads = text.kv_heads, shape.head_dim = text.head_dim;
  for (int i = 0; i <= kBatch; ++i) shape.cumulative.push_back(int64_t{i} * length);
  shape.causal = !dual;
  if (dual) shape.mask = dual_stream_mask(length, (length - kFeatures) / 2);
  const int64_t rows = int64_t{kBatch} * length, heads = text.heads + int64_t{2} * text.kv_heads;
  const torch::Tensor qkv = leaf({rows, heads * text.head_dim}, torch::kBFloat16),
                      angles = torch::rand({rows, text.head_dim / 2});
  const torch::Tensor cosine = angles.cos(), sine = angles.sin();
  part(state, {qkv},
       [&] { return (fused ? cpu::rotary_attention : plain::rotary_attention)(qkv, cosine, sine, shape); });
}

void add_norm(benchmark::State& state, bool fused) {
  const int64_t width = tiny_config().text.hidden_size;
  const torch::Tensor x = leaf({kBatch * 256, width}, torch::kFloat32),
                      delta = leaf({kBatch * 256, width}, torch::kBFloat16),
                      weight = leaf({width}, torch::kFloat32);
  part(state, {x, delta, weight}, [&] {
    const auto [sum, y] = fused ? cpu::add_norm(x, delta, weight, 1e-6)
                                : plain::add_norm(x, delta, weight, 1e-6, torch::kBFloat16);
    return sum + y;
  });
}

void swiglu(benchmark::State& state, bool fused) {
  const torch::Tensor gate_up =
      leaf({kBatch * 256, int64_t{2} * tiny_config().text.intermediate_size}, torch::kBFloat16);
  part(state, {gate_up}, [&] { return (fused ? cpu::swiglu : plain::swiglu)(gate_up); });
}

BENCHMARK_CAPTURE(attention, causal_fused, true, 256, false)->UseRealTime();
BENCHMARK_CAPTURE(attention, causal_plain, false, 256, false)->UseRealTime();
BENCHMARK_CAPTURE(attention, dual_fused, true, 560, true)->UseRealTime();
BENCHMARK_CAPTURE(attention, dual_plain, false, 560, true)->UseRealTime();
BENCHMARK_CAPTURE(add_norm, fused, true)->UseRealTime();
BENCHMARK_CAPTURE(add_norm, plain, false)->UseRealTime();
BENCHMARK_CAPTURE(swiglu, fused, true)->UseRealTime();
BENCHMARK_CAPTURE(swiglu, plain, false)->UseRealTime();

}  // namespace
}  // namespace dvlm
