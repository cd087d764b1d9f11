#include "engine/work_progress.h"

#include <fmt/core.h>

#include <algorithm>

#include "model/preprocessing.h"

namespace dvlm {

namespace {

// 1196 -> "1,196".
std::string grouped(int64_t number) {
  const std::string digits = std::to_string(number);
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) out += ',';
    out += digits[i];
  }
  return out;
}

// Fewer pixels for a picture that has so many: a size that answers most questions, or half of what it has.
int64_t fewer_pixels(int64_t pixels) {
  constexpr int64_t kEnough = 400'000, kStep = 10'000;
  return pixels > 2 * kEnough ? kEnough : std::max(pixels / 2 / kStep * kStep, kStep);
}

}  // namespace

void WorkListener::hear(const WorkProgress& progress) const {
  if (on_progress) on_progress(progress);
  if (cancelled && cancelled()) throw Cancelled();
}

std::string_view name_of(Stage stage) {
  switch (stage) {
    case Stage::picture:
      return "picture";
    case Stage::prompt:
      return "prompt";
  }
  return "?";
}

std::string title_of(const WorkProgress& work) {
  switch (work.stage) {
    case Stage::picture:
      return fmt::format("encoding {} {}", work.video ? "video" : "picture", work.picture);
    case Stage::prompt:
      return "reading the prompt";
  }
  return "?";
}

std::string note_of(const WorkProgress& work) {
  const int64_t percent = work.total > 0 ? 100 * work.done / work.total : 0;
  return fmt::format("{}, {} %", title_of(work), percent);
}

std::string expensive_picture(const ImageInfo& image, const ModelConfig& config) {
  PreprocessOptions options = checkpoint_preprocessing(config);
  const int64_t pixels = fewer_pixels(int64_t{image.resized_width} * image.resized_height);
  limit_pixels(0, pixels, options.min_pixels, options.max_pixels);
  const Size size = resized_size({image.height, image.width}, options);
  const int64_t side = int64_t{options.patch_size} * config.vision.spatial_merge_size;
  return fmt::format("{} picture tokens; --max-pixels {} would make {}", grouped(image.tokens), pixels,
                     grouped(size.height / side * (size.width / side)));
}

}  // namespace dvlm
