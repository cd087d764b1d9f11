#include "tower_data.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace dvlm::test {

namespace {

MatrixData random_matrix(int outputs, int inputs, bool e4m3, std::mt19937_64& random) {
  MatrixData m{outputs, inputs, {}, {}};
  m.values.resize(static_cast<size_t>(outputs) * static_cast<size_t>(inputs));
  std::uniform_int_distribution<int> steps(-120, 120);
  for (float& v : m.values) {
    const int step = steps(random);
    v = e4m3 ? static_cast<float>(step % 16) : static_cast<float>(step) / 128;
  }
  const float size = 1.4f / std::sqrt(static_cast<float>(inputs));
  if (e4m3) {
    m.scale.resize(static_cast<size_t>(outputs));
    for (float& s : m.scale) s = size / 12 * (1 + 0.01f * static_cast<float>(steps(random)) / 4);
  } else {
    const float power = std::exp2(std::round(std::log2(size * 1.7f)));
    for (float& v : m.values) v *= power;
  }
  return m;
}

std::vector<float> around(float middle, size_t count, std::mt19937_64& random) {
  std::uniform_real_distribution<float> spread(-0.2f, 0.2f);
  std::vector<float> out(count);
  for (float& v : out) v = middle + spread(random);
  return out;
}

}  // namespace

SegmentData part(const SegmentData& s, int first, int rows) {
  SegmentData out = s;
  out.tokens.assign(s.tokens.begin() + first, s.tokens.begin() + first + rows);
  out.positions.assign(s.positions.begin() + first, s.positions.begin() + first + rows);
  out.context = s.context + first;
  return out;
}

TowerData random_tower(int heads, int kv_heads, int dim, int hidden, int intermediate, int vocab, int layers,
                       bool e4m3, uint64_t seed) {
  std::mt19937_64 random(seed);
  TowerData t{heads, kv_heads, dim, hidden, intermediate, vocab, {}, {}, {}};
  const int qkv = (heads + 2 * kv_heads) * dim;
  for (int i = 0; i < layers; ++i) {
    LayerData layer;
    layer.qkv = random_matrix(qkv, hidden, e4m3, random),
    layer.output = random_matrix(hidden, heads * dim, e4m3, random);
    layer.gate_up = random_matrix(2 * intermediate, hidden, e4m3, random);
    layer.down = random_matrix(hidden, intermediate, e4m3, random);
    layer.qkv_bias = around(0, static_cast<size_t>(qkv), random);
    layer.attention_norm = around(1, static_cast<size_t>(hidden), random);
    layer.mlp_norm = around(1, static_cast<size_t>(hidden), random);
    t.layers.push_back(std::move(layer));
  }
  t.norm = around(1, static_cast<size_t>(hidden), random);
  t.table = random_matrix(vocab, hidden, false, random);
  return t;
}

namespace {

using Row = std::vector<double>;

class PlainRunner : public TowerRunner {
 public:
  explicit PlainRunner(const TowerData& data) : t_(data) {}

  PassResult run(const PassData& pass) override {
    std::vector<Row> hidden;
    for (const SegmentData& s : pass.segments)
      for (const int token : s.tokens) {
        const float* row = &t_.table.values[static_cast<size_t>(token) * static_cast<size_t>(t_.hidden)];
        hidden.emplace_back(row, row + t_.hidden);
      }
    for (size_t i = 0; i < t_.layers.size(); ++i) layer(pass, static_cast<int>(i), hidden);
    PassResult out;
    for (const int row : pass.wanted) {
      const Row logits = times(t_.table, normed(hidden[static_cast<size_t>(row)], t_.norm));
      out.tokens.push_back(static_cast<int>(std::ranges::max_element(logits) - logits.begin()));
      out.logits.insert(out.logits.end(), logits.begin(), logits.end());
      const double most = *std::ranges::max_element(logits);
      double sum = 0;
      for (const double v : logits) sum += std::exp(v - most);
      out.probabilities.push_back(static_cast<float>(1 / sum));
    }
    return out;
  }

 private:
  static Row normed(const Row& row, const std::vector<float>& weight) {
    double squares = 0;
    for (const double v : row) squares += v * v;
    const double scale = 1 / std::sqrt(squares / static_cast<double>(row.size()) + 1e-6);
    Row out(row.size());
    for (size_t i = 0; i < row.size(); ++i) out[i] = row[i] * scale * static_cast<double>(weight[i]);
    return out;
  }
  static Row times(const MatrixData& m, const Row& x) {
    Row out(static_cast<size_t>(m.outputs));
    for (size_t o = 0; o < out.size(); ++o) {
      const float* w = &m.values[o * x.size()];
      for (size_t k = 0; k < x.size(); ++k) out[o] += static_cast<double>(w[k]) * x[k];
      if (m.e4m3()) out[o] *= static_cast<double>(m.scale[o]);
    }
    return out;
  }

  void layer(const PassData& pass, int index, std::vector<Row>& hidden) {
    const LayerData& l = t_.layers[static_cast<size_t>(index)];
    size_t row = 0;
    std::vector<Row> queries;
    for (const SegmentData& s : pass.segments)
      for (size_t i = 0; i < s.tokens.size(); ++i, ++row) {
        Row qkv = times(l.qkv, normed(hidden[row], l.attention_norm));
        for (size_t k = 0; k < qkv.size(); ++k) qkv[k] += static_cast<double>(l.qkv_bias[k]);
        for (int head = 0; head < t_.heads + t_.kv_heads; ++head) turn(&qkv[at(head, 0)], s.positions[i]);
        const int key = s.context + static_cast<int>(i);
        keys_[{index, s.pages[static_cast<size_t>(key / 64)] * 64 + key % 64}] =
            Row(qkv.begin() + t_.heads * t_.dim, qkv.end());
        queries.push_back(std::move(qkv));
      }
    row = 0;
    for (const SegmentData& s : pass.segments)
      for (size_t i = 0; i < s.tokens.size(); ++i, ++row) {
        const int visible = s.context + static_cast<int>(s.causal ? i + 1 : s.tokens.size());
        add(hidden[row], times(l.output, attend(index, s, queries[row], visible)));
        const Row wide = times(l.gate_up, normed(hidden[row], l.mlp_norm));
        Row activated(wide.size() / 2);
        for (size_t k = 0; k < activated.size(); ++k)
          activated[k] = wide[2 * k] / (1 + std::exp(-wide[2 * k])) * wide[2 * k + 1];
        add(hidden[row], times(l.down, activated));
      }
  }
  size_t at(int head, int d) const {
    return static_cast<size_t>(head) * static_cast<size_t>(t_.dim) + static_cast<size_t>(d);
  }
  void turn(double* head, int position) const {
    for (int d = 0; d < t_.dim / 2; ++d) {
      const double angle = position * std::pow(1e6, -2.0 * d / t_.dim), c = std::cos(angle),
                   s = std::sin(angle);
      const double a = head[d], b = head[d + t_.dim / 2];
      head[d] = a * c - b * s, head[d + t_.dim / 2] = b * c + a * s;
    }
  }
  Row attend(int layer, const SegmentData& s, const Row& q, int visible) {
    Row out(static_cast<size_t>(t_.heads * t_.dim));
    for (int head = 0; head < t_.heads; ++head) {
      const int kv = head / (t_.heads / t_.kv_heads);
      Row weights;
      for (int key = 0; key < visible; ++key) {
        const Row& k = stored(layer, s, key);
        double score = 0;
        for (int d = 0; d < t_.dim; ++d) score += q[at(head, d)] * k[at(kv, d)];
        weights.push_back(score / std::sqrt(t_.dim));
      }
      const double most = *std::ranges::max_element(weights);
      double sum = 0;
      for (double& w : weights) sum += w = std::exp(w - most);
      for (int key = 0; key < visible; ++key)
        for (int d = 0; d < t_.dim; ++d)
          out[at(head, d)] +=
              weights[static_cast<size_t>(key)] / sum * stored(layer, s, key)[at(t_.kv_heads + kv, d)];
    }
    return out;
  }
  const Row& stored(int layer, const SegmentData& s, int key) {
    return keys_.at({layer, s.pages[static_cast<size_t>(key / 64)] * 64 + key % 64});
  }
  static void add(Row& to, const Row& what) {
    for (size_t i = 0; i < to.size(); ++i) to[i] += what[i];
  }

  TowerData t_;
  std::map<std::pair<int, int>, Row> keys_;  // by layer, page and slot: key heads, then value heads
};

}  // namespace

std::unique_ptr<TowerRunner> plain_runner(const TowerData& data, int) {
  return std::make_unique<PlainRunner>(data);
}

}  // namespace dvlm::test
