#include "checkpoint/foreign.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "checkpoint/json.h"
#include "core/error.h"
#include "core/log.h"

namespace dvlm {

namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr const char* kReads =
    "dvlm reads FP8 and INT8 weights with one scale per output row and tokens scaled as they come, FP8 "
    "in blocks, and weights of four bits by AWQ, GPTQ and compressed-tensors (pack-quantized)";
constexpr const char* kInstead = "take the checkpoint in BF16 and quantize it with dvlm quantize";

bool is_one_of(std::string_view value, std::initializer_list<std::string_view> list) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

[[noreturn]] void refuse_static(const JsonObject& at) {
  fail("{}: activations have static scales (input_scale), but {}; {}", at.where(), kReads, kInstead);
}

void check_weights(const JsonObject& weights) {
  const std::string type = weights.string("type", "float"), strategy = weights.string("strategy", "channel");
  const int64_t bits = weights.integer("num_bits", 1, 64, 8);
  if (!is_one_of(type, {"float", "int"}) || bits != 8)
    fail("{}: weights of {} bits and type \"{}\" are not read, since {}; {}", weights.where(), bits,
         printable(type), kReads, kInstead);
  if (!weights.boolean("symmetric", true))
    fail("{}: weights have zero points (symmetric: false), but {}; {}", weights.where(), kReads, kInstead);
  if (strategy != "channel")
    fail("{}: the strategy \"{}\" (a scale per {}) is not read, since {}; {}", weights.where(),
         printable(strategy), printable(strategy), kReads, kInstead);
}

void check_activations(const JsonObject& group) {
  if (!group.has("input_activations"))
    fail("{}: weights alone are quantized (no input_activations), but {}; {}", group.where(), kReads,
         kInstead);
  const JsonObject inputs = group.object("input_activations");
  const json* dynamic = inputs.find("dynamic");
  if (!dynamic || *dynamic != true) refuse_static(inputs);
  const std::string strategy = inputs.string("strategy", "token"), type = inputs.string("type", "float");
  const int64_t bits = inputs.integer("num_bits", 1, 64, 8);
  if (!is_one_of(type, {"float", "int"}) || bits != 8 || !inputs.boolean("symmetric", true))
    fail("{}: activations of {} bits, type \"{}\"{} are not read, since {}; {}", inputs.where(), bits,
         printable(type), inputs.boolean("symmetric", true) ? "" : ", with zero points", kReads, kInstead);
  if (strategy != "token")
    fail("{}: the strategy \"{}\" is not read, since {}; {}", inputs.where(), printable(strategy), kReads,
         kInstead);
}

void check_format(const JsonObject& at) {
  const std::string format = at.string("format", "float-quantized");
  if (!is_one_of(format, {"float-quantized", "int-quantized", "naive-quantized", "dense"}))
    fail("{}: the format \"{}\" of compressed-tensors is not read, since {}; {}", at.where(),
         printable(format), kReads, kInstead);
}

void check_compressed_tensors(const JsonObject& quantization) {
  check_format(quantization);
  refuse_more_than_weights(quantization);
  const JsonObject groups = quantization.object("config_groups");
  for (const auto& [name, value] : quantization.find("config_groups")->items()) {
    const JsonObject group(value, groups.where() + "." + printable(name));
    check_format(group);
    refuse_more_than_weights(group);
    if (!group.has("weights") && group.has("input_activations"))
      fail("{}: activations alone are quantized (no weights), but {}; {}", group.where(), kReads, kInstead);
    if (!group.has("weights")) continue;
    check_weights(group.object("weights"));
    check_activations(group);
    const std::string type = group.object("weights").string("type", "float");
    if (group.object("input_activations").string("type", type) != type)
      fail("{}: weights and activations are not of one type, but {}; {}", group.where(), kReads, kInstead);
  }
}

struct Foreign {
  std::string_view part;
  const char* why;
};

constexpr const char* kLora =
    "belongs to a LoRA that was not merged: merge it first (merge_and_unload of PEFT)";
constexpr const char* kPeft =
    "has a name of PEFT, which wraps a model for LoRA: merge it first (merge_and_unload of PEFT)";
constexpr const char* kPacked =
    "is packed by AWQ or GPTQ, which is read for linear layers alone, and where quantization_config says so";
constexpr const char* kBitsAndBytes = "belongs to weights packed by bitsandbytes, which are not read";
constexpr const char* kCompressed =
    "is packed by compressed-tensors, which is read for linear layers alone, and where quantization_config "
    "says pack-quantized";
constexpr const char* kStatic =
    "is a static scale of activations, but dvlm scales every token as it comes; take a checkpoint with "
    "dynamic scales";

constexpr std::array kInside = {Foreign{".lora_", kLora}, Foreign{".base_layer.", kPeft},
                                Foreign{".modules_to_save.", kPeft}, Foreign{".quant_state.", kBitsAndBytes}};
constexpr std::array kEndings = {
    Foreign{".input_scale", kStatic},
    Foreign{".input_zero_point", kStatic},
    Foreign{".input_global_scale", kStatic},
    Foreign{".weight_scale_inv",
            "scales weights in blocks, but config.json's quantization_config has no weight_block_size"},
    Foreign{".qweight", kPacked},
    Foreign{".qzeros", kPacked},
    Foreign{".g_idx", kPacked},
    Foreign{".absmax", kBitsAndBytes},
    Foreign{".quant_map", kBitsAndBytes},
    Foreign{".SCB", kBitsAndBytes},
    Foreign{".weight_packed", kCompressed},
    Foreign{".weight_zero_point", kCompressed},
    Foreign{".weight_global_scale", kCompressed},
};

}  // namespace

void refuse_other_quantizers(const json& quantization, const std::string& where) {
  const JsonObject at(quantization, where);
  const std::string method = at.string("quant_method", at.has("config_groups") ? "compressed-tensors" : "");
  if (at.has("weight_block_size"))
    fail("{}: weights are scaled in blocks (weight_block_size {}), but {}; {}", where,
         printable(at.find("weight_block_size")->dump()), kReads, kInstead);
  if (!is_one_of(method, {"", "w8a8_fp8", "w8a8_int8", "compressed-tensors", "fp8", "fbgemm_fp8"}))
    fail("{}: the quant_method \"{}\" is not read, since {}; {}", where, printable(method), kReads, kInstead);
  if (at.string("activation_scheme", "dynamic") != "dynamic") refuse_static(at);
  if (at.has("activation_scale_ub"))
    log_warning(
        "{}: inputs of layers above {} (activation_scale_ub) are kept as they are, where FBGEMM cuts them",
        where, at.number("activation_scale_ub", 0, 1e9));
  if (method == "compressed-tensors") check_compressed_tensors(at);
}

void refuse_more_than_weights(const JsonObject& at) {
  for (const char* key : {"transform_config", "output_activations", "kv_cache_scheme"})
    if (const json* value = at.find(key); value && !value->empty())
      fail("{}: \"{}\" changes what layers compute, which is not followed; {}", at.where(), key, kInstead);
  if (!at.has("sparsity_config")) return;
  if (const std::string format = at.object("sparsity_config").string("format", "dense"); format != "dense")
    fail("{}: weights without their zeros (sparsity_config, \"{}\") are not read; {}", at.where(),
         printable(format), kInstead);
}

std::string problem_of_name(std::string_view name) {
  if (name.starts_with("base_model.model.")) return kPeft;
  for (const Foreign& foreign : kInside)
    if (name.find(foreign.part) != name.npos) return foreign.why;
  for (const Foreign& foreign : kEndings)
    if (name.ends_with(foreign.part)) return foreign.why;
  return "";
}

std::string held_instead(const fs::path& folder) {
  std::error_code error;
  if (fs::exists(folder / "adapter_config.json", error))
    return "it is a PEFT adapter (adapter_config.json): name its base model with --model and this folder "
           "with --lora";
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("pytorch_model") && (name.ends_with(".bin") || name.ends_with(".bin.index.json")))
      return "its weights are in pytorch_model.bin: save the model as safetensors first";
    if (name.ends_with(".gguf")) return printable(name) + " is a GGUF file, which dvlm does not read";
  }
  return "";
}

}  // namespace dvlm
