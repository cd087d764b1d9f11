// dvlm inspect: what is in a checkpoint, and what is wrong with it.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <map>

#include "checkpoint/checkpoint.h"
#include "command.h"
#include "core/error.h"
#include "core/memory.h"
#include "options.h"
#include "output.h"
#include "text/chat.h"
#include "text/mask_token.h"

namespace dvlm {

namespace {

using nlohmann::json;

struct InspectOptions {
  std::string model;
  bool tensors = false, json = false;
};

struct Sums {
  int64_t tensors = 0, parameters = 0;
  size_t bytes = 0;
};

// A word of 32 bits packs eight weights of four bits; shapes and the order of inputs are none.
int64_t parameters_of(std::string_view name, const TensorView& tensor) {
  if (tensor.type != DType::i32) return tensor.elements();
  return name.ends_with("g_idx") || name.ends_with("weight_shape") ? 0 : 8 * tensor.elements();
}

json sums_json(const std::map<std::string, Sums>& groups) {
  json out = json::object();
  for (const auto& [name, sums] : groups)
    out[name] = {{"tensors", sums.tensors}, {"parameters", sums.parameters}, {"bytes", sums.bytes}};
  return out;
}

// A folder with warnings alone is sound.
struct Findings {
  std::vector<std::string> problems, warnings;
};

json describe_tokenizer(const Checkpoint& checkpoint, Findings& found) {
  const std::filesystem::path& folder = checkpoint.folder();
  json out = json::object();
  try {
    const Tokenizer tokenizer(folder);
    out["size"] = tokenizer.size();
    for (const AddedToken& token : tokenizer.added_tokens())
      out["added"].push_back({{"id", token.id}, {"text", token.text}, {"special", token.special}});
    if (!mask_token(tokenizer, checkpoint.config()))
      found.warnings.push_back(
          fmt::format("the tokenizer has no {} token: only --decoder ar is possible", kMaskToken));
  } catch (const Error& error) {
    found.problems.push_back(error.what());
  }
  try {
    check_chat_template(folder);
    out["chat_template"] = "Qwen2.5-VL";
  } catch (const Error& error) {
    out["chat_template"] = "other";
    found.problems.push_back(error.what());
  }
  return out;
}

json text_json(const TextConfig& text) {
  return {{"layers", text.layers},
          {"hidden", text.hidden_size},
          {"intermediate", text.intermediate_size},
          {"heads", text.heads},
          {"kv_heads", text.kv_heads},
          {"head_dim", text.head_dim},
          {"vocab", text.vocab_size},
          {"positions", text.max_positions},
          {"rope_theta", text.rope_theta},
          {"mrope_section", text.mrope_section},
          {"tied_head", text.tie_word_embeddings}};
}

json vision_json(const VisionConfig& vision) {
  return {{"layers", vision.depth},
          {"hidden", vision.hidden_size},
          {"intermediate", vision.intermediate_size},
          {"heads", vision.heads},
          {"patch", vision.patch_size},
          {"window", vision.window_size},
          {"full_attention_blocks", vision.full_attention_blocks}};
}

json inspect_folder(const std::filesystem::path& folder, bool tensors) {
  const Checkpoint checkpoint(folder);
  const ModelConfig& config = checkpoint.config();
  std::map<std::string, Sums> by_type, by_part;
  json list = json::array();
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    const std::string part = name.starts_with("visual.") ? "vision"
                             : name == "lm_head.weight"  ? "head"
                                                         : "text";
    for (Sums* sums : {&by_type[std::string(name_of(tensor.type))], &by_part[part]})
      ++sums->tensors, sums->parameters += parameters_of(name, tensor), sums->bytes += tensor.bytes();
    if (tensors) list.push_back({{"name", name}, {"dtype", name_of(tensor.type)}, {"shape", tensor.shape}});
  }
  Findings found{.problems = checkpoint.problems(), .warnings = {}};
  for (const std::string& name : checkpoint.unused())
    found.warnings.push_back(fmt::format("tensor {} is not used by this architecture", printable(name)));
  const json tokenizer = describe_tokenizer(checkpoint, found);
  json out = {{"folder", folder.string()},
              {"architecture", config.architecture},
              {"text", text_json(config.text)},
              {"vision", vision_json(config.vision)},
              {"block_size", config.block_size},
              {"clean_attention", config.clean_attention == CleanAttention::block ? "block" : "causal"},
              {"stop_tokens", config.stop_tokens},
              {"min_pixels", config.preprocessor.min_pixels},
              {"max_pixels", config.preprocessor.max_pixels},
              {"dtypes", sums_json(by_type)},
              {"parts", sums_json(by_part)},
              {"tokenizer", tokenizer},
              {"problems", found.problems},
              {"warnings", found.warnings}};
  if (config.quantization) out["quantization"] = *config.quantization;
  if (tensors) out["tensors"] = list;
  return out;
}

void print_sums(const char* title, const json& groups) {
  std::printf("%s\n", title);
  for (const auto& [name, sums] : groups.items())
    std::printf("  %-8s %5lld tensors %15lld parameters %10s\n", name.c_str(),
                sums["tensors"].get<long long>(), sums["parameters"].get<long long>(),
                bytes_text(sums["bytes"].get<double>()).c_str());
}

void print_report(const json& report) {
  const json &text = report["text"], &vision = report["vision"];
  std::printf("%s\n%s\n\n", report["folder"].get<std::string>().c_str(),
              printable(report["architecture"].get<std::string>()).c_str());
  std::printf(
      "text    %d layers, hidden %d, MLP %d, %d heads of %d (%d for keys and values), vocabulary %d, %d "
      "positions, %s head\n",
      text["layers"].get<int>(), text["hidden"].get<int>(), text["intermediate"].get<int>(),
      text["heads"].get<int>(), text["head_dim"].get<int>(), text["kv_heads"].get<int>(),
      text["vocab"].get<int>(), text["positions"].get<int>(), text["tied_head"].get<bool>() ? "tied" : "own");
  std::printf("vision  %d layers, hidden %d, MLP %d, %d heads, patches of %d, windows of %d pixels\n",
              vision["layers"].get<int>(), vision["hidden"].get<int>(), vision["intermediate"].get<int>(),
              vision["heads"].get<int>(), vision["patch"].get<int>(), vision["window"].get<int>());
  std::printf("blocks of %d tokens, stop tokens %s, pictures of %lld to %lld pixels\n\n",
              report["block_size"].get<int>(), report["stop_tokens"].dump().c_str(),
              report["min_pixels"].get<long long>(), report["max_pixels"].get<long long>());
  print_sums("by type", report["dtypes"]);
  print_sums("by part", report["parts"]);
  if (report["tokenizer"].contains("added")) {
    std::printf("\n%d tokens, chat template %s, added:\n", report["tokenizer"]["size"].get<int>(),
                report["tokenizer"]["chat_template"].get<std::string>().c_str());
    for (const json& token : report["tokenizer"]["added"])
      std::printf("  %6d  %s%s\n", token["id"].get<int>(),
                  printable(token["text"].get<std::string>()).c_str(),
                  token["special"].get<bool>() ? "" : "  (not special)");
  }
  if (report.contains("tensors")) {
    std::printf("\n");
    for (const json& tensor : report["tensors"])
      std::printf("%-8s %-24s %s\n", tensor["dtype"].get<std::string>().c_str(),
                  tensor["shape"].dump().c_str(), printable(tensor["name"].get<std::string>()).c_str());
  }
  for (const json& warning : report["warnings"])
    std::printf("\nwarning: %s\n", warning.get<std::string>().c_str());
  std::printf("\n%s\n", report["problems"].empty() ? "no problems found" : "problems:");
  for (const json& problem : report["problems"]) std::printf("  %s\n", problem.get<std::string>().c_str());
}

void inspect(const InspectOptions& options) {
  const std::filesystem::path folder = model_folder(options.model);
  const json report = inspect_folder(folder, options.tensors);
  if (options.json)
    print_json(report);
  else
    print_report(report);
  if (!report["problems"].empty()) fail("{} has {} problem(s)", folder.string(), report["problems"].size());
}

}  // namespace

void add_inspect(Command app) {
  auto options = std::make_shared<InspectOptions>();
  Command command =
      app.add("inspect", "Show what is in a checkpoint: shapes, types, sizes, tokens, problems");
  command.text(
      "-m,--model,model", options->model,
      "Hugging Face folder, or org/name that was pulled (default: the dvlm-tiny that comes with dvlm)");
  command.flag("--tensors", options->tensors, "List every tensor");
  command.flag("--json", options->json, "Print one JSON object");
  command.runs([options] { inspect(*options); },
               "Examples:\n  dvlm inspect ~/models/Fast_dVLM_3B\n  dvlm inspect --tensors --json ./my-model");
}

}  // namespace dvlm
