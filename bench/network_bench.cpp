// One training step (forward, cross entropy over all rows, backward; no optimizer) of a network of
// dvlm-tiny's size: 16 rows, a picture of 256 patches in each. `f32` runs LibTorch's own operators, `bf16`
// the fused ones.
//   network_bench --benchmark_enable_random_interleaving=true --benchmark_repetitions=5
// The number of threads is OMP_NUM_THREADS.
#include <benchmark/benchmark.h>

#include "torch/allocator.h"
#include "torch/network.h"

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

const bool kMemoryKept = (keep_freed_memory(), true);

}  // namespace
}  // namespace dvlm
