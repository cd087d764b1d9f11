// The images that clients name instead of sending them: which of them the server's owner allows, and
// getting those.
#pragma once
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace dvlm {

// What a request may name beside data URLs.
struct ImagePolicy {
  std::filesystem::path root = {};  // files below it, by relative path, absolute path or file://; empty: none
  std::vector<std::string> hosts = {};  // of http(s) addresses (parse_host_rule); none: no addresses
  size_t max_bytes = size_t{32} << 20;  // of one image as it is encoded; of all of a request, 4 x
  // Decoded: of all images of a request that are read or fetched; of one data URL, and of all four times
  // that.
  int64_t max_pixels = int64_t{64} << 20;
  size_t max_video_bytes = size_t{1} << 30;  // of a video file
  int timeout = 10;                          // seconds for one address; for all of a request, 3 x
  size_t max_images = 64;                    // of a request, frames of videos included
};

// Throws Error for the owner when the root is no folder or a host is none.
void check_policy(const ImagePolicy& policy);

// Whether admit_images() would have to fetch or read any.
bool names_images(const Request& request);

// Checks every image of `request.conversation`, reads and fetches those that are allowed, and puts them
// into `request.images_in_memory`, so that the engine opens no image itself. Video files below the root
// stay files: their `source` becomes the canonical path. Stops when `cancelled` returns true. From any
// thread. Throws Error with a sentence for the client, the same for files that are outside and that do not
// exist.
void admit_images(Request& request, const ImagePolicy& policy, const std::function<bool()>& cancelled = {});

// A message of the engine without the path of the root, which is none of the client's business.
std::string hide_root(const std::string& message, const ImagePolicy& policy);

}  // namespace dvlm
