// Video files from strangers, through FFmpeg's readers of containers and its decoders.
#include "image/video.h"

#include <fcntl.h>

#include "fuzzing.h"

namespace {

using namespace dvlm;

VideoOptions small_options(uint32_t choice) {
  VideoOptions options;
  options.max_frames = 8;
  options.min_pixels = 784, options.max_pixels = 4 * 784, options.total_pixels = 64 * 784;
  if (choice & 1) options.nframes = 4;
  if (choice & 2) options.fps = 0.5;
  return options;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const fuzz::MemoryFile memory(fuzz::text_of(data, size));
  PreprocessOptions options;
  int64_t told = 0;
  options.admit = [&](int64_t tokens) {
    if ((told = tokens) > 4096) fail("{} tokens", tokens);
  };
  fuzz::accepts([&] {
    const InputFile file("video", ::open(memory.path().c_str(), O_RDONLY | O_CLOEXEC));
    const Patches patches =
        preprocess_video_file(file, small_options(size == 0 ? 0 : data[size - 1]), options);
    DVLM_ASSERT(patches.values.size() == static_cast<size_t>(patches.grid.patches()) * 1176);
    DVLM_ASSERT(patches.grid.t >= 1 && patches.second_per_grid > 0);
    DVLM_ASSERT(patches.grid.patches() / 4 == told);
  });
  return 0;
}
