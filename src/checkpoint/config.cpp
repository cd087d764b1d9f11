#include "checkpoint/config.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "checkpoint/json.h"
#include "core/error.h"
#include "core/files.h"

namespace dvlm {

namespace {

using nlohmann::json;

// Generous bounds: far above any published model, far below what could overflow a product of three.
constexpr int64_t kMaxWidth = 1 << 20, kMaxLayers = 4096, kMaxVocab = 1 << 24, kMaxPositions = 1 << 26;
constexpr int64_t kMaxPixels = int64_t{1} << 40;

int whole(const JsonObject& object, const char* key, int64_t high, std::optional<int64_t> fallback = {}) {
  return static_cast<int>(object.integer(key, 1, high, fallback));
}

void require_silu(const JsonObject& object) {
  const std::string name = object.string("hidden_act", "silu");
  if (name != "silu")
    fail("{}: hidden_act \"{}\" is not supported; this architecture uses silu", object.where(),
         printable(name));
}

// rope_theta and mrope_section stand at the top of the text keys, in rope_scaling, or in rope_parameters.
void read_rope(const JsonObject& text, TextConfig& config) {
  const double at_top = text.number("rope_theta", 1, 1e12, 1e6);
  config.rope_theta = at_top;
  std::vector<int64_t> section;
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (!text.has(key)) continue;
    const JsonObject rope = text.object(key);
    const std::string type = rope.string("rope_type", rope.string("type", "default"));
    if (type != "mrope" && type != "default")
      fail("{}: rope type \"{}\" is not supported; Fast-dVLM uses plain M-RoPE (\"mrope\" or \"default\")",
           rope.where(), printable(type));
    config.rope_theta = rope.number("rope_theta", 1, 1e12, at_top);
    if (rope.has("mrope_section")) section = rope.integers("mrope_section", 0, kMaxWidth, 3);
  }
  if (section.size() != 3) fail("{}: rope_scaling.mrope_section must hold three numbers", text.where());
  config.mrope_section.assign(section.begin(), section.end());
}

TextConfig read_text(const JsonObject& text, bool tied) {
  require_silu(text);
  TextConfig config;
  config.vocab_size = whole(text, "vocab_size", kMaxVocab);
  config.hidden_size = whole(text, "hidden_size", kMaxWidth);
  config.intermediate_size = whole(text, "intermediate_size", kMaxWidth);
  config.layers = whole(text, "num_hidden_layers", kMaxLayers);
  config.heads = whole(text, "num_attention_heads", kMaxWidth);
  config.kv_heads = whole(text, "num_key_value_heads", kMaxWidth, config.heads);
  config.head_dim = whole(text, "head_dim", kMaxWidth, std::max(1, config.hidden_size / config.heads));
  config.rms_norm_eps = static_cast<float>(text.number("rms_norm_eps", 0, 1, 1e-6));
  config.max_positions = whole(text, "max_position_embeddings", kMaxPositions, 128000);
  config.tie_word_embeddings = text.boolean("tie_word_embeddings", tied);
  config.initializer_range = text.number("initializer_range", 0, 10, 0.02);
  if (text.boolean("use_sliding_window", false))
    fail("{}: use_sliding_window is true; sliding-window attention is not supported", text.where());
  read_rope(text, config);
  return config;
}

VisionConfig read_vision(const JsonObject& vision, int text_hidden) {
  require_silu(vision);
  VisionConfig config;
  config.depth = whole(vision, "depth", kMaxLayers);
  config.hidden_size = whole(vision, "hidden_size", kMaxWidth);
  config.intermediate_size = whole(vision, "intermediate_size", kMaxWidth);
  config.heads = whole(vision, "num_heads", kMaxWidth);
  config.out_hidden_size = whole(vision, "out_hidden_size", kMaxWidth, text_hidden);
  config.in_channels = whole(vision, "in_channels", 16, vision.integer("in_chans", 1, 16, 3));
  config.patch_size = whole(vision, "patch_size", 1024, vision.integer("spatial_patch_size", 1, 1024, 14));
  config.temporal_patch_size = whole(vision, "temporal_patch_size", 16, 2);
  config.spatial_merge_size = whole(vision, "spatial_merge_size", 16, 2);
  config.window_size = whole(vision, "window_size", 1 << 16, 112);
  for (int64_t block : vision.integers("fullatt_block_indexes", 0, kMaxLayers, kMaxLayers))
    config.full_attention_blocks.push_back(static_cast<int>(block));
  config.tokens_per_second = vision.number("tokens_per_second", 0, 1e6, 2);
  config.initializer_range = vision.number("initializer_range", 0, 10, 0.02);
  return config;
}

void add_stop_tokens(const json* value, const std::string& where, std::vector<TokenId>& stop) {
  if (!value) return;
  const json list = value->is_array() ? *value : json::array({*value});
  if (list.size() > 64)
    fail("{}: eos_token_id lists {} tokens; at most 64 are supported", where, list.size());
  for (const json& id : list) {
    if (!id.is_number_integer() || id.get<double>() < 0 || id.get<double>() > static_cast<double>(kMaxVocab))
      fail("{}: eos_token_id must be a token id or a list of them", where);
    const auto token = id.get<TokenId>();
    if (std::find(stop.begin(), stop.end(), token) == stop.end()) stop.push_back(token);
  }
}

PreprocessorConfig read_preprocessor(const std::filesystem::path& path, const VisionConfig& vision) {
  PreprocessorConfig config;
  if (!std::filesystem::exists(path)) return config;
  const json file = read_json(path);
  const JsonObject object(file, path.string());
  config.min_pixels = object.integer("min_pixels", 1, kMaxPixels, config.min_pixels);
  config.max_pixels = object.integer("max_pixels", 1, kMaxPixels, config.max_pixels);
  if (object.has("size")) {  // newer files: {"shortest_edge": min_pixels, "longest_edge": max_pixels}
    const JsonObject size = object.object("size");
    if (!object.has("min_pixels"))
      config.min_pixels = size.integer("shortest_edge", 1, kMaxPixels, config.min_pixels);
    if (!object.has("max_pixels"))
      config.max_pixels = size.integer("longest_edge", 1, kMaxPixels, config.max_pixels);
  }
  if (config.min_pixels > config.max_pixels)
    fail("{}: min_pixels {} is above max_pixels {}", path.string(), config.min_pixels, config.max_pixels);
  const std::pair<const char*, int> same[] = {{"patch_size", vision.patch_size},
                                              {"temporal_patch_size", vision.temporal_patch_size},
                                              {"merge_size", vision.spatial_merge_size}};
  for (const auto& [key, expected] : same)
    if (object.integer(key, 1, 1024, expected) != expected)
      fail("{}: \"{}\" disagrees with vision_config, which says {}", path.string(), key, expected);
  const auto channels = [&](const char* key, double low, double(&out)[3]) {
    const json* list = object.find(key);
    if (!list) return;
    if (!list->is_array() || list->size() != 3)
      fail("{}: \"{}\" must hold three numbers", path.string(), key);
    for (size_t i = 0; i < 3; ++i) {
      if (!(*list)[i].is_number() || !((*list)[i].get<double>() >= low && (*list)[i].get<double>() <= 10))
        fail("{}: \"{}\" must hold three numbers in {}..10", path.string(), key, low);
      out[i] = (*list)[i].get<double>();
    }
  };
  channels("image_mean", -10, config.image_mean);
  channels("image_std", 1e-6, config.image_std);
  return config;
}

}  // namespace

std::string problem_in(const ModelConfig& config) {
  const TextConfig& text = config.text;
  const VisionConfig& vision = config.vision;
  if (text.heads % text.kv_heads != 0)
    return fmt::format("num_attention_heads {} is not a multiple of num_key_value_heads {}", text.heads,
                       text.kv_heads);
  if (text.head_dim % 2 != 0 || int64_t{text.head_dim} * text.heads > kMaxWidth)
    return fmt::format("head_dim {} with {} heads is not usable (it must be even)", text.head_dim,
                       text.heads);
  if (std::accumulate(text.mrope_section.begin(), text.mrope_section.end(), 0) * 2 != text.head_dim)
    return fmt::format("mrope_section must sum to half of head_dim {}", text.head_dim);
  if (vision.hidden_size % vision.heads != 0 || vision.head_dim() % 4 != 0)
    return fmt::format(
        "vision hidden_size {} with {} heads does not give a head size that is a multiple of 4",
        vision.hidden_size, vision.heads);
  if (vision.out_hidden_size != text.hidden_size)
    return fmt::format("vision out_hidden_size {} differs from hidden_size {}", vision.out_hidden_size,
                       text.hidden_size);
  if (vision.merged_tokens_per_window_side() < 1)
    return fmt::format("window_size {} is smaller than one merged token", vision.window_size);
  for (int block : vision.full_attention_blocks)
    if (block >= vision.depth)
      return fmt::format("fullatt_block_indexes names block {} of {}", block, vision.depth);
  for (TokenId id :
       {config.image_token, config.video_token, config.vision_start_token, config.vision_end_token})
    if (id >= text.vocab_size)
      return fmt::format("token id {} lies outside the vocabulary of {}", id, text.vocab_size);
  return "";
}

ModelConfig read_config(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "config.json";
  if (!std::filesystem::is_directory(folder)) fail("there is no model folder {}", folder.string());
  if (!std::filesystem::exists(path))
    fail("{} holds no config.json; is it a Hugging Face model folder?", folder.string());
  const json file = read_json(path);
  const JsonObject top(file, path.string());
  const JsonObject text = top.has("text_config") ? top.object("text_config") : top;

  ModelConfig config;
  if (const json* names = top.find("architectures");
      names && names->is_array() && !names->empty() && (*names)[0].is_string())
    config.architecture = (*names)[0].get<std::string>();
  if (!top.has("vision_config"))
    fail("{}: there is no vision_config; dvlm runs Fast-dVLM and Qwen2.5-VL checkpoints, this is \"{}\"",
         path.string(), printable(config.architecture));
  config.text = read_text(text, top.boolean("tie_word_embeddings", false));
  config.vision = read_vision(top.object("vision_config"), config.text.hidden_size);
  config.image_token = static_cast<TokenId>(top.integer("image_token_id", 0, kMaxVocab, 151655));
  config.video_token = static_cast<TokenId>(top.integer("video_token_id", 0, kMaxVocab, 151656));
  config.vision_start_token =
      static_cast<TokenId>(top.integer("vision_start_token_id", 0, kMaxVocab, 151652));
  config.vision_end_token = static_cast<TokenId>(top.integer("vision_end_token_id", 0, kMaxVocab, 151653));
  config.block_size = whole(top, "bd_size", 4096, 32);
  config.minimum_noise_level = top.number("minimum_noise_level", 0, 1, 1e-3);
  if (const json* quantization = top.find("quantization_config"))
    config.quantization = std::make_shared<json>(*quantization);

  add_stop_tokens(top.find("eos_token_id"), path.string(), config.stop_tokens);
  if (config.stop_tokens.empty())
    add_stop_tokens(text.find("eos_token_id"), path.string(), config.stop_tokens);
  const auto generation = folder / "generation_config.json";
  if (std::filesystem::exists(generation)) {
    const json settings = read_json(generation);
    add_stop_tokens(JsonObject(settings, generation.string()).find("eos_token_id"), generation.string(),
                    config.stop_tokens);
  }
  config.preprocessor = read_preprocessor(folder / "preprocessor_config.json", config.vision);
  if (const std::string problem = problem_in(config); !problem.empty())
    fail("{}: {}", path.string(), problem);
  return config;
}

namespace {

json text_json(const TextConfig& text) {
  return {{"model_type", "fast_dvlm_for_causal_lm"},
          {"vocab_size", text.vocab_size},
          {"hidden_size", text.hidden_size},
          {"intermediate_size", text.intermediate_size},
          {"num_hidden_layers", text.layers},
          {"num_attention_heads", text.heads},
          {"num_key_value_heads", text.kv_heads},
          {"head_dim", text.head_dim},
          {"hidden_act", "silu"},
          {"rms_norm_eps", text.rms_norm_eps},
          {"rope_theta", text.rope_theta},
          {"rope_scaling", {{"type", "mrope"}, {"mrope_section", text.mrope_section}}},
          {"max_position_embeddings", text.max_positions},
          {"tie_word_embeddings", text.tie_word_embeddings},
          {"initializer_range", text.initializer_range}};
}

json vision_json(const VisionConfig& vision) {
  return {{"model_type", "fast_dvlm"},
          {"depth", vision.depth},
          {"hidden_size", vision.hidden_size},
          {"intermediate_size", vision.intermediate_size},
          {"num_heads", vision.heads},
          {"out_hidden_size", vision.out_hidden_size},
          {"in_channels", vision.in_channels},
          {"in_chans", vision.in_channels},
          {"patch_size", vision.patch_size},
          {"spatial_patch_size", vision.patch_size},
          {"temporal_patch_size", vision.temporal_patch_size},
          {"spatial_merge_size", vision.spatial_merge_size},
          {"window_size", vision.window_size},
          {"fullatt_block_indexes", vision.full_attention_blocks},
          {"tokens_per_second", vision.tokens_per_second},
          {"initializer_range", vision.initializer_range},
          {"hidden_act", "silu"}};
}

json preprocessor_json(const PreprocessorConfig& images, const VisionConfig& vision) {
  return {{"image_processor_type", "Qwen2VLImageProcessor"},
          {"processor_class", "Qwen2_5_VLProcessor"},
          {"min_pixels", images.min_pixels},
          {"max_pixels", images.max_pixels},
          {"patch_size", vision.patch_size},
          {"temporal_patch_size", vision.temporal_patch_size},
          {"merge_size", vision.spatial_merge_size},
          {"image_mean", images.image_mean},
          {"image_std", images.image_std}};
}

}  // namespace

void write_config(const std::filesystem::path& folder, const ModelConfig& config) {
  json file = {{"architectures",
                {config.architecture.empty() ? "Fast_dVLMForConditionalGeneration" : config.architecture}},
               {"model_type", "fast_dvlm"},
               {"tie_word_embeddings", config.text.tie_word_embeddings},
               {"image_token_id", config.image_token},
               {"video_token_id", config.video_token},
               {"vision_start_token_id", config.vision_start_token},
               {"vision_end_token_id", config.vision_end_token},
               {"bd_size", config.block_size},
               {"minimum_noise_level", config.minimum_noise_level},
               {"torch_dtype", "bfloat16"},
               {"text_config", text_json(config.text)},
               {"vision_config", vision_json(config.vision)}};
  if (!config.stop_tokens.empty()) file["eos_token_id"] = config.stop_tokens.front();
  if (config.quantization) file["quantization_config"] = *config.quantization;
  write_file(folder / "config.json", file.dump(2) + "\n");
  write_file(folder / "preprocessor_config.json",
             preprocessor_json(config.preprocessor, config.vision).dump(2) + "\n");
  write_file(folder / "generation_config.json", json{{"eos_token_id", config.stop_tokens}}.dump(2) + "\n");
}

}  // namespace dvlm
