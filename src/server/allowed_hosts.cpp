#include "server/allowed_hosts.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <span>

#include "core/ascii.h"
#include "core/error.h"

namespace dvlm {

namespace {

constexpr size_t kLongestAddress = 4096;
constexpr size_t kLongestHost = 253;

std::optional<std::string> part(CURLU* parts, CURLUPart which, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(parts, which, &text, flags) != CURLUE_OK || !text) return {};
  std::string out = text;
  curl_free(text);
  return out;
}

// A host as libcurl gives it: an address without brackets, or a name without the dot at its end.
std::string bare_host(std::string host) {
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') return host.substr(1, host.size() - 2);
  if (host.ends_with('.')) host.pop_back();
  return lower(host);
}

// A name whose last label begins with a digit may be an IPv4 address in one of its many forms.
bool is_host_name(const std::string& name) {
  if (name.empty() || name.size() > kLongestHost || name.front() == '.' || name.back() == '.') return false;
  const char last = name[name.rfind('.') + 1];  // npos + 1 is 0
  if ((last >= '0' && last <= '9') || name.find("..") != std::string::npos) return false;
  return std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
  });
}

// Spaces, control characters, letters beyond ASCII and backslashes: parsers disagree about them.
bool is_plain(const std::string& text) {
  return std::ranges::all_of(text, [](char c) { return c > 0x20 && c < 0x7f && c != '\\'; });
}

std::optional<WebAddress> parse_host(const std::string& host) {
  try {
    return WebAddress("http://" + host + "/");
  } catch (const Error&) {
    return {};
  }
}

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
  return std::ranges::none_of(kNearV4, [&](const Range& range) { return range.holds(address); });
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
  return kGlobalV6.holds(bytes) &&
         std::ranges::none_of(kNearV6, [&](const Range& range) { return range.holds(bytes); });
}

WebAddress::WebAddress(const std::string& text) : parts_(curl_url()) {
  const std::string name = printable(text);
  if (text.size() > kLongestAddress)
    fail("{}: the address is longer than {} characters", name, kLongestAddress);
  if (!is_plain(text))
    fail("{}: the address has a character that must be percent-encoded, and in a host name by Punycode",
         name);
  if (!parts_ || curl_url_set(parts_.get(), CURLUPART_URL, text.c_str(), CURLU_DISALLOW_USER) != CURLUE_OK)
    fail("{}: not a web address that can be used; it must be http(s)://host/path, without user and password",
         name);
  const std::string scheme = part(parts_.get(), CURLUPART_SCHEME).value_or("");
  const std::string port = part(parts_.get(), CURLUPART_PORT, CURLU_DEFAULT_PORT).value_or("");
  host_ = bare_host(part(parts_.get(), CURLUPART_HOST).value_or(""));
  ip_ = parse_ip(host_);
  const bool zone = part(parts_.get(), CURLUPART_ZONEID).has_value();
  const bool web = scheme == "http" || scheme == "https";
  const bool number = !port.empty() && port.size() <= 5 && port.find_first_not_of("0123456789") == port.npos;
  port_ = number ? std::stoi(port) : 0;
  if (!web || zone || port_ < 1 || port_ > 65535 || !(ip_ || is_host_name(host_)))
    fail("{}: not a web address that can be used; it must be http(s)://host/path", name);
  default_port_ = port_ == (scheme == "https" ? 443 : 80);
}

HostRule parse_host_rule(const std::string& entry) {
  const bool subdomains = entry.starts_with("*.");
  std::string host = subdomains ? entry.substr(2) : entry;
  if (const auto ip = parse_ip(host); ip && ip->v6) host = "[" + host + "]";
  const size_t colon = host.rfind(':');  // of a port, or inside an IPv6 address
  const bool port = colon != std::string::npos && host.find(']', colon) == std::string::npos;
  const bool plain = host.find_first_of("/?#@%\\*") == std::string::npos && !host.ends_with(':');
  if (const auto address = plain ? parse_host(host) : std::nullopt; address && !(subdomains && address->ip()))
    return {address->host(), subdomains, address->ip(), port ? address->port() : 0};
  fail(
      "{} is no host that can be allowed: give example.org, *.example.org, example.org:8443 or "
      "192.0.2.1:9000",
      printable(entry));
}

bool allows(const HostRule& rule, const WebAddress& address) {
  if (rule.port == 0 ? !address.default_port() : rule.port != address.port()) return false;
  if (rule.address || address.ip()) return rule.address == address.ip();
  if (!rule.subdomains) return address.host() == rule.name;
  return address.host().size() > rule.name.size() + 1 && address.host().ends_with("." + rule.name);
}

}  // namespace dvlm
