// What a device can do right now: measured beside whatever is compared with it.
#pragma once
#include "cuda/device.h"
#include "cuda/portable.h"

namespace dvlm::cuda {
inline namespace DVLM_LAYER {

// Reads all words once. grid: (blocks).
struct ReadProbe {
  struct Job {
    Global<const Word4> words;  // a multiple of blocks * kThreads * kAtOnce
    Global<uint32_t> sums;      // [blocks * kThreads]: without them nothing would be read
  };
  static constexpr int kThreads = 256, kAtOnce = 8;

  static DVLM_DEVICE void run(Block& block, const Job& job) {
    const size_t step = static_cast<size_t>(block.blocks_x()) * kThreads;
    block.lanes([&](int lane) {
      const size_t thread = static_cast<size_t>(block.x()) * kThreads + block.warp() * kWarp + lane;
      uint32_t sum = 0;
      for (size_t i = thread; i < job.words.size; i += kAtOnce * step) {
        Word4 v[kAtOnce];
        DVLM_UNROLL
        for (int j = 0; j < kAtOnce; ++j) v[j] = load(job.words, i + j * step);
        DVLM_UNROLL
        for (int j = 0; j < kAtOnce; ++j) sum ^= v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
      }
      store(job.sums, thread, sum);
    });
  }
};

// Multiplies on registers alone, with the instruction of the linear layers. grid: (blocks).
struct MultiplyProbe {
  struct Job {
    Global<float> sums;  // [blocks * kThreads]
    int rounds = 0;
  };
  static constexpr int kThreads = 256, kWarps = kThreads / kWarp, kChains = 8;
  static constexpr double kOperations = 2.0 * 16 * 8 * 16 * kChains * kWarps;  // of a block's round

  static DVLM_DEVICE void run(Block& block, const Job& job) {
    Lanes<Word4> a;
    Lanes<Word2> b;
    Lanes<Float4> c[kChains];
    block.lanes([&](int lane) {
      const auto ones = 0x3f803f80u;  // two bf16
      a[lane] = {ones, ones, ones, ones}, b[lane] = {ones, ones};
      DVLM_UNROLL
      for (int i = 0; i < kChains; ++i) c[i][lane] = {};
    });
    for (int round = 0; round < job.rounds; ++round) {
      DVLM_UNROLL
      for (int i = 0; i < kChains; ++i) mma_bf16(c[i], a, b);
    }
    block.lanes([&](int lane) {
      float sum = 0;
      DVLM_UNROLL
      for (int i = 0; i < kChains; ++i) sum += c[i][lane].v[0] + c[i][lane].v[3];
      store(job.sums, static_cast<size_t>(block.x()) * kThreads + block.warp() * kWarp + lane, sum);
    });
  }
};

// Both probes, each timed by `seconds_of(launches)`.
template <class Launcher, class SecondsOf>
DeviceRates probe_rates(Launcher& launcher, const ProbeMemory& memory, int rounds,
                        const SecondsOf& seconds_of) {
  const auto blocks = static_cast<unsigned>(memory.sums.size / ReadProbe::kThreads);
  const size_t step = size_t{ReadProbe::kAtOnce} * memory.sums.size, words = memory.words.size / step * step;
  const auto read = [&] {
    launcher.template launch<ReadProbe>({blocks}, 0, {{memory.words.data, words}, memory.sums});
  };
  const auto multiply = [&](int times) {
    launcher.template launch<MultiplyProbe>({blocks}, 0, {as<float>(memory.sums), times});
  };
  seconds_of([&] { read(), multiply(1); });  // loads the kernels
  const double reading = seconds_of(read), multiplying = seconds_of([&] { multiply(rounds); });
  return {static_cast<double>(words) * sizeof(Word4) / reading,
          MultiplyProbe::kOperations * rounds * blocks / multiplying};
}

}  // namespace DVLM_LAYER
}  // namespace dvlm::cuda
