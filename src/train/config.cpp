#include "train/config.h"

#include <cmath>
#include <set>
#include <type_traits>

#include "checkpoint/json.h"
#include "core/card_number.h"
#include "core/error.h"
#include "core/files.h"

namespace dvlm {

using nlohmann::json;

namespace {

// What is learnt from the samples.
template <class Config, class Visitor>
void visit_objective(Config& c, Visitor&& visit) {
  visit("region_weight", c.region_weight);
  visit("block_size", c.block_size);
  visit("annealing", c.annealing);
  visit("loss_weights", c.loss_weights);
  visit("normalization", c.normalization);
  visit("clean_attention", c.clean_attention);
  visit("auto_truncation", c.auto_truncation);
  visit("minimum_noise_level", c.minimum_noise_level);
  visit("complementary", c.complementary);
  visit("vision_efficient", c.vision_efficient);
  visit("noisy_prompts", c.noisy_prompts);
  visit("random_block_offset", c.random_block_offset);
  visit("full_mask_probability", c.full_mask_probability);
  visit("known_first_token", c.known_first_token);
}

// The one list of keys: reading, writing and the refusal of unknown ones all walk it.
template <class Config, class Visitor>
void visit_fields(Config& c, Visitor&& visit) {
  visit("stage", c.stage);
  visit("model", c.model);
  visit("data", c.data);
  visit("validation", c.validation);
  visit("validation_samples", c.validation_samples);
  visit("output", c.output);
  visit("batch_size", c.batch_size);
  visit("accumulation", c.accumulation);
  visit("global_batch_size", c.global_batch_size);
  visit("max_length", c.max_length);
  visit("min_pixels", c.min_pixels);
  visit("max_pixels", c.max_pixels);
  visit("max_bad_samples", c.max_bad_samples);
  visit("readers", c.readers);
  visit("steps", c.steps);
  visit("epochs", c.epochs);
  visit("max_minutes", c.max_minutes);
  visit("learning_rate", c.learning_rate);
  visit("min_lr_ratio", c.min_lr_ratio);
  visit("schedule", c.schedule);
  visit("warmup_ratio", c.warmup_ratio);
  visit("beta1", c.beta1);
  visit("beta2", c.beta2);
  visit("eps", c.eps);
  visit("weight_decay", c.weight_decay);
  visit("clip_norm", c.clip_norm);
  visit("ema_decay", c.ema_decay);
  visit("seed", c.seed);
  visit("threads", c.threads);
  visit("device", c.device);
  visit("ddp_backend", c.ddp_backend);
  visit("bf16", c.bf16);
  visit("recompute", c.recompute);
  visit("weight_dtype", c.weight_dtype);
  visit("freeze", c.freeze);
  visit("lora", c.lora);
  visit_objective(c, visit);
  visit("checkpoint_minutes", c.checkpoint_minutes);
  visit("keep_checkpoints", c.keep_checkpoints);
  visit("log_interval", c.log_interval);
  visit("save_dtype", c.save_dtype);
  visit("save_format", c.save_format);
}

[[noreturn]] void wrong_type(const char* key, const char* expected, const json& value) {
  fail("training config: '{}' must be {}, got {}", key, expected,
       printable(value.dump(-1, ' ', false, json::error_handler_t::replace)));
}

void read_value(const char* key, const json& value, std::string& out) {
  if (!value.is_string()) wrong_type(key, "a string", value);
  out = value.get<std::string>();
}

void read_value(const char* key, const json& value, std::vector<std::string>& out) {
  if (value.is_string()) {
    out = {value.get<std::string>()};
    return;
  }
  if (!value.is_array()) wrong_type(key, "a string or a list of strings", value);
  out.clear();
  for (const json& item : value) {
    if (!item.is_string()) wrong_type(key, "a string or a list of strings", value);
    out.push_back(item.get<std::string>());
  }
}

void read_value(const char* key, const json& value, bool& out) {
  if (!value.is_boolean()) wrong_type(key, "true or false", value);
  out = value.get<bool>();
}

void read_value(const char* key, const json& value, double& out) {
  if (!value.is_number()) wrong_type(key, "a number", value);
  out = value.get<double>();
  if (!std::isfinite(out)) wrong_type(key, "a finite number", value);
}

template <class Integer>
requires std::is_integral_v<Integer>
void read_value(const char* key, const json& value, Integer& out) {
  if (!value.is_number_integer()) wrong_type(key, "an integer", value);
  const bool fits = value.is_number_unsigned() ? std::in_range<Integer>(value.get<uint64_t>())
                                               : std::in_range<Integer>(value.get<int64_t>());
  if (!fits) wrong_type(key, "an integer in range", value);
  out = value.get<Integer>();
}

void read_value(const char* key, const json& value, LossWeights& out) {
  if (value == "paper") {
    out = {0.5, 0.5};
  } else if (value == "code") {
    out = {0.5, 1.0};
  } else if (value.is_array() && value.size() == 2 && value[0].is_number() && value[1].is_number()) {
    out = {value[0].get<double>(), value[1].get<double>()};
  } else {
    wrong_type(key, R"("paper", "code" or [noisy, clean])", value);
  }
}

template <class Lora, class Visitor>
void visit_members(Lora& l, Visitor&& visit) requires std::is_same_v<std::remove_const_t<Lora>, LoraOptions> {
  visit("rank", l.rank);
  visit("alpha", l.alpha);
  visit("dropout", l.dropout);
  visit("targets", l.targets);
  visit("drafts_only", l.drafts_only);
}

template <class Source, class Visitor>
void visit_members(Source& s,
                   Visitor&& visit) requires std::is_same_v<std::remove_const_t<Source>, DataSource> {
  visit("path", s.path);
  visit("image_root", s.image_root);
  visit("weight", s.weight);
  visit("limit", s.limit);
  visit("box_format", s.box_format);
}

// An object that is the value of a key.
template <class Object>
void read_members(const char* key, const json& value, Object& out) {
  std::set<std::string> known;
  visit_members(out, [&](const char* name, auto& field) {
    known.insert(name);
    if (const auto found = value.find(name); found != value.end())
      read_value(fmt::format("{}.{}", key, name).c_str(), *found, field);
  });
  for (const auto& [name, unused] : value.items())
    if (!known.contains(name)) fail("training config: unknown key '{}.{}'", key, printable(name));
}

template <class Object>
json members_of(const Object& object) {
  json out = json::object();
  visit_members(object, [&](const char* key, const auto& field) { out[key] = field; });
  return out;
}

void read_value(const char* key, const json& value, LoraOptions& out) {
  if (value.is_null()) return;
  if (!value.is_object() || !value.contains("rank")) wrong_type(key, "an object with \"rank\"", value);
  read_members(key, value, out);
  if (out.rank < 1) wrong_type("lora.rank", "at least 1", value["rank"]);
}

json to_json(const LoraOptions& options) {
  return options.rank == 0 ? json() : members_of(options);
}

DataSource read_source(const char* key, const json& value) {
  DataSource out;
  if (value.is_string())
    out.path = value.get<std::string>();
  else if (value.is_object())
    read_members(key, value, out);
  else
    wrong_type(key, "a path, an object with \"path\", or a list of them", value);
  return out;
}

void read_value(const char* key, const json& value, std::vector<DataSource>& out) {
  out.clear();
  if (!value.is_array()) {
    out = {read_source(key, value)};
    return;
  }
  for (const json& item : value) out.push_back(read_source(key, item));
}

// A path where nothing else is said.
json to_json(const DataSource& source) {
  return source == DataSource{.path = source.path} ? json(source.path) : members_of(source);
}

void require(bool ok, const char* key, const char* expected) {
  if (!ok) fail("training config: '{}' must be {}", key, expected);
}

void one_of(const std::string& value, const char* key, std::initializer_list<const char*> allowed) {
  std::string list;
  for (const char* name : allowed) {
    if (value == name) return;
    list += (list.empty() ? "\"" : ", \"") + std::string(name) + "\"";
  }
  fail("training config: '{}' must be one of {}, got \"{}\"", key, list, printable(value));
}

}  // namespace

TrainConfig parse_train_config(const json& value) {
  if (!value.is_object()) fail("a training config is one JSON object");
  TrainConfig config;
  std::set<std::string> known;
  visit_fields(config, [&](const char* key, auto& field) {
    known.insert(key);
    if (const auto found = value.find(key); found != value.end()) read_value(key, *found, field);
  });
  for (const auto& [key, unused] : value.items())
    if (!known.contains(key))
      fail("training config: unknown key '{}'; docs/training.md lists them all", printable(key));
  validate(config);
  return config;
}

TrainConfig read_train_config(const std::filesystem::path& path, const std::vector<std::string>& overrides) {
  json value = parse_json(read_file(path, size_t{1} << 24), path.string(), true);
  if (!value.is_object()) fail("{}: a training config is one JSON object", path.string());
  for (const std::string& override_text : overrides) {
    const size_t equals = override_text.find('=');
    if (equals == std::string::npos || equals == 0)
      fail("--set expects key=value, got '{}'", printable(override_text));
    const std::string key = override_text.substr(0, equals), text = override_text.substr(equals + 1);
    value[key] = json::accept(text) ? parse_json(text, "--set " + printable(key)) : json(text);
  }
  try {
    return parse_train_config(value);
  } catch (const Error& error) {
    fail("{}: {}", path.string(), error.what());
  }
}

json to_json(const TrainConfig& config) {
  json out = json::object();
  visit_fields(config, [&](const char* key, const auto& field) {
    using Field = std::decay_t<decltype(field)>;
    if constexpr (std::is_same_v<Field, LossWeights>) {
      out[key] = {field.noisy, field.clean};
    } else if constexpr (std::is_same_v<Field, std::vector<DataSource>>) {
      out[key] = json::array();
      for (const DataSource& source : field) out[key].push_back(to_json(source));
    } else if constexpr (std::is_same_v<Field, LoraOptions>) {
      out[key] = to_json(field);
    } else {
      out[key] = field;
    }
  });
  return out;
}

namespace {

void validate(const std::string& key, const std::vector<DataSource>& sources) {
  for (const DataSource& source : sources) {
    constexpr double kMaxRepeats = 1000;
    require(!source.path.empty(), (key + ".path").c_str(), "a file");
    require(source.weight > 0 && source.weight <= kMaxRepeats, (key + ".weight").c_str(),
            "above 0 and at most 1000");
    require(source.limit >= 0, (key + ".limit").c_str(), "0 (all) or more");
    one_of(source.box_format, (key + ".box_format").c_str(), {"text", "pixels", "norm1", "norm1000"});
  }
}

// Records for validation are taken evenly from all sets.
void validate_validation(const std::vector<DataSource>& sources) {
  for (const DataSource& source : sources)
    require(source.weight == 1, "validation.weight", "absent: each record counts once");
}

// Of keys that stand for an ablation.
void validate_together(const TrainConfig& c) {
  require(c.ddp_backend != "nccl" || c.device != "cpu", "ddp_backend",
          "\"auto\" or \"gloo\" with 'device' \"cpu\": NCCL connects cards");
  const bool block = c.clean_attention == "block";
  require(!block || !c.lora.drafts_only, "clean_attention",
          "\"causal\" with 'lora.drafts_only': the model itself verifies");
  require(!block || c.stage == "convert", "clean_attention", "\"causal\" in the stage \"ar\"");
  require(!block || c.save_format != "qwen2_5_vl", "save_format",
          "\"auto\" with clean_attention \"block\": what reads Qwen2.5-VL decodes it autoregressively");
  if (c.auto_truncation) return;
  require(c.stage == "convert", "auto_truncation", "true in the stage \"ar\", which has no blocks");
  require(!block, "auto_truncation",
          "true with clean_attention \"block\": an answer would begin inside a block that is committed");
  require(c.noisy_prompts, "noisy_prompts", "true without auto_truncation: blocks then hold prompts");
  require(!c.random_block_offset, "random_block_offset",
          "false without auto_truncation: answers then begin no block");
}

void validate_lora(const TrainConfig& c) {
  require(c.lora.rank <= 4096, "lora.rank", "at most 4096");
  require(c.lora.alpha > 0, "lora.alpha", "above 0");
  require(c.lora.dropout >= 0 && c.lora.dropout < 1, "lora.dropout", "at least 0 and below 1");
  require(!c.lora.targets.empty(), "lora.targets", "at least one linear layer");
  require(!c.lora.drafts_only || c.stage == "convert", "lora.drafts_only",
          "false in the stage \"ar\", which has no drafts");
  require(!c.lora.drafts_only || c.loss_weights.noisy > 0, "loss_weights",
          "above 0 for noisy with 'lora.drafts_only', which learns nothing else");
  require(c.freeze.empty(), "freeze", "empty with 'lora': adapters alone train");
}

void validate_data(const TrainConfig& c) {
  validate("data", c.data);
  validate("validation", c.validation);
  validate_validation(c.validation);
  require(c.validation_samples >= 1, "validation_samples", "at least 1");
  require(c.batch_size >= 1 && c.batch_size <= 1 << 16, "batch_size", "between 1 and 65536");
  require(c.accumulation >= 1 && c.accumulation <= 1 << 16, "accumulation", "between 1 and 65536");
  require(c.global_batch_size >= 0 && c.global_batch_size <= 1 << 24, "global_batch_size",
          "between 0 (batch_size x accumulation x processes) and 16777216");
  require(c.global_batch_size == 0 || c.accumulation == 1, "accumulation",
          "1 where 'global_batch_size' says how many passes a step has");
  require(c.max_length >= 8 && c.max_length <= 1 << 20, "max_length", "between 8 and 1048576");
  constexpr int64_t kMaxPixels = int64_t{1} << 40;
  require(c.min_pixels >= 0 && c.min_pixels <= kMaxPixels, "min_pixels", "0 (the checkpoint's) or more");
  require(c.max_pixels >= 0 && c.max_pixels <= kMaxPixels, "max_pixels", "0 (the checkpoint's) or more");
  require(c.min_pixels == 0 || c.max_pixels == 0 || c.min_pixels <= c.max_pixels, "min_pixels",
          "at most 'max_pixels'");
  require(c.max_bad_samples >= 0 && c.max_bad_samples <= 1, "max_bad_samples", "between 0 and 1");
  require(c.readers >= 0 && c.readers <= 256, "readers", "between 0 (one for every four cores) and 256");
}

void validate_optimizer(const TrainConfig& c) {
  require(c.learning_rate > 0, "learning_rate", "above 0");
  require(c.min_lr_ratio >= 0 && c.min_lr_ratio <= 1, "min_lr_ratio", "between 0 and 1");
  require(c.warmup_ratio >= 0 && c.warmup_ratio < 1, "warmup_ratio", "at least 0 and below 1");
  require(c.beta1 >= 0 && c.beta1 < 1, "beta1", "at least 0 and below 1");
  require(c.beta2 >= 0 && c.beta2 < 1, "beta2", "at least 0 and below 1");
  require(c.eps > 0 && c.eps <= 1, "eps", "above 0 and at most 1");
  require(c.weight_decay >= 0 && c.weight_decay <= 100, "weight_decay", "between 0 and 100");
  require(c.clip_norm >= 0, "clip_norm", "0 (off) or more");
  require(c.ema_decay >= 0 && c.ema_decay < 1, "ema_decay", "at least 0 (off) and below 1");
}

void validate_objective(const TrainConfig& c) {
  require(c.region_weight >= 0 && c.region_weight <= 1000, "region_weight", "between 0 (off) and 1000");
  require(c.block_size >= 2 && c.block_size <= 1024 && (c.block_size & (c.block_size - 1)) == 0, "block_size",
          "a power of two between 2 and 1024");
  require(c.annealing != "code" || c.block_size >= 4, "block_size", "at least 4 with annealing \"code\"");
  require(c.loss_weights.noisy >= 0 && c.loss_weights.clean >= 0 &&
              c.loss_weights.noisy + c.loss_weights.clean > 0,
          "loss_weights", "0 or more, not both 0");
  require(c.loss_weights.noisy <= 1000 && c.loss_weights.clean <= 1000, "loss_weights", "at most 1000 each");
  require(c.minimum_noise_level >= 0 && c.minimum_noise_level < 1, "minimum_noise_level",
          "at least 0 and below 1");
  require(c.full_mask_probability >= 0 && c.full_mask_probability <= 1, "full_mask_probability",
          "between 0 and 1");
}

}  // namespace

void validate(const TrainConfig& c) {
  one_of(c.stage, "stage", {"ar", "convert"});
  one_of(c.schedule, "schedule", {"cosine", "constant"});
  one_of(c.annealing, "annealing", {"paper", "code", "none"});
  one_of(c.clean_attention, "clean_attention", {"causal", "block"});
  one_of(c.normalization, "normalization", {"mean", "num_items"});
  one_of(c.save_dtype, "save_dtype", {"bf16", "f32"});
  one_of(c.save_format, "save_format", {"auto", "qwen2_5_vl"});
  one_of(c.weight_dtype, "weight_dtype", {"f32", "bf16"});
  one_of(c.ddp_backend, "ddp_backend", {"auto", "nccl", "gloo"});
  require(!c.model.empty(), "model", "a model folder");
  require(!c.data.empty(), "data", "at least one file");
  require(!c.output.empty(), "output", "a folder");
  require(c.steps >= 0 && c.steps <= kMaxSteps, "steps", "between 0 (no limit) and 1000000000");
  require(c.epochs >= 0, "epochs", "0 (no limit) or more");
  require(c.max_minutes >= 0, "max_minutes", "0 (no limit) or more");
  if (c.steps == 0 && c.epochs == 0 && c.max_minutes == 0)
    fail(
        "training config: set at least one of 'steps', 'epochs' and 'max_minutes', or the run would never "
        "end");
  require(c.threads >= 0 && c.threads <= 1024, "threads", "between 0 (all cores) and 1024");
  if (c.device != "cpu" && !card_number(c.device))
    fail("training config: 'device' must be \"cpu\", \"cuda\" or \"cuda:N\", got \"{}\"",
         printable(c.device));
  require(c.keep_checkpoints >= 0, "keep_checkpoints", "0 or more");
  require(c.checkpoint_minutes > 0, "checkpoint_minutes", "above 0");
  require(c.log_interval >= 1, "log_interval", "at least 1");
  if (c.lora.rank > 0) validate_lora(c);
  validate_data(c);
  validate_optimizer(c);
  validate_objective(c);
  validate_together(c);
}

}  // namespace dvlm
