// How a checkpoint wants its pictures prepared.
#include <cmath>
#include <nlohmann/json.hpp>

#include "checkpoint/config.h"
#include "checkpoint/json.h"
#include "core/error.h"
#include "core/files.h"
#include "core/log.h"

namespace dvlm {

namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr int64_t kMaxPixels = int64_t{1} << 40;

// Limits stand at the top, in "size" under the same names, or there as shortest_edge and longest_edge.
void read_limits(const JsonObject& settings, PreprocessorConfig& config) {
  if (settings.has("size")) {
    const JsonObject size = settings.object("size");
    const auto limit = [&](const char* name, const char* edge, int64_t fallback) {
      return size.integer(name, 1, kMaxPixels, size.integer(edge, 1, kMaxPixels, fallback));
    };
    for (const char* key : {"height", "width"})
      if (size.has(key))
        fail("{}: \"{}\" asks for pictures of one size; dvlm knows shortest_edge and longest_edge, in pixels",
             size.where(), key);
    config.min_pixels = limit("min_pixels", "shortest_edge", config.min_pixels);
    config.max_pixels = limit("max_pixels", "longest_edge", config.max_pixels);
  }
  config.min_pixels = settings.integer("min_pixels", 1, kMaxPixels, config.min_pixels);
  config.max_pixels = settings.integer("max_pixels", 1, kMaxPixels, config.max_pixels);
  if (config.min_pixels > config.max_pixels)
    fail("{}: min_pixels {} is above max_pixels {}", settings.where(), config.min_pixels, config.max_pixels);
}

void check_patches(const JsonObject& settings, const VisionConfig& vision) {
  const std::pair<const char*, int> same[] = {{"patch_size", vision.patch_size},
                                              {"temporal_patch_size", vision.temporal_patch_size},
                                              {"merge_size", vision.spatial_merge_size}};
  for (const auto& [key, expected] : same)
    if (settings.integer(key, 1, 1024, expected) != expected)
      fail("{}: \"{}\" disagrees with vision_config, which says {}", settings.where(), key, expected);
}

void read_channels(const JsonObject& settings, const char* key, double low, double (&out)[3]) {
  const json* list = settings.find(key);
  if (!list) return;
  if (!list->is_array() || list->size() != 3)
    fail("{}: \"{}\" must hold three numbers", settings.where(), key);
  for (size_t i = 0; i < 3; ++i) {
    if (!(*list)[i].is_number() || !((*list)[i].get<double>() >= low && (*list)[i].get<double>() <= 10))
      fail("{}: \"{}\" must hold three numbers in {}..10", settings.where(), key, low);
    out[i] = (*list)[i].get<double>();
  }
}

bool is_bicubic(const json& resample) {
  constexpr int kPillowsBicubic = 3;
  if (!resample.is_string()) return resample == kPillowsBicubic;
  const auto name = resample.get<std::string>();
  return name == "bicubic" || name == "BICUBIC";
}

// Every picture goes one way: resized by bicubic interpolation, divided by 255, normalised.
void refuse_other_steps(const JsonObject& settings) {
  for (const char* step : {"do_resize", "do_rescale", "do_normalize"})
    if (!settings.boolean(step, true))
      fail(
          "{}: {} is false, but dvlm always takes this step; remove the key if the model was trained with it",
          settings.where(), step);
  const double factor = settings.number("rescale_factor", 0, 1e6, 1.0 / 255);
  if (std::abs(factor * 255 - 1) > 1e-6)
    fail("{}: rescale_factor is {}, but dvlm divides by 255 (0.00392156862745098)", settings.where(), factor);
  if (const json* resample = settings.find("resample"); resample && !is_bicubic(*resample))
    fail("{}: resample is {}, but dvlm resizes pictures with 3 (bicubic)", settings.where(),
         printable(resample->dump()));
}

void warn_of_the_rest(const JsonObject& settings) {
  if (!settings.boolean("do_convert_rgb", true))
    log_warning_once("{}: do_convert_rgb is false, but dvlm converts every picture to RGB", settings.where());
  const std::string type = settings.string("image_processor_type", "Qwen2VLImageProcessor");
  if (!type.starts_with("Qwen2VLImageProcessor") && !type.starts_with("Qwen2_5_VLImageProcessor"))
    log_warning_once("{}: image_processor_type is {}; pictures are prepared as by Qwen2VLImageProcessor",
                     settings.where(), printable(type));
}

PreprocessorConfig read_settings(const JsonObject& settings, const VisionConfig& vision) {
  PreprocessorConfig config;
  read_limits(settings, config);
  check_patches(settings, vision);
  read_channels(settings, "image_mean", -10, config.image_mean);
  read_channels(settings, "image_std", 1e-6, config.image_std);
  refuse_other_steps(settings);
  warn_of_the_rest(settings);
  return config;
}

}  // namespace

std::optional<PreprocessorConfig> read_preprocessor(const fs::path& folder, const VisionConfig& vision) {
  if (const fs::path path = folder / "processor_config.json"; fs::exists(path)) {
    const json file = read_json(path);
    const JsonObject processor(file, path.string());
    if (processor.has("image_processor")) return read_settings(processor.object("image_processor"), vision);
  }
  const fs::path path = folder / "preprocessor_config.json";
  if (!fs::exists(path)) return std::nullopt;
  const json file = read_json(path);
  return read_settings(JsonObject(file, path.string()), vision);
}

void write_pixel_limits(const fs::path& folder, int64_t min_pixels, int64_t max_pixels) {
  fs::path path = folder / "processor_config.json";
  json file = fs::exists(path) ? read_json(path) : json();
  const bool inside = file.is_object() && file.contains("image_processor");
  if (!inside) {
    path = folder / "preprocessor_config.json";
    file = fs::exists(path) ? read_json(path) : json::object();
  }
  json& settings = inside ? file["image_processor"] : file;
  settings["min_pixels"] = min_pixels, settings["max_pixels"] = max_pixels;
  if (settings.contains("size"))
    settings["size"] = {{"shortest_edge", min_pixels}, {"longest_edge", max_pixels}};
  write_file(path, file.dump(2) + "\n");
}

}  // namespace dvlm
