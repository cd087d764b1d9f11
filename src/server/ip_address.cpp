#include "server/ip_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <span>

namespace dvlm {

namespace {

// The first `bits` bits of an address.
struct Range {
  std::array<uint8_t, 16> start;
  int bits;

  bool holds(std::span<const uint8_t> address) const {
    const int whole = bits / 8, rest = bits % 8;
    if (!std::equal(start.begin(), start.begin() + whole, address.begin())) return false;
    return rest == 0 || (start[whole] ^ address[whole]) >> (8 - rest) == 0;
  }
};

constexpr Range kNearV4[] = {
    {{0}, 8},              // this network
    {{10}, 8},             // private
    {{100, 64}, 10},       // carrier-grade NAT
    {{127}, 8},            // loopback
    {{169, 254}, 16},      // link-local, the metadata of clouds included
    {{172, 16}, 12},       // private
    {{192, 0, 0}, 24},     // protocol assignments
    {{192, 0, 2}, 24},     // documentation
    {{192, 88, 99}, 24},   // 6to4 relays
    {{192, 168}, 16},      // private
    {{198, 18}, 15},       // benchmarks
    {{198, 51, 100}, 24},  // documentation
    {{203, 0, 113}, 24},   // documentation
    {{224}, 4},            // multicast
    {{240}, 4},            // reserved, broadcast included
};

constexpr Range kGlobalV6 = {{0x20}, 3};  // all that was ever assigned for global unicast
constexpr Range kNearV6[] = {
    {{0x20, 0x01}, 23},              // protocol assignments, Teredo included
    {{0x20, 0x01, 0x0d, 0xb8}, 32},  // documentation
    {{0x3f, 0xff}, 20},              // documentation
};

// IPv6 addresses that carry an IPv4 address, and from which byte on.
struct Carrier {
  Range range;
  int at;
};
constexpr Carrier kCarriers[] = {
    {{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 96}, 12},  // mapped
    {{{0, 0x64, 0xff, 0x9b}, 96}, 12},                       // NAT64
    {{{0x20, 0x02}, 16}, 2},                                 // 6to4
};

bool is_public_v4(std::span<const uint8_t> address) {
  return std::none_of(std::begin(kNearV4), std::end(kNearV4),
                      [&](const Range& range) { return range.holds(address); });
}

}  // namespace

std::optional<IpAddress> parse_ip(const std::string& text) {
  if (text.find('\0') != std::string::npos) return {};
  IpAddress address;
  if (inet_pton(AF_INET, text.c_str(), address.bytes.data()) == 1) return address;
  address.v6 = true;
  if (inet_pton(AF_INET6, text.c_str(), address.bytes.data()) == 1) return address;
  return {};
}

std::optional<IpAddress> ip_of(const sockaddr& address, size_t size) {
  IpAddress out;
  if (address.sa_family == AF_INET && size >= sizeof(sockaddr_in)) {
    std::memcpy(out.bytes.data(), &reinterpret_cast<const sockaddr_in&>(address).sin_addr, 4);
    return out;
  }
  if (address.sa_family == AF_INET6 && size >= sizeof(sockaddr_in6)) {
    out.v6 = true;
    std::memcpy(out.bytes.data(), &reinterpret_cast<const sockaddr_in6&>(address).sin6_addr, 16);
    return out;
  }
  return {};
}

int port_of(const sockaddr& address, size_t size) {
  if (address.sa_family == AF_INET && size >= sizeof(sockaddr_in))
    return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
  if (address.sa_family == AF_INET6 && size >= sizeof(sockaddr_in6))
    return ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port);
  return 0;
}

bool is_public(const IpAddress& address) {
  const std::span<const uint8_t> bytes = address.bytes;
  if (!address.v6) return is_public_v4(bytes);
  for (const Carrier& carrier : kCarriers)
    if (carrier.range.holds(bytes)) return is_public_v4(bytes.subspan(carrier.at));
  return kGlobalV6.holds(bytes) && std::none_of(std::begin(kNearV6), std::end(kNearV6),
                                                [&](const Range& range) { return range.holds(bytes); });
}

}  // namespace dvlm
