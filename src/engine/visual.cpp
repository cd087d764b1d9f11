#include "engine/visual.h"

#include <algorithm>

#include "core/ascii.h"
#include "core/data_url.h"
#include "core/error.h"
#include "core/files.h"
#include "core/interrupt.h"
#include "image/exif.h"
#include "model/preprocessing.h"

namespace dvlm {
namespace {

constexpr size_t kMaxFile = size_t{256} << 20;  // of one image

size_t bytes_of(const Visual& visual) {
  return visual.features->values.size() * sizeof(float);
}

// The bytes or pixels behind the source of one image.
class ImageSource {
 public:
  ImageSource(const std::string& source, const Request& request, ContentHash& hash)
      : source_(source), exif_rotate_(request.exif_rotate) {
    if (request.max_source_pixels > 0) limits_.max_pixels = request.max_source_pixels;
    if (const auto found = request.images_in_memory.find(source); found != request.images_in_memory.end()) {
      pixels_ = &found->second;
      const size_t expected = size_t{3} * std::max(pixels_->width, 0) * std::max(pixels_->height, 0);
      if (expected == 0 || pixels_->pixels.size() != expected)
        fail("picture {} in memory is {} x {} but holds {} bytes: expected width x height x 3",
             printable(source), pixels_->width, pixels_->height, pixels_->pixels.size());
      hash.add(pixels_->width);
      hash.add(pixels_->height);
      hash.add(std::as_bytes(std::span(pixels_->pixels)));
    } else if (is_data_url(source)) {
      hash.add(source);
    } else {
      bytes_ = read_file(local_path(source), kMaxFile);
      hash.add(bytes_);
    }
  }

  Image decode() const {
    if (pixels_) return *pixels_;
    if (is_data_url(source_)) {
      const std::vector<std::byte> file = data_of_url(source_);
      return as_shown(file, decode_image(file, "the picture of the data URL", limits_));
    }
    const auto file = std::as_bytes(std::span(bytes_));
    return as_shown(file, decode_image(file, local_path(source_).string(), limits_));
  }

 private:
  Image as_shown(std::span<const std::byte> file, Image image) const {
    return upright(std::move(image), exif_rotate_ ? exif_orientation(file) : 1);
  }

  const std::string& source_;
  const Image* pixels_ = nullptr;
  bool exif_rotate_ = false;
  std::string bytes_;
  DecodeLimits limits_;
};

void add_options(ContentHash& hash, const ContentPart& part, const Request& request) {
  for (const int64_t value : {request.min_pixels, request.max_pixels, part.min_pixels, part.max_pixels,
                              part.pixel_bound, int64_t{part.resized_height}, int64_t{part.resized_width},
                              int64_t{part.nframes}, int64_t{request.exif_rotate}})
    hash.add(value);
  hash.add(std::as_bytes(std::span(&part.fps, 1)));
}

void add_file(ContentHash& hash, const InputFile& file) {
  std::vector<std::byte> chunk(size_t{1} << 20);
  size_t got = chunk.size();
  for (size_t at = 0; got == chunk.size() && !interrupted(); at += got) {
    got = file.read(chunk.data(), chunk.size(), at);
    hash.add(std::span(chunk).first(got));
  }
}

// `grid`, `original` and `resized` as the prompt and the answer report them.
void describe(Visual& visual, Size original, Size resized, const ModelConfig& config) {
  visual.info = {original.width, original.height, resized.width, resized.height,
                 static_cast<int>(visual.grid.patches() / config.vision.patches_per_token())};
}

void load_image(Visual& visual, const ImageSource& source, const PreprocessOptions& options,
                const ModelConfig& config) {
  const Image image = source.decode();
  const Size original{image.height, image.width};
  const Size size = resized_size(original, options);
  admit(size, 1, options);
  visual.image = resize_bicubic(image, size);
  visual.grid = {1, size.height / options.patch_size, size.width / options.patch_size};
  describe(visual, original, size, config);
}

void load_video(Visual& visual, Patches patches, const ModelConfig& config) {
  visual.patches = std::move(patches);
  visual.grid = visual.patches.grid;
  visual.second_per_grid = visual.patches.second_per_grid;
  describe(visual, visual.patches.original, visual.patches.resized, config);
}

}  // namespace

std::optional<Visual> VisualCache::find(const ContentKey& key) {
  const std::lock_guard lock(mutex_);
  const auto entry = index_.find(key);
  if (entry == index_.end()) return std::nullopt;
  ++found_;
  visuals_.splice(visuals_.begin(), visuals_, entry->second);
  return visuals_.front();
}

void VisualCache::insert(const Visual& visual) {
  const std::lock_guard lock(mutex_);
  ++encoded_;
  const size_t size = bytes_of(visual);
  if (size > limit_ || index_.count(visual.key)) return;
  Visual kept = visual;
  kept.drop_pixels();
  visuals_.push_front(std::move(kept));
  index_[visual.key] = visuals_.begin();
  bytes_ += size;
  while (bytes_ > limit_) {
    bytes_ -= bytes_of(visuals_.back());
    index_.erase(visuals_.back().key);
    visuals_.pop_back();
  }
}

std::shared_ptr<const void> VisualCache::place_for(int64_t tokens) {
  std::shared_ptr<const void> place(this, [this, tokens](const void*) { waiting_ -= tokens; });
  if ((waiting_ += tokens) > most_waiting_) throw NoPlaceForVisual{};
  return place;
}

void VisualCache::clear() {
  const std::lock_guard lock(mutex_);
  visuals_.clear();
  index_.clear();
  bytes_ = 0;
}

VisualTotals VisualCache::totals() const {
  const std::lock_guard lock(mutex_);
  return {bytes_, limit_, found_, encoded_};
}

Visual load_visual(const ContentPart& part, const Request& request, const ModelConfig& config,
                   VisualCache* cache, const std::function<void(int64_t)>& admit) {
  Visual visual;
  const SizeLimits limits = size_limits(part, request.min_pixels, request.max_pixels);
  const VideoOptions video = video_within(limits, part.fps, part.nframes);
  PreprocessOptions options = preprocessing_within(limits, config);
  options.admit = [&](int64_t tokens) {
    if (admit) admit(tokens);
    if (cache) visual.place = cache->place_for(tokens);
  };
  visual.video = part.type == ContentPart::Type::video;
  const bool file = visual.video && part.frames.empty();
  ContentHash hash;
  hash.add(file ? "video" : visual.video ? "frames" : "image");
  add_options(hash, part, request);
  std::vector<ImageSource> sources;
  if (file && is_data_url(part.source))
    fail("a video must be a local file or a list of frames, not a data URL");
  std::shared_ptr<const InputFile> open;
  if (file) {
    const auto known = request.open_videos.find(part.source);
    open = known != request.open_videos.end() ? known->second
                                              : std::make_shared<const InputFile>(local_path(part.source));
    add_file(hash, *open);
  } else if (visual.video) {
    for (const std::string& frame : part.frames) sources.emplace_back(frame, request, hash);
  } else {
    sources.emplace_back(part.source, request, hash);
  }
  visual.key = hash.key();
  if (cache)
    if (auto known = cache->find(visual.key)) return *std::move(known);

  if (file) {
    load_video(visual, preprocess_video_file(*open, video, options), config);
  } else if (visual.video) {
    const auto frame = [&](size_t i) { return sources[i].decode(); };
    load_video(visual, preprocess_frames(sources.size(), frame, video.fps, options), config);
  } else {
    load_image(visual, sources.front(), options, config);
  }
  return visual;
}

Patches patches_of(Visual& visual, const ModelConfig& config) {
  if (visual.video) return std::move(visual.patches);
  return extract_patches({&visual.image, 1}, checkpoint_preprocessing(config));
}

}  // namespace dvlm
