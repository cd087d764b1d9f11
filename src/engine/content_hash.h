// Identity of images by content.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace dvlm {

using ContentKey = std::array<uint64_t, 2>;

// 128 bits of chained SipHash-2-4 (Aumasson and Bernstein, 2012). Its keys are random per process: nobody who
// sends images can prepare two that share a key, so one client's image never stands for another's.
class ContentHash {
 public:
  ContentHash();
  void add(std::span<const std::byte> data);  // pieces are told apart: "ab", "c" is not "a", "bc"
  void add(std::string_view text) { add(std::as_bytes(std::span(text))); }
  void add(int64_t value) { add(std::as_bytes(std::span(&value, 1))); }
  ContentKey key() const { return state_; }

 private:
  ContentKey state_;
};

uint64_t siphash(uint64_t key0, uint64_t key1, std::span<const std::byte> data);

}  // namespace dvlm
