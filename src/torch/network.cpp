#include "torch/network.h"

#include "checkpoint/safetensors.h"
#include "core/error.h"
#include "core/files.h"
#include "torch/layers.h"

namespace dvlm {
namespace {

using torch::Tensor;

void check_input(const NetworkInput& input) {
  const auto& tokens = input.tokens;
  if (!tokens.defined() || tokens.dim() != 2 || tokens.numel() == 0)
    fail("network: tokens must be [B, L], not empty");
  const int64_t batch = tokens.size(0), length = tokens.size(1);
  if (!input.positions.defined() || input.positions.sizes() != at::IntArrayRef({3, batch, length}))
    fail("network: positions must be [3, {}, {}]", batch, length);
  if (input.mask.defined() && (input.mask.scalar_type() != torch::kBool ||
                               input.mask.sizes() != at::IntArrayRef({batch, 1, length, length})))
    fail("network: mask must be bool [{}, 1, {}, {}]", batch, length, length);
  if (input.patches.defined() && !input.feature_rows.defined())
    fail("network: patches need feature_rows, one for each merged token");
}

}  // namespace

NetworkImpl::NetworkImpl(const ModelConfig& config)
    : config_(config),
      text_(register_module("text", towers::TextTower(config.text))),
      vision_(register_module("vision", towers::VisionTower(config.vision))) {}

void NetworkImpl::set_compute_type(torch::Dtype type) {
  if (type != torch::kFloat32 && type != torch::kBFloat16)
    fail("network: the compute type is float32 or bfloat16");
  type_ = type;
}

void NetworkImpl::set_recompute(bool recompute) {
  text_->set_recompute(recompute);
  vision_->set_recompute(recompute);
}

Tensor NetworkImpl::encode_images(const Tensor& patches, const std::vector<Grid>& grids,
                                  const layers::AdapterUse& adapters) {
  return vision_->run(patches, grids, type_, adapters);
}

Tensor NetworkImpl::embed(const NetworkInput& input) {
  check_input(input);
  Tensor x = text_->embed(input.tokens.flatten());  // [B * L, hidden]
  if (input.patches.defined()) {
    const Tensor features =
        encode_images(input.patches, input.grids, {{}, input.adapters.dropout, input.adapters.key});
    const int64_t rows = input.feature_rows.numel(), copies = rows / std::max<int64_t>(features.size(0), 1);
    if (copies < 1 || rows != copies * features.size(0))
      fail("network: {} feature_rows for {} merged tokens", rows, features.size(0));
    x = x.index_copy(
        0, input.feature_rows,
        copies == 1 ? features : torch::cat(std::vector<Tensor>(static_cast<size_t>(copies), features)));
  }
  return x;
}

Tensor NetworkImpl::hidden(const NetworkInput& input, const Tensor& embedded) {
  const Tensor x = text_->run(embedded, input.positions, input.mask, type_, input.adapters);
  return x.view({input.tokens.size(0), input.tokens.size(1), -1});
}

Tensor NetworkImpl::logits(const Tensor& hidden) {
  return layers::linear(hidden.to(type_), text_->head());
}

std::vector<towers::LinearPart> NetworkImpl::linears() const {
  std::vector<towers::LinearPart> out = text_->linears();
  for (towers::LinearPart& part : towers::VisionTower(vision_)->linears()) out.push_back(std::move(part));
  return out;
}

void NetworkImpl::narrow_matrices() {
  const torch::NoGradGuard guard;
  for (auto& item : named_parameters())
    if (item.value().dim() >= 2 && !towers::is_adapter(item.key()))
      item.value().set_data(item.value().to(torch::kBFloat16));
}

NamedTensors NetworkImpl::named_weights() const {
  const torch::NoGradGuard guard;
  NamedTensors names;
  text_->name_weights(names);
  vision_->name_weights(names);
  for (const towers::LinearPart& part : linears()) {
    names[part.name + ".weight"] = part.linear->weight.narrow(0, part.first, part.outputs);
    if (part.linear->bias.defined())
      names[part.name + ".bias"] = part.linear->bias.narrow(0, part.first, part.outputs);
  }
  for (auto& [name, tensor] : names) tensor = tensor.detach();
  return names;
}

void NetworkImpl::load(const Checkpoint& checkpoint) {
  const torch::NoGradGuard guard;
  for (auto& [name, weight] : named_weights()) {
    const TensorView& source =
        name == "lm_head.weight" ? checkpoint.head() : checkpoint.get(name, weight.sizes().vec());
    if (is_quantized(source))
      fail("{} is quantized; LibTorch loads and trains F32, F16 and BF16 checkpoints only",
           checkpoint.folder().string());
    if (source.shape != weight.sizes().vec())
      fail("{}: expected shape {}, found {}", name, to_string(weight.sizes().vec()), to_string(source.shape));
    torch::Tensor host = torch::empty(weight.sizes(), torch::kFloat32);
    copy_to_float(source, 0, source.elements(), host.mutable_data_ptr<float>());
    torch::Tensor(weight).copy_(host);
  }
}

HeldModel hold_tensors(const NamedTensors& tensors, DType type, const std::string& file,
                       const ModelConfig& config) {
  if (type != DType::bf16 && type != DType::f32) fail("training writes F32 or BF16, not {}", name_of(type));
  const bool half = type == DType::bf16;
  std::vector<std::pair<std::string, Tensor>> held;
  for (const auto& [name, tensor] : tensors)
    held.emplace_back(
        name, tensor.detach().to(torch::kCPU, half ? torch::kBFloat16 : torch::kFloat32).contiguous());
  return [=](const std::filesystem::path& folder) {
    std::vector<NamedTensor> views;
    views.reserve(held.size());
    for (const auto& [name, tensor] : held)
      views.push_back(
          {name, {type, tensor.sizes().vec(), static_cast<const std::byte*>(tensor.const_data_ptr())}});
    make_folder(folder);
    write_safetensors(folder / file, views);
    write_config(folder, config, {.dtype = half ? "bfloat16" : "float32", .keep_companions = true});
  };
}

HeldModel hold_checkpoint(const Network& network, DType dtype) {
  NamedTensors tensors;
  for (const auto& [name, weight] : network->named_weights())
    tensors[is_qwen(network->config()) ? name : published_name(name)] = weight;
  return hold_tensors(tensors, dtype, "model.safetensors", network->config());
}

void save_checkpoint(const std::filesystem::path& folder, const Network& network, DType dtype) {
  hold_checkpoint(network, dtype)(folder);
}

}  // namespace dvlm
