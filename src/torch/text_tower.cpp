#include <cmath>
#include <utility>

#include "torch/layers.h"
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
  qkv.weight = register_parameter("qkv_weight", torch::randn({qkv_rows, hidden}) * config.initializer_range);
  qkv.bias = register_parameter("qkv_bias", torch::zeros({qkv_rows}));
  output.weight = register_parameter("o_weight", torch::randn({hidden, query_rows_}) * residual_spread);
  post_norm = register_parameter("post_norm", torch::ones({hidden}));
  gate_up.weight =
      register_parameter("gate_up_weight", torch::randn({2 * mlp_rows_, hidden}) * config.initializer_range);
  down.weight = register_parameter("down_weight", torch::randn({hidden, mlp_rows_}) * residual_spread);
}

void TextLayerImpl::name_weights(const std::string& prefix, NamedTensors& names) const {
  names[prefix + "input_layernorm.weight"] = input_norm;
  names[prefix + "post_attention_layernorm.weight"] = post_norm;
}

void TextLayerImpl::list_linears(const std::string& prefix, std::vector<LinearPart>& parts) {
  const auto add = [&](const char* name, layers::Linear& linear, int64_t first, int64_t outputs) {
    parts.push_back({prefix + name, this, &linear, first, outputs});
  };
  add("self_attn.q_proj", qkv, 0, query_rows_);
  add("self_attn.k_proj", qkv, query_rows_, key_rows_);
  add("self_attn.v_proj", qkv, query_rows_ + key_rows_, key_rows_);
  add("self_attn.o_proj", output, 0, output.weight.size(0));
  add("mlp.gate_proj", gate_up, 0, mlp_rows_);
  add("mlp.up_proj", gate_up, mlp_rows_, mlp_rows_);
  add("mlp.down_proj", down, 0, down.weight.size(0));
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
  if (own_in_head_) {  // the embedding is frozen then, and nobody else reads that row
    const torch::NoGradGuard no_grad;
    embedding_.narrow(0, own_token_, 1).copy_(own_row_);
  }
  const Tensor rows = torch::embedding(embedding_, tokens).to(torch::kFloat32);
  return own_row_.defined() ? torch::where((tokens == own_token_).unsqueeze(1), own_row_, rows) : rows;
}

Tensor TextTowerImpl::head() const {
  return head_.defined() ? head_ : embedding_;
}

void TextTowerImpl::add_token_row(int64_t token, bool in_head) {
  own_token_ = token, own_in_head_ = in_head;
  own_row_ = register_parameter(
      "lora_token_row", embedding_.detach().narrow(0, token, 1).to(torch::kFloat32, false, /*copy=*/true));
}

std::vector<LinearPart> TextTowerImpl::linears() const {
  std::vector<LinearPart> parts;
  for (size_t i = 0; i < layers_.size(); ++i)
    TextLayer(layers_[i])->list_linears("model.layers." + std::to_string(i) + ".", parts);
  return parts;
}

Tensor TextTowerImpl::run(Tensor embedded, const Tensor& positions, const Tensor& mask, torch::Dtype type,
                          const layers::AdapterUse& adapters) {
  const int64_t batch = positions.size(1), length = positions.size(2);
  layers::AttentionShape shape{config_.heads,
                               config_.kv_heads,
                               config_.head_dim,
                               {},
                               !mask.defined(),
                               mask,
                               layers::attention_tiles(mask, type)};
  for (int64_t b = 0; b <= batch; ++b) shape.cumulative.push_back(b * length);
  const BlockPass pass{.rotary = text_rotary(positions.flatten(1), config_),
                       .shape = std::move(shape),
                       .eps = config_.rms_norm_eps,
                       .type = type,
                       .adapters = adapters,
                       .recompute = recompute_};
  std::vector<Tensor> stream = {std::move(embedded)};
  for (const TextLayer& layer : layers_) stream = layer->run(stream, pass);
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
