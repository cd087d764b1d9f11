// What a card gives the kernels of src/cuda: the same passes on the card and on the host's layer, a row's
// bits beside other rows, and milliseconds at the 3B shape with random weights.
//
//   tools/machines/test_gpu.sh pass
#include <algorithm>
#include <functional>

#include "device_memory.h"

using namespace dvlm;
using namespace dvlm::cuda;
using namespace dvlm::test;

namespace {

int processors = 132;

using Runner = RunnerOn<DeviceMemory, DeviceLauncher>;

class CheckedRunner : public TowerRunner {
 public:
  CheckedRunner(const TowerData& data, int pages)
      : runner_(data, pages, DeviceMemory(), DeviceLauncher(nullptr)) {}
  PassResult run(const PassData& pass) override {
    PassResult out = runner_.run(pass);
    CHECK_CUDA(runner_.launcher().status());
    CHECK_CUDA(cudaDeviceSynchronize());
    return out;
  }

 private:
  Runner runner_;
};

double relative(const std::vector<float>& is, const std::vector<float>& should) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < is.size(); ++i)
    error += std::pow(is[i] - should[i], 2), norm += std::pow(should[i], 2);
  return is.size() == should.size() ? std::sqrt(error / norm) : -1;
}

SegmentData random_segment(int rows, int context, bool causal, int vocab, std::vector<int> pages,
                           std::mt19937_64& random) {
  SegmentData s;
  for (int i = 0; i < rows; ++i)
    s.tokens.push_back(static_cast<int>(random() % static_cast<uint64_t>(vocab))),
        s.positions.push_back(context + i);
  s.context = context, s.causal = causal, s.pages = std::move(pages);
  return s;
}

std::vector<int> all_rows(int rows) {
  std::vector<int> out(static_cast<size_t>(rows));
  for (int i = 0; i < rows; ++i) out[static_cast<size_t>(i)] = i;
  return out;
}

void check_small_towers(bool one) {
  struct Shape {
    int heads, kv_heads, dim, hidden, intermediate, vocab;
  };
  for (const Shape& s : {Shape{8, 2, 32, 256, 384, 500}, Shape{14, 2, 64, 256, 512, 1000},
                         Shape{16, 2, 128, 512, 1024, 2000}, Shape{16, 4, 128, 2048, 2048, 3000}})
    for (const bool e4m3 : {false, true}) {
      if (one && s.hidden != 256) continue;
      std::mt19937_64 random(11);
      const TowerData data =
          random_tower(s.heads, s.kv_heads, s.dim, s.hidden, s.intermediate, s.vocab, 2, e4m3, 5);
      CheckedRunner device(data, 16), pieces(data, 16);
      const auto host = host_runner(data, 16, 3);
      const int prompt = 150;
      const SegmentData whole = random_segment(prompt, 0, true, s.vocab, {3, 1, 5, 2}, random);
      const PassData first{{whole}, all_rows(prompt)};
      const PassResult a = device.run(first), b = host->run(first);
      // A draft, and another sequence beside it.
      const PassData second{{random_segment(9, prompt, false, s.vocab, {3, 1, 5, 2}, random),
                             random_segment(5, 0, true, s.vocab, {7}, random)},
                            all_rows(14)};
      const PassResult c = device.run(second), d = host->run(second);
      std::vector<float> cut;
      int at = 0;
      for (const int rows : {1, 7, 16, 9, 27, 40, 50}) {
        const PassResult p = pieces.run({{part(whole, at, rows)}, all_rows(rows)});
        cut.insert(cut.end(), p.logits.begin(), p.logits.end());
        at += rows;
      }
      const bool equal =
          cut.size() == a.logits.size() && std::memcmp(cut.data(), a.logits.data(), cut.size() * 4) == 0;
      int tokens = 0, differ = 0;
      for (size_t i = 0; i < a.tokens.size(); ++i) tokens += a.tokens[i] == b.tokens[i];
      for (size_t i = 0; i < cut.size(); ++i) differ += cut[i] != a.logits[i];
      std::printf(
          "tower %d/%d heads of %d, hidden %d, %s: device against host layer %.1e and %.1e (draft), %d of "
          "%zu tokens;"
          " cut prompt %s (%d)\n",
          s.heads, s.kv_heads, s.dim, s.hidden, e4m3 ? "e4m3" : "bf16", relative(a.logits, b.logits),
          relative(c.logits, d.logits), tokens, a.tokens.size(), equal ? "has the same bits" : "DIFFERS",
          differ);
    }
}

// ---- the 3B shape

__global__ void fill_weights(uint32_t* w, size_t words, uint32_t seed, bool e4m3) {
  for (size_t i = blockIdx.x * static_cast<size_t>(blockDim.x) + threadIdx.x; i < words;
       i += static_cast<size_t>(gridDim.x) * blockDim.x) {
    uint64_t h = (i + 1) * 0x9e3779b97f4a7c15ull + seed * 0xd1342543de82ef95ull;
    h ^= h >> 29, h *= 0xbf58476d1ce4e5b9ull, h ^= h >> 32;
    const auto r = static_cast<uint32_t>(h);
    if (e4m3) {
      w[i] = r & 0xb7b7b7b7u;  // magnitudes below 2, any sign
    } else {
      const auto value = [](uint32_t v) {
        return static_cast<uint32_t>(bf16_bits((static_cast<int>(v & 0xff) - 128) * 0.0003f));
      };
      w[i] = value(r) | value(r >> 8) << 16;
    }
  }
}
__global__ void read_all(const uint4* from, size_t count, uint32_t* out) {
  uint32_t x = 0;
  const size_t step = static_cast<size_t>(gridDim.x) * blockDim.x;
  for (size_t i = blockIdx.x * static_cast<size_t>(blockDim.x) + threadIdx.x; i + 7 * step < count;
       i += 8 * step) {
    uint4 v[8];
#pragma unroll
    for (int j = 0; j < 8; ++j) v[j] = __ldcs(from + i + j * step);
#pragma unroll
    for (int j = 0; j < 8; ++j) x ^= v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
  }
  if (x == 0x12345678u) *out = x;
}

// Median milliseconds of a graph of what `record` puts on a stream.
double graph_ms(const std::function<void(cudaStream_t)>& record, int replays = 20) {
  cudaStream_t stream;
  CHECK_CUDA(cudaStreamCreate(&stream));
  CHECK_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  record(stream);
  cudaGraph_t graph;
  cudaGraphExec_t ready;
  CHECK_CUDA(cudaStreamEndCapture(stream, &graph));
  CHECK_CUDA(cudaGraphInstantiate(&ready, graph, 0));
  cudaEvent_t a, b;
  CHECK_CUDA(cudaEventCreate(&a));
  CHECK_CUDA(cudaEventCreate(&b));
  std::vector<float> times;
  for (int i = 0; i < replays + 3; ++i) {
    CHECK_CUDA(cudaEventRecord(a, stream));
    CHECK_CUDA(cudaGraphLaunch(ready, stream));
    CHECK_CUDA(cudaEventRecord(b, stream));
    CHECK_CUDA(cudaEventSynchronize(b));
    float ms = 0;
    CHECK_CUDA(cudaEventElapsedTime(&ms, a, b));
    if (i >= 3) times.push_back(ms);
  }
  std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
  CHECK_CUDA(cudaGraphExecDestroy(ready));
  CHECK_CUDA(cudaGraphDestroy(graph));
  CHECK_CUDA(cudaEventDestroy(a));
  CHECK_CUDA(cudaEventDestroy(b));
  CHECK_CUDA(cudaStreamDestroy(stream));
  return times[times.size() / 2];
}

Matrix random_matrix(DeviceMemory& memory, int outputs, int inputs, bool e4m3, bool whole, uint32_t seed) {
  Matrix m;
  m.outputs = outputs, m.inputs = inputs, m.e4m3 = e4m3;
  m.cut = cut_for(outputs, inputs, e4m3 ? 32 : 16, whole);
  const size_t words = static_cast<size_t>(outputs) * inputs * (e4m3 ? 1 : 2) / 16;
  const Global<Word4> weights = memory.fresh<Word4>(words);
  fill_weights<<<2048, 256>>>(reinterpret_cast<uint32_t*>(weights.data), words * 4, seed, e4m3);
  m.weights = weights;
  if (e4m3) m.scale = memory.upload(std::vector<float>(static_cast<size_t>(outputs), 0.0008f * 45));
  return m;
}

TextTower tower_3b(DeviceMemory& memory, bool e4m3, Matrix head) {
  TextTower t;
  t.shape = {{16, 2, 128}, 2048, 11008, 2048, 128, 1e-6f};
  t.vocab = 151936;
  for (int i = 0; i < 36; ++i) {
    const auto seed = static_cast<uint32_t>(i * 7 + 1);
    t.layers.push_back({random_matrix(memory, 2560, 2048, e4m3, false, seed),
                        random_matrix(memory, 2048, 2048, e4m3, false, seed + 1),
                        random_matrix(memory, 22016, 2048, e4m3, true, seed + 2),
                        random_matrix(memory, 2048, 11008, e4m3, false, seed + 3),
                        memory.upload(std::vector<float>(2560, 0.1f)),
                        {},
                        {},
                        {},
                        memory.upload(std::vector<float>(2048, 1.0f)),
                        memory.upload(std::vector<float>(2048, 1.0f))});
  }
  t.norm = memory.upload(std::vector<float>(2048, 1.0f));
  t.head = head, t.table = as<const uint16_t>(head.weights);
  CHECK_CUDA(cudaDeviceSynchronize());
  return t;
}

size_t pass_bytes(const TextTower& t) {
  size_t bytes = 0;
  const auto of = [](const Matrix& m) {
    return static_cast<size_t>(m.outputs) * m.inputs * (m.e4m3 ? 1 : 2);
  };
  for (const LayerMatrices& l : t.layers) bytes += of(l.qkv) + of(l.output) + of(l.gate_up) + of(l.down);
  return bytes + of(t.head);
}

// Launches what a test of a kernel's type and job lets through.
enum class Step { all, norm, qkv, rotate, attention, combine, output, gate_up, quantize, down, head, choose };
class SomeLauncher {
 public:
  SomeLauncher(cudaStream_t stream, bool dependent, Step only) : inner_(stream, dependent), only_(only) {
    inner_.set_limits({::processors, size_t{227} << 10});
  }
  const CardLimits& limits() const { return inner_.limits(); }
  cudaError_t status() const { return inner_.status(); }
  template <class Kernel>
  void launch(Dim grid, size_t shared_bytes, const typename Kernel::Job& job) {
    if (only_ == Step::all || only_ == step(job)) inner_.launch<Kernel>(grid, shared_bytes, job);
  }

 private:
  template <class Job>
  static Step step(const Job& job) {
    if constexpr (requires {
                    job.tiles;
                    job.outputs;
                  }) {
      return job.outputs == 2560     ? Step::qkv
             : job.outputs == 22016  ? Step::gate_up
             : job.outputs == 151936 ? Step::head
             : job.tiles > 128       ? Step::down
                                     : Step::output;
    } else if constexpr (requires {
                           job.residual;
                           job.parts;
                         }) {
      return Step::norm;
    } else if constexpr (requires { job.rotation; }) {
      return Step::rotate;
    } else if constexpr (requires { job.page_table; }) {
      return Step::attention;
    } else if constexpr (requires { job.shares; }) {
      return Step::combine;
    } else if constexpr (requires {
                           job.rows;
                           job.width;
                         }) {
      return Step::quantize;
    } else {
      return Step::choose;
    }
  }
  DeviceLauncher inner_;
  Step only_;
};

double pass_ms(Runner& runner, const Runner::Prepared& prepared, bool dependent, Step only = Step::all,
               int replays = 20) {
  return graph_ms(
      [&](cudaStream_t stream) {
        SomeLauncher launcher(stream, dependent, only);
        runner.record(launcher, prepared);
        CHECK_CUDA(launcher.status());
      },
      replays);
}

PassData rows_behind(int rows, int context, bool causal, int wanted, std::mt19937_64& random) {
  std::vector<int> pages;
  for (int i = 0; i < (context + rows + 63) / 64; ++i) pages.push_back(i);
  PassData p{{random_segment(rows, context, causal, 151000, pages, random)}, {}};
  for (int i = rows - wanted; i < rows; ++i) p.wanted.push_back(i);
  return p;
}

void check_bits_3b(DeviceMemory& memory, const TextTower& tower) {
  std::mt19937_64 random(5);
  const PassData whole = rows_behind(1100, 0, true, 1, random);
  const size_t mark = memory.mark();
  std::vector<std::vector<float>> last;
  std::vector<std::vector<int>> cuts{{1100},          {1024, 76},         {1068, 32},       {1068, 16, 16},
                                     {1084, 8, 7, 1}, {512, 512, 64, 12}, {700, 300, 99, 1}};
  for (const std::vector<int>& cut : cuts) {
    Runner runner(tower, 20, memory, DeviceLauncher(nullptr));
    int at = 0;
    PassResult result;
    for (const int rows : cut) {
      PassData p{{part(whole.segments[0], at, rows)}, {rows - 1}};
      result = runner.run(p);
      at += rows;
    }
    CHECK_CUDA(cudaDeviceSynchronize());
    last.push_back(result.logits);
  }
  memory.release(mark);
  int wrong = 0;
  for (const std::vector<float>& l : last) wrong += std::memcmp(l.data(), last[0].data(), l.size() * 4) != 0;
  float least = last[0][0], most = least;
  for (const float v : last[0]) least = std::min(least, v), most = std::max(most, v);
  std::printf("3B, %s: a prompt of 1,100 tokens cut in %zu ways: %s; logits from %.2f to %.2f\n",
              tower.layers[0].qkv.e4m3 ? "fp8" : "bf16", cuts.size(), wrong ? "BITS DIFFER" : "the same bits",
              least, most);
}

const std::pair<Step, const char*> kSteps[] = {
    {Step::norm, "norm x2"},        {Step::qkv, "qkv"},           {Step::rotate, "rotate"},
    {Step::attention, "attention"}, {Step::combine, "combine"},   {Step::output, "output"},
    {Step::gate_up, "gate-up"},     {Step::quantize, "quantize"}, {Step::down, "down"},
    {Step::head, "head"},           {Step::choose, "choose"}};

void time_passes(DeviceMemory& memory, const TextTower& tower) {
  std::mt19937_64 random(5);
  const bool e4m3 = tower.layers[0].qkv.e4m3;
  const double bytes = static_cast<double>(pass_bytes(tower));
  struct Pass {
    int rows, context, wanted;
    bool causal;
  };
  for (const Pass& p :
       {Pass{1, 1300, 1, true}, Pass{8, 1300, 8, true}, Pass{16, 1300, 16, true}, Pass{32, 1300, 32, true},
        Pass{64, 1300, 64, true}, Pass{8, 100, 8, true}, Pass{8, 8000, 8, true}, Pass{32, 8000, 32, true},
        Pass{128, 0, 1, true}, Pass{256, 0, 1, true}, Pass{1024, 0, 1, true}, Pass{1024, 7000, 1, true}}) {
    const size_t mark = memory.mark();
    {
      Runner runner(tower, 130, memory, DeviceLauncher(nullptr));
      const Runner::Prepared prepared =
          runner.prepare(rows_behind(p.rows, p.context, p.causal, p.wanted, random));
      const int replays = p.rows > 64 ? 5 : 20;
      const double plain = pass_ms(runner, prepared, false, Step::all, replays),
                   ms = pass_ms(runner, prepared, true, Step::all, replays);
      std::printf("pass %s rows %4d behind %4d: plain %.3f, dependent %.3f ms, %4.0f GB/s;",
                  e4m3 ? "fp8 " : "bf16", p.rows, p.context, plain, ms, bytes / ms / 1e6);
      for (const auto& [step, name] : kSteps) {
        if (!e4m3 && step == Step::quantize) continue;
        const double alone = pass_ms(runner, prepared, true, step, std::min(replays, 8));
        std::printf(" %s %.2f", name, alone * 1e3 / (step >= Step::head ? 1 : 36));
      }
      std::printf(" us\n");
      std::fflush(stdout);
    }
    memory.release(mark);
  }
}

void time_cuts(DeviceMemory& memory, TextTower tower) {
  std::mt19937_64 random(5);
  const bool e4m3 = tower.layers[0].qkv.e4m3;
  for (const int rows : {8, 32}) {
    const size_t mark = memory.mark();
    {
      Runner runner(tower, 130, memory, DeviceLauncher(nullptr));
      const Runner::Prepared prepared = runner.prepare(rows_behind(rows, 1300, true, rows, random));
      const auto time = [&](Step step, Matrix LayerMatrices::*which, const char* name,
                            std::vector<Cut> cuts) {
        std::printf("%s rows %2d %-8s", e4m3 ? "fp8" : "bf16", rows, name);
        for (const Cut& cut : cuts) {
          for (LayerMatrices& l : runner.tower().layers) (l.*which).cut = cut;
          std::printf("  slices %d splits %2d %6.2f us", cut.slices, cut.splits,
                      pass_ms(runner, prepared, true, step, 8) * 1e3 / 36);
        }
        std::printf("\n");
      };
      time(Step::qkv, &LayerMatrices::qkv, "qkv", {{1, 4}, {1, 8}, {1, 16}, {8, 1}});
      time(Step::output, &LayerMatrices::output, "output", {{1, 4}, {1, 8}, {1, 16}, {8, 1}});
      time(Step::gate_up, &LayerMatrices::gate_up, "gate-up", {{1, 1}, {2, 1}, {4, 1}, {8, 1}});
      if (e4m3)
        time(Step::down, &LayerMatrices::down, "down", {{1, 4}, {1, 8}});
      else
        time(Step::down, &LayerMatrices::down, "down", {{1, 4}, {1, 8}});
    }
    memory.release(mark);
  }
}

template <class Kernel, int kTilesM, int kTilesN>
void time_tile(const char* name, const std::vector<LayerMatrices>& layers, Matrix LayerMatrices::*which,
               int rows, DeviceMemory& memory) {
  const size_t mark = memory.mark();
  const Matrix& first = layers[0].*which;
  const int row_tiles = round_up((rows + 7) / 8, kTilesN);
  const Global<uint16_t> inputs = memory.fresh<uint16_t>(static_cast<size_t>(first.inputs) * row_tiles * 8);
  fill_weights<<<256, 256>>>(reinterpret_cast<uint32_t*>(inputs.data),
                             static_cast<size_t>(first.inputs) * row_tiles * 4, 77, false);
  const Global<float> out = memory.fresh<float>(static_cast<size_t>(first.outputs) * row_tiles * 8);
  const Global<uint16_t> activated =
      memory.fresh<uint16_t>(static_cast<size_t>(first.outputs) * row_tiles * 8);
  const Global<float> row_scale = memory.upload(std::vector<float>(static_cast<size_t>(row_tiles) * 8, 1.0f));
  cudaError_t status = cudaSuccess;
  const double ms = graph_ms(
      [&](cudaStream_t stream) {
        DeviceLauncher launcher(stream);
        for (const LayerMatrices& l : layers) {
          const Matrix& m = l.*which;
          typename Kernel::Job job;
          static_cast<LinearJob&>(job) = {m.weights, as<const Word4>(inputs),
                                          m.scale,   row_scale,
                                          {},        out,
                                          activated, m.outputs,
                                          m.tiles(), row_tiles,
                                          1};
          job.parts = m.cut.parts();
          launcher.launch<Kernel>({static_cast<unsigned>((m.outputs / 16 + kTilesM - 1) / kTilesM),
                                   static_cast<unsigned>(row_tiles / kTilesN)},
                                  Kernel::kSharedBytes, job);
        }
        status = launcher.status();
      },
      5);
  CHECK_CUDA(status);
  const double us = ms * 1e3 / static_cast<double>(layers.size());
  std::printf("  %s %.1f us %.0f TFLOP/s", name, us, 2.0 * first.outputs * first.inputs * rows / us / 1e6);
  std::fflush(stdout);
  memory.release(mark);
}

template <class W, Epilogue kE, int kStage>
void time_tiles(const TextTower& tower, Matrix LayerMatrices::*which, const char* name,
                DeviceMemory& memory) {
  for (const int rows : {64, 128, 256, 1024}) {
    std::printf("%s rows %4d %-8s", W::kScaled ? "fp8" : "bf16", rows, name);
    time_tile<TileLinear<W, kE, 2, 8, 1, 2, kStage, 6>, 2, 8>("32x64/2", tower.layers, which, rows, memory);
    time_tile<TileLinear<W, kE, 4, 8, 2, 2, kStage, 6>, 4, 8>("64x64/4", tower.layers, which, rows, memory);
    time_tile<TileLinear<W, kE, 4, 8, 4, 1, kStage, 6>, 4, 8>("64x64/4x1", tower.layers, which, rows, memory);
    time_tile<TileLinear<W, kE, 8, 8, 4, 1, kStage, 6>, 8, 8>("128x64/4x1", tower.layers, which, rows,
                                                              memory);
    time_tile<TileLinear<W, kE, 8, 8, 4, 2, kStage * 2, 4>, 8, 8>("128x64/8d", tower.layers, which, rows,
                                                                  memory);
    if (rows >= 128) {
      time_tile<TileLinear<W, kE, 4, 16, 2, 2, kStage, 5>, 4, 16>("64x128/4", tower.layers, which, rows,
                                                                  memory);
      time_tile<TileLinear<W, kE, 8, 16, 4, 2, kStage, 5>, 8, 16>("128x128/8", tower.layers, which, rows,
                                                                  memory);
      time_tile<TileLinear<W, kE, 8, 16, 2, 4, kStage, 5>, 8, 16>("128x128/8b", tower.layers, which, rows,
                                                                  memory);
      time_tile<TileLinear<W, kE, 8, 16, 4, 2, kStage * 2, 3>, 8, 16>("128x128/8d", tower.layers, which, rows,
                                                                      memory);
    }
    std::printf("\n");
  }
}

}  // namespace

int main(int count, char** arguments) {
  const std::string part = count > 1 ? arguments[1] : "all";
  cudaDeviceProp card;
  CHECK_CUDA(cudaGetDeviceProperties(&card, 0));
  processors = card.multiProcessorCount;
  std::printf("%s, %d multiprocessors\n", card.name, processors);
  if (part == "all" || part.starts_with("check")) check_small_towers(part == "check-small");
  if (part.starts_with("check")) return 0;
  DeviceMemory memory;
  const Matrix head = random_matrix(memory, 151936, 2048, false, true, 999);
  const TextTower bf16 = tower_3b(memory, false, head), fp8 = tower_3b(memory, true, head);
  {
    const size_t mark = memory.mark(), bytes = size_t{3} << 30;
    const Global<uint4> a = memory.fresh<uint4>(bytes / 16), b = memory.fresh<uint4>(bytes / 16);
    const double copied = graph_ms([&](cudaStream_t s) {
      CHECK_CUDA(cudaMemcpyAsync(b.data, a.data, bytes, cudaMemcpyDeviceToDevice, s));
    });
    fill_weights<<<2048, 256>>>(reinterpret_cast<uint32_t*>(a.data), bytes / 4, 5, false);
    const double read = graph_ms([&](cudaStream_t s) {
      read_all<<<processors * 4, 256, 0, s>>>(a.data, bytes / 16, reinterpret_cast<uint32_t*>(b.data));
    });
    std::printf("copy probe %.0f GB/s (read and written), read probe %.0f GB/s\n", 2.0 * bytes / copied / 1e6,
                bytes / read / 1e6);
    memory.release(mark);
  }
  if (part == "all" || part == "bits") check_bits_3b(memory, bf16), check_bits_3b(memory, fp8);
  if (part == "all" || part == "passes") time_passes(memory, bf16), time_passes(memory, fp8);
  if (part == "all" || part == "cuts") time_cuts(memory, bf16), time_cuts(memory, fp8);
  if (part == "all" || part == "tiles") {
    time_tiles<Bf16Weights, Epilogue::store, 2>(bf16, &LayerMatrices::qkv, "qkv", memory);
    time_tiles<Bf16Weights, Epilogue::swiglu, 2>(bf16, &LayerMatrices::gate_up, "gate-up", memory);
    time_tiles<Bf16Weights, Epilogue::store, 2>(bf16, &LayerMatrices::down, "down", memory);
    time_tiles<E4m3Weights, Epilogue::swiglu, 1>(fp8, &LayerMatrices::gate_up, "gate-up", memory);
    time_tiles<E4m3Weights, Epilogue::store, 1>(fp8, &LayerMatrices::down, "down", memory);
  }
  std::printf("done\n");
}
