// Videos: frame selection, reading and resizing (docs/reference.md, Videos).
#pragma once
#include <functional>
#include <vector>

#include "core/files.h"
#include "image/preprocess.h"

namespace dvlm {

struct VideoOptions {
  double fps = 2.0;  // frames sampled per second
  int nframes = 0;   // instead of fps; 0 = by fps
  int min_frames = 4, max_frames = 768;
  int64_t min_pixels = 100352, max_pixels = 602112, total_pixels = 90316800;
  double start = 0, end = 0;  // seconds; end 0 = to the end
};

// The frames between `start` and `end`, both included (qwen-vl-utils 0.0.14's calculate_video_frame_range).
// Throws Error when the range is empty.
struct FrameRange {
  int first = 0, last = 0;
  int count() const { return last - first + 1; }
};
FrameRange frame_range(int total, double video_fps, const VideoOptions& options);

// Indices of the frames to keep of a video of `total` frames at `video_fps`, within its range. Throws Error
// when fewer than 2 would remain.
std::vector<int> select_frames(int total, double video_fps, const VideoOptions& options);

// A video file through libav (Error when this build has none).
Patches preprocess_video_file(const InputFile& file, const VideoOptions& video,
                              const PreprocessOptions& options);

// A list of pictures as a video: image rules for each frame, the last repeated to an even count; `fps` of the
// list. `frame(i)` is asked for one picture after the other, so that only one is held at its full size.
// Throws Error for frames that become different sizes, or in all more pixels than a video file may have
// (total_pixels).
Patches preprocess_frames(size_t count, const std::function<Image(size_t)>& frame, double fps,
                          const PreprocessOptions& options);

}  // namespace dvlm
