#include "hub/pull.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <thread>

#include "checkpoint/json.h"
#include "checkpoint/merge.h"
#include "core/error.h"
#include "core/files.h"
#include "core/finally.h"
#include "hub/digest.h"
#include "hub/transfer.h"

namespace dvlm {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr size_t kMaxFiles = 2000;
constexpr int64_t kMaxBytes = int64_t{1} << 44;

struct RemoteFile {
  std::string path;    // in the repository
  std::string digest;  // SHA-256 of a large file, else git's name of its content
  bool large = false;
  int64_t size = 0;
};

// A path that stays inside of a folder.
bool is_inside(const std::string& path) {
  constexpr size_t kLongest = 512;
  if (path.empty() || path.size() > kLongest || path.find('\\') != path.npos || path.find('\0') != path.npos)
    return false;
  const fs::path relative(path);
  return relative.is_relative() && std::ranges::none_of(relative, [](const fs::path& part) {
           return part == ".." || part == "." || part.empty();
         });
}

bool is_digest(const std::string& text, size_t digits) {
  return text.size() == digits && text.find_first_not_of("0123456789abcdef") == text.npos;
}

// "a b/c" as part of an address; `slashes`: they stay.
std::string escaped(std::string_view text, bool slashes) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_' || c == '.' || c == '~' || (slashes && c == '/');
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

class Puller {
 public:
  Puller(const HubName& name, const PullOptions& options)
      : name_(name), options_(options), folder_(hub_folder(options.cache, name)) {}

  Pulled pull() {
    read_list();
    out_.folder = folder_ / "snapshots" / out_.commit;
    for (const RemoteFile& file : files_) out_.bytes += file.size;
    out_.files = static_cast<int>(files_.size());
    for (const RemoteFile& file : files_) {
      get(file);
      done_ += file.size;
    }
    for (const RemoteFile& file : files_) link(file);  // a snapshot is found by its commit: now all is there
    tell(0, "");
    if (!is_commit(name_.revision)) {
      const fs::path reference = folder_ / "refs" / name_.revision;
      make_folder(reference.parent_path());
      write_file(reference, out_.commit);
    }
    return out_;
  }

 private:
  void tell(int64_t more, const std::string& note) const {
    if (options_.cancelled && options_.cancelled()) throw PullCancelled();
    if (options_.progress) options_.progress(done_ + more, out_.bytes, note);
  }

  [[noreturn]] void refuse_list(std::string_view why) const {
    fail("{}: what {} says of its files makes no sense: {}", name_.repository, options_.endpoint, why);
  }

  void read_list() {
    constexpr size_t kLongest = size_t{16} << 20;
    const std::string address = fmt::format("{}/api/models/{}/revision/{}?blobs=true", options_.endpoint,
                                            name_.repository, escaped(name_.revision, false));
    std::string text;
    repeat(
        [&] {
          text.clear();
          return transfer(address, options_.token, 0, options_.cancelled, [&](std::string_view piece) {
            if (text.size() + piece.size() > kLongest) refuse_list("the list is too long");
            text += piece;
          });
        },
        int64_t{0}, "the list of files");
    const json list = parse_json(text, name_.repository);
    if (!list.is_object() || !list.contains("sha") || !list["sha"].is_string() ||
        !list.contains("siblings") || !list["siblings"].is_array() || list["siblings"].size() > kMaxFiles)
      refuse_list("it is no list of at most 2,000 files");
    out_.commit = list["sha"].get<std::string>();
    if (!is_commit(out_.commit)) refuse_list("its commit is none");
    for (const json& sibling : list["siblings"]) add(sibling);
    if (files_.empty()) fail("{} has no files that dvlm reads", name_.repository);
  }

  void add(const json& sibling) {
    const auto text = [&](const json& object, const char* key) {
      return object.is_object() && object.contains(key) && object[key].is_string()
                 ? object[key].get<std::string>()
                 : std::string();
    };
    RemoteFile file{text(sibling, "rfilename"), text(sibling, "blobId"), false, 0};
    if (!is_inside(file.path)) refuse_list("a name leads out of the folder");
    if (is_for_others(file.path)) {
      out_.left_out.push_back(file.path);
      return;
    }
    const json lfs = sibling.value("lfs", json());
    if (lfs.is_object()) file.large = true, file.digest = text(lfs, "sha256");
    const json size = (lfs.is_object() ? lfs : sibling).value("size", json());
    if (!size.is_number_integer() || size < 0 || size > kMaxBytes ||
        !is_digest(file.digest, file.large ? 64 : 40))
      refuse_list(fmt::format("{} has no size or no checksum", printable(file.path)));
    file.size = size.get<int64_t>();
    files_.push_back(std::move(file));
  }

  // Again and again while more is `held` than ever before, a few times when it is not.
  void repeat(const std::function<TransferEnd()>& once, const int64_t& held, const std::string& what) const {
    int fruitless = 0;
    int64_t most = held;
    auto wait = options_.wait;
    for (;;) {
      const TransferEnd end = once();
      if (options_.cancelled && options_.cancelled()) throw PullCancelled();
      if (end.complete) return;
      if (end.final) explain(end, what);
      fruitless = held > most ? 0 : fruitless + 1;
      if (fruitless == 0) wait = options_.wait;
      most = std::max(most, held);
      if (fruitless >= options_.tries)
        fail("{}: {} could not be downloaded: {}; run it again to go on where it ended", name_.repository,
             what, end.problem);
      const auto until =
          std::chrono::steady_clock::now() + std::max(wait, std::chrono::milliseconds(end.wait_s * 1000));
      while (std::chrono::steady_clock::now() < until) {
        tell(held, "waiting");
        std::this_thread::sleep_for(std::min(std::chrono::milliseconds(100), options_.wait));
      }
      wait = std::min(2 * wait, std::chrono::milliseconds(30'000));
    }
  }

  [[noreturn]] void explain(const TransferEnd& end, const std::string& what) const {
    if (end.status == 401 || end.status == 403)
      fail(
          "{}: {} refuses it ({}): the model may not exist, or wants a token: set HF_TOKEN to one whose "
          "owner has accepted the model's conditions",
          name_.repository, options_.endpoint, end.status);
    if (end.status == 404)
      fail("{} has no model {} with the revision {}, or not {}", options_.endpoint, name_.repository,
           name_.revision, what);
    fail("{}: {} could not be downloaded: {}", name_.repository, what, end.problem);
  }

  void get(const RemoteFile& file) {
    const fs::path blob = folder_ / "blobs" / file.digest;
    std::error_code error;
    if (fs::is_regular_file(blob, error) && static_cast<int64_t>(fs::file_size(blob, error)) == file.size)
      return;
    make_folder(blob.parent_path());
    const fs::path part = blob.string() + ".incomplete";
    const int descriptor = ::open(part.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (descriptor < 0) fail("cannot write {}: {}", part.string(), std::strerror(errno));
    const Finally closes([&] { ::close(descriptor); });
    if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0)
      fail("{}: another process downloads {} at this moment", name_.repository, file.path);
    download(file, part, descriptor);
    check(file, part);
    // As FileWriter::commit() has it: some file systems cannot sync.
    if (::fsync(descriptor) != 0 && errno != EINVAL && errno != ENOTSUP)
      fail("cannot write {}: {}", part.string(), std::strerror(errno));
    fs::rename(part, blob);
  }

  void download(const RemoteFile& file, const fs::path& part, int descriptor) {
    const std::string address = fmt::format("{}/{}/resolve/{}/{}", options_.endpoint, name_.repository,
                                            out_.commit, escaped(file.path, true));
    int64_t held = static_cast<int64_t>(fs::file_size(part));
    if (held > file.size) held = 0, empty(descriptor, part);
    if (held == file.size) return;
    repeat(
        [&] {
          const TransferEnd end =
              transfer(address, options_.token, held, options_.cancelled, [&](std::string_view piece) {
                if (held + static_cast<int64_t>(piece.size()) > file.size)
                  fail("{}: {} is longer than the {} bytes that the hub names", name_.repository, file.path,
                       file.size);
                write_all(descriptor, piece, part);
                held += static_cast<int64_t>(piece.size());
                out_.downloaded += static_cast<int64_t>(piece.size());
                tell(held, file.path);
              });
          if (end.from_start) held = 0, empty(descriptor, part);  // it cannot go on: what is held is given up
          return TransferEnd{end.complete && held == file.size,
                             end.final,
                             false,
                             end.status,
                             end.wait_s,
                             end.complete ? "it ended early" : end.problem};
        },
        held, file.path);
  }

  static void empty(int descriptor, const fs::path& part) {
    if (::ftruncate(descriptor, 0) != 0) fail("cannot write {}: {}", part.string(), std::strerror(errno));
  }

  static void write_all(int descriptor, std::string_view bytes, const fs::path& part) {
    while (!bytes.empty()) {
      const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) fail("cannot write {}: {}", part.string(), std::strerror(errno));
      bytes.remove_prefix(static_cast<size_t>(written));
    }
  }

  // What is wrong is not kept: the next try begins anew.
  void check(const RemoteFile& file, const fs::path& part) const {
    const auto watch = [&](size_t bytes) {
      static_cast<void>(bytes), tell(file.size, "checking " + file.path);
    };
    const std::string digest = file.large ? sha256_of(part, watch) : git_blob_of(part);
    if (digest == file.digest) return;
    std::error_code error;
    fs::remove(part, error);
    fail("{}: {} arrived damaged (its checksum is {}, not {}): run it again", name_.repository, file.path,
         digest, file.digest);
  }

  void link(const RemoteFile& file) const {
    const fs::path place = out_.folder / file.path, blob = folder_ / "blobs" / file.digest;
    make_folder(place.parent_path());
    const fs::path target = fs::relative(blob, place.parent_path());
    std::error_code error;
    if (fs::read_symlink(place, error) == target) return;
    fs::remove(place, error);
    fs::create_symlink(target, place, error);
    if (error) fail("cannot make {}: {}", place.string(), error.message());
  }

  const HubName& name_;
  const PullOptions& options_;
  const fs::path folder_;
  std::vector<RemoteFile> files_;
  Pulled out_;
  int64_t done_ = 0;  // bytes of files that are whole
};

}  // namespace

std::string hub_endpoint() {
  const char* given = std::getenv("HF_ENDPOINT");
  std::string out = given && *given ? given : "https://huggingface.co";
  while (out.ends_with('/')) out.pop_back();
  return out;
}

std::string hub_token() {
  if (const char* given = std::getenv("HF_TOKEN"); given && *given) return given;
  fs::path file;
  if (const char* path = std::getenv("HF_TOKEN_PATH"); path && *path) file = path;
  if (const fs::path home = hub_home(); file.empty() && !home.empty()) file = home / "token";
  std::error_code error;
  if (file.empty() || !fs::is_regular_file(file, error)) return {};
  std::string token = read_file(file, size_t{1} << 12);
  while (!token.empty() && static_cast<unsigned char>(token.back()) <= ' ') token.pop_back();
  return token;
}

Pulled pull(const HubName& name, const PullOptions& options) {
  if (options.cache.empty()) fail("there is no folder to download to: set HF_HOME or HOME");
  return Puller(name, options).pull();
}

}  // namespace dvlm
