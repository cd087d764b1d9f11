#include "data/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "core/error.h"
#include "core/files.h"
#include "core/interrupt.h"

namespace dvlm {

namespace fs = std::filesystem;

namespace {

constexpr size_t kMostUnpacked = size_t{256} << 30;

// A file without a name, which goes with its descriptor.
class NamelessFile {
 public:
  NamelessFile() {
    std::string path = (fs::temp_directory_path() / "dvlm-XXXXXX").string();
    const int descriptor = ::mkstemp(path.data());
    if (descriptor < 0)
      fail("cannot make a file in {}: {}", fs::temp_directory_path().string(), std::strerror(errno));
    ::unlink(path.c_str());
    file_.emplace(path, descriptor);
  }

  void append(std::span<const std::byte> bytes) {
    for (size_t at = 0; at < bytes.size();) {
      const ssize_t wrote = ::write(file_->descriptor(), bytes.data() + at, bytes.size() - at);
      if (wrote < 0 && errno != EINTR)
        fail("cannot unpack into {}: {}; set TMPDIR to a folder with room",
             fs::temp_directory_path().string(), std::strerror(errno));
      at += wrote > 0 ? static_cast<size_t>(wrote) : 0;
    }
    size_ += bytes.size();
  }
  size_t size() const { return size_; }
  fs::path path() const { return file_->reopened(); }

 private:
  std::optional<InputFile> file_;
  size_t size_ = 0;
};

struct CloseArchive {
  void operator()(archive* reader) const { archive_read_free(reader); }
};

class Reader {
 public:
  Reader(const fs::path& path, std::span<const std::byte> bytes) : path_(path), reader_(archive_read_new()) {
    archive_read_support_filter_gzip(reader_.get());
    archive_read_support_filter_zstd(reader_.get());
    archive_read_support_format_tar(reader_.get());
    archive_read_support_format_raw(reader_.get());
    check(archive_read_open_memory(reader_.get(), bytes.data(), bytes.size()));
  }

  // The next regular file, or none. A file that is no tar is one without a name.
  std::optional<std::string> next() {
    archive_entry* entry = nullptr;
    while (check(archive_read_next_header(reader_.get(), &entry)) != ARCHIVE_EOF) {
      if (archive_format(reader_.get()) == ARCHIVE_FORMAT_RAW) return "";
      const char* name = archive_entry_pathname(entry);
      if (archive_entry_filetype(entry) == AE_IFREG && name) return name;
    }
    return std::nullopt;
  }

  // The next piece of that file, which begins at `offset` of it; none at its end.
  std::span<const std::byte> piece(int64_t& offset) {
    const void* data = nullptr;
    size_t size = 0;
    const bool end = check(archive_read_data_block(reader_.get(), &data, &size, &offset)) == ARCHIVE_EOF;
    return {static_cast<const std::byte*>(data), end ? 0 : size};
  }

 private:
  int check(int status) {
    if (status < ARCHIVE_WARN) {
      const char* why = archive_error_string(reader_.get());
      fail("{} is damaged: {}", path_.string(), why ? why : "libarchive cannot read it");
    }
    return status;
  }

  const fs::path& path_;
  std::unique_ptr<archive, CloseArchive> reader_;
};

}  // namespace

bool is_archive(std::string_view beginning) {
  constexpr size_t kTarMagic = 257;
  return beginning.starts_with("\x1f\x8b") || beginning.starts_with("\x28\xb5\x2f\xfd") ||
         (beginning.size() > kTarMagic && beginning.substr(kTarMagic).starts_with("ustar"));
}

Archive::Archive(const fs::path& path) : file_(path) {
  const std::span<const std::byte> all = file_.bytes();
  Reader reader(path, all);
  std::optional<NamelessFile> unpacked;
  struct Unpacked {
    size_t member, begin, size;
  };
  std::vector<Unpacked> moved;
  while (const std::optional<std::string> name = reader.next()) {
    Member& member = members_.emplace_back(Member{*name, {}});
    size_t size = 0;
    for (int64_t offset = 0;;) {
      const std::span<const std::byte> piece = reader.piece(offset);
      if (piece.empty()) break;
      if (interrupted()) fail("unpacking {} was interrupted", path.string());
      if (std::cmp_not_equal(offset, size))
        fail("{}: {} has holes, which are not read", path.string(), *name);
      const bool in_place = piece.data() >= all.data() && piece.data() < all.data() + all.size() &&
                            (size == 0 || piece.data() == member.bytes.data() + member.bytes.size());
      if (in_place && member.bytes.size() == size) {
        member.bytes = {size == 0 ? piece.data() : member.bytes.data(), size + piece.size()};
      } else {
        if (!unpacked) unpacked.emplace();
        if (moved.empty() || moved.back().member != members_.size() - 1) {
          moved.push_back({members_.size() - 1, unpacked->size(), 0});
          unpacked->append(member.bytes);
        }
        unpacked->append(piece);
        moved.back().size = size + piece.size();
      }
      size += piece.size();
      if (unpacked && unpacked->size() > kMostUnpacked)
        fail("{} unpacks to more than {}: unpack it, and name its files", path.string(),
             bytes_text(static_cast<double>(kMostUnpacked)));
    }
  }
  if (!unpacked) return;
  unpacked_.emplace(unpacked->path());
  for (const Unpacked& one : moved)
    members_[one.member].bytes = unpacked_->bytes().subspan(one.begin, one.size);
}

}  // namespace dvlm
