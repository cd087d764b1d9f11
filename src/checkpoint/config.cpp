#include "checkpoint/config.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <numeric>

#include "checkpoint/foreign.h"
#include "checkpoint/json.h"
#include "core/error.h"
#include "core/files.h"

namespace dvlm {

namespace {

using nlohmann::json;

// Generous bounds: far above any published model, far below what could overflow a product of three.
constexpr int64_t kMaxWidth = 1 << 20, kMaxLayers = 4096, kMaxVocab = 1 << 24, kMaxPositions = 1 << 26;

int whole(const JsonObject& object, const char* key, int64_t high, std::optional<int64_t> fallback = {}) {
  return static_cast<int>(object.integer(key, 1, high, fallback));
}

// Some writers widen a float, and 1e-6 becomes 9.999999974752427e-07: the shortest number of that float.
double as_meant(double value) {
  const auto narrow = static_cast<float>(value);
  if (narrow != value) return value;
  const std::string text = fmt::format("{}", narrow);
  double shortest = value;
  std::from_chars(text.data(), text.data() + text.size(), shortest);
  return shortest;
}

// A null is not an absent key: the class then takes one key/value head per query head.
int64_t default_kv_heads(const JsonObject& text, int64_t heads) {
  return text.is_null("num_key_value_heads") ? heads : 8;
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

void refuse_sliding_windows(const JsonObject& text) {
  const char* where = text.boolean("use_sliding_window", false) ? "use_sliding_window is true" : nullptr;
  const json* layers = text.find("layer_types");
  if (layers && layers->is_array() &&
      std::find(layers->begin(), layers->end(), "sliding_attention") != layers->end())
    where = "layer_types names sliding_attention";
  if (where) fail("{}: {}, but dvlm has full attention in every layer", text.where(), where);
}

// What transformers leaves out of a file is what its class has by default, not what the published files say.
TextConfig read_text(const JsonObject& text, bool tied) {
  require_silu(text);
  TextConfig config;
  config.vocab_size = whole(text, "vocab_size", kMaxVocab);
  config.hidden_size = whole(text, "hidden_size", kMaxWidth);
  config.intermediate_size = whole(text, "intermediate_size", kMaxWidth);
  config.layers = whole(text, "num_hidden_layers", kMaxLayers);
  config.heads = whole(text, "num_attention_heads", kMaxWidth);
  config.kv_heads = whole(text, "num_key_value_heads", kMaxWidth, default_kv_heads(text, config.heads));
  config.head_dim = whole(text, "head_dim", kMaxWidth, std::max(1, config.hidden_size / config.heads));
  config.rms_norm_eps = as_meant(text.number("rms_norm_eps", 0, 1, 1e-5));
  config.max_positions = whole(text, "max_position_embeddings", kMaxPositions, 32768);
  config.tie_word_embeddings = text.boolean("tie_word_embeddings", tied) || tied;
  config.initializer_range = text.number("initializer_range", 0, 10, 0.02);
  refuse_sliding_windows(text);
  read_rope(text, config);
  return config;
}

// Blocks of the default that a shallower tower does not have are never met.
std::vector<int> full_attention_blocks(const JsonObject& vision, int depth) {
  std::vector<int> out;
  if (!vision.has("fullatt_block_indexes")) {
    for (int block : {7, 15, 23, 31})
      if (block < depth) out.push_back(block);
    return out;
  }
  for (int64_t block : vision.integers("fullatt_block_indexes", 0, kMaxLayers, kMaxLayers))
    out.push_back(static_cast<int>(block));
  return out;
}

// Qwen2-VL and Qwen3-VL keep their own keys in vision_config; the defaults below would not fit them.
void refuse_other_towers(const JsonObject& vision) {
  for (const auto& [key, family] : {std::pair("embed_dim", "Qwen2-VL"), std::pair("mlp_ratio", "Qwen2-VL"),
                                    std::pair("deepstack_visual_indexes", "Qwen3-VL")})
    if (vision.has(key))
      fail("{}: \"{}\" is a key of {}; dvlm runs Fast-dVLM and Qwen2.5-VL checkpoints only", vision.where(),
           key, family);
}

VisionConfig read_vision(const JsonObject& vision) {
  require_silu(vision);
  refuse_other_towers(vision);
  VisionConfig config;
  config.depth = whole(vision, "depth", kMaxLayers, 32);
  config.hidden_size = whole(vision, "hidden_size", kMaxWidth, 3584);
  config.intermediate_size = whole(vision, "intermediate_size", kMaxWidth, 3420);
  config.heads = whole(vision, "num_heads", kMaxWidth, 16);
  config.out_hidden_size = whole(vision, "out_hidden_size", kMaxWidth, 3584);
  config.in_channels = whole(vision, "in_channels", 16, vision.integer("in_chans", 1, 16, 3));
  config.patch_size = whole(vision, "patch_size", 1024, vision.integer("spatial_patch_size", 1, 1024, 14));
  config.temporal_patch_size = whole(vision, "temporal_patch_size", 16, 2);
  config.spatial_merge_size = whole(vision, "spatial_merge_size", 16, 2);
  config.window_size = whole(vision, "window_size", 1 << 16, 112);
  config.full_attention_blocks = full_attention_blocks(vision, config.depth);
  config.tokens_per_second = vision.number("tokens_per_second", 0, 1e6, 4);
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

// transformers 5 may write what compressed-tensors says of quantization and of sparsity side by side.
json as_compressed_tensors_writes_it(const json& config) {
  if (!config.is_object() || !config.contains("quantization_config")) return config;
  json out = config;
  out.erase("quantization_config");
  const json& inner = config["quantization_config"];
  if (inner.is_object()) out.update(inner);
  return out;
}

// Older compressed-tensors call it compression_config; nested models keep it with the text keys.
std::shared_ptr<const json> read_quantization(const JsonObject& top, const JsonObject& text) {
  for (const JsonObject* object : {&top, &text})
    for (const char* key : {"quantization_config", "compression_config"})
      if (const json* found = object->find(key))
        return std::make_shared<json>(as_compressed_tensors_writes_it(*found));
  return nullptr;
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
  if (vision.in_channels != 3)
    return fmt::format("in_channels is {}, but pictures have three", vision.in_channels);
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
  if (!std::filesystem::exists(path)) {
    const std::string instead = held_instead(folder);
    fail("{} holds no config.json; {}", folder.string(),
         instead.empty() ? "is it a Hugging Face model folder?" : instead);
  }
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
  config.vision = read_vision(top.object("vision_config"));
  config.image_token = static_cast<TokenId>(top.integer("image_token_id", 0, kMaxVocab, 151655));
  config.video_token = static_cast<TokenId>(top.integer("video_token_id", 0, kMaxVocab, 151656));
  config.vision_start_token =
      static_cast<TokenId>(top.integer("vision_start_token_id", 0, kMaxVocab, 151652));
  config.vision_end_token = static_cast<TokenId>(top.integer("vision_end_token_id", 0, kMaxVocab, 151653));
  config.block_size = whole(top, "bd_size", kMaxBlockSize, 32);
  config.minimum_noise_level = top.number("minimum_noise_level", 0, 1, 1e-3);
  const std::string attention = top.string("clean_attention", "causal");
  if (attention != "causal" && attention != "block")
    fail("{}: clean_attention must be \"causal\" or \"block\", got \"{}\"", path.string(),
         printable(attention));
  config.clean_attention = attention == "block" ? CleanAttention::block : CleanAttention::causal;
  config.quantization = read_quantization(top, text);

  add_stop_tokens(top.find("eos_token_id"), path.string(), config.stop_tokens);
  if (config.stop_tokens.empty())
    add_stop_tokens(text.find("eos_token_id"), path.string(), config.stop_tokens);
  const auto generation = folder / "generation_config.json";
  if (std::filesystem::exists(generation)) {
    const json settings = read_json(generation);
    add_stop_tokens(JsonObject(settings, generation.string()).find("eos_token_id"), generation.string(),
                    config.stop_tokens);
  }
  config.preprocessor = read_preprocessor(folder, config.vision).value_or(PreprocessorConfig());
  if (const std::string problem = problem_in(config); !problem.empty())
    fail("{}: {}", path.string(), problem);
  return config;
}

namespace {

// transformers 5 checks the types of its keys: what it declares as whole must not be written as 2.0.
json whole_where_possible(double value) {
  constexpr double kExact = 0x1p53;  // doubles below are whole numbers of 64 bits where they are whole
  if (!(value > -kExact && value < kExact)) return value;
  const auto truncated = static_cast<int64_t>(value);
  return static_cast<double>(truncated) == value ? json(truncated) : json(value);
}

constexpr const char* kWholeKeys[] = {"bd_size",
                                      "depth",
                                      "head_dim",
                                      "hidden_size",
                                      "in_channels",
                                      "in_chans",
                                      "intermediate_size",
                                      "max_position_embeddings",
                                      "max_window_layers",
                                      "num_attention_heads",
                                      "num_heads",
                                      "num_hidden_layers",
                                      "num_key_value_heads",
                                      "out_hidden_size",
                                      "patch_size",
                                      "sliding_window",
                                      "spatial_merge_size",
                                      "spatial_patch_size",
                                      "temporal_patch_size",
                                      "tokens_per_second",
                                      "vocab_size",
                                      "window_size"};

json text_json(const TextConfig& text, bool qwen) {
  return {{"model_type", qwen ? "qwen2_5_vl_text" : "fast_dvlm_for_causal_lm"},
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

json vision_json(const VisionConfig& vision, bool qwen) {
  return {{"model_type", qwen ? "qwen2_5_vl" : "fast_dvlm"},
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
          {"tokens_per_second", whole_where_possible(vision.tokens_per_second)},
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

void mend_config(json& file, const ModelConfig& config) {
  std::vector<json*> parts = {&file};
  for (const char* name : {"text_config", "vision_config"})
    if (file.contains(name) && file[name].is_object()) parts.push_back(&file[name]);
  for (json* part : parts) {
    for (const char* key : kWholeKeys)
      if (part->contains(key) && (*part)[key].is_number_float())
        (*part)[key] = whole_where_possible((*part)[key].get<double>());
    if (part->contains("num_hidden_layers") && part->contains("rms_norm_eps"))
      (*part)["rms_norm_eps"] = config.text.rms_norm_eps;
    if (part == &file || part->contains("num_hidden_layers"))
      (*part)["tie_word_embeddings"] = config.text.tie_word_embeddings;
  }
}

std::string difference_in(const ModelConfig& a, const ModelConfig& b) {
  const TextConfig &text = a.text, &other_text = b.text;
  const VisionConfig &vision = a.vision, &other_vision = b.vision;
  const auto quantized = [](const ModelConfig& config) {
    return config.quantization ? *config.quantization : json();
  };
  const std::pair<const char*, bool> same[] = {
      {"rms_norm_eps", text.rms_norm_eps == other_text.rms_norm_eps},
      {"rope_theta", text.rope_theta == other_text.rope_theta},
      {"mrope_section", text.mrope_section == other_text.mrope_section},
      {"num_attention_heads", text.heads == other_text.heads && vision.heads == other_vision.heads},
      {"spatial_merge_size", vision.spatial_merge_size == other_vision.spatial_merge_size},
      {"window_size", vision.window_size == other_vision.window_size},
      {"fullatt_block_indexes", vision.full_attention_blocks == other_vision.full_attention_blocks},
      {"tokens_per_second", vision.tokens_per_second == other_vision.tokens_per_second},
      {"image_token_id", a.image_token == b.image_token && a.video_token == b.video_token},
      {"quantization_config", quantized(a) == quantized(b)}};
  for (const auto& [name, equal] : same)
    if (!equal) return name;
  return "";
}

bool is_qwen(const ModelConfig& config) {
  return config.architecture.starts_with("Qwen2_5_VL");
}

void write_config(const std::filesystem::path& folder, const ModelConfig& config, const ConfigForm& form) {
  const bool qwen = is_qwen(config);
  json file = {{"architectures",
                {config.architecture.empty() ? "Fast_dVLMForConditionalGeneration" : config.architecture}},
               {"model_type", qwen ? "qwen2_5_vl" : "fast_dvlm"},
               {"tie_word_embeddings", config.text.tie_word_embeddings},
               {"image_token_id", config.image_token},
               {"video_token_id", config.video_token},
               {"vision_start_token_id", config.vision_start_token},
               {"vision_end_token_id", config.vision_end_token},
               {"torch_dtype", form.dtype},
               {"text_config", text_json(config.text, qwen)},
               {"vision_config", vision_json(config.vision, qwen)}};
  if (!qwen) file["bd_size"] = config.block_size, file["minimum_noise_level"] = config.minimum_noise_level;
  if (config.clean_attention == CleanAttention::block) file["clean_attention"] = "block";
  if (!config.stop_tokens.empty()) file["eos_token_id"] = config.stop_tokens.front();
  if (config.quantization) file["quantization_config"] = *config.quantization;
  write_file(folder / "config.json", file.dump(2) + "\n");
  const auto companion = [&](const char* name, const json& content) {
    if (!form.keep_companions || !std::filesystem::exists(folder / name))
      write_file(folder / name, content.dump(2) + "\n");
  };
  companion("preprocessor_config.json", preprocessor_json(config.preprocessor, config.vision));
  companion("generation_config.json", json{{"eos_token_id", config.stop_tokens}});
}

}  // namespace dvlm
