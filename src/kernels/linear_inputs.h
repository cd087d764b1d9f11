// How linear() packs its inputs for the kernels. Not for other rooms.
#pragma once
#include <algorithm>
#include <cstring>

#include "kernels/matrix.h"

namespace dvlm {

constexpr int kInputBlock = 16;  // inputs of a row that are packed together: a line of floats

// An input block of a row becomes a few words of 32 bits; some input blocks of a row form a line; and a row
// block has the first line of each of its rows, then their second lines, and so on. Inputs are x0, x1, ...:
//
//   form          a word                            a line of a row, in words
//   floats        | x0 (f32)                      | | 16 |
//   pairs         | x0 (bf16)     | x1 (bf16)     | | 8 |
//   bytes         | x0+128 | x1+128 | x2+128 | .. | | 4 |
//   summed_bytes  | x0 | x1 | x2 | x3 (int8)      | | 4, sum | 4, sum | 4, sum | 4, sum |
//   tile_pairs    as pairs                          | 8 | 8 |        64 bytes: a row of a tile of AMX
//   tile_bytes    | x0 | x1 | x2 | x3 (int8)      | | 4 | 4 | 4 | 4 |          64 bytes likewise
//
// A sum is -8 times all inputs of the line so far: what the excess of int4's codes adds to the products.
enum class InputForm : uint8_t { floats, pairs, bytes, summed_bytes, tile_pairs, tile_bytes };

constexpr int input_block_words(InputForm form) {
  constexpr int kWords[] = {16, 8, 4, 5, 8, 4};
  return kWords[static_cast<int>(form)];
}
constexpr int input_blocks_per_line(InputForm form) {
  constexpr int kInputBlocks[] = {1, 1, 1, 4, 2, 4};
  return kInputBlocks[static_cast<int>(form)];
}

// Where a row goes: its line l begins at out + l * step floats, and is zero beyond the last input.
struct PackedInput {
  float* out;
  size_t step;
  InputForm form;

  // `values`: 16, as the form holds them but in floats.
  void store(int input_block, const float* values) const {
    const int line = input_blocks_per_line(form), at = input_block % line;
    float* to = out + static_cast<size_t>(input_block / line) * step + at * input_block_words(form);
    if (form == InputForm::floats)
      std::copy_n(values, kInputBlock, to);
    else if (form == InputForm::pairs || form == InputForm::tile_pairs)
      store_pairs(values, to);
    else
      store_bytes(values, at == 0, to);
  }

 private:
  static void store_pairs(const float* values, float* to) {
    uint32_t bits[kInputBlock], words[kInputBlock / 2];
    std::memcpy(bits, values, sizeof bits);
    for (int i = 0; i < kInputBlock / 2; ++i)
      words[i] = (bits[2 * i] >> 16) | (bits[2 * i + 1] & 0xFFFF0000u);
    std::memcpy(to, words, sizeof words);
  }
  void store_bytes(const float* values, bool first_of_line, float* to) const {
    const int excess = form == InputForm::bytes ? 128 : 0;
    uint8_t bytes[kInputBlock];
    int sum = 0;
    for (int i = 0; i < kInputBlock; ++i) {
      const int value = static_cast<int>(values[i]);
      bytes[i] = static_cast<uint8_t>(value + excess);
      sum -= 8 * value;
    }
    std::memcpy(to, bytes, sizeof bytes);
    if (form != InputForm::summed_bytes) return;
    int before = 0;
    if (!first_of_line) std::memcpy(&before, to - 1, sizeof before);
    sum += before;
    std::memcpy(to + 4, &sum, sizeof sum);
  }
};

// Rounds a row of inputs [inputs] as the format wants it and stores its input blocks. Returns the factor that
// the row's sums need: 1 for f32 and bf16.
float pack_inputs(const float* row, int inputs, WeightFormat format, const PackedInput& to);

}  // namespace dvlm
