// Fetching what stands at a web address, from an internet that means harm.
#pragma once
#include <chrono>
#include <functional>
#include <string>

#include "server/allowed_hosts.h"

namespace dvlm {

struct FetchLimits {
  size_t bytes = 0;
  std::chrono::milliseconds time{0};  // from the look-up of the name to the last byte
};

// The body of a 200 answer. A host written as an IP address is connected to as it is: its owner allowed it;
// a name only where it leads to a public address (is_public), looked at when the connection is made. No
// redirects, proxies, cookies, passwords or compression. Throws Error for the client, also when `cancelled`
// (asked about once a second) returns true. From any thread.
std::string fetch(const WebAddress& address, const std::string& name, const FetchLimits& limits,
                  const std::function<bool()>& cancelled = {});

}  // namespace dvlm
