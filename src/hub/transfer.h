// One transfer over HTTP.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace dvlm {

struct TransferEnd {
  bool complete = false;
  bool final = false;       // asking again would change nothing
  bool from_start = false;  // the server sends a file only from its beginning, and nothing was taken
  long status = 0;          // of HTTP; 0: there was no answer
  int wait_s = 0;           // that the server asks to wait
  std::string problem = {};
};

// Gets an address from byte `from` on and hands over what comes. Follows redirections, to which `token` is
// not sent where they lead to another host. What `take` throws ends it and is thrown.
TransferEnd transfer(const std::string& address, const std::string& token, int64_t from,
                     const std::function<bool()>& cancelled,
                     const std::function<void(std::string_view)>& take);

}  // namespace dvlm
