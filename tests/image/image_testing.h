// What the tests of this room share.
#pragma once
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"
#include "image/image.h"

namespace dvlm {

inline std::filesystem::path image_fixture(const std::string& name) {
  return std::filesystem::path(DVLM_FIXTURES) / "image" / name;
}

// The fingerprint of tools/fixtures/make_image_fixtures.py.
template <class T>
std::string fingerprint(std::span<const T> values) {
  const size_t size = values.size_bytes();
  const char* data = reinterpret_cast<const char*>(values.data());
  uint64_t hash = 0xCBF29CE484222325u;
  for (size_t at = 0; at < size; at += 8) {
    uint64_t word = 0;
    std::memcpy(&word, data + at, std::min<size_t>(8, size - at));
    hash = (hash ^ word) * 0x100000001B3u;
  }
  return fmt::format("{:016x}", (hash ^ size) * 0x100000001B3u);
}

template <class T>
std::string fingerprint(const std::vector<T>& values) {
  return fingerprint(std::span<const T>(values));
}

// index_colors of the script: a picture made from its coordinates.
inline Image index_colors(int width, int height, int seed) {
  Image image{width, height, {}};
  for (uint32_t y = 0; y < static_cast<uint32_t>(height); ++y)
    for (uint32_t x = 0; x < static_cast<uint32_t>(width); ++x)
      for (uint32_t c = 0; c < 3; ++c)
        image.pixels.push_back(static_cast<uint8_t>(x * (37 + c) + y * (91 + 2 * c) +
                                                    static_cast<uint32_t>(seed) * 17 + x * y * (c + 3) / 5));
  return image;
}

// The message of the Error that f throws; fails the test when it throws none.
template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "expected an Error";
  return {};
}

}  // namespace dvlm
