#include "train/regions.h"

#include <cmath>

#include "core/error.h"

namespace dvlm {

namespace {

constexpr size_t kMaxRegions = 4096, kMaxLabel = 1024;
constexpr size_t kMaxWords = size_t{1} << 16;  // each is scored beside the answer's tokens

Region parse_region(const nlohmann::json& value, size_t pictures) {
  if (!value.is_object()) fail("each of \"regions\" must be an object");
  const auto box = value.find("bbox_2d"), label = value.find("label");
  if (box == value.end() || !box->is_array() || box->size() != 4)
    fail("a region needs \"bbox_2d\": [x1, y1, x2, y2]");
  for (const nlohmann::json& side : *box)
    if (!side.is_number() || !std::isfinite(side.get<double>())) fail("a region's bbox_2d must hold numbers");
  if (label == value.end() || !label->is_string()) fail("a region needs a \"label\" text");
  Region region{(*box)[0], (*box)[1], (*box)[2], (*box)[3], *label, 0};
  if (region.label.empty() || region.label.size() > kMaxLabel)
    fail("a region's label must be 1 to {} bytes, got {}", kMaxLabel, region.label.size());
  if (!(region.x1 < region.x2 && region.y1 < region.y2))
    fail("a region's bbox_2d must have x1 < x2, y1 < y2");
  if (const auto image = value.find("image"); image != value.end()) {
    if (!image->is_number_unsigned() || image->get<uint64_t>() >= pictures)
      fail("a region's \"image\" must be the index of one of the {} pictures", pictures);
    region.image = image->get<int>();
  } else if (pictures == 0) {
    fail("\"regions\" are given but the conversation has no picture");
  }
  return region;
}

}  // namespace

std::vector<Region> parse_regions(const nlohmann::json& line, size_t pictures) {
  std::vector<Region> regions;
  const auto found = line.find("regions");
  if (found == line.end()) return regions;
  if (!found->is_array() || found->size() > kMaxRegions)
    fail("\"regions\" must be a list of at most {}", kMaxRegions);
  for (const nlohmann::json& value : *found) regions.push_back(parse_region(value, pictures));
  return regions;
}

std::vector<RegionToken> region_tokens(std::span<const TokenId> ids, std::span<const Region> regions,
                                       std::span<const Patches* const> pictures, const Tokenizer& tokenizer,
                                       const ModelConfig& config) {
  std::vector<RegionToken> tokens;
  if (regions.empty()) return tokens;
  std::vector<std::vector<TokenId>> words;
  for (const Region& region : regions)
    words.push_back(tokenizer.encode(region.label, ControlTokens::as_text));

  size_t picture = 0, scored = 0;
  int in_picture = 0;
  for (size_t i = 0; i < ids.size() && picture < pictures.size(); ++i) {
    if (ids[i] != config.image_token) continue;
    const Patches& patches = *pictures[picture];
    const int merge = config.vision.spatial_merge_size;
    const int rows = patches.grid.h / merge, columns = patches.grid.w / merge;
    const int column = in_picture % columns, row = in_picture / columns;
    const double x = (column + 0.5) / columns * patches.original.width;
    const double y = (row + 0.5) / rows * patches.original.height;
    RegionToken token{static_cast<int>(i), {}};
    for (size_t r = 0; r < regions.size(); ++r) {
      const Region& region = regions[r];
      if (region.image != static_cast<int>(picture) || x < region.x1 || x >= region.x2 || y < region.y1 ||
          y >= region.y2)
        continue;
      scored += words[r].size();
      if (scored > kMaxWords)
        fail("\"regions\" put more than {} tokens of labels on the pictures' tokens", kMaxWords);
      token.words.insert(token.words.end(), words[r].begin(), words[r].end());
    }
    if (!token.words.empty()) tokens.push_back(std::move(token));
    if (++in_picture == rows * columns) ++picture, in_picture = 0;
  }
  return tokens;
}

}  // namespace dvlm
