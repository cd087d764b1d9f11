#include "engine/content_hash.h"

#include <bit>
#include <cstring>
#include <random>

namespace dvlm {
namespace {

struct SipState {
  uint64_t v0, v1, v2, v3;

  void round() {
    v0 += v1, v1 = std::rotl(v1, 13) ^ v0, v0 = std::rotl(v0, 32);
    v2 += v3, v3 = std::rotl(v3, 16) ^ v2;
    v0 += v3, v3 = std::rotl(v3, 21) ^ v0;
    v2 += v1, v1 = std::rotl(v1, 17) ^ v2, v2 = std::rotl(v2, 32);
  }
  void absorb(uint64_t word) {
    v3 ^= word;
    round();
    round();
    v0 ^= word;
  }
};

ContentKey process_key() {
  static const ContentKey key = [] {
    std::random_device device;
    const auto word = [&] { return uint64_t{device()} << 32 | device(); };
    return ContentKey{word(), word()};
  }();
  return key;
}

}  // namespace

uint64_t siphash(uint64_t key0, uint64_t key1, std::span<const std::byte> data) {
  SipState state = {key0 ^ 0x736f6d6570736575u, key1 ^ 0x646f72616e646f6du, key0 ^ 0x6c7967656e657261u,
                    key1 ^ 0x7465646279746573u};
  size_t at = 0;
  for (; at + 8 <= data.size(); at += 8) {
    uint64_t word;
    std::memcpy(&word, data.data() + at, 8);
    state.absorb(word);
  }
  uint64_t last = uint64_t{data.size()} << 56;
  for (size_t i = 0; at + i < data.size(); ++i) last |= std::to_integer<uint64_t>(data[at + i]) << (8 * i);
  state.absorb(last);
  state.v2 ^= 0xff;
  for (int i = 0; i < 4; ++i) state.round();
  return state.v0 ^ state.v1 ^ state.v2 ^ state.v3;
}

ContentHash::ContentHash() : state_(process_key()) {}

void ContentHash::add(std::span<const std::byte> data) {
  state_ = {siphash(state_[0], state_[1], data), siphash(state_[1] ^ 0x5bd1e995, state_[0], data)};
}

}  // namespace dvlm
