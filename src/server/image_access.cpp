#include "server/image_access.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "core/ascii.h"
#include "core/data_url.h"
#include "core/error.h"
#include "core/files.h"
#include "core/stopwatch.h"
#include "server/fetch.h"

namespace dvlm {

namespace fs = std::filesystem;

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr size_t kTotalBytes = 4;  // times those of one image
constexpr int kTotalTime = 3;      // times that of one address
constexpr std::string_view kSchemeEnd = "://";

// The scheme of a source in lower case; empty for a path.
std::string scheme_of(const std::string& source) {
  const size_t end = source.find(kSchemeEnd);
  return end == std::string::npos ? "" : lower(trim(std::string_view(source).substr(0, end)));
}

constexpr int kOpenFolder = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
// O_NONBLOCK: opening must not wait for a pipe or a terminal that has taken the file's place.
constexpr int kOpenFile = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC;

// `relative` goes down from `top`, both canonical. Follows no symbolic link: one that appears after the paths
// were compared ends it.
int open_relative(const fs::path& top, const fs::path& relative) {
  int folder = ::open(top.c_str(), kOpenFolder);
  for (auto step = relative.begin(); folder >= 0 && step != relative.end(); ++step) {
    const bool last = std::next(step) == relative.end();
    const int next = ::openat(folder, step->c_str(), last ? kOpenFile : kOpenFolder);
    ::close(folder);
    if (last) return next;
    folder = next;
  }
  if (folder >= 0) ::close(folder);
  return -1;
}

// A regular file that was below `root` when it was opened, by its canonical path. Null for all that is not a
// regular file below `root`, symbolic links resolved, or cannot be opened: the caller cannot tell why.
// `name`: relative to `root`, or absolute.
std::shared_ptr<const InputFile> open_below(const fs::path& root, const std::string& name) {
  if (name.empty() || name.find('\0') != std::string::npos) return nullptr;
  std::error_code error;
  const fs::path top = fs::canonical(root, error);
  if (error) return nullptr;
  const fs::path path = fs::canonical(top / name, error);
  if (error || !fs::is_regular_file(path, error)) return nullptr;
  const fs::path relative = path.lexically_relative(top);
  if (relative.empty() || *relative.begin() == ".." || *relative.begin() == ".") return nullptr;
  const int descriptor = open_relative(top, relative);
  if (descriptor < 0) return nullptr;
  try {
    return std::make_shared<const InputFile>(path, descriptor);
  } catch (const Error&) {
    return nullptr;  // something else has taken its place
  }
}

// Takes the images of one request, one after the other, out of one purse of bytes, pixels and time.
class Admission {
 public:
  Admission(Request& request, const ImagePolicy& policy, const std::function<bool()>& cancelled)
      : request_(request), policy_(policy), cancelled_(cancelled) {
    for (const std::string& host : policy.hosts) rules_.push_back(parse_host_rule(host));
  }

  void admit(ContentPart& part) {
    if (part.type == ContentPart::Type::image) admit_image(part.source);
    if (part.type != ContentPart::Type::video) return;
    if (part.frames.empty()) admit_video(part);
    for (const std::string& frame : part.frames) admit_image(frame);
  }

 private:
  void count_one() {
    if (++count_ > policy_.max_images) fail("the conversation has more than {} pictures", policy_.max_images);
    if (cancelled_ && cancelled_()) fail("the request is no longer wanted");
  }

  void admit_image(const std::string& source) {
    count_one();
    if (is_data_url(source) || request_.images_in_memory.contains(source)) return;
    const std::string scheme = scheme_of(source);
    if ((scheme == "http" || scheme == "https") && !rules_.empty())
      keep(source, fetch_image(source));
    else if (names_a_file(source))
      keep(source, read_local(source));
    else
      refuse_image(source);
  }

  void admit_video(ContentPart& part) {
    count_one();
    if (is_data_url(part.source) || !names_a_file(part.source))
      fail(
          "a video must be a list of frames that are data URLs{}",
          policy_.root.empty() ? "" : ", or a file below this server's picture folder, by its relative path");
    auto file = open(part.source);
    if (file->size() > policy_.max_video_bytes)
      fail("{}: the video is larger than the {} bytes allowed here", printable(part.source),
           policy_.max_video_bytes);
    part.source = file->path().string();
    request_.open_videos.insert_or_assign(part.source, std::move(file));
  }

  bool names_a_file(const std::string& source) const {
    const std::string scheme = scheme_of(source);
    return !policy_.root.empty() && (scheme.empty() || scheme == "file");
  }

  [[noreturn]] void refuse_image(const std::string& source) const {
    std::string allowed;
    if (!policy_.root.empty())
      allowed += ", or a file below this server's picture folder, by its relative path";
    if (!rules_.empty()) allowed += ", or the http(s) address of a picture on a host that this server allows";
    if (allowed.empty()) allowed = ": this server opens no files or addresses";
    fail("{}: a picture must be a data URL (data:image/png;base64,...){}", printable(source), allowed);
  }

  std::string fetch_image(const std::string& source) {
    const WebAddress address{std::string(trim(source))};
    if (std::ranges::none_of(rules_, [&](const HostRule& rule) { return allows(rule, address); }))
      fail("{}: not on a host and port that this server allows; send the picture as a data URL",
           printable(source));
    const auto left = std::chrono::duration_cast<milliseconds>(deadline_ - Clock::now());
    if (left.count() <= 0)
      fail("{}: the addresses of the request take more than {} seconds in all", printable(source),
           kTotalTime * policy_.timeout);
    return fetch(address, source,
                 {bytes_for_one(source), std::min<milliseconds>(left, seconds(policy_.timeout))}, cancelled_);
  }

  std::shared_ptr<const InputFile> open(const std::string& source) const {
    const std::string scheme = scheme_of(source);
    auto file = open_below(
        policy_.root, scheme.empty() ? source : source.substr(source.find(kSchemeEnd) + kSchemeEnd.size()));
    if (!file) fail("{}: there is no such file below this server's picture folder", printable(source));
    return file;
  }

  std::string read_local(const std::string& source) const {
    const size_t limit = bytes_for_one(source);
    const auto file = open(source);
    std::string bytes(std::min(file->size(), limit) + 1, '\0');  // a file may grow
    bytes.resize(file->read(bytes.data(), bytes.size(), 0));
    if (bytes.size() > limit)
      fail("{}: the file is larger than the {} bytes allowed for it", printable(source), limit);
    return bytes;
  }

  size_t bytes_for_one(const std::string& source) const {
    if (bytes_left_ == 0)
      fail("{}: the pictures before it have all the {} bytes allowed for one request", printable(source),
           kTotalBytes * policy_.max_bytes);
    return std::min(policy_.max_bytes, bytes_left_);
  }

  void keep(const std::string& source, const std::string& bytes) {
    bytes_left_ -= bytes.size();
    DecodeLimits limits;
    limits.max_pixels = std::min(limits.max_pixels, policy_.max_pixels);
    Image image = decode_image(std::as_bytes(std::span(bytes)), source, limits);
    pixels_left_ -= int64_t{image.width} * image.height;
    if (pixels_left_ < 0)
      fail("{}: the pictures of the request have more than {} pixels in all; take fewer or smaller ones",
           printable(source), policy_.max_pixels);
    request_.images_in_memory.emplace(source, std::move(image));
  }

  Request& request_;
  const ImagePolicy& policy_;
  const std::function<bool()>& cancelled_;
  std::vector<HostRule> rules_;
  size_t count_ = 0;
  size_t bytes_left_ = kTotalBytes * policy_.max_bytes;
  int64_t pixels_left_ = policy_.max_pixels;
  Clock::time_point deadline_ = Clock::now() + kTotalTime * seconds(policy_.timeout);
};

void erase_all(std::string& text, const std::string& what) {
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at))
    text.erase(at, what.size());
}

}  // namespace

void check_policy(const ImagePolicy& policy) {
  std::error_code error;
  if (!policy.root.empty() && !fs::is_directory(policy.root, error))
    fail("{} cannot be the picture folder: it is no folder that can be read", policy.root.string());
  for (const std::string& host : policy.hosts) parse_host_rule(host);
  constexpr size_t kMax = size_t{1} << 40;
  if (policy.max_bytes < 1 || policy.max_bytes > kMax || policy.max_pixels < 1)
    fail("pictures must be allowed 1 to {} bytes and at least 1 pixel", kMax);
  if (policy.timeout < 1 || policy.timeout > 86400)
    fail("the time for fetching a picture must be 1 to 86400 seconds, not {}", policy.timeout);
}

bool names_images(const Request& request) {
  for (const ContentPart* part : visuals_of(request.conversation)) {
    if (part->frames.empty() && !is_data_url(part->source)) return true;
    for (const std::string& frame : part->frames)
      if (!is_data_url(frame)) return true;
  }
  return false;
}

void admit_images(Request& request, const ImagePolicy& policy, const std::function<bool()>& cancelled) {
  Admission admission(request, policy, cancelled);
  for (Message& message : request.conversation)
    for (ContentPart& part : message.content) admission.admit(part);
}

std::string hide_root(const std::string& message, const ImagePolicy& policy) {
  std::error_code error;
  const fs::path root = fs::canonical(policy.root, error);
  std::string hidden = message;
  if (error || root == root.root_path()) return hidden;
  erase_all(hidden, root.string() + "/");
  erase_all(hidden, printable(root.string() + "/"));  // as messages quote it
  return hidden;
}

}  // namespace dvlm
