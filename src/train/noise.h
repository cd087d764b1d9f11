// Which answer tokens a noised copy hides (docs/reference.md, Noising).
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "train/layout.h"

namespace dvlm {

struct NoiseOptions {
  double minimum_level = 1e-3;
  bool complementary = true;
  double full_mask_probability = 0;
  bool known_first_token = false;
};

// Addresses one draw for one sample: the same (seed, stream) always gives the same noise.
struct NoiseKey {
  uint64_t seed = 0, stream = 0;
};

// One flag per token of the clean stream: 1 = the copy shows the mask token there.
using MaskedFlags = std::vector<uint8_t>;

// One copy, or two with `complementary`. Per block p = (1 - minimum_level) u + minimum_level, u ~ U(0, 1),
// and each of its tokens is masked with probability p on its own (p = 1 for a share full_mask_probability of
// the blocks). The second copy masks exactly the answer tokens that the first shows. `im_end` is masked in
// both, whatever the draw; with known_first_token any other first token of a block is masked in neither.
std::vector<MaskedFlags> draw_noise(std::span<const TokenId> ids, const Layout& layout, TokenId im_end,
                                    const NoiseOptions& options, NoiseKey key);

// Lengths 1..block_size of the first blocks of `answers` answers, uniform.
std::vector<int> draw_first_blocks(size_t answers, int block_size, NoiseKey key);

}  // namespace dvlm
