// What a card gives a decoder pass of the 3B shape: the rate at which candidate kernels stream weights, the
// cost of a graph's node, and a whole pass of linears, norms and activations (no attention) at 8 to 32 rows.
// Random weights. The sums' order depends on (N, K) alone: every run checks that a row's bits do not depend
// on the rows beside it.
//
//   nvcc -O3 -std=c++20 -arch=sm_90 -o decoder_pass bench/gpu/decoder_pass.cu && ./decoder_pass
//
// Weights lie in the order of mma's A fragments: [16 outputs][16 inputs] tiles of 512 bytes, 16 bytes per
// lane; with e4m3 weights a tile holds 32 inputs. Inputs lie in the order of its B fragments: [tile of 16
// inputs][8 rows][lane].
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#define CHECK(call)                                                                                 \
  do {                                                                                              \
    const cudaError_t said = (call);                                                                \
    if (said != cudaSuccess) {                                                                      \
      std::fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(said)); \
      std::exit(1);                                                                                 \
    }                                                                                               \
  } while (0)

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kTileBytes = 512;

__device__ void wait_for_predecessor() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
}
__device__ void release_successor() {
  asm volatile("griddepcontrol.launch_dependents;");
}

__device__ void copy_async(uint32_t to_shared, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to_shared), "l"(from) : "memory");
}
__device__ void commit_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int kLeft>
__device__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
}
__device__ void mma_bf16(float (&c)[4], const uint4& a, const uint2& b) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b.x), "r"(b.y));
}
__device__ void mma_f16(float (&c)[4], const uint4& a, const uint2& b) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b.x), "r"(b.y));
}
// Two e4m3 values as two halves: exact.
__device__ uint32_t widen(uint16_t pair) {
  uint32_t halves;
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(halves) : "h"(pair));
  return halves;
}

// Where element (input k, row n) of B's fragments lies, in 16-bit elements; kNt tiles of 8 rows.
__host__ __device__ inline size_t fragment_index(int k, int n, int nt) {
  const int lane = (n % 8) * 4 + (k % 8) / 2;
  return ((static_cast<size_t>(k / 16) * nt + n / 8) * 32 + lane) * 4 + ((k / 8) % 2) * 2 + k % 2;
}

enum class Epilogue { partial, swiglu, argmax };

struct Linear {
  const uint8_t* w;           // fragments, [N / 16][K / 16 or 32] tiles
  const uint16_t* x;          // fragments, [K / 16][kNt][32][4]; bf16, or e4m3 values held as f16
  const float* weight_scale;  // [N], e4m3 only
  const float* row_scale;     // [8 kNt], e4m3 only
  float* out;                 // partial: [splits][8 kNt][N]
  uint16_t* activated;        // swiglu: fragments of N / 2 inputs
  unsigned long long* best;   // argmax: [8 kNt]
  int n, tiles;               // outputs; tiles along K
  int splits;                 // parts of K over the grid
};

__device__ uint16_t bf16_bits(float v) {
  return __bfloat16_as_ushort(__float2bfloat16(v));
}

// kNt: tiles of 8 rows. kKw: warps of a block that share an output tile, each with its part of K. kDepth:
// tiles of a warp in flight. grid: (persistent blocks, splits).
template <int kNt, int kKw, int kDepth, bool kFp8, Epilogue kEpilogue>
__global__ void __launch_bounds__(kThreads) linear(Linear job) {
  constexpr int kMt = kWarps / kKw;  // output tiles of a block
  extern __shared__ __align__(16) uint8_t shared[];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, mw = warp / kKw, kw = warp % kKw;
  const int block_tiles = job.tiles / job.splits, warp_tiles = block_tiles / kKw;
  const int first_tile = blockIdx.y * block_tiles + kw * warp_tiles;
  const int groups = job.n / 16 / kMt;
  const int my_groups = (groups - static_cast<int>(blockIdx.x) + static_cast<int>(gridDim.x) - 1) / gridDim.x;
  const int all = my_groups * warp_tiles;
  release_successor();

  uint8_t* fifo = shared + threadIdx.x * 16;
  const uint32_t fifo_address = static_cast<uint32_t>(__cvta_generic_to_shared(fifo));
  constexpr int kStage = kThreads * 16;
  int next = 0, next_in_group = 0, next_slot = 0;
  const uint8_t* source =
      job.w + ((static_cast<size_t>(blockIdx.x) * kMt + mw) * job.tiles + first_tile) * kTileBytes +
      lane * 16;
  const size_t group_stride = (static_cast<size_t>(gridDim.x) * kMt * job.tiles - warp_tiles) * kTileBytes;
  const auto fetch = [&] {
    if (next < all) {
      copy_async(fifo_address + next_slot * kStage, source);
      source += kTileBytes;
      ++next;
      if (++next_in_group == warp_tiles) next_in_group = 0, source += group_stride;
    }
    next_slot = next_slot + 1 == kDepth ? 0 : next_slot + 1;
    commit_copies();
  };
  for (int i = 0; i < kDepth; ++i) fetch();

  wait_for_predecessor();
  uint2* x = reinterpret_cast<uint2*>(shared + kDepth * kStage);
  constexpr int kPer = kFp8 ? 2 : 1;  // tiles of 16 inputs per weight tile
  {
    const int words = block_tiles * kPer * kNt * 16;
    const uint4* from = reinterpret_cast<const uint4*>(job.x) + static_cast<size_t>(blockIdx.y) * words;
    for (int i = threadIdx.x; i < words; i += kThreads) reinterpret_cast<uint4*>(x)[i] = __ldcg(from + i);
  }
  __syncthreads();
  float* sums = reinterpret_cast<float*>(shared + kDepth * kStage +
                                         static_cast<size_t>(block_tiles) * kPer * kNt * 256);

  int slot = 0;
  for (int g = 0; g < my_groups; ++g) {
    float c[kNt][4] = {};
    const uint2* xk = x + static_cast<size_t>(kw) * warp_tiles * kPer * kNt * 32 + lane;
    for (int t = 0; t < warp_tiles; ++t) {
      wait_copies<kDepth - 1>();
      const uint4 a = *reinterpret_cast<const uint4*>(fifo + slot * kStage);
      slot = slot + 1 == kDepth ? 0 : slot + 1;
      if constexpr (kFp8) {
        // Bytes of a word: inputs {0,1} then {2,3} of the lane: word i holds half i of both k16 fragments.
        const uint4 low{widen(a.x & 0xffff), widen(a.y & 0xffff), widen(a.z & 0xffff), widen(a.w & 0xffff)};
        const uint4 high{widen(a.x >> 16), widen(a.y >> 16), widen(a.z >> 16), widen(a.w >> 16)};
#pragma unroll
        for (int n = 0; n < kNt; ++n) mma_f16(c[n], low, xk[n * 32]);
#pragma unroll
        for (int n = 0; n < kNt; ++n) mma_f16(c[n], high, xk[(kNt + n) * 32]);
      } else {
#pragma unroll
        for (int n = 0; n < kNt; ++n) mma_bf16(c[n], a, xk[n * 32]);
      }
      xk += kPer * kNt * 32;
      fetch();
    }
    if constexpr (kKw > 1) {
      // Parts of K are added in their order by the first warp of the tile.
      if (g > 0) __syncthreads();
      if (kw > 0)
        for (int n = 0; n < kNt; ++n)
          for (int i = 0; i < 4; ++i) sums[(((mw * kKw + kw) * kNt + n) * 4 + i) * 32 + lane] = c[n][i];
      __syncthreads();
      if (kw == 0)
        for (int k = 1; k < kKw; ++k)
          for (int n = 0; n < kNt; ++n)
            for (int i = 0; i < 4; ++i) c[n][i] += sums[(((mw * kKw + k) * kNt + n) * 4 + i) * 32 + lane];
    }
    if (kw == 0) {
      const int tile = (blockIdx.x + g * gridDim.x) * kMt + mw, m = tile * 16 + lane / 4, r = lane % 4 * 2;
      if constexpr (kFp8) {
        const float low = job.weight_scale[m], high = job.weight_scale[m + 8];
        for (int n = 0; n < kNt; ++n)
          for (int i = 0; i < 4; ++i) c[n][i] *= (i < 2 ? low : high) * job.row_scale[n * 8 + r + i % 2];
      }
      for (int n = 0; n < kNt; ++n)
        for (int j = 0; j < 2; ++j) {
          const int row = n * 8 + r + j;
          if constexpr (kEpilogue == Epilogue::partial) {
            float* out = job.out + (static_cast<size_t>(blockIdx.y) * kNt * 8 + row) * job.n + m;
            out[0] = c[n][j], out[8] = c[n][2 + j];
          } else if constexpr (kEpilogue == Epilogue::swiglu) {
            const float gate = c[n][j], v = gate / (1 + __expf(-gate)) * c[n][2 + j];
            job.activated[fragment_index(tile * 8 + lane / 4, row, kNt)] =
                kFp8 ? __half_as_ushort(__float2half(fminf(fmaxf(rintf(v), -16.f), 16.f))) : bf16_bits(v);
          } else {
            const auto key = [](float v, int i) {
              const uint32_t bits = __float_as_uint(v),
                             ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
              return static_cast<unsigned long long>(ordered) << 32 |
                     (0xffffffffu - static_cast<uint32_t>(i));
            };
            unsigned long long k = max(key(c[n][j], m), key(c[n][2 + j], m + 8));
            for (int d = 4; d < 32; d *= 2) k = max(k, __shfl_xor_sync(0xffffffffu, k, d));
            if (lane < 4) atomicMax(job.best + row, k);
          }
        }
    }
  }
}

// residual += the splits of `partial` in their order; x = rms_norm(residual) as fragments. One block per row,
// 2,048 wide.
template <int kThreads, bool kFp8>
__global__ void __launch_bounds__(kThreads)
    norm(float* residual, const float* partial, int splits, int rows, int nt, uint16_t* x, float* row_scale) {
  constexpr int kHidden = 2048, kEach = kHidden / kThreads, kWarps = kThreads / 32;
  release_successor();
  wait_for_predecessor();
  __shared__ float warps[kWarps];
  const int row = blockIdx.x;
  float v[kEach], squares = 0;
  const int k0 = threadIdx.x * kEach;
  float2* r = reinterpret_cast<float2*>(residual + static_cast<size_t>(row) * kHidden + k0);
  for (int i = 0; i < kEach / 2; ++i) v[2 * i] = r[i].x, v[2 * i + 1] = r[i].y;
#pragma unroll 8
  for (int s = 0; s < splits; ++s) {
    const float2* p =
        reinterpret_cast<const float2*>(partial + (static_cast<size_t>(s) * nt * 8 + row) * kHidden + k0);
    for (int i = 0; i < kEach / 2; ++i) {
      const float2 f = __ldcg(p + i);
      v[2 * i] += f.x, v[2 * i + 1] += f.y;
    }
  }
  for (int i = 0; i < kEach; ++i) squares += v[i] * v[i];
  for (int d = 1; d < 32; d *= 2) squares += __shfl_xor_sync(0xffffffffu, squares, d);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = squares;
  __syncthreads();
  squares = 0;
  for (int w = 0; w < kWarps; ++w) squares += warps[w];
  const float scale = rsqrtf(squares / kHidden + 1e-6f);
  for (int i = 0; i < kEach / 2; ++i) r[i] = {v[2 * i], v[2 * i + 1]};
  if (kFp8 && threadIdx.x == 0) row_scale[row] = 1 / 64.f;
  for (int i = 0; i < kEach; ++i) {
    const float normed = v[i] * scale;
    x[fragment_index(k0 + i, row, nt)] =
        kFp8 ? __half_as_ushort(__float2half(fminf(fmaxf(rintf(normed * 4), -16.f), 16.f)))
             : bf16_bits(normed);
  }
}

// Stands where attention will: adds the splits of q, k, v and hands q on as the input of the output
// projection.
template <bool kFp8>
__global__ void __launch_bounds__(128) heads(const float* qkv, int splits, int nt, uint16_t* x) {
  release_successor();
  wait_for_predecessor();
  const int row = blockIdx.y, k = blockIdx.x * 128 + threadIdx.x;
  float v = 0;
  for (int s = 0; s < splits; ++s) v += __ldcg(qkv + (static_cast<size_t>(s) * nt * 8 + row) * 2560 + k);
  if (k < 2048)
    x[fragment_index(k, row, nt)] =
        kFp8 ? __half_as_ushort(__float2half(fminf(fmaxf(rintf(v * 4), -16.f), 16.f))) : bf16_bits(v);
}

__global__ void nothing() {
  release_successor();
  wait_for_predecessor();
}

__global__ void fill_weights(uint32_t* w, size_t words, uint32_t seed, bool fp8) {
  for (size_t i = blockIdx.x * static_cast<size_t>(blockDim.x) + threadIdx.x; i < words;
       i += static_cast<size_t>(gridDim.x) * blockDim.x) {
    uint64_t h = (i + 1) * 0x9e3779b97f4a7c15ull + seed * 0xd1342543de82ef95ull;
    h ^= h >> 29, h *= 0xbf58476d1ce4e5b9ull, h ^= h >> 32;
    const uint32_t r = static_cast<uint32_t>(h);
    if (fp8) {
      w[i] = r & 0xb7b7b7b7u;  // magnitudes below 2, any sign
    } else {
      const float a = (static_cast<int>(r & 0xff) - 128) * 0.0003f,
                  b = (static_cast<int>(r >> 8 & 0xff) - 128) * 0.0003f;
      w[i] = static_cast<uint32_t>(bf16_bits(a)) | static_cast<uint32_t>(bf16_bits(b)) << 16;
    }
  }
}
__global__ void fill_floats(float* f, size_t count, uint32_t seed) {
  for (size_t i = blockIdx.x * static_cast<size_t>(blockDim.x) + threadIdx.x; i < count;
       i += static_cast<size_t>(gridDim.x) * blockDim.x) {
    uint64_t h = (i + 1) * 0x9e3779b97f4a7c15ull + seed * 0xd1342543de82ef95ull;
    h ^= h >> 29, h *= 0xbf58476d1ce4e5b9ull, h ^= h >> 32;
    f[i] = (static_cast<int>(h & 0xffff) - 32768) / 32768.f;
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

// ---- the host's side

template <typename T>
T* device(size_t count) {
  void* p = nullptr;
  CHECK(cudaMalloc(&p, count * sizeof(T)));
  CHECK(cudaMemset(p, 0x7f, count * sizeof(T)));  // poison
  return static_cast<T*>(p);
}

template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, int threads, size_t shared, cudaStream_t stream,
            bool early, Arguments... arguments) {
  cudaLaunchConfig_t config{
      .gridDim = grid, .blockDim = dim3(threads), .dynamicSmemBytes = shared, .stream = stream};
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &attribute, config.numAttrs = early ? 1 : 0;
  CHECK(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...));
}

// Median milliseconds of a graph of what `record` puts on a stream.
double graph_ms(const std::function<void(cudaStream_t)>& record, int replays = 30) {
  cudaStream_t stream;
  CHECK(cudaStreamCreate(&stream));
  CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  record(stream);
  cudaGraph_t graph;
  cudaGraphExec_t ready;
  CHECK(cudaStreamEndCapture(stream, &graph));
  CHECK(cudaGraphInstantiate(&ready, graph, 0));
  cudaEvent_t a, b;
  CHECK(cudaEventCreate(&a));
  CHECK(cudaEventCreate(&b));
  std::vector<float> times;
  for (int i = 0; i < replays + 5; ++i) {
    CHECK(cudaEventRecord(a, stream));
    CHECK(cudaGraphLaunch(ready, stream));
    CHECK(cudaEventRecord(b, stream));
    CHECK(cudaEventSynchronize(b));
    float ms = 0;
    CHECK(cudaEventElapsedTime(&ms, a, b));
    if (i >= 5) times.push_back(ms);
  }
  std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
  CHECK(cudaGraphExecDestroy(ready));
  CHECK(cudaGraphDestroy(graph));
  CHECK(cudaStreamDestroy(stream));
  return times[times.size() / 2];
}

struct Shape {
  const char* name;
  int n, k;
};
constexpr Shape kQkv{"qkv", 2560, 2048}, kO{"o", 2048, 2048}, kGateUp{"gate-up", 22016, 2048},
    kDown{"down", 2048, 11008}, kHead{"head", 151936, 2048};
constexpr int kLayers = 36;

int processors = 132;

// How a linear is spread over the card. It may depend on (N, K) only.
struct Spread {
  int kw, splits, per_processor;
};

template <int kNt, int kKw, int kDepth, bool kFp8, Epilogue kEpilogue>
bool launch_linear(Linear job, Spread spread, cudaStream_t stream, bool early) {
  const auto kernel = linear<kNt, kKw, kDepth, kFp8, kEpilogue>;
  const int per = kFp8 ? 2 : 1, mt = kWarps / kKw, groups = job.n / 16 / mt;
  if (job.n % (16 * mt) || job.tiles % (spread.splits * kKw)) return false;
  const size_t shared = static_cast<size_t>(kDepth) * kThreads * 16 +
                        static_cast<size_t>(job.tiles / spread.splits) * per * kNt * 256 +
                        (kKw > 1 ? static_cast<size_t>(kWarps) * kNt * 4 * 32 * 4 : 0);
  if (shared > 227 * 1024) return false;
  CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)));
  const int blocks = std::max(1, std::min(groups, processors * spread.per_processor / spread.splits));
  job.splits = spread.splits;
  launch(kernel, dim3(blocks, spread.splits), kThreads, shared, stream, early, job);
  return true;
}

template <int kNt, bool kFp8, Epilogue kEpilogue, int kDepth>
bool launch_any(Linear job, Spread spread, cudaStream_t stream, bool early) {
  switch (spread.kw) {
    case 1:
      return launch_linear<kNt, 1, kDepth, kFp8, kEpilogue>(job, spread, stream, early);
    case 2:
      return launch_linear<kNt, 2, kDepth, kFp8, kEpilogue>(job, spread, stream, early);
    case 4:
      return launch_linear<kNt, 4, kDepth, kFp8, kEpilogue>(job, spread, stream, early);
    default:
      return launch_linear<kNt, 8, kDepth, kFp8, kEpilogue>(job, spread, stream, early);
  }
}

struct Buffers {
  uint8_t* w;  // all layers and the head, at BF16's size
  float* scales;
  uint16_t *x, *h;
  float *residual, *partial, *row_scale;
  unsigned long long* best;
};

size_t weight_bytes(const Shape& s, bool fp8) {
  return static_cast<size_t>(s.n) * s.k * (fp8 ? 1 : 2);
}
size_t layer_bytes(bool fp8) {
  return weight_bytes(kQkv, fp8) + weight_bytes(kO, fp8) + weight_bytes(kGateUp, fp8) +
         weight_bytes(kDown, fp8);
}

Linear job_of(const Shape& s, const Buffers& b, const uint8_t* w, const uint16_t* x, bool fp8) {
  return {w, x, b.scales, b.row_scale, b.partial, b.h, b.best, s.n, s.k / (fp8 ? 32 : 16), 1};
}

struct Plan {
  const char* name;
  Spread qkv, o, gate_up, down, head;
};

template <int kNt, bool kFp8, int kDepth, int kNorm>
bool record_pass(const Buffers& b, const Plan& plan, bool early, int rows, cudaStream_t stream) {
  const uint8_t* w = b.w;
  bool fits = true;
  for (int layer = 0; layer < kLayers && fits; ++layer) {
    launch(norm<kNorm, kFp8>, dim3(rows), kNorm, 0, stream, early, b.residual, b.partial,
           layer ? plan.down.splits : 0, rows, kNt, b.x, b.row_scale);
    fits = launch_any<kNt, kFp8, Epilogue::partial, kDepth>(job_of(kQkv, b, w, b.x, kFp8), plan.qkv, stream,
                                                            early);
    w += weight_bytes(kQkv, kFp8);
    launch(heads<kFp8>, dim3(20, rows), 128, 0, stream, early, b.partial, plan.qkv.splits, kNt, b.x);
    fits = fits && launch_any<kNt, kFp8, Epilogue::partial, kDepth>(job_of(kO, b, w, b.x, kFp8), plan.o,
                                                                    stream, early);
    w += weight_bytes(kO, kFp8);
    launch(norm<kNorm, kFp8>, dim3(rows), kNorm, 0, stream, early, b.residual, b.partial, plan.o.splits, rows,
           kNt, b.x, b.row_scale);
    fits = fits && launch_any<kNt, kFp8, Epilogue::swiglu, kDepth>(job_of(kGateUp, b, w, b.x, kFp8),
                                                                   plan.gate_up, stream, early);
    w += weight_bytes(kGateUp, kFp8);
    fits = fits && launch_any<kNt, kFp8, Epilogue::partial, kDepth>(job_of(kDown, b, w, b.h, kFp8), plan.down,
                                                                    stream, early);
    w += weight_bytes(kDown, kFp8);
  }
  launch(norm<kNorm, false>, dim3(rows), kNorm, 0, stream, early, b.residual, b.partial, plan.down.splits,
         rows, kNt, b.x, b.row_scale);
  // The published FP8 checkpoint keeps its head in BF16.
  const uint8_t* head = b.w + kLayers * layer_bytes(false);
  return fits && launch_any<kNt, false, Epilogue::argmax, kDepth>(job_of(kHead, b, head, b.x, false),
                                                                  plan.head, stream, early);
}

template <int kNt, bool kFp8, int kDepth>
double shape_ms(const Shape& s, const Buffers& b, Spread spread, bool early) {
  bool fits = true;
  const int count = s.n == kHead.n ? 4 : kLayers;
  const double ms = graph_ms(
      [&](cudaStream_t stream) {
        for (int i = 0; i < count && fits; ++i) {
          const uint8_t* w =
              s.n == kHead.n ? b.w + kLayers * layer_bytes(false) : b.w + i * layer_bytes(kFp8);
          const Linear job = job_of(s, b, w, s.k > 2048 ? b.h : b.x, kFp8);
          fits =
              s.n == kGateUp.n ? launch_any<kNt, kFp8, Epilogue::swiglu, kDepth>(job, spread, stream, early)
              : s.n == kHead.n ? launch_any<kNt, kFp8, Epilogue::argmax, kDepth>(job, spread, stream, early)
                               : launch_any<kNt, kFp8, Epilogue::partial, kDepth>(job, spread, stream, early);
        }
      },
      10);
  return fits ? ms / count : -1;
}

const Spread kCandidates[] = {{1, 1, 1}, {1, 1, 2}, {1, 2, 2}, {1, 4, 2}, {1, 8, 1}, {1, 8, 2}, {1, 16, 2},
                              {2, 1, 1}, {2, 1, 2}, {2, 2, 2}, {2, 4, 2}, {2, 8, 2}, {4, 1, 1}, {4, 1, 2},
                              {4, 2, 2}, {4, 4, 2}, {8, 1, 1}, {8, 1, 2}, {8, 2, 2}};

template <int kNt, bool kFp8, int kDepth>
void shapes(const Buffers& b) {
  for (const Shape& s : {kQkv, kO, kGateUp, kDown, kHead}) {
    if (kFp8 && s.n == kHead.n) continue;
    struct Row {
      double ms;
      Spread spread;
    };
    std::vector<Row> rows;
    for (const Spread& spread : kCandidates) {
      if (s.n == kGateUp.n || s.n == kHead.n)
        if (spread.splits > 1) continue;
      const double ms = shape_ms<kNt, kFp8, kDepth>(s, b, spread, true);
      if (ms > 0) rows.push_back({ms, spread});
    }
    std::sort(rows.begin(), rows.end(), [](const Row& x, const Row& y) { return x.ms < y.ms; });
    std::printf("%-4s rows %2d depth %2d %-8s", kFp8 ? "fp8" : "bf16", kNt * 8, kDepth, s.name);
    for (size_t i = 0; i < std::min<size_t>(4, rows.size()); ++i) {
      std::printf("  kw%d s%-2d x%d %6.2f us %5.0f GB/s", rows[i].spread.kw, rows[i].spread.splits,
                  rows[i].spread.per_processor, rows[i].ms * 1e3, weight_bytes(s, kFp8) / rows[i].ms / 1e6);
    }
    std::printf("\n");
  }
}

template <int kNt, bool kFp8, int kDepth, int kNorm>
void passes(const Buffers& b, const Plan& plan) {
  for (const bool early : {false, true}) {
    bool fits = true;
    const double ms = graph_ms(
        [&](cudaStream_t s) { fits = record_pass<kNt, kFp8, kDepth, kNorm>(b, plan, early, kNt * 8, s); });
    const double bytes = kLayers * layer_bytes(kFp8) + weight_bytes(kHead, false);
    if (fits)
      std::printf("pass %-10s %-4s rows %2d norm %4d %-9s %.3f ms  %4.0f GB/s\n", plan.name,
                  kFp8 ? "fp8" : "bf16", kNt * 8, kNorm, early ? "dependent" : "plain", ms, bytes / ms / 1e6);
  }
}

template <bool kFp8>
void all_passes(const Buffers& b) {
  // What was best alone at 8 rows, and at 32. One of them must do for all rows: a sum's order may not depend
  // on them.
  const Plan plans[] = {{"8 rows'", {4, 2, 2}, {1, 16, 2}, {8, 1, 2}, {2, 8, 2}, {8, 1, 2}},
                        {"32 rows'", {2, 2, 2}, {2, 8, 2}, {2, 1, 1}, {1, 8, 1}, {2, 1, 1}},
                        {"between", {2, 4, 2}, {2, 8, 2}, {4, 1, 2}, {1, 8, 2}, {4, 1, 2}}};
  for (const Plan& plan : plans) {
    passes<1, kFp8, 16, 256>(b, plan), passes<1, kFp8, 16, 1024>(b, plan);
    passes<2, kFp8, 12, 1024>(b, plan), passes<4, kFp8, 12, 1024>(b, plan);
  }
}

// The first rows of a linear with 8 rows and with 64, and a plain sum of products.
template <bool kFp8>
void check(const Buffers& b, Spread spread, const Shape& s) {
  std::vector<float> few(static_cast<size_t>(8) * s.n * spread.splits), many(few.size() * 8);
  std::vector<uint16_t> x8(static_cast<size_t>(s.k) * 8), x64(x8.size() * 8);
  for (int k = 0; k < s.k; ++k)
    for (int n = 0; n < 64; ++n) {
      const float v = static_cast<float>((k * 7 + n * 13) % 33 - 16);
      uint16_t bits;
      if (kFp8) {
        const __half h = __float2half(v);
        memcpy(&bits, &h, 2);
      } else {
        const __nv_bfloat16 h = __float2bfloat16(v);
        memcpy(&bits, &h, 2);
      }
      x64[fragment_index(k, n, 8)] = bits;
      if (n < 8) x8[fragment_index(k, n, 1)] = bits;
    }
  std::vector<float> ones(200000, 1.f);
  CHECK(cudaMemcpy(b.scales, ones.data(), 200000 * 4, cudaMemcpyHostToDevice));
  CHECK(cudaMemcpy(b.row_scale, ones.data(), 64 * 4, cudaMemcpyHostToDevice));
  const Linear job = job_of(s, b, b.w, b.x, kFp8);
  CHECK(cudaMemset(b.partial, 0x7f, few.size() * 4));
  CHECK(cudaMemcpy(b.x, x8.data(), x8.size() * 2, cudaMemcpyHostToDevice));
  launch_any<1, kFp8, Epilogue::partial, 16>(job, spread, nullptr, false);
  CHECK(cudaMemcpy(few.data(), b.partial, few.size() * 4, cudaMemcpyDeviceToHost));
  CHECK(cudaMemset(b.partial, 0x7f, many.size() * 4));
  CHECK(cudaMemcpy(b.x, x64.data(), x64.size() * 2, cudaMemcpyHostToDevice));
  const bool ran = launch_any<8, kFp8, Epilogue::partial, 16>(job, spread, nullptr, false);
  CHECK(cudaMemcpy(many.data(), b.partial, many.size() * 4, cudaMemcpyDeviceToHost));
  std::vector<uint8_t> w(weight_bytes(s, kFp8));
  CHECK(cudaMemcpy(w.data(), b.w, w.size(), cudaMemcpyDeviceToHost));
  double error = 0, norm = 0;
  size_t different = 0;
  for (int m = 0; m < s.n; ++m)
    for (int n = 0; n < 8; ++n) {
      float a = 0, c = 0;
      for (int p = 0; p < spread.splits; ++p) {
        a += few[(static_cast<size_t>(p) * 8 + n) * s.n + m];
        c += many[(static_cast<size_t>(p) * 64 + n) * s.n + m];
      }
      different += a != c;
      if (m % 37) continue;
      double sum = 0;
      for (int k = 0; k < s.k; ++k) {
        // The element of A's fragment: lane (m % 8) * 4 + (k % 8) / 2, word (m / 8) % 2 + 2 * ((k / 8) % 2).
        const int lane = m % 8 * 4 + k % 8 / 2, word = m / 8 % 2 + k / 8 % 2 * 2;
        float weight;
        if (kFp8) {
          const size_t at = (static_cast<size_t>(m / 16) * (s.k / 32) + k / 32) * 512 + lane * 16 + word * 4 +
                            k / 16 % 2 * 2 + k % 2;
          __nv_fp8_e4m3 e;
          e.__x = w[at];
          weight = static_cast<float>(e);
        } else {
          const size_t at =
              (static_cast<size_t>(m / 16) * (s.k / 16) + k / 16) * 512 + lane * 16 + word * 4 + k % 2 * 2;
          const uint32_t bits = static_cast<uint32_t>(w[at] | w[at + 1] << 8) << 16;
          memcpy(&weight, &bits, 4);
        }
        sum += weight * ((k * 7 + n * 13) % 33 - 16);
      }
      error += (a - sum) * (a - sum), norm += sum * sum;
    }
  std::printf("check %-4s %-8s kw%d s%d: relative error %.1e, %s\n", kFp8 ? "fp8" : "bf16", s.name, spread.kw,
              spread.splits, std::sqrt(error / norm),
              !ran        ? "64 rows not run"
              : different ? "ROWS DIFFER"
                          : "8 rows beside 56 others: the same bits");
}

}  // namespace

int main() {
  cudaDeviceProp card;
  CHECK(cudaGetDeviceProperties(&card, 0));
  processors = card.multiProcessorCount;
  std::printf("%s, %d multiprocessors\n", card.name, processors);
  Buffers b{};
  const size_t bytes = kLayers * layer_bytes(false) + weight_bytes(kHead, false);
  b.w = device<uint8_t>(bytes);
  b.scales = device<float>(200000);
  b.x = device<uint16_t>(64 * 2048), b.h = device<uint16_t>(64 * 11008);
  b.residual = device<float>(64 * 2048);
  b.partial = device<float>(static_cast<size_t>(16) * 64 * 22016);
  b.row_scale = device<float>(64);
  b.best = device<unsigned long long>(64);
  uint32_t* out = device<uint32_t>(1);
  fill_weights<<<2048, 256>>>(reinterpret_cast<uint32_t*>(b.w), bytes / 4, 7, false);
  CHECK(cudaDeviceSynchronize());

  uint8_t* other = device<uint8_t>(bytes / 2);
  const double copied = graph_ms(
      [&](cudaStream_t s) { CHECK(cudaMemcpyAsync(other, b.w, bytes / 2, cudaMemcpyDeviceToDevice, s)); });
  std::printf("copy probe: %.0f GB/s, bytes read and written\n", bytes / copied / 1e6);
  CHECK(cudaFree(other));
  const double read = graph_ms([&](cudaStream_t s) {
    read_all<<<processors * 4, 256, 0, s>>>(reinterpret_cast<const uint4*>(b.w), bytes / 16, out);
  });
  std::printf("read probe: %.0f GB/s\n", bytes / read / 1e6);
  for (const int blocks : {1, 132, 264})
    for (const bool early : {false, true}) {
      const double ms = graph_ms([&](cudaStream_t s) {
        for (int i = 0; i < 300; ++i) launch(nothing, dim3(blocks), 256, 0, s, early);
      });
      std::printf("empty kernel of %3d blocks in a graph of 300, %s: %.2f us each\n", blocks,
                  early ? "dependent" : "plain", ms / 300 * 1e3);
    }
  const Spread checked[] = {{8, 1, 1}, {1, 8, 2}, {4, 2, 2}, {2, 4, 2}};
  for (const Spread& spread : checked) check<false>(b, spread, kQkv);
  fill_floats<<<64, 256>>>(b.residual, 64 * 2048, 3);
  shapes<1, false, 16>(b), shapes<2, false, 12>(b), shapes<4, false, 12>(b), shapes<8, false, 12>(b);
  all_passes<false>(b);
  fill_weights<<<2048, 256>>>(reinterpret_cast<uint32_t*>(b.w), kLayers * layer_bytes(true) / 4, 9, true);
  for (const Spread& spread : checked) check<true>(b, spread, kQkv);
  fill_floats<<<64, 256>>>(b.residual, 64 * 2048, 3);
  shapes<1, true, 16>(b), shapes<2, true, 12>(b), shapes<4, true, 12>(b);
  all_passes<true>(b);
}
