// Downloads a model from Hugging Face's hub into the cache that all its programs share. The only part of dvlm
// that downloads anything, when somebody asks for it.
#pragma once
#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "checkpoint/hub_cache.h"

namespace dvlm {

struct PullOptions {
  std::filesystem::path cache = {};  // hub_cache()
  std::string endpoint = {};         // hub_endpoint()
  std::string token = {};            // hub_token(); sent to the endpoint, not to where it redirects
  int tries = 5;                     // of a transfer that brings nothing
  std::chrono::milliseconds wait =
      std::chrono::seconds(1);           // before the second one; twice as long before each further
  std::function<bool()> cancelled = {};  // asked all the time; may be empty
  // Of all files together, what is there included, in bytes; `note`: what is done.
  std::function<void(int64_t done, int64_t total, const std::string& note)> progress = {};
};

struct Pulled {
  std::filesystem::path folder;  // the snapshot
  std::string commit;
  int files = 0;
  int64_t bytes = 0, downloaded = 0;
  std::vector<std::string> left_out;  // weights for other programs
};

// HF_ENDPOINT, else the hub's own address.
std::string hub_endpoint();
// HF_TOKEN, else what HF_TOKEN_PATH or token in hub_home() holds; "" without one.
std::string hub_token();

class PullCancelled {};

// Files of the right size that are there already are not transferred again; one that broke off goes on where
// it ended, also in a later call. What arrives is checked against size and checksum that the hub names. The
// snapshot, and the name of a branch or tag that leads to it, are made once all files are there. Throws Error
// for what the hub refuses, for answers that make no sense, and when transfers bring nothing any more;
// PullCancelled where `cancelled` says so.
Pulled pull(const HubName& name, const PullOptions& options);

}  // namespace dvlm
