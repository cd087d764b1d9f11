#include "train/sample.h"

#include <algorithm>

#include "core/ascii.h"
#include "core/data_url.h"
#include "core/error.h"
#include "core/files.h"
#include "image/video.h"
#include "model/preprocessing.h"

namespace dvlm {

namespace {

// A picture or video of the conversation.
struct SampleVisual {
  bool video = false;
  Image image;                // of a picture, as its file has it
  PreprocessOptions options;  // for it
  Size resized;
  Patches patches;  // of a video
  int tokens = 0;
};

std::filesystem::path local_path(const std::string& source) {
  if (source.starts_with("http://") || source.starts_with("https://"))
    fail("training reads no URLs: download {} and give its path", printable(source));
  return begins_with_word(source, "file://") ? source.substr(7) : source;
}

Image load_image(const std::string& source) {
  return is_data_url(source) ? decode_data_url(source) : read_image(local_path(source));
}

PreprocessOptions preprocess_options(const ContentPart& part, const SampleContext& context) {
  PreprocessOptions options = checkpoint_preprocessing(context.config);
  limit_pixels(context.min_pixels, context.max_pixels, options.min_pixels, options.max_pixels);
  limit_pixels(part.min_pixels, part.max_pixels, options.min_pixels, options.max_pixels);
  options.resized_height = part.resized_height;
  options.resized_width = part.resized_width;
  return options;
}

Patches load_video(const ContentPart& part, const PreprocessOptions& options) {
  VideoOptions video;
  if (part.fps > 0) video.fps = part.fps;
  video.nframes = part.nframes;
  limit_pixels(part.min_pixels, part.max_pixels, video.min_pixels, video.max_pixels);
  if (part.frames.empty()) return preprocess_video_file(InputFile(local_path(part.source)), video, options);
  const auto frame = [&](size_t i) { return load_image(part.frames[i]); };
  return preprocess_frames(part.frames.size(), frame, video.fps, options);
}

int side_of_token(const PreprocessOptions& options) {
  return options.patch_size * options.merge_size;
}

void size_picture(SampleVisual& picture) {
  picture.resized = resized_size({picture.image.height, picture.image.width}, picture.options);
  const int side = side_of_token(picture.options);
  picture.tokens = picture.resized.height / side * (picture.resized.width / side);
}

SampleVisual load_visual(const ContentPart& part, const SampleContext& context) {
  SampleVisual out;
  out.options = preprocess_options(part, context);
  out.video = part.type == ContentPart::Type::video;
  if (!out.video) {
    out.image = load_image(part.source);
    size_picture(out);
    return out;
  }
  const int merge = context.config.vision.spatial_merge_size;
  out.patches = load_video(part, out.options);
  out.tokens = static_cast<int>(out.patches.grid.patches() / (merge * merge));
  return out;
}

std::vector<SampleVisual> load_visuals(const Conversation& conversation, const SampleContext& context) {
  std::vector<SampleVisual> out;
  for (const Message& message : conversation)
    for (const ContentPart& part : message.content)
      if (part.type != ContentPart::Type::text) out.push_back(load_visual(part, context));
  return out;
}

int tokens_of(const std::vector<SampleVisual>& visuals, bool video) {
  int tokens = 0;
  for (const SampleVisual& one : visuals)
    if (one.video == video) tokens += one.tokens;
  return tokens;
}

// Makes pictures smaller by one factor so that they have `room` tokens together, where each then has one.
bool shrink(std::vector<SampleVisual>& visuals, int room) {
  const int tokens = tokens_of(visuals, false);
  if (tokens <= room) return false;
  for (SampleVisual& picture : visuals) {
    if (picture.video) continue;
    const int side = side_of_token(picture.options);
    const int64_t share = int64_t{picture.tokens} * room / tokens;
    picture.options.max_pixels = std::max<int64_t>(share, 1) * side * side;
    picture.options.min_pixels = std::min(picture.options.min_pixels, picture.options.max_pixels);
    picture.options.resized_height = picture.options.resized_width = 0;
    size_picture(picture);
    // Sides that reach a minimum are rounded up, beyond a maximum that is near.
    for (; picture.tokens > share && picture.options.min_pixels > side; size_picture(picture))
      picture.options.min_pixels = picture.options.min_pixels * 19 / 20;
  }
  return true;
}

// Rewrites the boxes of all texts. They belong to the pictures that were shown before them, which must agree.
bool rescale_boxes(Conversation& conversation, const std::vector<SampleVisual>& visuals, BoxFormat format) {
  int boxes = 0;
  size_t next = 0;
  const SampleVisual* shown = nullptr;
  bool several = false;
  for (Message& message : conversation) {
    for (ContentPart& part : message.content) {
      if (part.type != ContentPart::Type::text) {
        const SampleVisual& visual = visuals[next++];
        if (visual.video) continue;
        const bool other = shown && (visual.image.width != shown->image.width ||
                                     visual.image.height != shown->image.height ||
                                     visual.resized.width != shown->resized.width);
        several |= other;
        shown = &visual;
        continue;
      }
      const int before = boxes;
      const Size original = shown ? Size{shown->image.height, shown->image.width} : Size{1, 1},
                 resized = shown ? shown->resized : Size{1, 1};
      part.text = with_boxes_resized(part.text, format, original, resized, boxes);
      if (boxes > before && !shown) fail("a box stands before any picture");
      if (boxes > before && several)
        fail("a box stands behind pictures of different sizes, and does not say which it is in");
    }
  }
  return boxes > 0;
}

std::vector<TokenId> encode(const Conversation& conversation, const std::vector<SampleVisual>& visuals,
                            const SampleContext& context) {
  std::vector<int> images, videos;
  for (const SampleVisual& one : visuals) (one.video ? videos : images).push_back(one.tokens);
  TemplateOptions options;
  options.add_generation_prompt = false;
  return encode_chat(context.tokenizer, conversation, images, videos, options);
}

// Cuts to max_length; a sample that would lose part of a picture is emptied.
void cut(Sample& sample, const SampleContext& context) {
  const auto limit = static_cast<size_t>(context.max_length);
  if (sample.ids.size() <= limit) return;
  const bool loses_picture = std::any_of(
      sample.ids.begin() + context.max_length, sample.ids.end(),
      [&](TokenId id) { return id == context.config.image_token || id == context.config.video_token; });
  sample.ids.resize(limit);
  sample.positions.resize(limit);
  std::erase_if(sample.regions, [&](const RegionToken& token) { return token.at >= context.max_length; });
  if (loses_picture) sample = Sample{};
}

void check_answers(const Conversation& conversation) {
  for (const Message& message : conversation)
    if (message.role == "assistant" && !message.content.empty() && message.content[0].text.starts_with('\n'))
      fail("an answer begins with a line break, which tokenizers merge into the header before it; remove it");
}

}  // namespace

Sample make_sample(Conversation conversation, const nlohmann::json& record, BoxFormat boxes,
                   const SampleContext& context) {
  check_answers(conversation);
  std::vector<SampleVisual> visuals = load_visuals(conversation, context);
  Sample sample;
  sample.ids = encode(conversation, visuals, context);
  if (const int all = static_cast<int>(sample.ids.size()); all > context.max_length) {
    const int videos = tokens_of(visuals, true), text = all - videos - tokens_of(visuals, false);
    sample.shrunk = shrink(visuals, std::max(context.max_length - text, context.max_length / 2) - videos);
  }
  const bool rescaled = boxes != BoxFormat::text && rescale_boxes(conversation, visuals, boxes);
  if (sample.shrunk || rescaled) sample.ids = encode(conversation, visuals, context);
  if (find_answers(sample.ids, context.markers).empty())
    fail("the conversation has no assistant answer to learn");

  std::vector<Grid> grids;
  std::vector<double> seconds;
  std::vector<size_t> images;  // which of the visuals
  for (SampleVisual& visual : visuals) {
    if (!visual.video) images.push_back(sample.visuals.size());
    sample.visuals.push_back(visual.video ? std::move(visual.patches)
                                          : preprocess_image(visual.image, visual.options));
    grids.push_back(sample.visuals.back().grid);
    seconds.push_back(sample.visuals.back().second_per_grid);
  }
  sample.positions = rope_index(sample.ids, grids, seconds, context.config).positions;
  std::vector<const Patches*> pictures;
  pictures.reserve(images.size());
  for (const size_t image : images) pictures.push_back(&sample.visuals[image]);
  sample.regions = region_tokens(sample.ids, parse_regions(record, pictures.size()), pictures,
                                 context.tokenizer, context.config);
  cut(sample, context);
  sample.answers = find_answers(sample.ids, context.markers);
  return sample;
}

}  // namespace dvlm
