// IP addresses, and which of them are on the public internet.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>

struct sockaddr;

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

}  // namespace dvlm
