#include "torch/cpu_attention.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "torch/cpu_matrix.h"
#include "torch/cpu_rows.h"

namespace dvlm {
namespace {

constexpr int kQueries = 64;  // rows of one block of queries
constexpr int kUnit = 64;  // key ranges are multiples of this, to keep the number of distinct products small

int rounded_up(int n, int unit) {
  return (n + unit - 1) / unit * unit;
}

// [rows, columns] of 4-byte elements -> [columns, rows].
void transpose(const void* from, int ld_from, int rows, int columns, void* to, int ld_to) {
  const auto* in = static_cast<const uint32_t*>(from);
  auto* out = static_cast<uint32_t*>(to);
  for (int r0 = 0; r0 < rows; r0 += 16) {
    for (int c = 0; c < columns; ++c) {
      const int end = std::min(rows, r0 + 16);
      for (int r = r0; r < end; ++r)
        out[static_cast<ptrdiff_t>(c) * ld_to + r] = in[static_cast<ptrdiff_t>(r) * ld_from + c];
    }
  }
}

// Matrices of one pass over a segment, reused for all that a thread works on.
struct Buffers {
  std::vector<bf16> keys, values, keys_t, values_t, key_pairs, value_pairs;  // of all keys of the segment
  std::vector<float> d_keys_t, d_values_t, d_rows;
  std::vector<uint8_t> visible;  // of one block of queries
  std::vector<bf16> q, d_o, q_t, d_o_t, pairs, p, d_s, p_pairs, d_s_pairs;
  std::vector<float> s, d_p, o;

  void fit(int keys_padded, int dim) {
    const auto all = static_cast<size_t>(keys_padded) * static_cast<size_t>(dim);
    for (auto* x : {&keys, &values, &keys_t, &values_t, &key_pairs, &value_pairs}) grow(*x, all);
    for (auto* x : {&d_keys_t, &d_values_t, &d_rows}) grow(*x, all);
    for (auto* x : {&q, &d_o, &q_t, &d_o_t, &pairs}) grow(*x, static_cast<size_t>(kQueries) * dim);
    const auto block = static_cast<size_t>(kQueries) * static_cast<size_t>(keys_padded);
    for (auto* x : {&p, &d_s, &p_pairs, &d_s_pairs}) grow(*x, block);
    for (auto* x : {&s, &d_p}) grow(*x, block);
    grow(o, static_cast<size_t>(kQueries) * dim);
    grow(visible, block);
  }
  template <class T>
  static void grow(std::vector<T>& x, size_t size) {
    if (x.size() < size) x.resize(size);
  }
};

// The work on one key/value head of one segment.
class HeadPass {
 public:
  HeadPass(const CpuAttention& a, Buffers& buffers, int64_t segment, int kv_head)
      : a_(a),
        b_(buffers),
        segment_(segment),
        first_(a.cumulative[static_cast<size_t>(segment)]),
        length_(static_cast<int>(a.cumulative[static_cast<size_t>(segment) + 1] - first_)),
        padded_(rounded_up(length_, kUnit)),
        dim_(a.head_dim),
        kv_head_(kv_head),
        scale_(1.0f / std::sqrt(static_cast<float>(a.head_dim))) {
    b_.fit(padded_, dim_);
  }

  void forward(bf16* out, float* log_sums) {
    read_keys();
    pairs_of(b_.values.data(), padded_, b_.value_pairs.data());
    for (int q0 = 0; q0 < length_; q0 += kQueries) {
      const Block block = look(q0);
      for (int head = first_head(); head < first_head() + group(); ++head) attend(block, head, out, log_sums);
    }
  }

  void backward(const bf16* out, const float* log_sums, const bf16* d_out, bf16* d_qkv) {
    read_keys();
    pairs_of(b_.keys.data(), padded_, b_.key_pairs.data());
    transpose(b_.values.data(), dim_ / 2, padded_, dim_ / 2, b_.values_t.data(), padded_);
    std::fill_n(b_.d_keys_t.begin(), padded_ * dim_, 0.0f);
    std::fill_n(b_.d_values_t.begin(), padded_ * dim_, 0.0f);
    for (int q0 = 0; q0 < length_; q0 += kQueries) {
      const Block block = look(q0);
      for (int head = first_head(); head < first_head() + group(); ++head)
        attend_backward(block, head, out, log_sums, d_out, d_qkv);
    }
    write_key_gradients(d_qkv);
  }

 private:
  // A block of queries and the range of keys that it sees some of.
  struct Block {
    int q0, count, rows;  // `rows`: count rounded up, the rest is zero
    int k0, keys;
  };

  int group() const { return a_.heads / a_.kv_heads; }
  int first_head() const { return kv_head_ * group(); }
  ptrdiff_t row(int i) const { return static_cast<ptrdiff_t>(first_ + i); }
  // Column `head` of the q, k and v heads in a row of qkv.
  ptrdiff_t at(int i, int head) const { return row(i) * a_.width() + static_cast<ptrdiff_t>(head) * dim_; }
  ptrdiff_t out_at(int i, int head) const { return (row(i) * a_.heads + head) * dim_; }
  const float* cosine(int i) const { return a_.cosine + row(i) * (dim_ / 2); }
  const float* sine(int i) const { return a_.sine + row(i) * (dim_ / 2); }

  void read_keys() {
    for (int i = 0; i < length_; ++i) {
      rows_.rotate(a_.qkv + at(i, a_.heads + kv_head_), cosine(i), sine(i), dim_ / 2,
                   b_.keys.data() + i * dim_);
      std::memcpy(b_.values.data() + i * dim_, a_.qkv + at(i, a_.heads + a_.kv_heads + kv_head_),
                  static_cast<size_t>(dim_) * sizeof(bf16));
    }
    const auto rest = static_cast<size_t>(padded_ - length_) * static_cast<size_t>(dim_) * sizeof(bf16);
    std::memset(static_cast<void*>(b_.keys.data() + length_ * dim_), 0, rest);
    std::memset(static_cast<void*>(b_.values.data() + length_ * dim_), 0, rest);
    transpose(b_.keys.data(), dim_ / 2, padded_, dim_ / 2, b_.keys_t.data(), padded_);
  }

  void pairs_of(const bf16* x, int count, bf16* out) const {
    for (int i = 0; i < count; i += 2)
      rows_.interleave(x + i * dim_, x + (i + 1) * dim_, dim_, out + i * dim_);
  }

  struct Range {
    int from = 0, to = 0;
  };

  Range visible_range(int i) const {
    if (!a_.mask) return {0, a_.causal ? i + 1 : length_};
    const bool* mask = mask_row(i);
    const auto* first = static_cast<const bool*>(std::memchr(mask, 1, static_cast<size_t>(length_)));
    if (!first) return {};
    int to = length_;
    for (uint64_t eight = 0; to >= 8; to -= 8) {
      std::memcpy(&eight, mask + to - 8, 8);
      if (eight != 0) break;
    }
    while (!mask[to - 1]) --to;
    return {static_cast<int>(first - mask), to};
  }

  const bool* mask_row(int i) const { return a_.mask + (segment_ * length_ + i) * int64_t{length_}; }

  Block look(int q0) {
    Block block{q0, std::min(kQueries, length_ - q0), 0, length_, 0};
    block.rows = rounded_up(block.count, 16);
    Range ranges[kQueries];
    int end = 0;
    for (int r = 0; r < block.count; ++r) {
      ranges[r] = visible_range(q0 + r);
      if (ranges[r].to > 0) block.k0 = std::min(block.k0, ranges[r].from), end = std::max(end, ranges[r].to);
    }
    block.k0 = end == 0 ? 0 : block.k0 / kUnit * kUnit;
    block.keys = std::max(kUnit, rounded_up(end, kUnit) - block.k0);
    std::memset(b_.visible.data(), 0, static_cast<size_t>(block.rows) * static_cast<size_t>(block.keys));
    for (int r = 0; r < block.count; ++r) {
      const Range range = ranges[r];
      const auto count = static_cast<size_t>(range.to - range.from);
      if (count == 0) continue;
      uint8_t* target = b_.visible.data() + r * block.keys + (range.from - block.k0);
      if (a_.mask != nullptr)
        std::memcpy(target, mask_row(q0 + r) + range.from, count);
      else
        std::memset(target, 1, count);
    }
    return block;
  }

  void read_queries(const Block& block, int head) {
    for (int r = 0; r < block.count; ++r) {
      const int i = block.q0 + r;
      rows_.rotate(a_.qkv + at(i, head), cosine(i), sine(i), dim_ / 2, b_.q.data() + r * dim_);
    }
    std::fill_n(b_.q.begin() + block.count * dim_, (block.rows - block.count) * dim_, bf16{});
  }

  void scores(const Block& block) {
    multiply_pairs(block.rows, block.keys, dim_, b_.q.data(), dim_, b_.keys_t.data() + 2 * block.k0, padded_,
                   b_.s.data(), block.keys);
  }

  void attend(const Block& block, int head, bf16* out, float* log_sums) {
    read_queries(block, head);
    scores(block);
    float inverse[kQueries];
    for (int r = 0; r < block.rows; ++r) {
      const ptrdiff_t start = static_cast<ptrdiff_t>(r) * block.keys;
      const auto sums = rows_.softmax(b_.s.data() + start, b_.visible.data() + start, block.keys, scale_,
                                      b_.p.data() + start);
      inverse[r] = sums.inverse;
      if (r < block.count) log_sums[row(block.q0 + r) * a_.heads + head] = sums.log_sum;
    }
    multiply_pairs(block.rows, dim_, block.keys, b_.p.data(), block.keys,
                   b_.value_pairs.data() + block.k0 * dim_, dim_, b_.o.data(), dim_);
    for (int r = 0; r < block.count; ++r)
      rows_.scale_row(b_.o.data() + r * dim_, inverse[r], dim_, out + out_at(block.q0 + r, head));
  }

  void attend_backward(const Block& block, int head, const bf16* out, const float* log_sums,
                       const bf16* d_out, bf16* d_qkv) {
    read_queries(block, head);
    float delta[kQueries] = {}, log_sum[kQueries] = {};
    for (int r = 0; r < block.count; ++r) {
      const ptrdiff_t at_row = out_at(block.q0 + r, head);
      std::memcpy(b_.d_o.data() + r * dim_, d_out + at_row, static_cast<size_t>(dim_) * sizeof(bf16));
      delta[r] = rows_.dot(d_out + at_row, out + at_row, dim_);
      log_sum[r] = log_sums[row(block.q0 + r) * a_.heads + head];
    }
    std::fill_n(b_.d_o.begin() + block.count * dim_, (block.rows - block.count) * dim_, bf16{});
    scores(block);
    multiply_pairs(block.rows, block.keys, dim_, b_.d_o.data(), dim_, b_.values_t.data() + 2 * block.k0,
                   padded_, b_.d_p.data(), block.keys);
    for (int r = 0; r < block.rows; r += 2) {
      const auto softmax_row = [&](int i) {
        const ptrdiff_t start = static_cast<ptrdiff_t>(i) * block.keys;
        return rows::SoftmaxRow{
            b_.s.data() + start,  b_.d_p.data() + start, b_.visible.data() + start, log_sum[i], delta[i],
            b_.d_s.data() + start};
      };
      const ptrdiff_t start = static_cast<ptrdiff_t>(r) * block.keys;
      rows_.softmax_backward(softmax_row(r), softmax_row(r + 1), block.keys, scale_,
                             b_.p_pairs.data() + start, b_.d_s_pairs.data() + start);
    }
    multiply_pairs(block.rows, dim_, block.keys, b_.d_s.data(), block.keys,
                   b_.key_pairs.data() + block.k0 * dim_, dim_, b_.o.data(), dim_);
    for (int r = 0; r < block.count; ++r) {
      const int i = block.q0 + r;
      rows_.rotate_back(b_.o.data() + r * dim_, cosine(i), sine(i), dim_ / 2, d_qkv + at(i, head));
    }
    add_key_gradients(block, b_.q.data(), b_.q_t.data(), b_.d_s_pairs.data(), b_.d_keys_t.data());
    add_key_gradients(block, b_.d_o.data(), b_.d_o_t.data(), b_.p_pairs.data(), b_.d_values_t.data());
  }

  // sums [dim, padded keys] += x^T [dim, rows] y [rows, keys], y in row pairs.
  void add_key_gradients(const Block& block, const bf16* x, bf16* x_t, const bf16* y_pairs, float* sums) {
    // A pair of rows is one 4-byte element, so that transposing pairs transposes x.
    pairs_of(x, block.rows, b_.pairs.data());
    transpose(b_.pairs.data(), dim_, block.rows / 2, dim_, x_t, block.rows / 2);
    multiply_pairs(dim_, block.keys, block.rows, x_t, block.rows, y_pairs, block.keys, sums + block.k0,
                   padded_, true);
  }

  void write_key_gradients(bf16* d_qkv) {
    transpose(b_.d_keys_t.data(), padded_, dim_, padded_, b_.d_rows.data(), dim_);
    for (int i = 0; i < length_; ++i)
      rows_.rotate_back(b_.d_rows.data() + i * dim_, cosine(i), sine(i), dim_ / 2,
                        d_qkv + at(i, a_.heads + kv_head_));
    transpose(b_.d_values_t.data(), padded_, dim_, padded_, b_.d_rows.data(), dim_);
    for (int i = 0; i < length_; ++i)
      rows_.scale_row(b_.d_rows.data() + i * dim_, 1.0f, dim_,
                      d_qkv + at(i, a_.heads + a_.kv_heads + kv_head_));
  }

  const CpuAttention& a_;
  const rows::Kernels& rows_ = rows::kernels();
  Buffers& b_;
  int64_t segment_, first_;
  int length_, padded_, dim_, kv_head_;
  float scale_;
};

template <class Work>
void each_pass(const CpuAttention& attention, const Work& work) {
  const int64_t segments = static_cast<int64_t>(attention.cumulative.size()) - 1;
  at::parallel_for(0, segments * attention.kv_heads, 1, [&](int64_t begin, int64_t end) {
    Buffers buffers;
    for (int64_t i = begin; i < end; ++i) {
      HeadPass pass(attention, buffers, i / attention.kv_heads, static_cast<int>(i % attention.kv_heads));
      work(pass);
    }
    release_pair_products();
  });
}

}  // namespace

void CpuAttention::forward(bf16* out, float* log_sums) const {
  each_pass(*this, [&](HeadPass& pass) { pass.forward(out, log_sums); });
}

void CpuAttention::backward(const bf16* out, const float* log_sums, const bf16* d_out, bf16* d_qkv) const {
  each_pass(*this, [&](HeadPass& pass) { pass.backward(out, log_sums, d_out, d_qkv); });
}

}  // namespace dvlm
