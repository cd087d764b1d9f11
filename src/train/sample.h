// A conversation as training reads it: tokens, pictures, what is learnt.
#pragma once
#include <nlohmann/json.hpp>
#include <vector>

#include "image/preprocess.h"
#include "model/model.h"
#include "text/chat.h"
#include "text/tokenizer.h"
#include "train/boxes.h"
#include "train/layout.h"
#include "train/regions.h"

namespace dvlm {

// One conversation, tokenised: the clean stream with its pictures.
struct Sample {
  std::vector<TokenId> ids;
  std::vector<Position> positions;
  std::vector<Span> answers;         // tokens to learn
  std::vector<Patches> visuals;      // pictures and videos in the order of their pads in `ids`
  std::vector<RegionToken> regions;  // image tokens that the record has words for
  uint64_t draw = 0;                 // addresses this sample's noise
  bool shrunk = false;               // pictures or videos are smaller than they should be
};

// What turns text and pictures into a sample. Refers to objects of the caller.
struct SampleContext {
  const Tokenizer& tokenizer;
  const ModelConfig& config;
  AnswerMarkers markers;
  int max_length = 2048;
  // Of pictures and frames that do not say it themselves; 0 = the checkpoint's, of video files
  // qwen-vl-utils'.
  int64_t min_pixels = 0, max_pixels = 0;
};

// Where all is longer than max_length, pictures and videos are made smaller until it fits, but keep half of
// max_length; what is still too long is cut at the end. A sample that would lose part of a picture or video,
// or all of its answers, comes back empty (no ids). `record` may have "regions". Throws Error when a picture
// cannot be read, there is no answer, one cannot be told from what is before it or holds a picture, or boxes
// belong to no one picture.
Sample make_sample(Conversation conversation, const nlohmann::json& record, BoxFormat boxes,
                   const SampleContext& context);

}  // namespace dvlm
