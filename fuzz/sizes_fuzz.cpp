// Sizes of pictures and frames of videos for numbers of clients: what is made of them keeps the limits.
#include <cmath>
#include <cstring>

#include "fuzzing.h"
#include "image/video.h"

namespace {

using namespace dvlm;

int64_t large(fuzz::Input& input) {
  return int64_t{1} + input.number(4) * (int64_t{1} << input.below(20));
}

double fraction(fuzz::Input& input) {
  const uint64_t bits = uint64_t{input.number(4)} << 32 | input.number(4);
  double value = 0;
  std::memcpy(&value, &bits, sizeof value);
  return std::isfinite(value) && value > 0 ? value : 1;
}

void check_picture(fuzz::Input& input) {
  PreprocessOptions options;
  options.min_pixels = large(input);
  options.max_pixels = std::max(options.min_pixels, large(input));
  options.resized_height = static_cast<int>(input.number(2));
  options.resized_width = options.resized_height > 0 ? 1 + static_cast<int>(input.number(2)) : 0;
  int64_t told = 0;
  options.admit = [&](int64_t tokens) { told = tokens; };
  const Size size{1 + static_cast<int>(input.number(2)), 1 + static_cast<int>(input.number(2))};
  fuzz::accepts([&] {
    const Size resized = resized_size(size, options);
    DVLM_ASSERT(resized.height >= 28 && resized.width >= 28 && resized.height % 28 == 0 &&
                resized.width % 28 == 0);
    DVLM_ASSERT(int64_t{resized.height} * resized.width <= int64_t{1} << 28);
    admit(resized, 1, options);
    DVLM_ASSERT(told == int64_t{resized.height} * resized.width / 784);
  });
}

void check_video(fuzz::Input& input) {
  VideoOptions options;
  options.fps = fraction(input);
  options.nframes = static_cast<int>(input.number(2));
  options.min_frames = 4, options.max_frames = 768;
  if (input.below(2)) options.start = fraction(input), options.end = fraction(input);
  const int total = static_cast<int>(input.number(3));
  const double fps = fraction(input);
  fuzz::accepts([&] {
    const FrameRange range = frame_range(total, fps, options);
    const std::vector<int> frames = select_frames(total, fps, options);
    DVLM_ASSERT(range.first >= 0 && range.last < total && range.first <= range.last);
    DVLM_ASSERT(frames.size() >= 2 && std::is_sorted(frames.begin(), frames.end()));
    DVLM_ASSERT(frames.front() >= range.first && frames.back() <= range.last);
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  while (!input.empty()) input.below(2) ? check_picture(input) : check_video(input);
  return 0;
}
