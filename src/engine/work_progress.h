// What an answer tells of its work while there is no text yet.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "checkpoint/config.h"

namespace dvlm {

struct ImageInfo {
  int width = 0, height = 0, resized_width = 0, resized_height = 0, tokens = 0;
};

enum class Stage : uint8_t { picture, prompt };

struct WorkProgress {
  Stage stage = Stage::prompt;
  int64_t done = 0, total = 0;  // layers of the vision tower; tokens of the prompt
  int picture = 0;              // which picture or video of the prompt, from 1
  bool video = false;
  ImageInfo image = {};  // its sizes
};

struct WorkListener {
  std::function<void(const WorkProgress&)> on_progress = {};
  std::function<bool()> cancelled = {};  // asked whenever there is progress, too

  // Tells of it. Throws Cancelled when nobody wants the answer any more.
  void hear(const WorkProgress& progress) const;
};

// Work that ended before its end because nobody wants it; it has changed nothing. Not an Error.
struct Cancelled {};

std::string_view name_of(Stage stage);           // "picture", "prompt"
std::string title_of(const WorkProgress& work);  // "encoding picture 2", ...

std::string note_of(const WorkProgress& work);  // "encoding picture 2, 35 %", to stand behind a bar

// A sentence about a picture that takes long to encode, with the number of pixels that would make it cheaper
// and the tokens that it would then have: "1,196 picture tokens; --max-pixels 400000 would make 486".
std::string expensive_picture(const ImageInfo& image, const ModelConfig& config);

}  // namespace dvlm
