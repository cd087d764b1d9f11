// Philox 4x32-10 (Salmon et al., SC 2011): random numbers addressed by (seed, stream, position) rather than
// drawn in turn, so that what is drawn for one token never depends on how many passes came before it.
#pragma once
#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <utility>

namespace dvlm {

inline std::array<uint32_t, 4> philox(uint64_t seed, uint64_t stream, uint64_t position) {
  std::array<uint32_t, 4> x = {static_cast<uint32_t>(position), static_cast<uint32_t>(position >> 32),
                               static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)};
  uint32_t key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53u} * x[0], b = uint64_t{0xCD9E8D57u} * x[2];
    x = {static_cast<uint32_t>(b >> 32) ^ x[1] ^ key0, static_cast<uint32_t>(b),
         static_cast<uint32_t>(a >> 32) ^ x[3] ^ key1, static_cast<uint32_t>(a)};
    key0 += 0x9E3779B9u, key1 += 0xBB67AE85u;
  }
  return x;
}

// Uniform in [0, 1), 53 bits.
inline double uniform(uint64_t seed, uint64_t stream, uint64_t position) {
  const auto x = philox(seed, stream, position);
  return static_cast<double>((uint64_t{x[0]} << 21) ^ (x[1] >> 11)) * 0x1.0p-53;
}

// A generator that walks one stream: for shuffles and synthetic data.
class Random {
 public:
  explicit Random(uint64_t seed, uint64_t stream = 0) : seed_(seed), stream_(stream) {}
  double uniform() { return dvlm::uniform(seed_, stream_, position_++); }  // [0, 1)
  // Uniform in [0, n), n >= 1.
  int64_t below(int64_t n) { return static_cast<int64_t>(uniform() * static_cast<double>(n)); }
  double between(double low, double high) { return low + (high - low) * uniform(); }
  double normal() {  // mean 0, variance 1
    const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
    return radius * std::cos(2.0 * std::numbers::pi * uniform());
  }
  template <class Iterator>
  void shuffle(Iterator begin, Iterator end) {
    for (auto n = end - begin; n > 1; --n) std::swap(begin[n - 1], begin[below(n)]);
  }

 private:
  uint64_t seed_, stream_, position_ = 0;
};

}  // namespace dvlm
