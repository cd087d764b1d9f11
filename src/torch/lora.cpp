#include "torch/lora.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "checkpoint/lora.h"
#include "core/error.h"
#include "core/files.h"

namespace dvlm {

using torch::Tensor;

bool matches(std::string_view pattern, std::string_view name) {
  const size_t star = pattern.find('*');
  if (star == std::string_view::npos) return pattern == name;
  if (!name.starts_with(pattern.substr(0, star))) return false;
  const std::string_view rest = pattern.substr(star + 1);
  for (size_t at = star; at <= name.size(); ++at)
    if (matches(rest, name.substr(at))) return true;
  return false;
}

namespace {

bool names(const std::string& target, const std::string& layer) {
  return matches(target, layer) || layer.ends_with("." + target);
}

// "q_proj" of "model.layers.0.self_attn.q_proj".
std::string last_name(const std::string& layer) {
  return layer.substr(layer.rfind('.') + 1);
}

void add_adapter(const towers::LinearPart& part, const LoraOptions& options) {
  const int64_t inputs = part.linear->weight.flatten(1).size(1);
  const auto like = torch::TensorOptions(part.linear->weight.device());
  const double bound = 1 / std::sqrt(static_cast<double>(inputs));
  const std::string name = "lora_" + last_name(part.name);
  const Tensor a = torch::empty({options.rank, inputs}).uniform_(-bound, bound).to(like.device());
  part.linear->adapters.push_back(
      {part.name, part.first, part.owner->register_parameter(name + "_a", a),
       part.owner->register_parameter(name + "_b", torch::zeros({part.outputs, options.rank}, like)),
       options.alpha / options.rank});
}

}  // namespace

bool is_target(const LoraOptions& options, const std::string& layer) {
  return std::ranges::any_of(options.targets,
                             [&](const std::string& target) { return names(target, layer); });
}

void add_lora(Network& network, const LoraOptions& options, int64_t mask_token) {
  for (Tensor& weight : network->parameters()) weight.requires_grad_(false);
  std::vector<bool> used(options.targets.size(), false);
  for (const towers::LinearPart& part : network->linears()) {
    bool wanted = false;
    for (size_t i = 0; i < used.size(); ++i)
      if (names(options.targets[i], part.name)) wanted = used[i] = true;
    if (!wanted) continue;
    if (options.drafts_only && !part.name.starts_with("model.layers."))
      fail(
          "training config: 'lora.targets' names {}, which drafts do not run; name layers of the language "
          "model",
          part.name);
    add_adapter(part, options);
  }
  for (size_t i = 0; i < used.size(); ++i)
    if (!used[i])
      fail("training config: 'lora.targets' \"{}\" matches no linear layer", printable(options.targets[i]));
  if (mask_token >= 0) network->text()->add_token_row(mask_token, !options.drafts_only);
}

HeldModel hold_lora(const Network& network, const LoraOptions& options, const std::string& base,
                    DType dtype) {
  const std::string prefix = "base_model.model.";
  nlohmann::json layers = nlohmann::json::array();
  NamedTensors tensors;
  for (const towers::LinearPart& part : network->linears())
    for (const layers::Adapter& adapter : part.linear->adapters) {
      if (adapter.layer != part.name) continue;
      const std::string name = published_name(part.name);
      layers.push_back(name);
      tensors[prefix + name + ".lora_A.weight"] = adapter.a;
      tensors[prefix + name + ".lora_B.weight"] = adapter.b;
    }
  const int64_t token = network->text()->own_token();
  if (token >= 0)
    tensors[prefix + published_name("model.embed_tokens") + ".token_adapter.trainable_tokens_delta"] =
        network->text()->own_row();
  nlohmann::json config = {{"peft_type", "LORA"},
                           {"task_type", "CAUSAL_LM"},
                           {"base_model_name_or_path", base},
                           {"r", options.rank},
                           {"lora_alpha", options.alpha},
                           {"lora_dropout", options.dropout},
                           {"target_modules", layers},
                           {"bias", "none"},
                           {"fan_in_fan_out", false},
                           {"init_lora_weights", true},
                           {"inference_mode", true}};
  if (token >= 0) config["trainable_token_indices"] = {token};
  if (options.drafts_only) config[kDraftsOnly] = true;
  return [held = hold_tensors(tensors, dtype, "adapter_model.safetensors", network->config()),
          text = config.dump(2) + "\n"](const std::filesystem::path& folder) {
    held(folder);
    write_file(folder / "adapter_config.json", text);
  };
}

}  // namespace dvlm
