// Linear layers on AMX tiles. Up to 32 rows share one reading of a panel: two tiles of rows times two tiles
// of 16 outputs. e4m3 and four-bit weights are dequantized into a small ring in L1 just ahead of
// the multiplications.
#include "kernels/e4m3_pairs.h"
#include "kernels/linear_avx512.h"

#if defined(__x86_64__)
#include "kernels/tile_unit.h"

DVLM_PUSH_AVX512

namespace dvlm {

namespace {

constexpr size_t kStep = kPanel * 4;          // bytes of a panel's words for one pair or quad of inputs
constexpr size_t kPiece = kTileRows * kStep;  // what two tiles of weights hold
constexpr int kRing = 4, kLead = 2;           // pieces, and how many are dequantized ahead of the one in use

// Weights of one panel, piece by piece. A piece is 16 steps of 32 words, zero beyond the last input, as
// bf16_panels and int8_panels have them.
template <int InputsPerStep, int BytesPerInput, bool Groups, bool InPlace>
struct PieceLayout {
  static constexpr int kInputsPerStep = InputsPerStep, kBytesPerInput = BytesPerInput;
  static constexpr int kInputs = kTileRows * kInputsPerStep;
  static constexpr bool kInt8 = kInputsPerStep == 4, kGroups = Groups, kInPlace = InPlace;
  static constexpr InputForm kForm = kInt8 ? InputForm::tile_bytes : InputForm::tile_pairs;
};
struct Bf16Pieces : PieceLayout<2, kPanel * 2, false, true> {};
struct Int8Pieces : PieceLayout<4, kPanel, false, true> {};
struct Fp8Pieces : PieceLayout<2, kPanel, false, false> {
  E4m3Pairs pairs;
  void dequantize(const std::byte* from, std::byte* to) const {
    __m512i words[2];
    pairs.dequantize(from, words);
    _mm512_store_si512(to, words[0]);
    _mm512_store_si512(to + 64, words[1]);
  }
};
struct Int4Pieces : PieceLayout<4, kPanel / 2, true, false> {
  static_assert(kInputs == kInt4Group);
  __m512i zero_points[kVectors];  // of each output for four inputs
  void begin(const std::byte* of_group) {
    group_zero_points(of_group, zero_points);
    for (__m512i& bytes : zero_points) bytes = _mm512_mullo_epi32(bytes, _mm512_set1_epi32(0x01010101));
  }
  void dequantize(const std::byte* from, std::byte* to) const {
    const __m512i halves = _mm512_load_si512(from), low = _mm512_set1_epi8(15);
    const __m512i first = _mm512_and_si512(halves, low),
                  last = _mm512_and_si512(_mm512_srli_epi32(halves, 4), low);
    _mm512_store_si512(to, _mm512_sub_epi8(first, zero_points[0]));
    _mm512_store_si512(to + 64, _mm512_sub_epi8(last, zero_points[1]));
  }
};

template <class Pieces>
class Stream {
 public:
  // Pieces [first, last) of a panel.
  Stream(const std::byte* panel, int inputs, int first, int last)
      : weights_(panel + (Pieces::kGroups ? int4_head_bytes(inputs) : 0)),
        zero_points_(Pieces::kGroups ? panel + int4_scale_bytes(inputs) : nullptr),
        inputs_(inputs),
        next_(first),
        last_(last) {
    for (int i = 0; i < kLead; ++i) prepare();
  }

  // The piece to multiply now; dequantizes one that comes later.
  const std::byte* take(int piece) {
    prepare();
    const bool whole = (piece + 1) * Pieces::kInputs <= inputs_;
    if (Pieces::kInPlace && whole) return at(piece);
    return ring_[piece % kRing];
  }

  const std::byte* at(int piece) const {
    return weights_ + static_cast<size_t>(piece) * Pieces::kInputs * Pieces::kBytesPerInput;
  }

 private:
  static constexpr size_t kSource = Pieces::kBytesPerInput * Pieces::kInputsPerStep;  // bytes of a step

  void prepare() {
    if (next_ >= last_) return;
    const int piece = next_++, left = inputs_ - piece * Pieces::kInputs;
    const std::byte* from = at(piece);
    std::byte* to = ring_[piece % kRing];
    if constexpr (Pieces::kGroups)
      pieces_.begin(zero_points_ + static_cast<size_t>(piece) * Int4Groups::kZeroPoints);
    if (left >= Pieces::kInputs) {
      if constexpr (!Pieces::kInPlace) {
        for (int s = 0; s < kTileRows; ++s) pieces_.dequantize(from + s * kSource, to + s * kStep);
      }
      return;
    }
    // Panels of four-bit weights are whole groups; others end with the last input.
    const int steps =
        Pieces::kGroups ? kTileRows : (left + Pieces::kInputsPerStep - 1) / Pieces::kInputsPerStep;
    for (int s = 0; s < steps; ++s) {
      if constexpr (Pieces::kInPlace)
        std::memcpy(to + s * kStep, from + s * kSource, kStep);
      else
        pieces_.dequantize(from + s * kSource, to + s * kStep);
    }
    std::memset(to + steps * kStep, 0, kPiece - steps * kStep);
  }

  Pieces pieces_;
  const std::byte *weights_, *zero_points_;  // of int4
  int inputs_, next_, last_;
  alignas(64) std::byte ring_[kRing][kPiece];
};

// Four of the eight tiles hold sums, so that each one that is loaded is multiplied twice. Tiles 0 to 3: with
// up to 16 rows of two panels, [panel][16 outputs]; with more, of one panel, [16 rows][16 outputs]. Tiles 4
// and 5 hold inputs, 6 and 7 weights.
template <class Unit, class Pieces, bool kWide>
struct Multiplication {
  static constexpr int kPanels = kWide ? 1 : 2;
  static constexpr size_t kRowBytes = kPanel * sizeof(float);

  static void configure(int rows) {
    TileShapes shapes;
    const int upper = kWide ? kTileRows : rows, lower = kWide ? rows - kTileRows : rows;
    shapes.set(0, upper), shapes.set(1, upper), shapes.set(2, lower), shapes.set(3, lower);
    shapes.set(4, upper), shapes.set(5, lower), shapes.set(6, kTileRows), shapes.set(7, kTileRows);
    Unit::configure(shapes);
  }

  static void zero() {
    Unit::template zero<0>(), Unit::template zero<1>(), Unit::template zero<2>(), Unit::template zero<3>();
  }

  // Loads or stores all sums. `sums(p)`: [rows][32] of panel p, in memory.
  template <bool kStore, class Place>
  static void move(int panels, const Place& sums) {
    move_panel<kStore, 0>(sums(0));
    if (kWide || panels > 1) move_panel<kStore, 2>(kWide ? sums(0) + kTileRows * kPanel : sums(1));
  }
  template <bool kStore, int T>
  static void move_panel(float* sums) {
    if constexpr (kStore)
      Unit::template store<T>(sums, kRowBytes), Unit::template store<T + 1>(sums + 16, kRowBytes);
    else
      Unit::template load<T>(sums, kRowBytes), Unit::template load<T + 1>(sums + 16, kRowBytes);
  }

  template <int Sums, int A, int B>
  static void multiply() {
    if constexpr (Pieces::kInt8)
      Unit::template multiply_int8<Sums, A, B>();
    else
      Unit::template multiply_bf16<Sums, A, B>();
  }

  static void weights(const std::byte* piece) {
    Unit::template load<6>(piece, kStep), Unit::template load<7>(piece + 64, kStep);
  }

  // `x`: lines of the rows.
  static void piece(const float* x, const std::byte* first, const std::byte* second) {
    Unit::template load<4>(x, kTileBytes);
    weights(first);
    multiply<0, 4, 6>(), multiply<1, 4, 7>();
    if constexpr (kWide) {
      Unit::template load<5>(x + kTileRows * kTileBytes / sizeof(float), kTileBytes);
      multiply<2, 5, 6>(), multiply<3, 5, 7>();
    } else if (second) {
      weights(second);
      multiply<2, 4, 6>(), multiply<3, 4, 7>();
    }
  }
};

// sums += the integers of a group of inputs times its scales.
void add_scaled(const float* integers, const std::byte* scales, int rows, float* sums) {
  for (int v = 0; v < kVectors; ++v) {
    const __m512 scale = group_scales(scales + v * 32);
    for (int r = 0; r < rows; ++r) {
      const __m512 values = _mm512_cvtepi32_ps(_mm512_load_si512(integers + r * kPanel + v * 16));
      float* sum = sums + r * kPanel + v * 16;
      _mm512_store_ps(sum, _mm512_fmadd_ps(values, scale, _mm512_load_ps(sum)));
    }
  }
}

// The sums of some rows and a panel become y.
template <bool kIntegers>
void finish_panel(const LinearJob& job, const float (*sums)[kPanel], int first_row, int rows, int panel) {
  for (int v = 0; v < kVectors; ++v) {
    const Finish finish(job, panel * kPanel + v * 16);
    for (int r = 0; r < rows; ++r) {
      const float* sum = sums[r] + v * 16;
      finish(kIntegers ? _mm512_cvtepi32_ps(_mm512_load_si512(sum)) : _mm512_load_ps(sum), first_row + r);
    }
  }
}

// A row block times one or two neighbouring panels. Its tiles are configured.
template <class Unit, class Pieces, bool kWide>
void some_pieces(const LinearJob& job, const RowBlock& row_block, int first_panel, int panels) {
  using M = Multiplication<Unit, Pieces, kWide>;
  constexpr bool kGroups = Pieces::kGroups;
  const int inputs = job.w->inputs(), rows = job.rows(row_block.number),
            first_row = job.first_row(row_block.number);
  const int first = row_block.first / Pieces::kInputs,
            last = (row_block.last + Pieces::kInputs - 1) / Pieces::kInputs;
  const size_t panel_bytes = job.w->panel_bytes();
  const std::byte* panel = job.w->data() + static_cast<size_t>(first_panel) * panel_bytes;
  const size_t line = static_cast<size_t>(rows) * kTileBytes / sizeof(float);
  const float* x = job.inputs +
                   static_cast<size_t>(first_row) *
                       static_cast<size_t>(job.input_blocks * input_block_words(Pieces::kForm)) +
                   static_cast<size_t>(first) * line;
  const PartialSums partial(job, row_block, first_panel);
  alignas(64) float sums[M::kPanels][kMaxRowBlock][kPanel];
  alignas(64) float integers[kGroups ? M::kPanels : 1][kMaxRowBlock][kPanel];
  for (int p = 0; kGroups && p < panels; ++p) partial.load(p, sums[p][0]);
  if (!kGroups && first == 0) M::zero();
  if (!kGroups && first != 0) M::template move<false>(panels, [&](int p) { return partial.of(p); });

  Stream<Pieces> one(panel, inputs, first, last);
  Stream<Pieces> two(panel + panel_bytes, inputs, first, panels > 1 ? last : first);
  Prefetcher prefetcher(one.at(first), 1, Pieces::kBytesPerInput, panel_bytes * static_cast<size_t>(panels),
                        row_block);
  for (int i = first; i < last; ++i, x += line) {
    for (int b = 0; b < Pieces::kInputs / kInputBlock; ++b) prefetcher.issue();
    if constexpr (kGroups) M::zero();
    M::piece(x, one.take(i), panels > 1 ? two.take(i) : nullptr);
    if constexpr (!kGroups) continue;
    M::template move<true>(panels, [&](int p) { return integers[p][0]; });
    for (int p = 0; p < panels; ++p)
      add_scaled(integers[p][0], panel + p * panel_bytes + i * Int4Groups::kScales, rows, sums[p][0]);
  }

  const bool complete = row_block.last == inputs;
  if (!kGroups) M::template move<true>(panels, [&](int p) { return complete ? sums[p][0] : partial.of(p); });
  for (int p = 0; p < panels; ++p) {
    if (kGroups ? partial.store(p, sums[p][0]) : !complete) continue;
    finish_panel<Pieces::kInt8 && !kGroups>(job, sums[p], first_row, rows, first_panel + p);
  }
}

// Rows that this thread's tiles are configured for; 0: they are released. Either takes as long as a few of
// the multiplications that follow.
thread_local int configured_rows = 0;

template <class Unit>
void release() {
  Unit::release();
  configured_rows = 0;
}

template <class Unit, class Pieces, bool kWide>
void panels_in_turn(const LinearJob& job, const RowBlock& row_block, int panel, int end) {
  using M = Multiplication<Unit, Pieces, kWide>;
  const int rows = job.rows(row_block.number);
  if (configured_rows != rows) M::configure(rows);
  configured_rows = rows;
  for (; panel < end; panel += M::kPanels)
    some_pieces<Unit, Pieces, kWide>(job, row_block, panel, std::min(M::kPanels, end - panel));
}

template <class Unit, class Pieces>
void some_panels(const LinearJob& job, const RowBlock& row_block, int panel, int end) {
  if (job.rows(row_block.number) > kTileRows)
    panels_in_turn<Unit, Pieces, true>(job, row_block, panel, end);
  else
    panels_in_turn<Unit, Pieces, false>(job, row_block, panel, end);
}

int panels_of(int rows) {
  return rows > kTileRows ? 1 : 2;
}

template <class Unit, class Pieces>
const LinearTiles* tiles_for() {
  static constexpr LinearTiles kTiles = [] {
    LinearTiles tiles{{}, panels_of, 2 * kTileRows, Pieces::kForm, {}, release<Unit>};
    for (auto& entry : tiles.by_rows) entry = some_panels<Unit, Pieces>;
    return tiles;
  }();
  return &kTiles;
}

template <class Unit>
const LinearTiles* tiles_on(WeightFormat format) {
  static const TilesByFormat kTiles = {nullptr, tiles_for<Unit, Bf16Pieces>(), tiles_for<Unit, Fp8Pieces>(),
                                       tiles_for<Unit, Int8Pieces>(), tiles_for<Unit, Int4Pieces>()};
  const LinearTiles* tiles = kTiles[static_cast<size_t>(format)];
  return tiles ? tiles : highway_tiles(format);
}

}  // namespace

const LinearTiles* amx_tiles(WeightFormat format) {
  return tiles_on<HardwareTiles>(format);
}
const LinearTiles* emulated_amx_tiles(WeightFormat format) {
  return tiles_on<EmulatedTiles>(format);
}

double amx_multiply(int64_t rounds) {
  using T = HardwareTiles;
  TileShapes shapes;
  for (int tile = 0; tile < 8; ++tile) shapes.set(tile, kTileRows);
  T::configure(shapes);  // zeroes the tiles
  for (int64_t i = 0; i < rounds; ++i) {
    T::multiply_bf16<0, 4, 6>(), T::multiply_bf16<1, 4, 7>();
    T::multiply_bf16<2, 5, 6>(), T::multiply_bf16<3, 5, 7>();
  }
  T::release();
  return 2.0 * 4 * kTileRows * 16 * 32 * static_cast<double>(rounds);
}

}  // namespace dvlm

HWY_POP_ATTRIBUTES
#endif
