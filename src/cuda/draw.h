// Draws, and the most probable alternatives: what needs a row's ids in order. Nothing is sorted: a place in
// the order is found digit by digit of the logits' bits, by how many ids and how much mass stand before it.
// Mass is counted in whole numbers, so that the order in which threads add does not matter.
#pragma once
#include "cuda/choose.h"

namespace dvlm::cuda {
inline namespace DVLM_LAYER {

// Whole numbers that ascend with the values; both zeros are one.
DVLM_DEVICE uint32_t key_of(float v) {
  const uint32_t bits = float_bits(v + 0.0f);
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}
DVLM_DEVICE float value_of(uint32_t key) {
  return bits_float(key >> 31 ? key & 0x7fffffffu : ~key);
}

// A place in the order of a row: from the largest logit down, the lower id first among equals.
struct Place {
  uint32_t key = 0;     // of the logit there
  uint32_t tie = 0;     // which of the ids with it, from 1
  uint64_t mass = 0;    // up to and with it
  uint64_t weight = 0;  // its own
};

// grid: (rows that draw or want alternatives).
struct DrawInRow {
  struct Job {
    Global<const float> logits;  // [rows][stride]
    Global<const RowWish> wishes;
    Global<const uint64_t> masks;
    Global<const int> rows;            // those of this grid
    Global<Chosen> chosen;             // with what ChooseInRow found
    Global<Alternative> alternatives;  // [rows][kMaxAlternatives], in any order
    int vocab = 0, stride = 0;
  };
  static constexpr int kThreads = 512, kDigits = 2048;  // values of a digit of the key: 11, 11 and 10 bits
  static constexpr uint64_t kUnit = uint64_t{1} << 44;  // the weight of the most probable id
  static constexpr size_t kSharedBytes = size_t{kDigits} * 12 + kWarp * 12 + 32;

  static DVLM_DEVICE void run(Block& block, const Job& job) {
    block.release_successor();
    block.wait_for_predecessor();
    const int row = load(job.rows, block.x());
    const Chosen found = load(job.chosen, row);
    if (found.token < 0 || found.sum != found.sum) return;
    const RowWish wish = load(job.wishes, row);
    const Row view{job, wish, static_cast<size_t>(row) * job.stride, found.logit};
    if (wish.alternatives > 0) list(block, view, row);
    if (wish.sharpness > 0) draw(block, view, row, found);
  }

 private:
  struct Row {
    const Job& job;
    const RowWish& wish;
    size_t first;
    float best;  // of what may be chosen
    DVLM_DEVICE float logit(int id) const { return load(job.logits, first + id); }
    DVLM_DEVICE uint64_t weight(float v) const {
      return v == best ? kUnit
                       : static_cast<uint64_t>(share(v, best, wish.sharpness) * static_cast<float>(kUnit));
    }
  };
  // Of one search: ids and mass by a digit, sums of those, and what was found.
  struct Scratch {
    Shared<uint64_t> mass, mass_sums;
    Shared<uint32_t> count, count_sums, found;
    Shared<uint64_t> found_mass;
  };
  static DVLM_DEVICE Scratch scratch(const Block& block) {
    constexpr size_t kSums = size_t{kDigits} * 8, kCounts = kSums + kWarp * 8,
                     kCountSums = kCounts + size_t{kDigits} * 4;
    return {block.shared<uint64_t>(0, kDigits),
            block.shared<uint64_t>(kSums, kWarp),
            block.shared<uint32_t>(kCounts, kDigits),
            block.shared<uint32_t>(kCountSums, kWarp),
            block.shared<uint32_t>(kCountSums + kWarp * 4, 4),
            block.shared<uint64_t>(kCountSums + kWarp * 4 + 16, 2)};
  }

  template <bool kAll>
  static DVLM_DEVICE bool takes_part(const Row& row, int id, float v) {
    return kAll || (v > -INFINITY && may_choose(row.wish, row.job.masks, id));
  }

  // The first place with at least `target` ids (kByMass: so much mass) up to and with it. The ids of kAll,
  // else those that may be chosen, must have as many.
  template <bool kAll, bool kByMass>
  static DVLM_DEVICE Place find(Block& block, const Row& row, uint64_t target) {
    const Scratch s = scratch(block);
    Place place;
    uint32_t count = 0;
    int known = 0;  // bits of the key
    while (known < 32) {
      const int bits = known < 22 ? 11 : 10;
      const int shift = 32 - known - bits;
      fill_digits<kAll>(block, row, s, place.key, known, bits);
      const uint64_t before = kByMass ? place.mass : count;
      find_digit<kByMass>(block, s, 1 << bits, target - before);
      const uint32_t digit = s.found[0];
      count += s.found[1], place.mass += s.found_mass[0];
      place.key |= digit << shift;
      known += bits;
      block.sync();
    }
    const float v = value_of(place.key);
    place.weight = kAll ? 0 : row.weight(v);
    place.tie = static_cast<uint32_t>(kByMass ? (target - place.mass + place.weight - 1) / place.weight
                                              : target - count);
    place.mass += place.tie * place.weight;
    return place;
  }

  // Ids and mass by the next digit, of ids whose keys begin as `key` does.
  template <bool kAll>
  static DVLM_DEVICE void fill_digits(Block& block, const Row& row, const Scratch& s, uint32_t key, int known,
                                      int bits) {
    block.lanes([&](int lane) {
      for (int i = block.warp() * kWarp + lane; i < kDigits; i += kThreads) s.count[i] = 0, s.mass[i] = 0;
    });
    block.sync();
    const int shift = 32 - known - bits;
    block.lanes([&](int lane) {
      for (int id = block.warp() * kWarp + lane; id < row.job.vocab; id += kThreads) {
        const float v = row.logit(id);
        const uint32_t own = key_of(v);
        if ((known > 0 && (own ^ key) >> (32 - known) != 0) || !takes_part<kAll>(row, id, v)) continue;
        const uint32_t digit = own >> shift & ((1u << bits) - 1);
        atomic_add(s.count, digit, 1u);
        if constexpr (!kAll) atomic_add(s.mass, digit, row.weight(v));
      }
    });
    block.sync();
  }

  // found: the digit with the target, ids before it; found_mass: mass before it.
  template <bool kByMass>
  static DVLM_DEVICE void find_digit(Block& block, const Scratch& s, int digits, uint64_t target) {
    const int each = digits / kWarp;  // from the largest digit down
    if (block.warp() == 0)
      block.lanes([&](int lane) {
        uint32_t count = 0;
        uint64_t mass = 0;
        for (int i = lane * each; i < (lane + 1) * each; ++i)
          count += s.count[digits - 1 - i], mass += s.mass[digits - 1 - i];
        s.count_sums[lane] = count, s.mass_sums[lane] = mass;
      });
    block.sync();
    if (block.warp() == 0)
      block.lanes([&](int lane) {
        if (lane != 0) return;
        uint32_t count = 0;
        uint64_t mass = 0;
        const auto passes = [&](uint32_t ids, uint64_t more) {
          const bool enough = kByMass ? mass + more >= target : count + ids >= target;
          if (!enough) count += ids, mass += more;
          return !enough;
        };
        int part = 0;
        while (part < kWarp - 1 && passes(s.count_sums[part], s.mass_sums[part])) ++part;
        int i = part * each;
        while (i < digits - 1 && passes(s.count[digits - 1 - i], s.mass[digits - 1 - i])) ++i;
        s.found[0] = static_cast<uint32_t>(digits - 1 - i), s.found[1] = count;
        s.found_mass[0] = mass;
      });
    block.sync();
  }

  // The id at a place.
  template <bool kAll>
  static DVLM_DEVICE int id_at(Block& block, const Row& row, uint32_t key, uint32_t tie) {
    const Scratch s = scratch(block);
    const int each = (row.job.vocab + kThreads - 1) / kThreads;
    const auto for_ties = [&](int thread, const auto& use) {
      const int first = thread * each, end = first + each < row.job.vocab ? first + each : row.job.vocab;
      for (int id = first; id < end; ++id) {
        const float v = row.logit(id);
        if (key_of(v) == key && takes_part<kAll>(row, id, v)) use(id);
      }
    };
    block.lanes([&](int lane) {
      const int thread = block.warp() * kWarp + lane;
      s.count[thread] = 0;
      for_ties(thread, [&](int) { ++s.count[thread]; });
    });
    block.sync();
    block.lanes([&](int lane) {
      const int thread = block.warp() * kWarp + lane;
      uint32_t before = 0;
      if (s.count[thread] == 0) return;
      for (int i = 0; i < thread; ++i) before += s.count[i];
      for_ties(thread, [&](int id) {
        if (++before == tie) s.found[2] = static_cast<uint32_t>(id);
      });
    });
    block.sync();
    const int id = static_cast<int>(s.found[2]);
    block.sync();
    return id;
  }

  static DVLM_DEVICE void draw(Block& block, const Row& row, int index, Chosen chosen) {
    const RowWish& wish = row.wish;
    const auto share_of = [](double part, uint64_t mass) {
      const auto out = static_cast<uint64_t>(part * static_cast<double>(mass));
      return out < mass ? out : mass - 1;
    };
    uint64_t mass = total(block, row);
    const uint32_t open = scratch(block).found[0];
    block.sync();
    if (wish.top_k > 0 && static_cast<uint32_t>(wish.top_k) < open)
      mass = find<false, false>(block, row, static_cast<uint64_t>(wish.top_k)).mass;
    if (wish.top_p < 1) {
      const double enough = wish.top_p * static_cast<double>(mass);
      auto target = static_cast<uint64_t>(enough);
      target += static_cast<double>(target) < enough;
      mass = find<false, true>(block, row, target > 0 ? target : 1).mass;
    }
    const Place place = find<false, true>(block, row, share_of(wish.u, mass) + 1);
    chosen.token = id_at<false>(block, row, place.key, place.tie);
    chosen.logit = value_of(place.key);
    chosen.probability = static_cast<float>(static_cast<double>(place.weight) / static_cast<double>(mass));
    block.lanes([&](int lane) {
      if (block.warp() == 0 && lane == 0) store(row.job.chosen, index, chosen);
    });
  }

  // The mass of what may be chosen; scratch().found[0]: how many ids that are.
  static DVLM_DEVICE uint64_t total(Block& block, const Row& row) {
    const Scratch s = scratch(block);
    block.lanes([&](int lane) {
      if (block.warp() == 0 && lane == 0) s.found[0] = 0, s.found_mass[0] = 0;
    });
    block.sync();
    block.lanes([&](int lane) {
      uint32_t count = 0;
      uint64_t mass = 0;
      for (int id = block.warp() * kWarp + lane; id < row.job.vocab; id += kThreads) {
        const float v = row.logit(id);
        if (takes_part<false>(row, id, v)) ++count, mass += row.weight(v);
      }
      atomic_add(s.found, 0, count);
      atomic_add(s.found_mass, 0, mass);
    });
    block.sync();
    return s.found_mass[0];
  }

  static DVLM_DEVICE void list(Block& block, const Row& row, int index) {
    const int wanted = row.wish.alternatives < kMaxAlternatives ? row.wish.alternatives : kMaxAlternatives;
    const int count = wanted < row.job.vocab ? wanted : row.job.vocab;
    const Place last = find<true, false>(block, row, static_cast<uint64_t>(count));
    const Scratch s = scratch(block);
    const size_t to = static_cast<size_t>(index) * kMaxAlternatives;
    block.lanes([&](int lane) {
      if (block.warp() == 0 && lane == 0) s.found[0] = 0;
    });
    block.sync();
    block.lanes([&](int lane) {
      for (int id = block.warp() * kWarp + lane; id < row.job.vocab; id += kThreads) {
        const float v = row.logit(id);
        if (key_of(v) > last.key)
          store(row.job.alternatives, to + atomic_add(s.found, 0, 1u), Alternative{id, v});
      }
    });
    block.sync();
    const uint32_t above = s.found[0];
    for (uint32_t tie = 1; tie <= last.tie; ++tie) {
      const int id = id_at<true>(block, row, last.key, tie);
      block.lanes([&](int lane) {
        if (block.warp() == 0 && lane == 0)
          store(row.job.alternatives, to + above + tie - 1, Alternative{id, value_of(last.key)});
      });
    }
  }
};

}  // namespace DVLM_LAYER
}  // namespace dvlm::cuda
