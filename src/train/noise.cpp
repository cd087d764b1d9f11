#include "train/noise.h"

#include "core/random.h"

namespace dvlm {

namespace {

// Positions of one Philox stream, kept apart by what they decide; tokens take 0 upwards.
constexpr uint64_t kBlockLevels = uint64_t{1} << 40;
constexpr uint64_t kFullBlocks = uint64_t{2} << 40;
constexpr uint64_t kFirstBlocks = uint64_t{3} << 40;

}  // namespace

std::vector<MaskedFlags> draw_noise(std::span<const TokenId> ids, const Layout& layout, TokenId im_end,
                                    const NoiseOptions& options, NoiseKey key) {
  std::vector<double> level(static_cast<size_t>(layout.blocks));
  for (size_t k = 0; k < level.size(); ++k) {
    const double u = uniform(key.seed, key.stream, kBlockLevels + k);
    level[k] = (1 - options.minimum_level) * u + options.minimum_level;
    if (uniform(key.seed, key.stream, kFullBlocks + k) < options.full_mask_probability) level[k] = 1;
  }
  std::vector<MaskedFlags> copies(options.complementary ? 2 : 1, MaskedFlags(ids.size(), 0));
  for (size_t i = 0; i < ids.size(); ++i) {
    if (!layout.answer[i]) continue;
    const bool first_of_block = i == 0 || layout.block[i] != layout.block[i - 1];
    if (ids[i] == im_end) {
      for (MaskedFlags& copy : copies) copy[i] = 1;
    } else if (!(options.known_first_token && first_of_block)) {
      const bool masked = uniform(key.seed, key.stream, i) < level[static_cast<size_t>(layout.block[i])];
      copies[masked ? 0 : copies.size() - 1][i] = masked || options.complementary ? 1 : 0;
    }
  }
  return copies;
}

std::vector<int> draw_first_blocks(size_t answers, int block_size, NoiseKey key) {
  std::vector<int> lengths(answers);
  for (size_t s = 0; s < answers; ++s)
    lengths[s] = 1 + static_cast<int>(uniform(key.seed, key.stream, kFirstBlocks + s) * block_size);
  return lengths;
}

}  // namespace dvlm
