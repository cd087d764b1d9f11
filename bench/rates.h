// What benchmarks of kernels share: the threads, and counters against the machine's own bounds.
// "of_bandwidth": bytes read per second over what a plain read reaches; "of_peak": operations per second over
// what fused multiply-adds on registers reach, both in the same run. The larger of the two says how near a
// case is to its bound.
#pragma once
#include <benchmark/benchmark.h>

#include <string>

#include "kernels/targets.h"
#include "measure/probes.h"

namespace dvlm {

inline ThreadPool& pool() {
  static ThreadPool threads((apply_isa_variable(), ThreadPool::default_threads()));
  return threads;
}

inline void report_rates(benchmark::State& state, double bytes, double flop) {
  static const double bandwidth = probes::read_bandwidth(pool()), peak = probes::multiply_rate(pool());
  const auto rate = [](double value) {
    return benchmark::Counter(value, benchmark::Counter::kIsIterationInvariantRate);
  };
  state.counters["GB/s"] = rate(bytes / 1e9);
  state.counters["GFLOP/s"] = rate(flop / 1e9);
  state.counters["of_bandwidth"] = rate(bytes / bandwidth);
  if (peak > 0) state.counters["of_peak"] = rate(flop / peak);
  state.SetLabel(std::string(isa_name()));
}

}  // namespace dvlm
