#include "data/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "core/files.h"
#include "core/interrupt.h"

namespace dvlm {

namespace fs = std::filesystem;

namespace {

constexpr size_t kMaxUnpacked = size_t{256} << 30;
constexpr std::string_view kGzipMagic = "\x1f\x8b";

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

// Unpacks the members of a gzip file, one after the other.
class Gunzip {
 public:
  explicit Gunzip(std::span<const std::byte> packed) : packed_(packed) {
    constexpr int kGzip = 16;  // and not zlib's own format
    if (::inflateInit2(&stream_, MAX_WBITS + kGzip) != Z_OK) throw std::bad_alloc();
  }
  ~Gunzip() { ::inflateEnd(&stream_); }
  Gunzip(const Gunzip&) = delete;
  Gunzip& operator=(const Gunzip&) = delete;

  // What libarchive wants of a file: the next piece, 0 at the end, -1 when it is damaged.
  static la_ssize_t read(archive* reader, void* self, const void** piece) {
    auto& gunzip = *static_cast<Gunzip*>(self);
    *piece = gunzip.piece_.data();
    const char* const damage = gunzip.fill();
    const size_t size = gunzip.piece_.size() - gunzip.stream_.avail_out;
    if (!damage) return static_cast<la_ssize_t>(size);
    archive_set_error(reader, EINVAL, "%s", damage);
    return -1;
  }

  // Fills the piece, or what is left. Says what is wrong with the file.
  const char* fill() {
    stream_.next_out = piece_.data();
    stream_.avail_out = static_cast<uInt>(piece_.size());
    while (stream_.avail_out > 0) {
      if (ended_) {
        if (text_of(packed_).find_first_not_of('\0') == std::string_view::npos) return nullptr;
        if (!text_of(packed_).starts_with(kGzipMagic)) return "something else stands behind its end";
        ::inflateReset(&stream_);
      }
      const auto given = static_cast<uInt>(std::min<size_t>(packed_.size(), 1u << 30));
      stream_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(packed_.data()));
      stream_.avail_in = given;
      const int status = ::inflate(&stream_, Z_NO_FLUSH);
      packed_ = packed_.subspan(given - stream_.avail_in);
      ended_ = status == Z_STREAM_END;
      if (status == Z_BUF_ERROR) return "it breaks off";
      if (status != Z_OK && !ended_) return stream_.msg ? stream_.msg : "zlib cannot read it";
    }
    return nullptr;
  }

  std::span<const std::byte> packed_;  // what is left
  z_stream stream_ = {};
  bool ended_ = false;  // one of the members
  std::array<Bytef, 1 << 18> piece_;
};

bool is_tar(std::string_view beginning) {
  constexpr size_t kMagic = 257;
  return beginning.size() > kMagic && beginning.substr(kMagic).starts_with("ustar");
}

struct CloseArchive {
  void operator()(archive* reader) const { archive_read_free(reader); }
};

class Reader {
 public:
  Reader(const fs::path& path, std::span<const std::byte> bytes) : path_(path), reader_(archive_read_new()) {
    archive_read_support_filter_zstd(reader_.get());
    archive_read_support_format_tar(reader_.get());
    if (!is_tar(text_of(bytes))) archive_read_support_format_raw(reader_.get());  // packed, but one file
    // Two blocks of zeros end a tar; what may stand behind them is not passed over.
    archive_read_set_option(reader_.get(), "tar", "read_concatenated_archives", "1");
    if (text_of(bytes).starts_with(kGzipMagic)) {
      gunzip_ = std::make_unique<Gunzip>(bytes);
      check(archive_read_open(reader_.get(), gunzip_.get(), nullptr, Gunzip::read, nullptr));
    } else {
      check(archive_read_open_memory(reader_.get(), bytes.data(), bytes.size()));
    }
  }

  // The next regular file, or none. A file that is no tar is one without a name.
  std::optional<std::string> next() {
    archive_entry* entry = nullptr;
    for (;;) {
      const int64_t before = archive_filter_bytes(reader_.get(), 0);
      if (check(archive_read_next_header(reader_.get(), &entry)) == ARCHIVE_EOF) {
        refuse_missing_end(before);
        return std::nullopt;
      }
      if (archive_format(reader_.get()) == ARCHIVE_FORMAT_RAW) return "";
      tar_ = true;
      const char* name = archive_entry_pathname(entry);
      if (name && (archive_entry_hardlink(entry) || archive_entry_symlink(entry)))
        fail(
            "{}: {} is a link, which is not read: pack what it leads to (tar --hard-dereference "
            "--dereference)",
            path_.string(), printable(name));
      if (archive_entry_filetype(entry) == AE_IFREG && name) return name;
    }
  }

  // The next piece of that file, which begins at `offset` of it; none at its end.
  std::span<const std::byte> piece(int64_t& offset) {
    const void* data = nullptr;
    size_t size = 0;
    const bool end = check(archive_read_data_block(reader_.get(), &data, &size, &offset)) == ARCHIVE_EOF;
    return {static_cast<const std::byte*>(data), end ? 0 : size};
  }

 private:
  // A tar ends with blocks of zeros. Where it breaks off between two files, libarchive takes it for whole.
  // `before`: the unpacked bytes up to the last file's end, without what fills its last block.
  void refuse_missing_end(int64_t before) const {
    constexpr int64_t kBlock = 512;
    const int64_t end = (before + kBlock - 1) / kBlock * kBlock;
    if (tar_ && archive_filter_bytes(reader_.get(), 0) < end + kBlock)
      fail("{} is damaged: it breaks off", path_.string());
  }

  int check(int status) {
    if (status == ARCHIVE_RETRY || status < ARCHIVE_WARN) {  // the former: a header's sum is wrong
      const char* why = archive_error_string(reader_.get());
      fail("{} is damaged: {}", path_.string(), why ? why : "libarchive cannot read it");
    }
    return status;
  }

  const fs::path& path_;
  bool tar_ = false;
  std::unique_ptr<Gunzip> gunzip_;
  std::unique_ptr<archive, CloseArchive> reader_;
};

}  // namespace

bool is_archive(std::string_view beginning) {
  return beginning.starts_with(kGzipMagic) || beginning.starts_with("\x28\xb5\x2f\xfd") || is_tar(beginning);
}

Archive::Archive(MappedFile file, const fs::path& path) : file_(std::move(file)) {
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
      if (unpacked && unpacked->size() > kMaxUnpacked)
        fail("{} unpacks to more than {}: unpack it, and name its files", path.string(),
             bytes_text(static_cast<double>(kMaxUnpacked)));
    }
  }
  if (!unpacked) return;
  unpacked_.emplace(unpacked->path());
  for (const Unpacked& one : moved)
    members_[one.member].bytes = unpacked_->bytes().subspan(one.begin, one.size);
}

}  // namespace dvlm
