// Which web pages may ask, and read the answers (CORS, https://fetch.spec.whatwg.org). A browser sends what
// any page wants to this machine's own addresses, too; it says whose page it is (Origin), and by which name
// it found the server (Host), which a page's owner can lead anywhere.
#pragma once
#include <httplib.h>

#include <string>
#include <vector>

#include "server/request_head.h"

namespace dvlm {

class Origins {
 public:
  // "http://localhost:5173", "null" (pages from files), or "*" for all. Throws Error for the owner.
  // `hosts`: names by which the server may be asked, beside those of its own address; a server that listens
  // on other addresses than this machine's own (`listens`) takes every name unless some are given.
  explicit Origins(const std::vector<std::string>& allowed, const std::vector<std::string>& hosts = {},
                   const std::string& listens = "127.0.0.1");

  // Null, or why a request is refused with 403.
  const char* refusal(const RequestHead& head) const;

  // Whether a browser asks, without a key, what a page of an allowed origin may send.
  bool is_preflight(const RequestHead& head) const;
  // Adds what makes the answer readable for the page, and for a preflight what it may send.
  void allow(const RequestHead& head, httplib::Response& response) const;

 private:
  bool allows(const std::string& origin) const;

  std::vector<std::string> allowed_, hosts_;  // no hosts: every one
  bool takes_short_names_ = false;            // beside those: names without a dot
  bool all_ = false;
};

}  // namespace dvlm
