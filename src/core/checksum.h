// A fast hash that finds damage, not malice.
#pragma once
// The library's own choice at run time: the plain functions are compiled for the oldest x86-64, at a third of
// the speed.
#if __has_include(<xxh_x86dispatch.h>) && defined(__x86_64__)
#include <xxh_x86dispatch.h>
#else
#include <xxhash.h>
#endif

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace dvlm {

inline uint64_t checksum(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}
inline uint64_t checksum(std::string_view text) {
  return checksum(std::as_bytes(std::span(text)));
}

}  // namespace dvlm
