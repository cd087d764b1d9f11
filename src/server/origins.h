// Web pages of other origins that the owner lets read the answers (CORS, https://fetch.spec.whatwg.org).
#pragma once
#include <httplib.h>

#include <string>
#include <vector>

#include "server/request_head.h"

namespace dvlm {

class Origins {
 public:
  // "http://localhost:5173", "null" (pages from files), or "*" for all. Throws Error for the owner.
  explicit Origins(const std::vector<std::string>& allowed);

  // Whether a browser asks, without a key, what a page of an allowed origin may send.
  bool is_preflight(const RequestHead& head) const;
  // Adds what makes the answer readable for the page, and for a preflight what it may send.
  void allow(const RequestHead& head, httplib::Response& response) const;

 private:
  bool allows(const std::string& origin) const;

  std::vector<std::string> allowed_;
  bool all_ = false;
};

}  // namespace dvlm
