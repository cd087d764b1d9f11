// A fast hash that finds damage, not malice.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace dvlm {

uint64_t checksum(std::span<const std::byte> bytes);  // XXH3, 64 bits
inline uint64_t checksum(std::string_view text) {
  return checksum(std::as_bytes(std::span(text)));
}

}  // namespace dvlm
