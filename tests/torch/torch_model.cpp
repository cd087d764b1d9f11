#include "torch/torch_model.h"

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "model/choose.h"
#include "model/pass_plan.h"
#include "torch/layers.h"
#include "torch/network.h"
#include "torch/plain.h"
#include "torch_device.h"

namespace dvlm {
namespace {

using torch::Tensor;

// Keys (rotated) and values of a run of tokens in one layer: [tokens, kv_heads, head_dim].
struct KeysAndValues {
  Tensor keys, values;
  KeysAndValues first(int64_t n) const { return {keys.slice(0, 0, n), values.slice(0, 0, n)}; }
};

KeysAndValues joined(const std::vector<KeysAndValues>& parts) {
  std::vector<Tensor> keys, values;
  for (const auto& part : parts) keys.push_back(part.keys), values.push_back(part.values);
  return {torch::cat(keys), torch::cat(values)};
}

class TorchSequence : public Sequence {
 public:
  TorchSequence(const void* owner, std::vector<KeysAndValues> empty, int capacity)
      : Sequence(owner), layers_(std::move(empty)), capacity_(capacity) {}

  int length() const override { return static_cast<int>(layers_[0].keys.size(0)); }
  int capacity() const override { return capacity_; }
  void truncate(int length) override {
    if (length < 0 || length > this->length())
      fail("a sequence of {} tokens cannot be truncated to {}", this->length(), length);
    for (auto& layer : layers_) layer = layer.first(length);
  }
  // Tensors are never written in place, so copies may share them.
  std::unique_ptr<Sequence> fork(int length) const override {
    auto copy = std::make_unique<TorchSequence>(*this);
    copy->truncate(length);
    copy->trim();
    return copy;
  }
  bool reserve(int capacity) override {
    capacity_ = std::max(capacity_, capacity);
    return true;
  }
  void trim() override { capacity_ = length(); }

  KeysAndValues& layer(size_t i) { return layers_[i]; }

 private:
  std::vector<KeysAndValues> layers_;
  int capacity_;
};

class TorchModel : public Model {
 public:
  explicit TorchModel(const Checkpoint& checkpoint)
      : config_(checkpoint.config()), device_(test::torch_device()), network_(checkpoint.config()) {
    network_->load(checkpoint);
    network_->to(device_);
  }

  const ModelConfig& config() const override { return config_; }

  ImageFeatures encode_image(const Patches& patches) override {
    const torch::NoGradGuard guard;
    const int64_t width = config_.vision.patch_elements(), rows = patches.grid.patches();
    if (static_cast<int64_t>(patches.values.size()) != rows * width)
      fail("an image of {} patches needs {} values but got {}", rows, rows * width, patches.values.size());
    const Tensor in = torch::from_blob(const_cast<float*>(patches.values.data()), {rows, width}).to(device_);
    const Tensor out = network_->encode_images(in, {patches.grid}).cpu().contiguous();
    const float* values = out.const_data_ptr<float>();
    return {{values, values + out.numel()}, static_cast<int>(out.size(0))};
  }

  std::unique_ptr<Sequence> new_sequence(int capacity) override {
    if (capacity < 0) fail("a sequence cannot hold {} tokens", capacity);
    const Tensor none = torch::empty({0, config_.text.kv_heads, config_.text.head_dim}, device_);
    const std::vector<KeysAndValues> empty(static_cast<size_t>(config_.text.layers), {none, none});
    return std::make_unique<TorchSequence>(this, empty, capacity);
  }

  std::span<const Chosen> forward(std::span<const Segment> segments) override {
    const torch::NoGradGuard guard;
    plan_.plan(segments, this, config_);
    plan_.ask_choices();
    std::vector<std::vector<KeysAndValues>> own(segments.size());  // [segment][layer], for children
    std::vector<Tensor> logits = {torch::empty({0, config_.text.vocab_size}, device_)};
    for (size_t i = 0; i < segments.size(); ++i) {
      const int parent = segments[i].parent;
      const Tensor hidden =
          run(segments[i], parent < 0 ? nullptr : &own[static_cast<size_t>(parent)], own[i]);
      if (segments[i].wanted.empty()) continue;
      std::vector<int64_t> rows;
      for (const Wanted& wanted : segments[i].wanted) rows.push_back(wanted.row);
      logits.push_back(network_->logits(hidden.index_select(0, torch::tensor(rows).to(device_))));
    }
    for (size_t i = 0; i < segments.size(); ++i)
      if (segments[i].keep) commit(segments[i], own[i]);
    logits_ = torch::cat(logits).cpu().contiguous();
    const auto vocab = static_cast<size_t>(config_.text.vocab_size);
    const std::span values(logits_.const_data_ptr<float>(), static_cast<size_t>(logits_.numel()));
    chosen_.clear();
    for (size_t i = 0; i < plan_.wanted.size(); ++i)
      chosen_.push_back(choose(values.subspan(i * vocab, vocab), plan_.wanted[i]));
    return chosen_;
  }

 private:
  static TorchSequence& sequence_of(const Segment& segment) {
    return static_cast<TorchSequence&>(*segment.sequence);  // ours: the plan has checked
  }

  // f32 [tokens, hidden]
  Tensor embed(const Segment& segment) {
    std::vector<int64_t> pads;
    for (size_t i = 0; i < segment.tokens.size(); ++i)
      if (segment.tokens[i] == config_.image_token || segment.tokens[i] == config_.video_token)
        pads.push_back(static_cast<int64_t>(i));
    const std::vector<int64_t> tokens(segment.tokens.begin(), segment.tokens.end());
    Tensor x = network_->text()->embed(torch::tensor(tokens).to(device_));
    if (segment.features.empty()) return x;
    const int64_t hidden = config_.text.hidden_size, count = static_cast<int64_t>(pads.size());
    const Tensor features = torch::from_blob(const_cast<float*>(segment.features.data()), {count, hidden});
    return x.index_copy(0, torch::tensor(pads).to(device_), features.to(device_));
  }

  Tensor positions_of(const Segment& segment) const {
    std::vector<int64_t> axes[3];
    for (const Position& p : segment.positions)
      axes[0].push_back(p.t), axes[1].push_back(p.h), axes[2].push_back(p.w);
    return torch::stack({torch::tensor(axes[0]), torch::tensor(axes[1]), torch::tensor(axes[2])}).to(device_);
  }

  // bool [tokens, visible before the segment + tokens]
  Tensor mask_of(const Segment& segment) const {
    const int64_t count = static_cast<int64_t>(segment.tokens.size());
    const Tensor before = torch::ones({count, segment.context + segment.parent_tokens}, torch::kBool);
    Tensor inside = torch::ones({count, count}, torch::kBool);
    if (segment.visibility == Visibility::causal) inside = inside.tril();
    return torch::cat({before, inside}, 1).to(device_);
  }

  // Hidden states after the final norm [tokens, hidden]; `own` receives the segment's keys and values.
  Tensor run(const Segment& segment, const std::vector<KeysAndValues>* parent,
             std::vector<KeysAndValues>& own) {
    const TextConfig& text = config_.text;
    const auto [cosine, sine] = towers::text_rotary(positions_of(segment), text);
    const Tensor mask = mask_of(segment);
    const double eps = text.rms_norm_eps;
    Tensor x = embed(segment), y, delta;
    for (size_t i = 0; i < network_->text()->layers().size(); ++i) {
      const towers::TextLayer& layer = network_->text()->layers()[i];
      std::tie(x, y) = plain::add_norm(x, delta, layer->input_norm, eps, torch::kFloat32);
      const Tensor heads = layers::linear(y, layer->qkv, {}).unflatten(1, {-1, text.head_dim});
      const Tensor q = plain::rotate(heads.narrow(1, 0, text.heads), cosine, sine);
      own.push_back({plain::rotate(heads.narrow(1, text.heads, text.kv_heads), cosine, sine),
                     heads.narrow(1, text.heads + text.kv_heads, text.kv_heads)});
      std::vector<KeysAndValues> seen = {sequence_of(segment).layer(i).first(segment.context)};
      if (parent) seen.push_back((*parent)[i].first(segment.parent_tokens));
      seen.push_back(own.back());
      delta = layers::linear(attend(q, joined(seen), mask), layer->output, {});
      std::tie(x, y) = plain::add_norm(x, delta, layer->post_norm, eps, torch::kFloat32);
      delta = layers::linear(plain::swiglu(layers::linear(y, layer->gate_up, {})), layer->down, {});
    }
    return plain::add_norm(x, delta, network_->text()->norm(), eps, torch::kFloat32).second;
  }

  static Tensor attend(const Tensor& q, const KeysAndValues& seen, const Tensor& mask) {
    const auto batched = [](const Tensor& x) { return x.transpose(0, 1).unsqueeze(0); };
    const Tensor out = at::scaled_dot_product_attention(batched(q), batched(seen.keys), batched(seen.values),
                                                        mask, 0.0, false, std::nullopt, true);
    return out.squeeze(0).transpose(0, 1).flatten(1);
  }

  void commit(const Segment& segment, const std::vector<KeysAndValues>& own) {
    for (size_t i = 0; i < own.size(); ++i) {
      KeysAndValues& layer = sequence_of(segment).layer(i);
      layer = joined({layer, own[i]});
    }
  }

  ModelConfig config_;
  torch::Device device_;
  Network network_;
  PassPlan plan_;
  Tensor logits_;
  std::vector<Chosen> chosen_;  // views logits_
};

}  // namespace

std::unique_ptr<Model> load_torch_model(const Checkpoint& checkpoint) {
  return std::make_unique<TorchModel>(checkpoint);
}

}  // namespace dvlm
