#include "native/text_tower.h"

#include <algorithm>

#include "kernels/elementwise.h"
#include "kernels/parallel.h"

namespace dvlm {

namespace {

template <class T>
void grow(Buffer<T>& buffer, size_t size) {
  if (buffer.size() < size) buffer = Buffer<T>(size);
}

float norm_eps(const TextConfig& config) {
  return static_cast<float>(config.rms_norm_eps);
}

// Drafts and denoising: what an adapter for drafts serves, and no other row.
bool is_draft(const Segment& segment) {
  return segment.visibility == Visibility::bidirectional && !segment.keep;
}

}  // namespace

TextTower::TextTower(const TextConfig& config, TextWeights weights, KvType kv, ThreadPool& pool,
                     LinearObserver observer)
    : config_(config),
      weights_(std::move(weights)),
      adapters_{std::vector<LayerAdapters>(static_cast<size_t>(config.layers)), {}},
      heads_{config.heads, config.kv_heads, config.head_dim, kv},
      rotary_(text_rotary(config.rope_theta, config.head_dim, config.mrope_section)),
      pool_(pool),
      linear_{pool, std::move(observer)},
      chooser_(pool) {}

// B rows; H hidden, Q = heads * head_dim, I intermediate, V vocabulary.
std::span<const Chosen> TextTower::forward(const NativePass& pass, const ModelConfig& config,
                                           const LayerWatch& watch) {
  const TextWeights& weights = draft_ && pass.plan.approximate ? *draft_ : weights_;
  reserve(pass);
  watch(0, config_.layers);
  set_rotary(pass);
  embed(pass, config);  // hidden [B, H]
  for (int i = 0; i < config_.layers; ++i) {
    const LayerWeights& layer = weights.layers[i];
    const auto chunks = [&](auto&& step) {
      for (int first = 0; first < pass.plan.rows; first += kChunkRows)
        step(Chunk{pass, adapters_.layers[i], first, std::min(kChunkRows, pass.plan.rows - first)});
    };
    chunks([&](const Chunk& chunk) { project_qkv(layer, chunk); });  // qkv [B, Q + 2 KV], rotated
    store_kv(pass, i);                                               // into the cache or scratch space
    attend(pass, i);                                                 // q -> attention output [B, Q]
    chunks([&](const Chunk& chunk) {
      project_output(layer, chunk);  // hidden += [B, Q] x [Q, H]
      mlp(layer, chunk);             // hidden += [B, I] x [I, H]
    });
    watch(i + 1, config_.layers);
  }
  for (const NativeSegment& s : pass.segments) {
    if (s.segment->keep) s.sequence->extend_to(s.segment->context + s.rows);
  }
  return head(weights, pass.plan);  // a choice for each wanted row
}

int TextTower::logit_columns(const PassPlan& plan) const {
  return Chooser::streams(plan.wanted) ? std::min(Chooser::kPiece, config_.vocab_size) : config_.vocab_size;
}

size_t TextTower::kv_bytes(const NativePass& pass) const {
  return heads_.block_bytes() * product(pass.own_blocks, heads_.kv_heads);
}

size_t TextTower::partial_sums(const PassPlan& plan) const {
  const int64_t rows = std::min(plan.rows, kChunkRows), hidden = config_.hidden_size;
  const int64_t inner = config_.intermediate_size, wide = int64_t{heads_.heads} * heads_.head_dim;
  return std::max({most_partial_sums(rows, hidden, qkv_width()), most_partial_sums(rows, wide, hidden),
                   most_partial_sums(rows, hidden, 2 * inner), most_partial_sums(rows, inner, hidden),
                   most_partial_sums(std::ssize(plan.wanted), hidden, logit_columns(plan))});
}

TextTower::BufferBytes TextTower::activation_bytes(const NativePass& pass) const {
  const PassPlan& plan = pass.plan;
  const int64_t chunk = std::min(plan.rows, kChunkRows), wanted = std::ssize(plan.wanted);
  const int64_t widest =
      std::max({config_.hidden_size, config_.intermediate_size, heads_.heads * heads_.head_dim});
  BufferBytes out{};
  out[kHidden] = product(plan.rows, config_.hidden_size);
  out[kQkv] = product(plan.rows, qkv_width());
  out[kNormed] = product(std::max(chunk, wanted), config_.hidden_size);
  out[kWide] = product(chunk, int64_t{2} * config_.intermediate_size);
  out[kLow] = product(chunk, adapters_.rank);
  out[kLogits] = product(wanted, logit_columns(plan));
  out[kInputs] = product(chunk, widest + config_.hidden_size);
  out[kRotary] = product(plan.rows, heads_.head_dim);
  out[kPartialSums] = partial_sums(plan);
  for (size_t& floats : out) floats *= sizeof(float);
  out[kOwnKv] = kv_bytes(pass);
  return out;
}

void TextTower::reserve(const NativePass& pass) {
  const BufferBytes bytes = activation_bytes(pass);
  const auto grow_floats = [&](Buffer<float>& buffer, BufferOf which) {
    grow(buffer, bytes[which] / sizeof(float));
  };
  grow_floats(a_.hidden, kHidden);
  grow_floats(a_.qkv, kQkv);
  grow_floats(a_.normed, kNormed);
  grow_floats(a_.wide, kWide);
  grow_floats(a_.low, kLow);
  grow_floats(a_.logits, kLogits);
  grow(a_.own_kv, bytes[kOwnKv]);
  a_.own_kv_page = a_.own_kv.data();
  rotary_.reserve(pass.plan.rows);
}

void TextTower::set_rotary(const NativePass& pass) {
  for (const NativeSegment& s : pass.segments) {
    split_each(pool_, s.rows, 15.0 * heads_.head_dim,
               [&](int i) { rotary_.set(s.first_row + i, s.segment->positions[i]); });
  }
}

void TextTower::embed(const NativePass& pass, const ModelConfig& config) {
  for (const NativeSegment& s : pass.segments) {
    const float* feature = s.segment->features.empty() ? nullptr : s.segment->features.data();
    const bool drafts = is_draft(*s.segment);
    for (int i = 0; i < s.rows; ++i) {
      const TokenId token = s.segment->tokens[i];
      float* row = hidden(s.first_row + i, 1).data;
      if (const auto own = adapters_.rows.find(token); drafts && own != adapters_.rows.end()) {
        std::ranges::copy(own->second, row);
      } else if (feature && config.is_pad(token)) {
        std::copy_n(feature, config_.hidden_size, row);
        feature += config_.hidden_size;
      } else {
        weights_.table().unpack_row(token, row);
      }
    }
  }
}

void TextTower::adapt(const LowRank& adapter, const Chunk& chunk, Rows x, Rows y) {
  if (adapter.rank() == 0) return;
  for (const NativeSegment& s : chunk.pass.segments) {
    const int begin = std::max(s.first_row, chunk.first) - chunk.first,
              end = std::min(s.first_row + s.rows, chunk.first + chunk.rows) - chunk.first;
    if (!is_draft(*s.segment) || begin >= end) continue;
    const Rows low = view(a_.low, adapter.rank(), 0, end - begin);
    linear_(adapter.a, x.part(begin, end - begin), low, LinearMode::store);
    linear_(adapter.b, low, y.part(begin, end - begin), LinearMode::add);
  }
}

void TextTower::project_qkv(const LayerWeights& layer, const Chunk& chunk) {
  const int first = chunk.first, rows = chunk.rows;
  const Rows normed = view(a_.normed, config_.hidden_size, 0, rows), out = qkv(first, rows);
  rms_norm(hidden(first, rows), config_.hidden_size, layer.attention_norm.data(), norm_eps(config_), normed,
           pool_);
  linear_(layer.qkv, normed, out, LinearMode::store);
  adapt(chunk.adapters.qkv, chunk, normed, out);
  rotary(out, heads_.heads + heads_.kv_heads, heads_.head_dim, rotary_.cos(first), rotary_.sin(first), pool_);
}

KvBlocks TextTower::own_kv(const NativePass& pass, const NativeSegment& s) {
  return {.pages = &a_.own_kv_page,
          .offset = heads_.block_bytes() * static_cast<size_t>(s.first_own_block),
          .head_stride = heads_.block_bytes() * static_cast<size_t>(pass.own_blocks)};
}

void TextTower::store_rows(const NativeSegment& from, int rows, const KvBlocks& to, int position) {
  const int kv = heads_.kv_heads, dim = heads_.head_dim;
  split(pool_, int64_t{rows} * kv, 3.0 * dim, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int row = static_cast<int>(item / kv), head = static_cast<int>(item % kv);
      const float* key = qkv(from.first_row + row, 1).data + (heads_.heads + head) * dim;
      store_kv_row(heads_, to, head, position + row, key, key + kv * dim);
    }
  });
}

void TextTower::store_kv(const NativePass& pass, int layer) {
  for (const NativeSegment& s : pass.segments) {
    const KvBlocks cache = pass.cache(s, layer);
    if (s.segment->keep) {
      store_rows(s, s.rows, cache, s.segment->context);
      continue;
    }
    const KvBlocks own = own_kv(pass, s);
    const int first = s.cache_blocks * kKvBlock;
    for (int h = 0; h < heads_.kv_heads && s.segment->context > first; ++h) {
      copy_kv(heads_, cache.block(heads_, h, s.cache_blocks), own.block(heads_, h, 0), 0,
              s.segment->context - first);
    }
    if (s.segment->parent_tokens > 0) {
      store_rows(pass.segments[static_cast<size_t>(s.segment->parent)], s.segment->parent_tokens, own,
                 s.segment->context - first);
    }
    store_rows(s, s.rows, own, s.own_position() - first);
  }
}

void TextTower::attend(const NativePass& pass, int layer) {
  a_.segments.clear();
  for (const NativeSegment& s : pass.segments) {
    const bool causal = s.segment->visibility == Visibility::causal;
    a_.segments.push_back({.rows = qkv(s.first_row, s.rows),
                           .cache = pass.cache(s, layer),
                           .cache_blocks = s.cache_blocks,
                           .own = own_kv(pass, s),
                           .visible = s.own_position() + (causal ? 1 : s.rows),
                           .visible_step = causal ? 1 : 0});
  }
  attention(heads_, a_.segments, a_.attention, pool_);
}

void TextTower::project_output(const LayerWeights& layer, const Chunk& chunk) {
  const Rows attended = qkv(chunk.first, chunk.rows), residual = hidden(chunk.first, chunk.rows);
  linear_(layer.output, attended, residual, LinearMode::add);
  adapt(chunk.adapters.output, chunk, attended, residual);
}

void TextTower::mlp(const LayerWeights& layer, const Chunk& chunk) {
  const int first = chunk.first, rows = chunk.rows;
  const Rows residual = hidden(first, rows), normed = view(a_.normed, config_.hidden_size, 0, rows),
             wide = view(a_.wide, 2 * config_.intermediate_size, 0, rows);
  rms_norm(residual, config_.hidden_size, layer.mlp_norm.data(), norm_eps(config_), normed, pool_);
  linear_(layer.gate_up, normed, wide, LinearMode::store);
  adapt(chunk.adapters.gate_up, chunk, normed, wide);
  swiglu(wide, config_.intermediate_size, pool_);
  linear_(layer.down, wide, residual, LinearMode::add);
  adapt(chunk.adapters.down, chunk, wide, residual);
}

// Logits stay in the buffer: rows that are greedy see them a piece of the vocabulary at a time.
std::span<const Chosen> TextTower::head(const TextWeights& weights, const PassPlan& plan) {
  const int rows = static_cast<int>(plan.wanted.size()), width = config_.hidden_size;
  for (int i = 0; i < rows; ++i) {
    rms_norm(hidden(plan.wanted[static_cast<size_t>(i)].row, 1), width, weights.norm.data(),
             norm_eps(config_), view(a_.normed, width, i, 1), pool_);
  }
  const int vocab = config_.vocab_size, columns = logit_columns(plan);
  const bool whole = columns == vocab;
  const Rows normed = view(a_.normed, width, 0, rows), logits = view(a_.logits, columns, 0, rows);
  if (whole) linear_(weights.head, normed, logits, LinearMode::store);
  chooser_.begin(plan.wanted);
  for (int first = 0; first < vocab; first += Chooser::kPiece) {
    const int ids = std::min(Chooser::kPiece, vocab - first);
    if (!whole) linear_.panels(weights.head, {first / kPanel, (ids + kPanel - 1) / kPanel}, normed, logits);
    chooser_.look({logits.data + (whole ? first : 0), logits.stride, rows}, first, ids);
  }
  return chooser_.finish(whole ? logits : Rows{}, vocab);
}

}  // namespace dvlm
