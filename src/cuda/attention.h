// Attention of a pass over paged keys and values. Keys are taken in chunks of a page; a row's result is that
// of its chunks, in their order, so that its bits depend neither on the rows beside it nor on how a pass is
// cut.
#pragma once
#include "cuda/rows.h"
#include "cuda/tower.h"

namespace dvlm::cuda {
inline namespace DVLM_LAYER {

// Elements of a page of one layer: per key/value head the keys as B of `dim` inputs and 64 rows, then the
// values as B of 64 inputs and `dim` rows.
DVLM_BOTH size_t key_index(int slot, int d) {
  return input_index(d, slot, kChunk / 8);
}
DVLM_BOTH size_t value_index(int dim, int slot, int d) {
  return static_cast<size_t>(kChunk) * dim + input_index(slot, d, dim / 8);
}

// Adds the parts of q, k and v and their bias, turns q and k, and puts q into A's order [tile][kv
// head][64][dim], k and v into their page. grid: (rows, ceil(all heads / 4)).
template <bool kE4m3>
struct RotateAndStore {
  struct Job {
    Heads shape;
    Parts parts;
    Global<const float> rotation;  // [rows][dim]: cosines, then sines, of dim / 2 angles
    Global<const RowPlace> places;
    Global<const KeyPlace> key_copies;
    Global<uint16_t> queries;
    Global<uint16_t> pages;  // of this layer: page p at p * page_stride
    size_t page_stride = 0;
  };
  static constexpr int kThreads = 128;

  static DVLM_DEVICE void run(Block& block, const Job& job) {
    block.release_successor();
    block.wait_for_predecessor();
    const int head = block.y() * (kThreads / kWarp) + block.warp(), row = block.x(), dim = job.shape.dim;
    if (head >= job.shape.heads + 2 * job.shape.kv_heads) return;
    const RowPlace place = load(job.places, row);
    block.lanes([&](int lane) {
      for (int d = lane * 2; d < dim / 2; d += kWarp * 2) {
        const int low = head * dim + d, high = low + dim / 2;
        Float2 a = sum_parts<kE4m3>(job.parts, row, low), b = sum_parts<kE4m3>(job.parts, row, high);
        if (head < job.shape.heads + job.shape.kv_heads) {
          const size_t at = static_cast<size_t>(row) * dim + d;
          turn(job, at, a.x, b.x), turn(job, at + 1, a.y, b.y);
        }
        if (head < job.shape.heads) {
          put_query(job, place, head, d, a.x, b.x), put_query(job, place, head, d + 1, a.y, b.y);
          continue;
        }
        put_key(job, place.page, place.slot, head, d, a, b);
        for (int i = place.first_copy; i < place.first_copy + place.copies; ++i) {
          const KeyPlace copy = load(job.key_copies, i);
          put_key(job, copy.page, copy.slot, head, d, a, b);
        }
      }
    });
  }

 private:
  static DVLM_DEVICE void turn(const Job& job, size_t at, float& low, float& high) {
    const float cosine = load(job.rotation, at), sine = load(job.rotation, at + job.shape.dim / 2);
    const float turned = low * cosine - high * sine;
    high = high * cosine + low * sine, low = turned;
  }
  // Elements d and d + dim / 2.
  static DVLM_DEVICE void put_query(const Job& job, const RowPlace& place, int head, int d, float low,
                                    float high) {
    const Heads& shape = job.shape;
    const int group = shape.group(), kv = head / group, m = place.row_in_tile * group + head % group;
    const size_t tile = (static_cast<size_t>(place.tile) * shape.kv_heads + kv) * kChunk * shape.dim;
    store(job.queries, tile + weight_index(m, d, shape.dim), bf16_bits(low));
    store(job.queries, tile + weight_index(m, d + shape.dim / 2, shape.dim), bf16_bits(high));
  }
  // Elements d, d + 1, d + dim / 2 and the next of a key or value.
  static DVLM_DEVICE void put_key(const Job& job, int page, int slot, int head, int d, Float2 low,
                                  Float2 high) {
    const Heads& shape = job.shape;
    const int kv = (head - shape.heads) % shape.kv_heads;
    const size_t base =
        static_cast<size_t>(page) * job.page_stride + static_cast<size_t>(kv) * 2 * kChunk * shape.dim;
    const bool key = head < shape.heads + shape.kv_heads;
    const auto put = [&](int at, float v) {
      store(job.pages, base + (key ? key_index(slot, at) : value_index(shape.dim, slot, at)), bf16_bits(v));
    };
    put(d, low.x), put(d + 1, low.y);
    put(d + shape.dim / 2, high.x), put(d + shape.dim / 2 + 1, high.y);
  }
};

// 2^v for whole v <= 0; 0 below the range of normal numbers.
DVLM_DEVICE float power_of_two(float v) {
  return v < -126 ? 0.0f : bits_float(static_cast<uint32_t>(static_cast<int>(v) + 127) << 23);
}

// Page `slot` becomes what page `page` is, in all layers. grid: (blocks, copies).
struct CopyPages {
  struct Job {
    Global<Word4> pages;
    Global<const KeyPlace> copies;
    size_t words = 0;  // of a page
  };
  static constexpr int kThreads = 256;

  static DVLM_DEVICE void run(Block& block, const Job& job) {
    block.release_successor();
    block.wait_for_predecessor();
    const KeyPlace copy = load(job.copies, block.y());
    const size_t from = static_cast<size_t>(copy.page) * job.words,
                 to = static_cast<size_t>(copy.slot) * job.words;
    block.lanes([&](int lane) {
      for (size_t i = static_cast<size_t>(block.x()) * kThreads + block.warp() * kWarp + lane; i < job.words;
           i += static_cast<size_t>(block.blocks_x()) * kThreads)
        store(job.pages, to + i, load(job.pages, from + i));
    });
  }
};

struct AttentionJob {
  Heads shape;
  Global<const Word4> queries;
  Global<const Word4> pages;  // of this layer
  size_t page_stride = 0;     // in Word4
  Global<const int> page_table;
  Global<const AttentionTile> tiles;
  float scale = 0;  // log2(e) / sqrt(dim)
};

// What a block of four warps does with one chunk; each warp has 16 query rows.
template <int kDim>
struct ChunkSteps {
  static constexpr int kThreads = 128, kSteps = kDim / 16;
  static constexpr int kWords = kChunk * kDim * 2 / 16;  // Word4 of a chunk's keys, or of its values
  static constexpr size_t kBytes = size_t{2} * kWords * 16;

  using Queries = Lanes<Word4>[kSteps];
  using Scores = Lanes<Float4>[kChunk / 8];
  using Weights = Lanes<Word4>[kChunk / 16];
  // Of the lane's two query rows.
  struct Rows {
    Lanes<Float2> largest, sum;
  };

  // Keys, then values, each a group of copies.
  static DVLM_DEVICE void fetch(Block& block, const AttentionJob& job, int page, int kv, size_t to_byte) {
    const Shared<Word4> to = block.shared<Word4>(to_byte, 2 * kWords);
    const size_t from = static_cast<size_t>(page) * job.page_stride + static_cast<size_t>(kv) * 2 * kWords;
    for (int half = 0; half < 2; ++half) {
      block.lanes([&](int lane) {
        for (int i = block.warp() * kWarp + lane; i < kWords; i += kThreads)
          block.copy_async(to, half * kWords + i, job.pages, from + half * kWords + i);
      });
      block.commit_copies();
    }
  }

  // `base`: the first of the tile's query rows.
  static DVLM_DEVICE void load_queries(const Block& block, const AttentionJob& job, size_t base, Queries& q) {
    DVLM_UNROLL
    for (int k = 0; k < kSteps; ++k)
      block.lanes([&](int lane) {
        q[k][lane] = load(job.queries,
                          base * kDim / 8 + (static_cast<size_t>(block.warp()) * kSteps + k) * kWarp + lane);
      });
  }

  static DVLM_DEVICE void scores(const Block& block, const Queries& q, size_t from_byte, Scores& s) {
    const Shared<Word2> keys = block.shared<Word2>(from_byte, 2 * kWords);
    DVLM_UNROLL
    for (int n = 0; n < kChunk / 8; ++n) {
      block.lanes([&](int lane) { s[n][lane] = {}; });
      DVLM_UNROLL
      for (int k = 0; k < kSteps; ++k) {
        Lanes<Word2> b;
        block.lanes([&](int lane) { b[lane] = keys[(k * (kChunk / 8) + n) * kWarp + lane]; });
        mma_bf16(s[n], q[k], b);
      }
    }
  }

  // Scores to weights exp2(score - largest); keys that a row does not see weigh nothing.
  static DVLM_DEVICE void weigh(const Block& block, const AttentionJob& job, const AttentionTile& tile,
                                int first_key, Scores& s, Rows& rows) {
    const int group = job.shape.group(), warp = block.warp();
    constexpr float kNone = -1e30f;
    block.lanes([&](int lane) {
      const auto visible = [&](int query) {
        return tile.visible + query / group * tile.visible_step - first_key;
      };
      const int low = visible(warp * 16 + lane / 4), high = visible(warp * 16 + lane / 4 + 8);
      Float2 largest{kNone, kNone};
      DVLM_UNROLL
      for (int n = 0; n < kChunk / 8; ++n) {
        DVLM_UNROLL
        for (int i = 0; i < 4; ++i) {
          const int key = n * 8 + lane % 4 * 2 + i % 2;
          float& v = s[n][lane].v[i];
          v = key < (i < 2 ? low : high) ? v * job.scale : kNone;
          float& most = i < 2 ? largest.x : largest.y;
          most = maximum(most, v);
        }
      }
      rows.largest[lane] = largest;
    });
    for (int mask = 1; mask < 4; mask *= 2) {
      const Lanes<Float2> other = shuffle_pair(block, rows.largest, mask);
      block.lanes([&](int lane) {
        rows.largest[lane].x = maximum(rows.largest[lane].x, other[lane].x);
        rows.largest[lane].y = maximum(rows.largest[lane].y, other[lane].y);
      });
    }
    block.lanes([&](int lane) {
      Float2& largest = rows.largest[lane];
      largest.x = ceiling(largest.x), largest.y = ceiling(largest.y);
      Float2 sum{0, 0};
      DVLM_UNROLL
      for (int n = 0; n < kChunk / 8; ++n) {
        DVLM_UNROLL
        for (int i = 0; i < 4; ++i) {
          float& v = s[n][lane].v[i];
          v = v > kNone / 2 ? exp2_fast(v - (i < 2 ? largest.x : largest.y)) : 0.0f;
          (i < 2 ? sum.x : sum.y) += v;
        }
      }
      rows.sum[lane] = sum;
    });
    for (int mask = 1; mask < 4; mask *= 2) {
      const Lanes<Float2> other = shuffle_pair(block, rows.sum, mask);
      block.lanes([&](int lane) { rows.sum[lane].x += other[lane].x, rows.sum[lane].y += other[lane].y; });
    }
  }

  // C of the scores is A of the weights.
  static DVLM_DEVICE void to_weights(const Block& block, const Scores& s, Weights& p) {
    DVLM_UNROLL
    for (int k = 0; k < kChunk / 16; ++k)
      block.lanes([&](int lane) {
        const auto pair = [](float a, float b) {
          return static_cast<uint32_t>(bf16_bits(a)) | static_cast<uint32_t>(bf16_bits(b)) << 16;
        };
        const Float4 &a = s[2 * k][lane], &b = s[2 * k + 1][lane];
        p[k][lane] = {pair(a.v[0], a.v[1]), pair(a.v[2], a.v[3]), pair(b.v[0], b.v[1]), pair(b.v[2], b.v[3])};
      });
  }

  // Weighted sums of 8 elements of the values: the n-th.
  static DVLM_DEVICE Lanes<Float4> mix(const Block& block, const Weights& p, int n, size_t from_byte) {
    const Shared<Word2> values =
        block.shared<Word2>(from_byte + static_cast<size_t>(kWords) * 16, 2 * kWords);
    Lanes<Float4> o;
    block.lanes([&](int lane) { o[lane] = {}; });
    DVLM_UNROLL
    for (int k = 0; k < kChunk / 16; ++k) {
      Lanes<Word2> b;
      block.lanes([&](int lane) { b[lane] = values[(k * (kDim / 8) + n) * kWarp + lane]; });
      mma_bf16(o, p[k], b);
    }
    return o;
  }

 private:
  static DVLM_DEVICE Lanes<Float2> shuffle_pair(const Block& block, const Lanes<Float2>& v, int mask) {
    Lanes<float> x, y;
    block.lanes([&](int lane) { x[lane] = v[lane].x, y[lane] = v[lane].y; });
    x = shuffle_xor(x, mask), y = shuffle_xor(y, mask);
    Lanes<Float2> out;
    block.lanes([&](int lane) { out[lane] = {x[lane], y[lane]}; });
    return out;
  }
};

// Few rows: a block per chunk. grid: (chunks, kv heads, tiles); blocks beyond a tile's keys end at once.
template <int kDim>
struct ChunkAttention {
  struct Job : AttentionJob {
    Shares shares;
  };
  using Steps = ChunkSteps<kDim>;
  static constexpr int kThreads = Steps::kThreads;

  static DVLM_DEVICE void run(Block& block, const Job& job) {
    block.release_successor();
    block.wait_for_predecessor();
    const int chunk = block.x(), kv = block.y();
    const AttentionTile tile = load(job.tiles, block.z());
    if (chunk * kChunk >= tile.visible + (tile.rows - 1) * tile.visible_step) return;
    Steps::fetch(block, job, load(job.page_table, tile.first_page + chunk), kv, 0);
    const bool idle = block.warp() * 16 >= tile.rows * job.shape.group();

    const size_t base = (static_cast<size_t>(block.z()) * job.shape.kv_heads + kv) * kChunk;  // of query rows
    typename Steps::Queries q;
    if (!idle) Steps::load_queries(block, job, base, q);
    block.template wait_copies<1>();
    block.sync();
    typename Steps::Scores s;
    typename Steps::Rows rows;
    if (!idle) {
      Steps::scores(block, q, 0, s);
      Steps::weigh(block, job, tile, chunk * kChunk, s, rows);
    }
    block.template wait_copies<0>();
    block.sync();
    if (!idle) put(block, job, base, s, rows);
  }

 private:
  static DVLM_DEVICE void put(const Block& block, const Job& job, size_t base,
                              const typename Steps::Scores& s, const typename Steps::Rows& rows) {
    typename Steps::Weights p;
    Steps::to_weights(block, s, p);
    const size_t first = static_cast<size_t>(block.x()) * job.shares.tiles * job.shape.kv_heads * kChunk +
                         base + block.warp() * 16;
    DVLM_UNROLL
    for (int n = 0; n < kDim / 8; ++n) {
      const Lanes<Float4> o = Steps::mix(block, p, n, 0);
      block.lanes([&](int lane) {
        const size_t at = ((first + lane / 4) * kDim + n * 8 + lane % 4 * 2) / 2;
        store(as<Float2>(job.shares.values), at, Float2{o[lane].v[0], o[lane].v[1]});
        store(as<Float2>(job.shares.values), at + 8 * kDim / 2, Float2{o[lane].v[2], o[lane].v[3]});
      });
    }
    block.lanes([&](int lane) {
      if (lane % 4 != 0) return;
      const size_t at = first + lane / 4;
      store(job.shares.largest, at, rows.largest[lane].x),
          store(job.shares.largest, at + 8, rows.largest[lane].y);
      store(job.shares.sums, at, rows.sum[lane].x), store(job.shares.sums, at + 8, rows.sum[lane].y);
    });
  }
};

// Many rows: a block takes a tile's chunks one after the other. The same bits as chunks in parallel and
// CombineChunks. grid: (tiles, kv heads).
template <int kDim, bool kE4m3>
struct TileAttention {
  struct Job : AttentionJob {
    Global<uint16_t> inputs;  // bf16: B of the output projection
    Global<uint16_t> rows;    // e4m3: [rows][heads * dim] bf16, to be quantized
    int row_tiles = 0;
  };
  using Steps = ChunkSteps<kDim>;
  static constexpr int kThreads = Steps::kThreads;
  static constexpr size_t kSharedBytes = 2 * Steps::kBytes;

  static DVLM_DEVICE void run(Block& block, const Job& job) {
    block.release_successor();
    block.wait_for_predecessor();
    const int kv = block.y();
    const AttentionTile tile = load(job.tiles, block.x());
    const int visible = tile.visible + (tile.rows - 1) * tile.visible_step,
              chunks = (visible + kChunk - 1) / kChunk;
    const auto fetch = [&](int chunk) {
      Steps::fetch(block, job, load(job.page_table, tile.first_page + chunk), kv, chunk % 2 * Steps::kBytes);
    };
    fetch(0);
    const bool idle = block.warp() * 16 >= tile.rows * job.shape.group();
    typename Steps::Queries q;
    if (!idle)
      Steps::load_queries(block, job, (static_cast<size_t>(block.x()) * job.shape.kv_heads + kv) * kChunk, q);
    Lanes<Float4> total[kDim / 8];
    typename Steps::Rows rows;
    block.lanes([&](int lane) { rows.largest[lane] = {-1e30f, -1e30f}, rows.sum[lane] = {0, 0}; });
    DVLM_UNROLL
    for (int n = 0; n < kDim / 8; ++n) block.lanes([&](int lane) { total[n][lane] = {}; });
    for (int chunk = 0; chunk < chunks; ++chunk) {
      if (chunk + 1 < chunks) {
        fetch(chunk + 1);
        block.template wait_copies<2>();
      } else {
        block.template wait_copies<0>();
      }
      block.sync();
      if (!idle) add(block, job, tile, chunk, q, rows, total);
      block.sync();
    }
    if (!idle) put(block, job, tile, kv, rows, total);
  }

 private:
  static DVLM_DEVICE void add(const Block& block, const Job& job, const AttentionTile& tile, int chunk,
                              const typename Steps::Queries& q, typename Steps::Rows& rows,
                              Lanes<Float4> (&total)[kDim / 8]) {
    const size_t from = chunk % 2 * Steps::kBytes;
    typename Steps::Scores s;
    typename Steps::Rows now;
    typename Steps::Weights p;
    Steps::scores(block, q, from, s);
    Steps::weigh(block, job, tile, chunk * kChunk, s, now);
    Steps::to_weights(block, s, p);
    Lanes<Float2> before, share;  // powers of two
    block.lanes([&](int lane) {
      const Float2 old = rows.largest[lane],
                   both{maximum(old.x, now.largest[lane].x), maximum(old.y, now.largest[lane].y)};
      before[lane] = {power_of_two(old.x - both.x), power_of_two(old.y - both.y)};
      share[lane] = {power_of_two(now.largest[lane].x - both.x), power_of_two(now.largest[lane].y - both.y)};
      rows.largest[lane] = both;
      rows.sum[lane].x = rows.sum[lane].x * before[lane].x + now.sum[lane].x * share[lane].x;
      rows.sum[lane].y = rows.sum[lane].y * before[lane].y + now.sum[lane].y * share[lane].y;
    });
    DVLM_UNROLL
    for (int n = 0; n < kDim / 8; ++n) {
      const Lanes<Float4> o = Steps::mix(block, p, n, from);
      block.lanes([&](int lane) {
        DVLM_UNROLL
        for (int i = 0; i < 4; ++i) {
          float& v = total[n][lane].v[i];
          v = v * (i < 2 ? before[lane].x : before[lane].y) +
              o[lane].v[i] * (i < 2 ? share[lane].x : share[lane].y);
        }
      });
    }
  }

  static DVLM_DEVICE void put(const Block& block, const Job& job, const AttentionTile& tile, int kv,
                              const typename Steps::Rows& rows, const Lanes<Float4> (&total)[kDim / 8]) {
    const int group = job.shape.group();
    block.lanes([&](int lane) {
      DVLM_UNROLL
      for (int half = 0; half < 2; ++half) {
        const int query = block.warp() * 16 + lane / 4 + half * 8;
        if (query >= tile.rows * group) continue;
        const int row = tile.first_row + query / group, head = kv * group + query % group;
        const float sum = half == 0 ? rows.sum[lane].x : rows.sum[lane].y;
        DVLM_UNROLL
        for (int n = 0; n < kDim / 8; ++n) {
          const int k = head * kDim + n * 8 + lane % 4 * 2;
          const uint32_t pair = uint32_t{bf16_bits(total[n][lane].v[half * 2] / sum)} |
                                uint32_t{bf16_bits(total[n][lane].v[half * 2 + 1] / sum)} << 16;
          if constexpr (kE4m3)
            store(as<uint32_t>(job.rows), (static_cast<size_t>(row) * job.shape.heads * kDim + k) / 2, pair);
          else
            store(as<uint32_t>(job.inputs), input_index(k, row, job.row_tiles) / 2, pair);
        }
      }
    });
  }
};

// Adds the chunks' shares of a row in their order and hands the row to the output projection. grid: (rows).
template <bool kE4m3>
struct CombineChunks {
  struct Job {
    Heads shape;
    Global<const RowPlace> places;
    Global<const AttentionTile> tiles;
    Shares shares;
    RowOutput out;
  };
  static constexpr int kThreads = 512;
  static size_t shared_bytes(int width) { return static_cast<size_t>(width + kThreads / kWarp) * 4; }

  static DVLM_DEVICE void run(Block& block, const Job& job) {
    const Heads& shape = job.shape;
    const int width = shape.heads * shape.dim, row = block.x();
    const Shared<float> values = block.shared<float>(0, width),
                        scratch = block.shared<float>(static_cast<size_t>(width) * 4, kThreads / kWarp);
    block.release_successor();
    block.wait_for_predecessor();
    const RowPlace place = load(job.places, row);
    const AttentionTile tile = load(job.tiles, place.tile);
    const int visible = tile.visible + place.row_in_tile * tile.visible_step;
    const int chunks = (visible + kChunk - 1) / kChunk;
    block.lanes([&](int lane) {
      for (int k = (block.warp() * kWarp + lane) * 2; k < width; k += kThreads * 2) {
        const Float2 v = combine(job, place, k / shape.dim, k % shape.dim, chunks);
        values[k] = v.x, values[k + 1] = v.y;
      }
    });
    put_row<kE4m3, kThreads>(block, job.out, row, width, values, scratch);
  }

 private:
  static DVLM_DEVICE Float2 combine(const Job& job, const RowPlace& place, int head, int d, int chunks) {
    const Heads& shape = job.shape;
    const int group = shape.group();
    const size_t query = (static_cast<size_t>(place.tile) * shape.kv_heads + head / group) * kChunk +
                         place.row_in_tile * group + head % group,
                 step = static_cast<size_t>(job.shares.tiles) * shape.kv_heads * kChunk;
    float largest = load(job.shares.largest, query);
    DVLM_UNROLL_BY(8)
    for (int c = 1; c < chunks; ++c) largest = maximum(largest, load(job.shares.largest, query + c * step));
    float sum = 0;
    Float2 v{0, 0};
    DVLM_UNROLL_BY(8)
    for (int c = 0; c < chunks; ++c) {
      const size_t at = query + c * step;
      const float weight = power_of_two(load(job.shares.largest, at) - largest);
      const Float2 share = load(as<Float2>(job.shares.values), (at * shape.dim + d) / 2);
      v.x += share.x * weight, v.y += share.y * weight;
      sum += load(job.shares.sums, at) * weight;
    }
    return {v.x / sum, v.y / sum};
  }
};

}  // namespace DVLM_LAYER
}  // namespace dvlm::cuda
