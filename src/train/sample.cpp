#include "train/sample.h"

#include <algorithm>
#include <span>
#include <utility>

#include "core/ascii.h"
#include "core/data_url.h"
#include "core/error.h"
#include "core/files.h"
#include "image/video.h"
#include "model/preprocessing.h"

namespace dvlm {

namespace {

// Bytes of a record's pictures that are held at their full sizes; further ones are read twice.
constexpr size_t kMaxHeld = size_t{256} << 20;

// A picture or video of the conversation.
struct SampleVisual {
  const ContentPart* part = nullptr;
  bool video = false;
  SizeLimits limits;
  PreprocessOptions options;  // within them
  Image image;                // of a picture, as its file has it; without pixels where that would be too much
  Size resized;               // of a picture
  Patches patches;            // of a video; none where these would be too many
  int64_t tokens = 0;
};

// A picture of a record is in a regular file: devices never end.
Image load_image(const std::string& source) {
  if (is_data_url(source)) return decode_data_url(source);
  const InputFile file(local_path(source));
  const std::string bytes = read_file(file);
  return decode_image(std::as_bytes(std::span(bytes)), file.path().string());
}

int side_of_token(const PreprocessOptions& options) {
  return options.patch_size * options.merge_size;
}

void size_picture(SampleVisual& picture) {
  picture.resized = resized_size({picture.image.height, picture.image.width}, picture.options);
  const int side = side_of_token(picture.options);
  picture.tokens = picture.resized.height / side * (picture.resized.width / side);
}

struct TooLong {};   // thrown: the sample cannot be made to fit max_length
struct TooLarge {};  // thrown: a video has more tokens than it may have

Patches load_video(const ContentPart& part, const VideoOptions& video, const PreprocessOptions& options) {
  if (part.frames.empty()) return preprocess_video_file(InputFile(local_path(part.source)), video, options);
  const auto frame = [&](size_t i) { return load_image(part.frames[i]); };
  return preprocess_frames(part.frames.size(), frame, video.fps, options);
}

// Counts a video's tokens, and reads it where they are no more than `most`.
void read_video(SampleVisual& video, int64_t most, const SampleContext& context) {
  PreprocessOptions options = preprocessing_within(video.limits, context.config);
  options.admit = [&](int64_t tokens) {
    video.tokens = tokens;
    if (tokens > most) throw TooLarge();
  };
  video.patches = {};
  try {
    video.patches =
        load_video(*video.part, video_within(video.limits, video.part->fps, video.part->nframes), options);
  } catch (const TooLarge&) {  // counted, which is all
  }
}

// Reads a record's pictures and videos one after the other.
class VisualLoader {
 public:
  explicit VisualLoader(const SampleContext& context) : context_(context) {}

  SampleVisual load(const ContentPart& part) {
    SampleVisual out;
    out.part = &part;
    out.limits = size_limits(part, context_.min_pixels, context_.max_pixels);
    out.options = preprocessing_within(out.limits, context_.config);
    out.video = part.type == ContentPart::Type::video;
    out.video ? load_frames(out) : load_picture(out);
    return out;
  }

 private:
  void load_picture(SampleVisual& out) {
    out.image = load_image(out.part->source);
    size_picture(out);
    if (held_ + out.image.pixels.size() > kMaxHeld)
      out.image.pixels = std::vector<uint8_t>();  // {} would keep the memory
    else
      held_ += out.image.pixels.size();
  }

  // What is too long with the videos before it is read when all are made smaller.
  void load_frames(SampleVisual& out) {
    read_video(out, context_.max_length - video_tokens_, context_);
    video_tokens_ += out.tokens;
  }

  const SampleContext& context_;
  size_t held_ = 0;
  int64_t video_tokens_ = 0;
};

std::vector<SampleVisual> load_visuals(const Conversation& conversation, const SampleContext& context) {
  VisualLoader loader(context);
  std::vector<SampleVisual> out;
  for (const ContentPart* part : visuals_of(conversation)) out.push_back(loader.load(*part));
  return out;
}

int64_t tokens_of(const std::vector<SampleVisual>& visuals) {
  int64_t tokens = 0;
  for (const SampleVisual& one : visuals) tokens += one.tokens;
  return tokens;
}

// What the model reads of a picture.
Patches patches_of(SampleVisual& picture) {
  Image image = std::move(picture.image);
  if (image.pixels.empty()) {
    const Size before{image.height, image.width};
    image = load_image(picture.part->source);
    if (image.height != before.height || image.width != before.width)
      fail("{} changed while it was read", printable(picture.part->source));
  }
  return preprocess_image(image, picture.options);
}

// Makes a picture smaller, down to `share` tokens, or to one.
void shrink_picture(SampleVisual& picture, int64_t share) {
  const int side = side_of_token(picture.options);
  picture.options.max_pixels = std::max<int64_t>(share, 1) * side * side;
  picture.options.min_pixels = std::min(picture.options.min_pixels, picture.options.max_pixels);
  picture.options.resized_height = picture.options.resized_width = 0;
  size_picture(picture);
  // Sides that reach a minimum are rounded up, beyond a maximum that is near.
  for (; picture.tokens > share && picture.options.min_pixels > side; size_picture(picture))
    picture.options.min_pixels = picture.options.min_pixels * 19 / 20;
}

// How many times a video has the tokens of one frame: two frames share them.
int64_t slices_of(const SampleVisual& video, const SampleContext& context) {
  if (!video.patches.values.empty()) return video.patches.grid.t;
  const int64_t frames = std::ssize(video.part->frames), together = video.options.temporal_patch_size;
  if (frames > 0) return (frames + together - 1) / together;
  // A file tells by the tokens that it would have with four in each frame.
  const int side = 2 * side_of_token(video.options);
  SampleVisual small;
  small.part = video.part, small.limits = {.resized_height = side, .resized_width = side};
  read_video(small, 0, context);
  return small.tokens / 4;
}

// Reads a video with frames that are so small that it has `share` tokens, or each frame one.
void shrink_video(SampleVisual& video, int64_t share, const SampleContext& context) {
  const int64_t slices = slices_of(video, context), most = std::max(share, slices);
  if (slices > context.max_length) throw TooLong();
  const int64_t side = side_of_token(video.options), token = side * side, pixels = most / slices * token;
  // Sides that reach a minimum are rounded up, beyond a maximum that is near. Half of it is mostly far
  // enough; each further attempt decodes the video once more.
  int64_t least = pixels;
  do {
    least /= 2;
    video.limits = {.min_pixels = least, .max_pixels = pixels};
    read_video(video, most, context);
  } while (video.tokens > most && least > token);
  if (video.tokens > most) throw TooLong();
}

// Makes pictures and videos smaller by one factor so that they have `room` tokens together, where each
// picture and each frame then has one.
bool shrink(std::vector<SampleVisual>& visuals, int64_t room, const SampleContext& context) {
  const int64_t tokens = tokens_of(visuals);
  if (tokens <= room) return false;
  for (SampleVisual& visual : visuals) {
    const int64_t share = visual.tokens * room / tokens;
    visual.video ? shrink_video(visual, share, context) : shrink_picture(visual, share);
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

// `expand`: pictures and videos have all of their tokens, and not one.
std::vector<TokenId> encode(const Conversation& conversation, const std::vector<SampleVisual>& visuals,
                            const SampleContext& context, bool expand = true) {
  std::vector<int> images, videos;
  for (const SampleVisual& one : visuals)
    (one.video ? videos : images).push_back(expand ? static_cast<int>(one.tokens) : 1);
  TemplateOptions options;
  options.add_generation_prompt = false;
  return encode_chat(context.tokenizer, conversation, images, videos, options);
}

// Whether a cut to max_length would take part of a picture.
bool loses_picture(std::span<const TokenId> ids, const SampleContext& context) {
  return std::ranges::any_of(ids.subspan(std::min<size_t>(ids.size(), context.max_length)),
                             [&](TokenId id) { return context.config.is_pad(id); });
}

void cut(Sample& sample, const SampleContext& context) {
  const auto limit = static_cast<size_t>(context.max_length);
  if (sample.ids.size() <= limit) return;
  sample.ids.resize(limit);
  sample.positions.resize(limit);
  std::erase_if(sample.regions, [&](const RegionToken& token) { return token.at >= context.max_length; });
}

// Returns how many there are.
int64_t check_answers(const Conversation& conversation) {
  int64_t answers = 0;
  for (const Message& message : conversation) {
    if (message.role != "assistant") continue;
    ++answers;
    for (const ContentPart& part : message.content)
      if (part.type != ContentPart::Type::text) fail("an answer holds a picture, which no model here writes");
    if (!message.content.empty() && message.content[0].text.starts_with('\n'))
      fail("an answer begins with a line break, which tokenizers merge into the header before it; remove it");
  }
  return answers;
}

}  // namespace

Sample make_sample(Conversation conversation, const nlohmann::json& record, BoxFormat boxes,
                   const SampleContext& context) try {
  const int64_t answers = check_answers(conversation);
  std::vector<SampleVisual> visuals = load_visuals(conversation, context);
  Sample sample;
  // What is larger than all that there is room for has no tokens before it is made smaller.
  const int64_t all = tokens_of(visuals);
  const bool expand = all <= context.max_length;
  sample.ids = encode(conversation, visuals, context, expand);
  const int64_t text = std::ssize(sample.ids) - (expand ? all : std::ssize(visuals));
  if (text + all > context.max_length)
    sample.shrunk =
        shrink(visuals, std::max<int64_t>(context.max_length - text, context.max_length / 2), context);
  const bool rescaled = boxes != BoxFormat::text && rescale_boxes(conversation, visuals, boxes);
  if (sample.shrunk || rescaled || !expand) sample.ids = encode(conversation, visuals, context);
  if (answers == 0) fail("the conversation has no assistant answer to learn");
  if (const int64_t found = std::ssize(find_answers(sample.ids, context.markers)); found != answers)
    fail(
        "{} of {} answers are found among the tokens: one begins with white space and a line break, "
        "which the tokenizer merges into what is before it, or a text holds the template's own tokens",
        found, answers);
  if (loses_picture(sample.ids, context)) return {};

  std::vector<Grid> grids;
  std::vector<double> seconds;
  std::vector<size_t> images;  // which of the visuals
  for (SampleVisual& visual : visuals) {
    if (!visual.video) images.push_back(sample.visuals.size());
    sample.visuals.push_back(visual.video ? std::move(visual.patches) : patches_of(visual));
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
  if (sample.answers.empty()) return {};
  return sample;
} catch (const TooLong&) {
  return {};
}

}  // namespace dvlm
