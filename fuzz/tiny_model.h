// A tokenizer and a configuration for fuzzers of what stands before a model: 256 bytes, three merges and the
// control tokens.
#pragma once
#include "checkpoint/config.h"
#include "text/folders.h"
#include "text/mask_token.h"
#include "text/tokenizer.h"

namespace dvlm::fuzz {

inline const Tokenizer& tokenizer() {
  static const Tokenizer made = [] {
    nlohmann::json added = nlohmann::json::array();
    for (const char* text : {"<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
                             "<|image_pad|>", "<|video_pad|>", kMaskToken})
      added.push_back(test::added_token(259 + static_cast<int>(added.size()), text));
    const test::TempFolder folder;
    folder.write("tokenizer.json", test::tokenizer_json({"h e", "l l", "he ll"}, added));
    return Tokenizer(folder.path());
  }();
  return made;
}

inline const ModelConfig& config() {
  static const ModelConfig made = [] {
    ModelConfig small;
    small.text.vocab_size = 300;
    small.text.max_positions = 4096;
    small.image_token = 263, small.video_token = 264;
    return small;
  }();
  return made;
}

}  // namespace dvlm::fuzz
