#include "kernels/tile_unit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "core/random.h"
#include "kernels/isas.h"

namespace dvlm {
namespace {

constexpr size_t kTile = size_t{kTileRows} * kTileBytes;

#if defined(__x86_64__)
// What `rows` rows of sums become when tiles of `a` and `b` are multiplied twice.
template <class Unit, bool kInt8>
std::vector<std::byte> multiplied(int rows, const std::vector<std::byte>& a, const std::vector<std::byte>& b,
                                  std::vector<std::byte> sums) {
  TileShapes shapes;
  shapes.set(0, rows), shapes.set(4, rows), shapes.set(6, kTileRows);
  Unit::configure(shapes);
  Unit::template load<0>(sums.data(), kTileBytes);
  Unit::template load<4>(a.data(), kTileBytes);
  Unit::template load<6>(b.data(), kTileBytes);
  for (int time = 0; time < 2; ++time) {
    if constexpr (kInt8)
      Unit::template multiply_int8<0, 4, 6>();
    else
      Unit::template multiply_bf16<0, 4, 6>();
  }
  Unit::template store<0>(sums.data(), kTileBytes);
  Unit::release();
  return sums;
}

// A tile of what `next` gives.
template <class Next>
std::vector<std::byte> tile_of(const Next& next) {
  std::vector<std::byte> out(kTile);
  for (size_t at = 0; at < kTile; at += sizeof(next())) {
    const auto value = next();
    std::memcpy(out.data() + at, &value, sizeof value);
  }
  return out;
}

TEST(TileUnit, the_emulated_one_has_the_bits_of_the_processors) {
  const auto sets = isas();
  if (std::find(sets.begin(), sets.end(), "AMX") == sets.end())
    GTEST_SKIP() << "this machine has no AMX: the emulated unit is not compared with one";
  force_isa("AMX");  // asks the system for the tiles
  Random random(3);
  const auto real = [&] { return static_cast<float>(random.normal()); };
  const auto brain = [&] { return to_bf16(real()); };
  const auto byte = [&] { return static_cast<int8_t>(random.uniform() * 256 - 128); };
  const auto integer = [&] { return static_cast<int32_t>(random.normal() * 1e6); };
  for (int rows = 1; rows <= kTileRows; ++rows) {
    auto a = tile_of(brain), b = tile_of(brain), sums = tile_of(real);
    EXPECT_EQ((multiplied<HardwareTiles, false>(rows, a, b, sums)),
              (multiplied<EmulatedTiles, false>(rows, a, b, sums)))
        << rows << " rows of bf16";
    a = tile_of(byte), b = tile_of(byte), sums = tile_of(integer);
    EXPECT_EQ((multiplied<HardwareTiles, true>(rows, a, b, sums)),
              (multiplied<EmulatedTiles, true>(rows, a, b, sums)))
        << rows << " rows of bytes";
  }
  force_isa("");
}
#endif

}  // namespace
}  // namespace dvlm
