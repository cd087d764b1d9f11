// Words for parts of a picture: the optional "regions" of a training line. They teach a small vision tower
// what it sees, patch by patch, long before an answer's few tokens could. Beyond the reference; see
// docs/training.md.
#pragma once
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/config.h"
#include "image/preprocess.h"
#include "text/tokenizer.h"

namespace dvlm {

// One element of "regions": {"bbox_2d": [x1, y1, x2, y2], "label": "red square", "image": 0}.
struct Region {
  double x1 = 0, y1 = 0, x2 = 0, y2 = 0;  // pixels of the picture as it lies on disk
  std::string label;
  int image = 0;  // which picture of the conversation, 0 when not given
};

// An image token that regions cover, and the tokens of their labels.
struct RegionToken {
  int at = 0;  // index into the clean stream
  std::vector<TokenId> words;
};

// Throws Error naming the fault. A line without "regions" has none.
std::vector<Region> parse_regions(const nlohmann::json& line, size_t pictures);

// The image tokens of `ids` whose centres lie in a region, ascending. `pictures`: of the images in order (no
// videos). A token that several regions cover gets the words of all.
std::vector<RegionToken> region_tokens(std::span<const TokenId> ids, std::span<const Region> regions,
                                       std::span<const Patches* const> pictures, const Tokenizer& tokenizer,
                                       const ModelConfig& config);

}  // namespace dvlm
