#include "native/vision_tower.h"

#include <algorithm>

#include "kernels/elementwise.h"
#include "kernels/parallel.h"

namespace dvlm {

namespace {

constexpr float kNormEps = 1e-6f;  // a constant of the architecture
constexpr int kChunkRows = 256;    // patches that pass through the wide linears together

// Cumulative lengths in 16-token key blocks of the segments between boundaries.
int total_blocks(std::span<const int> boundaries) {
  int blocks = 0;
  for (size_t i = 1; i < boundaries.size(); ++i) blocks += blocks_for(boundaries[i] - boundaries[i - 1]);
  return blocks;
}

}  // namespace

// Rows stand in the plan's order throughout.
struct VisionTower::VisionActivations {
  explicit VisionActivations(PicturePlan picture) : plan(std::move(picture)), patches(plan.rows()) {}

  const PicturePlan plan;
  const int patches;
  Buffer<float> hidden;              // [patches, width]
  Buffer<float> qkv;                 // [patches, 3 width]; attention output replaces q
  Buffer<float> normed;              // [chunk, max(width, patch elements)]
  Buffer<float> wide;                // [chunk, 2 intermediate]
  Buffer<std::byte> own_kv;          // [heads][blocks]
  std::byte* own_kv_page = nullptr;  // its data
  std::vector<AttentionSegment> segments;
};

VisionTower::VisionTower(const VisionConfig& config, VisionWeights weights, KvType kv, ThreadPool& pool,
                         LinearObserver observer)
    : config_(config),
      weights_(std::move(weights)),
      heads_{config.heads, config.heads, config.head_dim(), kv},
      rotary_(vision_rotary(config.head_dim())),
      pool_(pool),
      linear_{pool, std::move(observer)} {}

size_t VisionTower::activation_bytes(int64_t patches) const {
  const size_t n = static_cast<size_t>(patches), width = static_cast<size_t>(config_.hidden_size);
  const size_t kv = (n / kKvBlock + 1) * heads_.block_bytes() * static_cast<size_t>(heads_.heads);
  const size_t chunk = std::min<size_t>(n, kChunkRows) * static_cast<size_t>(4 * config_.intermediate_size);
  return sizeof(float) * (n * (4 * width + static_cast<size_t>(heads_.head_dim)) + chunk) + 2 * kv;
}

// N patches, W width.
ImageFeatures VisionTower::encode(const Patches& patches, const LayerWatch& watch) {
  VisionActivations p(PicturePlan(patches, config_));
  watch(0, config_.depth);
  embed_patches(patches, p);  // hidden [N, W] in window order
  set_rotary(p.plan);
  for (int i = 0; i < config_.depth; ++i) {
    block(weights_.blocks[i], config_.sees_all(i) ? p.plan.slices() : p.plan.windows(), p);
    watch(i + 1, config_.depth);
  }
  return merge(p);  // [N / 4, text hidden] in the picture's order
}

void VisionTower::embed_patches(const Patches& patches, VisionActivations& p) {
  const int width = config_.hidden_size, elements = config_.patch_elements(),
            chunk = std::min(p.patches, kChunkRows);
  p.hidden = Buffer<float>(product(p.patches, width));
  p.qkv = Buffer<float>(product(p.patches, int64_t{3} * width));
  p.normed = Buffer<float>(product(chunk, std::max(width, elements)));
  p.wide = Buffer<float>(product(chunk, int64_t{2} * config_.intermediate_size));
  const int blocks = std::max(total_blocks(p.plan.slices()), total_blocks(p.plan.windows()));
  p.own_kv = Buffer<std::byte>(heads_.block_bytes() * product(blocks, heads_.heads));
  p.own_kv_page = p.own_kv.data();
  for (int first = 0; first < p.patches; first += kChunkRows) {
    const int rows = std::min(kChunkRows, p.patches - first);
    const Rows input = view(p.normed, elements, 0, rows);
    for (int i = 0; i < rows; ++i)
      std::copy_n(patches.values.data() + int64_t{p.plan.source(first + i)} * elements, elements,
                  input.row(i));
    linear_(weights_.patches, input, view(p.hidden, width, first, rows), LinearMode::store);
  }
}

void VisionTower::set_rotary(const PicturePlan& plan) {
  rotary_.reserve(plan.rows());
  split_each(pool_, plan.rows(), 15.0 * heads_.head_dim,
             [&](int row) { rotary_.set(row, plan.position(row)); });
}

void VisionTower::block(const LayerWeights& weights, std::span<const int> boundaries, VisionActivations& p) {
  const int width = config_.hidden_size;
  const auto chunks = [&](auto&& step) {
    for (int first = 0; first < p.patches; first += kChunkRows) {
      const int rows = std::min(kChunkRows, p.patches - first);
      step(first, rows, view(p.hidden, width, first, rows), view(p.normed, width, 0, rows));
    }
  };
  chunks([&](int first, int rows, Rows hidden, Rows normed) {
    const Rows qkv = view(p.qkv, 3 * width, first, rows);
    rms_norm(hidden, width, weights.attention_norm.data(), kNormEps, normed, pool_);
    linear_(weights.qkv, normed, qkv, LinearMode::store);  // [N, 3 W]
    rotary(qkv, 2 * heads_.heads, heads_.head_dim, rotary_.cos(first), rotary_.sin(first), pool_);
  });
  store_kv(boundaries, p);
  attention(heads_, p.segments, attention_, pool_);  // [N, W]
  chunks([&](int first, int rows, Rows hidden, Rows normed) {
    const Rows wide = view(p.wide, 2 * config_.intermediate_size, 0, rows);
    linear_(weights.output, view(p.qkv, 3 * width, first, rows), hidden, LinearMode::add);
    rms_norm(hidden, width, weights.mlp_norm.data(), kNormEps, normed, pool_);
    linear_(weights.gate_up, normed, wide, LinearMode::store);  // [N, 2 I]
    swiglu(wide, config_.intermediate_size, pool_);
    linear_(weights.down, wide, hidden, LinearMode::add);
  });
}

// Lays out this block's attention segments and fills their keys and values.
void VisionTower::store_kv(std::span<const int> boundaries, VisionActivations& p) {
  const size_t head_stride = heads_.block_bytes() * static_cast<size_t>(total_blocks(boundaries));
  const int width = config_.hidden_size, dim = heads_.head_dim;
  p.segments.clear();
  size_t offset = 0;
  for (size_t i = 1; i < boundaries.size(); ++i) {
    const int first = boundaries[i - 1], rows = boundaries[i] - first;
    p.segments.push_back({.rows = view(p.qkv, 3 * width, first, rows),
                          .cache = {},
                          .own = {.pages = &p.own_kv_page, .offset = offset, .head_stride = head_stride},
                          .visible = rows});
    offset += heads_.block_bytes() * static_cast<size_t>(blocks_for(rows));
  }
  split(pool_, p.patches, 3.0 * width, [&](int64_t begin, int64_t end) {
    size_t at = 1;
    for (int row = static_cast<int>(begin); row < end; ++row) {
      while (row >= boundaries[at]) ++at;
      const KvBlocks& own = p.segments[at - 1].own;
      const float* key = view(p.qkv, 3 * width, row, 1).data + width;
      for (int h = 0; h < heads_.heads; ++h, key += dim) {
        store_kv_row(heads_, own, h, row - boundaries[at - 1], key, key + width);
      }
    }
  });
}

ImageFeatures VisionTower::merge(VisionActivations& p) {
  const int width = config_.hidden_size, cells = config_.patches_per_token(), merged = width * cells,
            out = config_.out_hidden_size;
  const int tokens = p.plan.tokens(), chunk = std::max(1, std::min(tokens, kChunkRows / cells));
  ImageFeatures features{std::vector<float>(product(tokens, out)), tokens};
  Buffer<float> inner(product(chunk, merged)), result(product(chunk, out));
  for (int first = 0; first < tokens; first += chunk) {
    const int rows = std::min(chunk, tokens - first);
    const Rows patches = view(p.hidden, width, first * cells, rows * cells);
    const Rows in = view(inner, merged, 0, rows), y = view(result, out, 0, rows);
    rms_norm(patches, width, weights_.merger_norm.data(), kNormEps, patches, pool_);
    linear_(weights_.merger_in, view(p.hidden, merged, first, rows), in, LinearMode::store);
    gelu(in, merged, pool_);
    linear_(weights_.merger_out, in, y, LinearMode::store);  // [N / 4, text hidden]
    for (int i = 0; i < rows; ++i)
      std::copy_n(y.row(i), out, features.values.begin() + int64_t{p.plan.token(first + i)} * out);
  }
  return features;
}

}  // namespace dvlm
