// Packed files and tars, read by libarchive; gzip by zlib, since libarchive passes over its checksums.
#pragma once
#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/memory.h"

namespace dvlm {

inline std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Whether a file that begins so is for Archive: gzip, zstd or tar.
bool is_archive(std::string_view beginning);

// The regular files of a tar, or the one that gzip or zstd packed. What a tar holds unpacked is seen where it
// stands; the rest goes into a nameless file in the folder for temporary files.
class Archive {
 public:
  struct Member {
    std::string name;  // empty: of a packed file that is no tar
    std::span<const std::byte> bytes;
  };

  // Of a file that is open already. Throws Error naming it when it is damaged, unpacks to more than 256 GiB,
  // or the user interrupts.
  Archive(MappedFile file, const std::filesystem::path& path);

  std::span<const Member> members() const { return members_; }

 private:
  MappedFile file_;
  std::optional<MappedFile> unpacked_;
  std::vector<Member> members_;
};

}  // namespace dvlm
