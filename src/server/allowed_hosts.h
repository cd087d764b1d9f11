// Which web addresses a server's owner allows, compared with what libcurl would connect to; IP addresses, and
// which of them are on the public internet.
#pragma once
#include <curl/curl.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace dvlm {

struct IpAddress {
  bool v6 = false;
  std::array<uint8_t, 16> bytes{};  // in network order; IPv4 has the first four
  bool operator==(const IpAddress&) const = default;
};

// "192.0.2.1" or "2001:db8::1"; nothing for any other form (brackets, zones, "127.1").
std::optional<IpAddress> parse_ip(const std::string& text);

// Nothing for families other than IPv4 and IPv6. `size`: bytes behind `address`.
std::optional<IpAddress> ip_of(const sockaddr& address, size_t size);
int port_of(const sockaddr& address, size_t size);  // 0 for other families

// Whether the address is globally reachable unicast by IANA's special-purpose registries. IPv6 addresses that
// carry an IPv4 address (mapped, NAT64, 6to4) are what that one is; Teredo never is.
bool is_public(const IpAddress& address);

struct HostRule {
  std::string name;                  // in lower case
  bool subdomains = false;           // those of `name`, but not itself
  std::optional<IpAddress> address;  // instead of a name
  int port = 0;                      // 0: the scheme's own
};

// "example.org", "*.example.org" (all below it), "example.org:8443", "127.0.0.1:9000", "[::1]:9000". Throws
// Error for the owner.
HostRule parse_host_rule(const std::string& entry);

// An http or https address, taken apart by libcurl, which is handed the parts and not the text.
class WebAddress {
 public:
  // Throws Error for the client when it is none, or holds a user or password, or characters that parsers
  // disagree about.
  explicit WebAddress(const std::string& text);

  const std::string& host() const { return host_; }  // a name in lower case, without the dot at its end
  const std::optional<IpAddress>& ip() const { return ip_; }  // of a host that is written as an address
  int port() const { return port_; }
  bool default_port() const { return default_port_; }
  CURLU* parts() const { return parts_.get(); }

 private:
  struct Free {
    void operator()(CURLU* parts) const { curl_url_cleanup(parts); }
  };
  std::unique_ptr<CURLU, Free> parts_;
  std::string host_;
  std::optional<IpAddress> ip_;
  int port_ = 0;
  bool default_port_ = false;
};

bool allows(const HostRule& rule, const WebAddress& address);

}  // namespace dvlm
