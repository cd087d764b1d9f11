#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "model/model.h"
#include "torch/layers.h"
#include "torch/towers.h"

namespace dvlm::towers {
namespace {

using torch::Tensor;

constexpr double kEps = 1e-6;

// Temporal slices end here; blocks with full attention attend inside them (docs/reference.md, Vision tower).
std::vector<int64_t> slice_ends(const std::vector<Grid>& grids) {
  std::vector<int64_t> ends = {0};
  for (const Grid& grid : grids)
    for (int t = 0; t < grid.t; ++t) ends.push_back(ends.back() + int64_t{grid.h} * grid.w);
  return ends;
}

// Old patch rows in the order of the windows, and back in merged tokens.
struct Order {
  Tensor patches;  // int64 [patches]
  Tensor merged;   // int64 [merged tokens]: out[merged[g]] = y[g]
  bool identity = true;
};

Order order_of(const std::vector<int>& index, int64_t unit) {
  Order order;
  order.merged = torch::empty({static_cast<int64_t>(index.size())}, torch::kInt64);
  order.patches = torch::empty({static_cast<int64_t>(index.size()) * unit}, torch::kInt64);
  int64_t* merged = order.merged.mutable_data_ptr<int64_t>();
  int64_t* patches = order.patches.mutable_data_ptr<int64_t>();
  for (size_t g = 0; g < index.size(); ++g) {
    merged[g] = index[g];
    order.identity &= index[g] == static_cast<int>(g);
    for (int64_t u = 0; u < unit; ++u) *patches++ = index[g] * unit + u;
  }
  return order;
}

Tensor permuted(const Tensor& x, const Order& order) {
  return order.identity ? x : x.index_select(0, order.patches.to(x.device()));
}

}  // namespace

VisionBlockImpl::VisionBlockImpl(const VisionConfig& config) : mlp_rows_(config.intermediate_size) {
  const int64_t hidden = config.hidden_size;
  const double residual_spread = config.initializer_range / std::sqrt(2.0 * config.depth);
  input_norm = register_parameter("norm1", torch::ones({hidden}));
  qkv.weight =
      register_parameter("qkv_weight", torch::randn({3 * hidden, hidden}) * config.initializer_range);
  qkv.bias = register_parameter("qkv_bias", torch::zeros({3 * hidden}));
  output.weight = register_parameter("proj_weight", torch::randn({hidden, hidden}) * residual_spread);
  output.bias = register_parameter("proj_bias", torch::zeros({hidden}));
  post_norm = register_parameter("norm2", torch::ones({hidden}));
  gate_up.weight =
      register_parameter("gate_up_weight", torch::randn({2 * mlp_rows_, hidden}) * config.initializer_range);
  gate_up.bias = register_parameter("gate_up_bias", torch::zeros({2 * mlp_rows_}));
  down.weight = register_parameter("down_weight", torch::randn({hidden, mlp_rows_}) * residual_spread);
  down.bias = register_parameter("down_bias", torch::zeros({hidden}));
}

void VisionBlockImpl::name_weights(const std::string& prefix, NamedTensors& names) const {
  names[prefix + "norm1.weight"] = input_norm;
  names[prefix + "norm2.weight"] = post_norm;
}

void VisionBlockImpl::list_linears(const std::string& prefix, std::vector<LinearPart>& parts) {
  const auto add = [&](const char* name, layers::Linear& linear, int64_t first, int64_t outputs) {
    parts.push_back({prefix + name, this, &linear, first, outputs});
  };
  add("attn.qkv", qkv, 0, qkv.weight.size(0));
  add("attn.proj", output, 0, output.weight.size(0));
  add("mlp.gate_proj", gate_up, 0, mlp_rows_);
  add("mlp.up_proj", gate_up, mlp_rows_, mlp_rows_);
  add("mlp.down_proj", down, 0, down.weight.size(0));
}

VisionTowerImpl::VisionTowerImpl(const VisionConfig& config) : config_(config) {
  const int64_t hidden = config.hidden_size, patch = config.patch_size;
  const int64_t merged = hidden * config.patches_per_token();
  patch_weight_ = register_parameter(
      "patch_weight", torch::randn({hidden, config.in_channels, config.temporal_patch_size, patch, patch}) *
                          config.initializer_range);
  for (int i = 0; i < config.depth; ++i)
    blocks_.push_back(register_module("block" + std::to_string(i), VisionBlock(config)));
  norm_ = register_parameter("norm", torch::ones({hidden}));
  merge_in_.weight =
      register_parameter("merge_weight0", torch::randn({merged, merged}) * config.initializer_range);
  merge_in_.bias = register_parameter("merge_bias0", torch::zeros({merged}));
  merge_out_.weight = register_parameter(
      "merge_weight2", torch::randn({config.out_hidden_size, merged}) * config.initializer_range);
  merge_out_.bias = register_parameter("merge_bias2", torch::zeros({config.out_hidden_size}));
}

Tensor VisionTowerImpl::run(const Tensor& patches, const std::vector<Grid>& grids, torch::Dtype type,
                            const layers::AdapterUse& adapters) {
  const WindowIndex windows = window_index(grids, config_);
  const Order order = order_of(windows.index, config_.patches_per_token());
  if (patches.dim() != 2 || patches.size(0) != order.patches.size(0) ||
      patches.size(1) != config_.patch_elements())
    fail("encode_images: expected patches [{}, {}] for these grids", order.patches.size(0),
         config_.patch_elements());
  const auto [cosine, sine] = vision_rotary(grids, config_);
  BlockPass inside_windows{
      .rotary = {permuted(cosine, order).to(patches.device()), permuted(sine, order).to(patches.device())},
      .shape = {config_.heads, config_.heads, config_.head_dim(), {}, false, {}},
      .eps = kEps,
      .type = type,
      .adapters = adapters,
      .recompute = recompute_};
  BlockPass full = inside_windows;
  inside_windows.shape.cumulative.assign(windows.cumulative.begin(), windows.cumulative.end());
  full.shape.cumulative = slice_ends(grids);

  std::vector<Tensor> stream = {
      layers::linear(permuted(patches, order).to(type), patch_weight_.flatten(1)).to(torch::kFloat32)};
  for (size_t i = 0; i < blocks_.size(); ++i)
    stream = blocks_[i]->run(stream, config_.sees_all(static_cast<int>(i)) ? full : inside_windows);
  Tensor y =
      layers::add_norm(stream[0], stream[1], norm_, kEps, type)
          .second.view({-1, config_.patches_per_token() * config_.hidden_size});  // [merged, 4 * hidden]
  y = torch::gelu(layers::linear(y, merge_in_, adapters));
  y = layers::linear(y, merge_out_, adapters).to(torch::kFloat32);  // [merged, out_hidden]
  return order.identity ? y : y.index_select(0, order.merged.argsort().to(y.device()));
}

void VisionTowerImpl::name_weights(NamedTensors& names) const {
  names["visual.patch_embed.proj.weight"] = patch_weight_;
  names["visual.merger.ln_q.weight"] = norm_;
  for (size_t i = 0; i < blocks_.size(); ++i)
    blocks_[i]->name_weights("visual.blocks." + std::to_string(i) + ".", names);
}

std::vector<LinearPart> VisionTowerImpl::linears() {
  std::vector<LinearPart> parts;
  for (size_t i = 0; i < blocks_.size(); ++i)
    blocks_[i]->list_linears("visual.blocks." + std::to_string(i) + ".", parts);
  parts.push_back({"visual.merger.mlp.0", this, &merge_in_, 0, merge_in_.weight.size(0)});
  parts.push_back({"visual.merger.mlp.2", this, &merge_out_, 0, merge_out_.weight.size(0)});
  return parts;
}

std::pair<Tensor, Tensor> vision_rotary(const std::vector<Grid>& grids, const VisionConfig& config) {
  const int quarter = config.head_dim() / 4, merge = config.spatial_merge_size;
  std::vector<float> frequencies(static_cast<size_t>(quarter));
  for (size_t k = 0; k < frequencies.size(); ++k)
    frequencies[k] = 1.0f / std::pow(10000.0f, static_cast<float>(2 * k) / static_cast<float>(2 * quarter));
  int64_t rows = 0;
  for (const Grid& grid : grids) rows += grid.patches();
  const Tensor angles = torch::empty({rows, 2 * quarter});
  float* out = angles.mutable_data_ptr<float>();
  const auto write = [&](int y, int x) {
    for (const int position : {y, x})
      for (const float frequency : frequencies) *out++ = static_cast<float>(position) * frequency;
  };
  for (const Grid& grid : grids)
    for (int t = 0; t < grid.t; ++t)
      for (int y = 0; y < grid.h; y += merge)
        for (int x = 0; x < grid.w; x += merge)
          for (int dy = 0; dy < merge; ++dy)
            for (int dx = 0; dx < merge; ++dx) write(y + dy, x + dx);
  return {angles.cos(), angles.sin()};
}

}  // namespace dvlm::towers
