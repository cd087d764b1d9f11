#include <cmath>
#include <tuple>

#include "torch/layers.h"
#include "torch/recompute.h"
#include "torch/towers.h"

namespace dvlm::towers {

using torch::Tensor;

TextLayerImpl::TextLayerImpl(const TextConfig& config)
    : query_rows_(int64_t{config.heads} * config.head_dim),
      key_rows_(int64_t{config.kv_heads} * config.head_dim),
      mlp_rows_(config.intermediate_size) {
  const int64_t hidden = config.hidden_size, qkv_rows = query_rows_ + 2 * key_rows_;
  // Projections that write to the residual stream start smaller the deeper the stack (GPT-2).
  const double residual_spread = config.initializer_range / std::sqrt(2.0 * config.layers);
  input_norm = register_parameter("input_norm", torch::ones({hidden}));
  qkv_weight = register_parameter("qkv_weight", torch::randn({qkv_rows, hidden}) * config.initializer_range);
  qkv_bias = register_parameter("qkv_bias", torch::zeros({qkv_rows}));
  o_weight = register_parameter("o_weight", torch::randn({hidden, query_rows_}) * residual_spread);
  post_norm = register_parameter("post_norm", torch::ones({hidden}));
  gate_up_weight =
      register_parameter("gate_up_weight", torch::randn({2 * mlp_rows_, hidden}) * config.initializer_range);
  down_weight = register_parameter("down_weight", torch::randn({hidden, mlp_rows_}) * residual_spread);
}

void TextLayerImpl::name_weights(const std::string& prefix, NamedTensors& names) const {
  const int64_t starts[] = {0, query_rows_, query_rows_ + key_rows_, query_rows_ + 2 * key_rows_};
  const char* heads[] = {"q_proj", "k_proj", "v_proj"};
  for (int i = 0; i < 3; ++i) {
    const std::string name = prefix + "self_attn." + heads[i];
    names[name + ".weight"] = qkv_weight.slice(0, starts[i], starts[i + 1]);
    names[name + ".bias"] = qkv_bias.slice(0, starts[i], starts[i + 1]);
  }
  names[prefix + "self_attn.o_proj.weight"] = o_weight;
  names[prefix + "input_layernorm.weight"] = input_norm;
  names[prefix + "post_attention_layernorm.weight"] = post_norm;
  names[prefix + "mlp.gate_proj.weight"] = gate_up_weight.slice(0, 0, mlp_rows_);
  names[prefix + "mlp.up_proj.weight"] = gate_up_weight.slice(0, mlp_rows_, 2 * mlp_rows_);
  names[prefix + "mlp.down_proj.weight"] = down_weight;
}

TextTowerImpl::TextTowerImpl(const TextConfig& config) : config_(config) {
  const int64_t hidden = config.hidden_size, vocab = config.vocab_size;
  embedding_ = register_parameter("embedding", torch::randn({vocab, hidden}) * config.initializer_range);
  for (int i = 0; i < config.layers; ++i)
    layers_.push_back(register_module("layer" + std::to_string(i), TextLayer(config)));
  norm_ = register_parameter("norm", torch::ones({hidden}));
  if (!config.tie_word_embeddings)
    head_ = register_parameter("head", torch::randn({vocab, hidden}) * config.initializer_range);
}

Tensor TextTowerImpl::embed(const Tensor& tokens) {
  return torch::embedding(embedding_, tokens);
}

Tensor TextTowerImpl::head() const {
  return head_.defined() ? head_ : embedding_;
}

Tensor TextTowerImpl::run(Tensor embedded, const Tensor& positions, const Tensor& mask, torch::Dtype type) {
  const int64_t batch = positions.size(1), length = positions.size(2);
  const std::pair<Tensor, Tensor> rotary = text_rotary(positions.flatten(1), config_);
  layers::AttentionShape shape{config_.heads, config_.kv_heads, config_.head_dim, {}, !mask.defined(), mask};
  for (int64_t b = 0; b <= batch; ++b) shape.cumulative.push_back(b * length);
  const double eps = config_.rms_norm_eps;
  std::vector<Tensor> stream = {std::move(embedded)};  // and what the layer before adds to it
  for (const TextLayer& layer : layers_) {
    const auto run_layer = [=, &layer = *layer](const std::vector<Tensor>& in) -> std::vector<Tensor> {
      auto [x, y] = layers::add_norm(in[0], in.size() > 1 ? in[1] : Tensor(), layer.input_norm, eps,
                                     type);                     // [B * L, hidden]
      y = layers::linear(y, layer.qkv_weight, layer.qkv_bias);  // [B * L, (heads + 2 kv_heads) * head_dim]
      y = layers::rotary_attention(y, rotary.first, rotary.second, shape);  // [B * L, heads * head_dim]
      const Tensor attended = layers::linear(y, layer.o_weight);            // [B * L, hidden]
      std::tie(x, y) = layers::add_norm(x, attended, layer.post_norm, eps, type);  // [B * L, hidden]
      y = layers::swiglu(layers::linear(y, layer.gate_up_weight));                 // [B * L, intermediate]
      return {x, layers::linear(y, layer.down_weight)};                            // [B * L, hidden]
    };
    stream = recompute_ ? recompute(run_layer, stream, layer->parameters()) : run_layer(stream);
  }
  return normed(stream[0], stream[1]);
}

Tensor TextTowerImpl::normed(const Tensor& x, const Tensor& delta) const {
  return layers::add_norm(x, delta.defined() ? delta.to(torch::kFloat32) : delta, norm_, config_.rms_norm_eps,
                          torch::kFloat32)
      .second;
}

void TextTowerImpl::name_weights(NamedTensors& names) const {
  names["model.embed_tokens.weight"] = embedding_;
  names["model.norm.weight"] = norm_;
  if (head_.defined()) names["lm_head.weight"] = head_;
  for (size_t i = 0; i < layers_.size(); ++i)
    layers_[i]->name_weights("model.layers." + std::to_string(i) + ".", names);
}

std::pair<Tensor, Tensor> text_rotary(const Tensor& positions, const TextConfig& config) {
  const int half = config.head_dim / 2;
  std::vector<int64_t> axes;
  for (size_t axis = 0; axis < config.mrope_section.size(); ++axis)
    axes.insert(axes.end(), static_cast<size_t>(config.mrope_section[axis]), static_cast<int64_t>(axis));
  const auto options = positions.options();
  const Tensor exponents = torch::arange(0, 2 * half, 2, options.dtype(torch::kFloat32)) / config.head_dim;
  const Tensor frequencies = 1.0 / torch::pow(config.rope_theta, exponents);
  const Tensor chosen = positions.index_select(0, torch::tensor(axes, options)).to(torch::kFloat32);
  const Tensor angles = (chosen * frequencies.unsqueeze(1)).t().contiguous();  // [rows, half]
  return {angles.cos(), angles.sin()};
}

}  // namespace dvlm::towers
