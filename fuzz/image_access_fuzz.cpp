// Web addresses from strangers, against what a server's owner allows: an address that a rule lets through
// leads where the rule says, and says so when it is written out again. A line of the input for the owner's
// entry, the rest for the address.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/error.h"
#include "server/allowed_hosts.h"

namespace {

void check(const dvlm::HostRule& rule, const dvlm::WebAddress& address) {
  if (!dvlm::allows(rule, address)) return;
  const std::string& host = address.host();
  if (rule.address ? rule.address != address.ip() : !host.ends_with(rule.name)) __builtin_trap();
  const bool v6 = address.ip() && address.ip()->v6;
  const dvlm::WebAddress again("http://" + (v6 ? "[" + host + "]" : host) + ":" +
                               std::to_string(address.port()) + "/");
  if (again.host() != host || again.ip() != address.ip() || again.port() != address.port()) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const size_t line = std::min(text.find('\n'), size);
  try {
    const dvlm::WebAddress address{std::string(text.substr(std::min(line + 1, size)))};
    for (const char* entry : {"example.org", "*.example.org", "10.1.2.3:9000", "[::1]"})
      check(dvlm::parse_host_rule(entry), address);
    check(dvlm::parse_host_rule(std::string(text.substr(0, line))), address);
  } catch (const dvlm::Error&) {
  }
  return 0;
}
