#include "image/video.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace dvlm {

namespace {

constexpr int kFrameFactor = 2;

void validate(const VideoOptions& options) {
  const auto not_negative = [](double value) { return value >= 0 && std::isfinite(value); };
  if (!(options.fps > 0) || !std::isfinite(options.fps))
    fail("video fps must be positive, got {}", options.fps);
  if (options.nframes < 0) fail("nframes must be at least 0, got {}", options.nframes);
  if (options.min_frames < 1 || options.max_frames < 1)
    fail("min_frames and max_frames must be at least 1, got {} and {}", options.min_frames,
         options.max_frames);
  if (!not_negative(options.start) || !not_negative(options.end))
    fail("the start and end of a video must be at least 0 seconds, got {} and {}", options.start,
         options.end);
  if (options.min_pixels < 1 || options.max_pixels < options.min_pixels || options.total_pixels < 1)
    fail("video pixels must satisfy 1 <= min_pixels <= max_pixels and total_pixels >= 1, got {}, {} and {}",
         options.min_pixels, options.max_pixels, options.total_pixels);
}

// How many of `total` frames, in doubles as Python has it.
double frame_count(int total, double video_fps, const VideoOptions& options) {
  if (options.nframes > 0) return std::nearbyint(options.nframes / 2.0) * kFrameFactor;
  const double low = std::ceil(options.min_frames / 2.0) * kFrameFactor;
  const double high = std::floor(std::min(options.max_frames, total) / 2.0) * kFrameFactor;
  const double wanted = total / video_fps * options.fps;
  return std::floor(std::min<double>(std::min(std::max(wanted, low), high), total) / kFrameFactor) *
         kFrameFactor;
}

// torch.linspace(first, last, count).round(): in float32, counted from both ends.
std::vector<int> spread(int first, int last, int count) {
  const float start = static_cast<float>(first), end = static_cast<float>(last);
  const float step = (end - start) / static_cast<float>(count - 1);
  std::vector<int> indices;
  for (int i = 0; i < count; ++i) {
    const float value =
        i < count / 2 ? start + step * static_cast<float>(i) : end - step * static_cast<float>(count - i - 1);
    indices.push_back(std::clamp(static_cast<int>(std::nearbyint(value)), first, last));
  }
  return indices;
}

}  // namespace

FrameRange frame_range(int total, double video_fps, const VideoOptions& options) {
  validate(options);
  if (total < 1) fail("the video has no frames");
  if (!(video_fps > 0) || !std::isfinite(video_fps))
    fail("the video's frame rate must be positive, got {}", video_fps);
  const double duration = total / video_fps;
  FrameRange range{0, total - 1};
  if (options.start > 0)
    range.first = static_cast<int>(std::ceil(std::min(options.start, duration) * video_fps));
  if (options.end > 0)
    range.last =
        std::min(total - 1, static_cast<int>(std::floor(std::min(options.end, duration) * video_fps)));
  if ((options.start > 0 || options.end > 0) && range.first >= range.last)
    fail("no frames lie between {} s and {} s: the video lasts {:.2f} s ({} frames at {:.3f} per second)",
         options.start, options.end, duration, total, video_fps);
  return range;
}

std::vector<int> select_frames(int total, double video_fps, const VideoOptions& options) {
  const FrameRange range = frame_range(total, video_fps, options);
  const double count = frame_count(range.count(), video_fps, options);
  if (!(count >= kFrameFactor && count <= range.count()))
    fail("{} frames would be taken of a video with {}; it must be at least {} and at most all of them", count,
         range.count(), kFrameFactor);
  return spread(range.first, range.last, static_cast<int>(count));
}

Patches preprocess_frames(size_t count, const std::function<Image(size_t)>& frame, double fps,
                          const PreprocessOptions& options) {
  if (!(fps > 0) || !std::isfinite(fps))
    fail("the frame rate of a list of frames must be positive, got {}", fps);
  if (count == 0) fail("a video needs at least one frame");
  std::vector<Image> resized;
  Size original;
  for (size_t i = 0; i < count; ++i) {
    const Image image = frame(i);
    const Size size = resized_size({image.height, image.width}, options);
    if (i == 0) {
      original = {image.height, image.width};
      const double pixels = static_cast<double>(count) * size.width * size.height;
      const double most = static_cast<double>(kFrameFactor * VideoOptions{}.total_pixels);
      if (pixels > most)
        fail("{} frames of {} x {} pixels are {:.0f} in all, more than {:.0f}: send fewer or set max_pixels",
             count, size.width, size.height, pixels, most);
      admit(size, count, options);
    } else if (size.width != resized[0].width || size.height != resized[0].height) {
      fail(
          "frame {} is {} x {} pixels, which becomes {} x {}, but the first frame becomes {} x {}; all "
          "frames of a video must become one size",
          i, image.width, image.height, size.width, size.height, resized[0].width, resized[0].height);
    }
    resized.push_back(resize_bicubic(image, size));
  }
  Patches patches = extract_patches(resized, options);
  patches.original = original;
  patches.second_per_grid = options.temporal_patch_size / fps;
  return patches;
}

}  // namespace dvlm
