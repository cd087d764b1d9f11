// Packed files and tars, read by libarchive (which does not look at gzip's checksum).
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

  // Throws Error naming the file when it is damaged, unpacks to more than 256 GiB, or the user interrupts.
  explicit Archive(const std::filesystem::path& path);

  std::span<const Member> members() const { return members_; }

 private:
  MappedFile file_;
  std::optional<MappedFile> unpacked_;
  std::vector<Member> members_;
};

}  // namespace dvlm
