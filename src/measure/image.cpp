#include "measure/image.h"

#include <algorithm>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/progress.h"
#include "core/random.h"
#include "core/stopwatch.h"
#include "measure/passes.h"
#include "measure/random_checkpoint.h"
#include "model/preprocessing.h"
#include "model/prompt.h"

namespace dvlm {

namespace {

Image noise(int width, int height) {
  Image image;
  image.width = width;
  image.height = height;
  image.pixels.resize(static_cast<size_t>(width) * static_cast<size_t>(height) * 3);
  Random random(1);
  for (auto& value : image.pixels) value = static_cast<uint8_t>(random.below(256));
  return image;
}

// Patches go through the blocks, then four at a time through the merger (docs/reference.md, Vision tower).
double vision_flops(const VisionConfig& v, const Grid& grid) {
  const double patches = static_cast<double>(grid.patches()), hidden = v.hidden_size;
  const double layer = patches * hidden * (4 * hidden + 3.0 * v.intermediate_size);
  const double window = double{1} * v.window_size / v.patch_size * v.window_size / v.patch_size;
  const double full = static_cast<double>(v.full_attention_blocks.size());
  const double pairs = patches * (full * patches + (v.depth - full) * std::min(window, patches));
  const double merged = hidden * v.patches_per_token();
  const double merger = patches / v.patches_per_token() * merged * (merged + v.out_hidden_size);
  return 2 * (patches * v.patch_elements() * hidden + v.depth * layer + 2 * pairs * hidden + merger);
}

Prompt image_prompt(const ModelConfig& config, const Grid& grid, ImageFeatures features, int text_tokens) {
  Prompt prompt;
  prompt.tokens = {config.vision_start_token};
  prompt.features = std::move(features.values);
  for (int i = 0; i < features.tokens; ++i) prompt.pads.push_back(1 + i);
  prompt.tokens.insert(prompt.tokens.end(), prompt.pads.size(), config.image_token);
  prompt.tokens.push_back(config.vision_end_token);
  prompt.tokens.insert(prompt.tokens.end(), static_cast<size_t>(text_tokens), 5);
  const double still = 0;
  prompt.rope = rope_index(prompt.tokens, {&grid, 1}, {&still, 1}, config);
  return prompt;
}

// The first call makes buffers grow; it counts only when it is the only one.
double median_behind_first(std::vector<double> values) {
  if (values.size() > 1) values.erase(values.begin());
  return median(std::move(values));
}

ImageTiming time_one(Model& model, const ImageBenchOptions& options, Machine& machine) {
  const ModelConfig& config = model.config();
  const Image image = noise(options.width, options.height);
  const PreprocessOptions preprocessing = checkpoint_preprocessing(config);
  std::vector<double> preprocess, vision, prefill, rate;
  ImageTiming out;
  for (int i = 0; i <= options.repeats; ++i) {  // in the first round buffers grow
    rate.push_back(machine.rates().operations / 1e9);
    Patches patches;
    preprocess.push_back(milliseconds_of([&] { patches = preprocess_image(image, preprocessing); }));
    ImageFeatures features;
    vision.push_back(milliseconds_of([&] { features = model.encode_image(patches); }));
    out.image_tokens = features.tokens;
    const Prompt prompt = image_prompt(config, patches.grid, std::move(features), options.text_tokens);
    out.tokens = static_cast<int>(prompt.tokens.size());
    const auto sequence = model.new_sequence(out.tokens);
    const Wanted last{.row = out.tokens - 1};
    Segment segment = prompt_segment(prompt, *sequence, 0, out.tokens);
    segment.wanted = {&last, 1};
    prefill.push_back(milliseconds_of([&] { model.forward({&segment, 1}); }));
    out.width = patches.resized.width, out.height = patches.resized.height;
    out.vision_flops = vision_flops(config.vision, patches.grid);
    if (interrupted()) break;
  }
  out.prefill_flops = text_flops(config.text, out.tokens, 0, 1);
  out.preprocess_ms = median_behind_first(preprocess);
  out.vision_ms = median_behind_first(vision);
  out.prefill_ms = median_behind_first(prefill);
  out.probe_gflops = median_behind_first(rate);
  return out;
}

}  // namespace

std::vector<ImageTiming> time_images(const ImageBenchOptions& options, Machine& machine) {
  const ModelConfig config = shape_named(options.shape);
  if (int64_t{options.width} * options.height > DecodeLimits{}.max_pixels)
    fail("a picture of {}x{} has more than {} pixels", options.width, options.height,
         DecodeLimits{}.max_pixels);
  resized_size({options.height, options.width},
               checkpoint_preprocessing(config));  // refuses what models refuse
  const ModelOptions model = machine.options({});
  std::vector<ImageTiming> out;
  Progress progress("measuring pictures", std::ssize(options.precisions));
  for (const std::string& precision : options.precisions) {
    if (interrupted()) break;
    out.push_back(time_one(*load_random(config, precision, model), options, machine));
    out.back().precision = precision;
    progress.update(std::ssize(out));
  }
  return out;
}

}  // namespace dvlm
