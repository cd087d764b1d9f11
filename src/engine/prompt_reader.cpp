#include "engine/prompt_reader.h"

#include <algorithm>

#include "core/error.h"
#include "core/finally.h"

namespace dvlm {

namespace {

// Tokens whose patches fit.
int64_t most_waiting(size_t bytes, const VisionConfig& vision) {
  if (bytes == 0) return INT64_MAX;
  const int64_t values = int64_t{vision.patches_per_token()} * vision.patch_elements();
  return static_cast<int64_t>(bytes) / (values * static_cast<int64_t>(sizeof(float)));
}

}  // namespace

PromptReader::PromptReader(const std::filesystem::path& folder, const Tokenizer& tokenizer, Model& model,
                           const ImageMemory& memory)
    : folder_(folder),
      tokenizer_(tokenizer),
      model_(model),
      visuals_(memory.features, most_waiting(memory.waiting, model.config().vision)) {}

void PromptReader::check_template(const Request& request) {
  if (template_checked_ || !request.input_ids.empty()) return;
  check_chat_template(folder_);
  template_checked_ = true;
}

LoadedPrompt PromptReader::load(const Request& request) {
  check_template(request);
  const int limit = config().text.max_positions;
  LoadedPrompt loaded = load_prompt(config(), tokenizer_, request, &visuals_, limit);
  const int size = static_cast<int>(loaded.tokens.size());
  if (size >= limit)
    throw PromptTooLong(fmt::format(
        "the prompt has {} tokens ({} of them pictures), but the model's context has {} positions and the "
        "answer needs at least one: shorten the prompt{}",
        size, loaded.image_tokens, limit, loaded.image_tokens > 0 ? " or lower --max-pixels" : ""));
  return loaded;
}

void PromptReader::encode(Visual& visual, size_t number, const WorkListener& listener) {
  if (const auto known =
          visuals_.find(visual.key)) {  // twice in one prompt, or encoded for another meanwhile
    visual.features = known->features;
    return;
  }
  model_.set_watch([&](int64_t done, int64_t total) {
    listener.hear({Stage::picture, done, total, static_cast<int>(number), visual.video, visual.info});
  });
  const Finally unwatch([&] { model_.set_watch({}); });
  try {
    visual.features = std::make_shared<ImageFeatures>(model_.encode_image(patches_of(visual, config())));
  } catch (const Error& error) {
    fail("picture {} ({} tokens): {}; lower --max-pixels", number, visual.info.tokens, error.what());
  }
  visual.drop_pixels();
  DVLM_ASSERT(visual.features->tokens == visual.info.tokens);
  visuals_.insert(visual);
}

Prompt PromptReader::finish(LoadedPrompt loaded, int held) const {
  Prompt prompt{
      .tokens = {}, .rope = positions_of(loaded), .features = {}, .pads = {}, .stop_tokens = stop_tokens()};
  const std::vector<PadRun> runs = pad_runs(loaded.tokens, config());
  for (size_t i = 0; i < runs.size(); ++i) {
    const int skip = std::max(0, held - runs[i].begin);
    if (skip >= runs[i].count) continue;
    const auto& values = loaded.visuals[i].features->values;
    prompt.features.insert(prompt.features.end(),
                           values.begin() + ptrdiff_t{skip} * config().text.hidden_size, values.end());
    for (int pad = skip; pad < runs[i].count; ++pad) prompt.pads.push_back(runs[i].begin + pad);
  }
  prompt.tokens = std::move(loaded.tokens);
  return prompt;
}

Prompt PromptReader::read(const Request& request, const WorkListener& listener) {
  LoadedPrompt loaded = load(request);
  for (size_t i = 0; i < loaded.visuals.size(); ++i) encode(loaded.visuals[i], i + 1, listener);
  return finish(std::move(loaded), 0);
}

RopeIndex PromptReader::positions_of(const LoadedPrompt& loaded) const {
  std::vector<Grid> grids;
  std::vector<double> seconds;
  for (const Visual& visual : loaded.visuals) {
    grids.push_back(visual.grid);
    seconds.push_back(visual.second_per_grid);
  }
  return rope_index(loaded.tokens, grids, seconds, config());
}

std::vector<TokenId> PromptReader::stop_tokens() const {
  std::vector<TokenId> stops = config().stop_tokens;
  if (const auto end = tokenizer_.find("<|im_end|>");
      end && std::find(stops.begin(), stops.end(), *end) == stops.end())
    stops.push_back(*end);
  return stops;
}

}  // namespace dvlm
