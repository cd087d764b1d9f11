// The generated lines of the golden files: the same generator as in tools/fixtures/make_text_fixtures.py.
#pragma once
#include <array>
#include <cstdint>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "core/utf8.h"

namespace dvlm::test {

inline nlohmann::json read_fixture(const std::string& name) {
  std::ifstream file(std::string(DVLM_FIXTURES "/text/") + name);
  return nlohmann::json::parse(file);
}

class SplitMix {
 public:
  explicit SplitMix(uint64_t seed) : state_(seed) {}
  uint64_t below(uint64_t n) {
    uint64_t z = state_ += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (z ^ (z >> 31)) % n;
  }

 private:
  uint64_t state_;
};

class Lines {
 public:
  static constexpr uint64_t kCount = 24000, kPlanes = 0x33400 / 64, kSweep = kPlanes + 8;

  Lines() {
    const auto sources = read_fixture("lines.json");
    snippets_ = sources.at("snippets").get<std::vector<std::string>>();
    repeated_ = sources.at("repeated").get<std::vector<std::string>>();
    added_tokens_ = sources.at("added_tokens").get<std::vector<std::string>>();
    ranges_ = sources.at("ranges").get<std::vector<std::pair<uint64_t, uint64_t>>>();
  }

  std::string line(uint64_t index) const {
    if (index < kSweep) return sweep_line(index);
    SplitMix random(index);
    std::array<uint64_t, 3> kinds{};
    for (uint64_t& kind : kinds) kind = random.below(10);
    std::string text;
    for (uint64_t left = 1 + random.below(24); left > 0; --left)
      text += piece(kinds[random.below(3)], random);
    return text;
  }

 private:
  static std::string utf8(uint64_t code) {
    std::string text;
    if (code < 0xD800 || code > 0xDFFF) append_utf8(text, static_cast<char32_t>(code));
    return text;
  }

  static std::string sweep_line(uint64_t index) {
    const uint64_t first = index < kPlanes ? index * 64 : 0xE0000 + (index - kPlanes) * 64;
    std::string text;
    for (uint64_t i = 0; i < 64; ++i) text += utf8(first + i) + std::array{"", " ", "a", "'"}[i % 4];
    return text;
  }

  static const std::string& pick(const std::vector<std::string>& from, SplitMix& random) {
    return from[random.below(from.size())];
  }

  static std::string bytes(SplitMix& random, uint64_t most, unsigned first, uint64_t range) {
    std::string text;
    for (uint64_t left = 1 + random.below(most); left > 0; --left)
      text += static_cast<char>(static_cast<unsigned char>(first + random.below(range)));
    return text;
  }

  std::string piece(uint64_t kind, SplitMix& random) const {
    std::string text;
    switch (kind) {
      case 0:
        return pick(snippets_, random);
      case 1:
        return utf8(random.below(0x110000));
      case 2: {
        const std::string& unit = pick(repeated_, random);
        for (uint64_t left = 1 + random.below(80); left > 0; --left) text += unit;
        return text;
      }
      case 3:
        return std::string(1, static_cast<char>(32 + random.below(95)));
      case 4:
        return bytes(random, 4, 0, 256);
      case 5:
        return pick(added_tokens_, random);
      case 6:
        return bytes(random, 12, 'a', 26);
      case 7:
        return bytes(random, 6, '0', 10);
      case 8: {
        const auto [first, last] = ranges_[random.below(ranges_.size())];
        for (uint64_t left = 1 + random.below(6); left > 0; --left)
          text += utf8(first + random.below(last - first + 1));
        return text;
      }
      default:
        return " ";
    }
  }

  std::vector<std::string> snippets_, repeated_, added_tokens_;
  std::vector<std::pair<uint64_t, uint64_t>> ranges_;
};

}  // namespace dvlm::test
