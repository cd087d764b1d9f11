#include "server/allowed_hosts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/un.h>

#include "core/error.h"

namespace dvlm {
namespace {

IpAddress ip(const std::string& text) {
  const auto address = parse_ip(text);
  EXPECT_TRUE(address) << text;
  return address.value_or(IpAddress{});
}

constexpr const char* kNear[] = {
    "0.0.0.0",
    "0.255.255.255",
    "10.0.0.0",
    "10.255.255.255",
    "100.64.0.0",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.255",
    "169.254.0.0",
    "169.254.169.254",
    "169.254.255.255",
    "172.16.0.0",
    "172.31.255.255",
    "192.0.0.0",
    "192.0.0.170",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.0",
    "192.168.255.255",
    "198.18.0.0",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.255",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    // IPv6
    "::",
    "::1",
    "::7f00:1",
    "::8.8.8.8",
    "fe80::1",
    "febf::1",
    "fc00::1",
    "fd12:3456::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:1ff:ffff::1",
    "2001:db8::1",
    "3fff::1",
    "3fff:fff::1",
    "4000::1",
    "5f00::1",
    "64:ff9b:1::1",
    "64:ff9b:1::808:808",
    "64:ff9a::808:808",
    "1fff::1",
    // IPv6 around IPv4
    "::ffff:127.0.0.1",
    "::ffff:10.1.2.3",
    "::ffff:169.254.169.254",
    "::ffff:192.168.1.1",
    "::ffff:0.0.0.0",
    "::ffff:0:8.8.8.8",
    "64:ff9b::10.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::169.254.169.254",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "2002:a9fe:a9fe::1",
    "2002:c0a8:1::",
};

TEST(IpAddresses, near_ones_are_not_public) {
  for (const char* near : kNear) EXPECT_FALSE(is_public(ip(near))) << near;
}

TEST(IpAddresses, others_are_public) {
  for (const char* far :
       {"1.0.0.0", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
        "128.0.0.1", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0",
        "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255",
        // IPv6
        "2001:200::1", "2001:4860:4860::8888", "2001:db7::1", "2001:db9::1", "2003::1", "2606:4700::1111",
        "3ffe::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"})
    EXPECT_TRUE(is_public(ip(far))) << far;
}

TEST(IpAddresses, have_one_form) {
  for (const std::string& text :
       {std::string("127.1"), std::string("0x7f.0.0.1"), std::string("0177.0.0.1"), std::string("2130706433"),
        std::string("[::1]"), std::string("fe80::1%eth0"), std::string("1.2.3.4 "), std::string(""),
        std::string("1.2.3.4\0x", 9)})
    EXPECT_FALSE(parse_ip(text)) << text;
  EXPECT_EQ(ip("::1"), ip("0:0:0:0:0:0:0:1"));
  EXPECT_NE(ip("::ffff:1.2.3.4"), ip("1.2.3.4"));
}

TEST(IpAddresses, come_out_of_sockets) {
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(80);
  v4.sin_addr.s_addr = htonl(0x7f000001);
  const auto& address = reinterpret_cast<const sockaddr&>(v4);
  EXPECT_EQ(ip_of(address, sizeof v4), ip("127.0.0.1"));
  EXPECT_EQ(port_of(address, sizeof v4), 80);
  EXPECT_FALSE(ip_of(address, sizeof v4 - 1));
  sockaddr_un local{};
  local.sun_family = AF_UNIX;
  EXPECT_FALSE(ip_of(reinterpret_cast<const sockaddr&>(local), sizeof local));
}

bool allowed(const std::string& entry, const std::string& address) {
  const HostRule rule = parse_host_rule(entry);
  try {
    return allows(rule, WebAddress(address));
  } catch (const Error&) {
    return false;
  }
}

TEST(HostRules, let_through_what_they_name) {
  for (const auto& [entry, address] : std::vector<std::pair<std::string, std::string>>{
           {"example.org", "http://example.org/a.png"},
           {"example.org", "https://example.org/a.png"},
           {"example.org", "https://example.org:443/a.png"},
           {"example.org", "HTTPS://EXAMPLE.org./a.png?b#c"},
           {"Example.ORG.", "http://example.org"},
           {"example.org", "http://example.org/@evil.org"},
           {"example.org", "http://example.org?@evil.org"},
           {"*.example.org", "http://a.example.org/"},
           {"*.example.org", "http://a.b.EXAMPLE.org/"},
           {"example.org:8443", "https://example.org:8443/"},
           {"127.0.0.1:9000", "http://127.0.0.1:9000/"},
           {"127.0.0.1:9000", "http://127.1:9000/"},   // libcurl connects to 127.0.0.1
           {"127.0.0.1:9000", "http://0x7f.1:9000/"},  // here, too
           {"127.0.0.1:9000", "http://2130706433:9000/"},
           {"10.0.0.1", "http://10.0.0.1/"},
           {"[::1]:9000", "http://[::1]:9000/"},
           {"[::1]:9000", "http://[0:0:0:0:0:0:0:1]:9000/"},
           {"::1", "http://[::1]/"},
       })
    EXPECT_TRUE(allowed(entry, address)) << entry << " " << address;
}

// Rules, and addresses that they do not allow.
const std::pair<std::string, std::string> kHeldBack[] = {
    {"example.org", "http://example.com/"},
    {"example.org", "http://a.example.org/"},
    {"example.org", "http://notexample.org/"},
    {"example.org", "http://example.org.evil.org/"},
    {"example.org", "http://example.org:8080/"},
    {"example.org", "http://example.org:443/"},
    {"example.org", "https://example.org:80/"},
    {"example.org", "http://example.org:0/"},
    {"example.org", "http://example.org:65616/"},
    {"example.org", "http://example.org:99999999999999999999/"},
    {"example.org", "http://example.org:80x/"},
    {"example.org", "http://example.org@evil.org/"},
    {"example.org", "http://example.org:80@evil.org/"},
    {"example.org", "http://evil.org#@example.org/"},
    {"example.org", "http://evil.org?@example.org/"},
    {"example.org", "http://evil.org\\@example.org/"},
    {"example.org", "http://example.org\\@evil.org/"},
    {"example.org", "http://user@example.org/"},
    {"example.org", "http://user:password@example.org/"},
    {"example.org", "http://@example.org/"},
    {"example.org", "http://exam\tple.org/"},
    {"example.org", "http://example.org/a b"},
    {"example.org", "http://example.org/\r\nHost: evil.org"},
    {"example.org", std::string("http://example.org\0.evil.org/", 29)},
    {"example.org", "http://ex\xc3\xa4mple.org/"},
    {"example.org", "http://example\xe3\x80\x82org/"},  // an ideographic full stop
    {"example.org", "http://example.org%00.evil.org/"},
    {"example.org", "http://example.org%2f.evil.org/"},
    {"example.org", "http://example.org%20/"},
    {"example.org", "http://example.org../"},
    {"example.org", "http://.example.org/"},
    {"example.org", "http:///"},
    {"example.org", "http://"},
    {"example.org", "//example.org/"},
    {"example.org", "example.org/a.png"},
    {"example.org", "ftp://example.org/"},
    {"example.org", "file://example.org/etc/passwd"},
    {"example.org", "gopher://example.org:80/"},
    {"example.org", "javascript://example.org/"},
    {"example.org", "http://[example.org]/"},
    {"example.org", "http://example.org/" + std::string(5000, 'a')},
    {"*.example.org", "http://example.org/"},
    {"*.example.org", "http://.example.org/"},
    {"*.example.org", "http://aexample.org/"},
    {"*.example.org", "http://a.example.org:81/"},
    {"example.org:8443", "https://example.org/"},
    {"example.org:8443", "https://example.org:8444/"},
    {"127.0.0.1:9000", "http://127.0.0.1/"},
    {"127.0.0.1:9000", "http://127.0.0.2:9000/"},
    {"127.0.0.1:9000", "http://localhost:9000/"},
    {"127.0.0.1:9000", "http://[::ffff:127.0.0.1]:9000/"},
    {"127.0.0.1:9000", "http://127.0.0.1.:9001/"},
    {"127.0.0.1:9000", "http://127.1.:9000/"},
    {"127.0.0.1:9000", "http://0x7f000001.:9000/"},
    {"10.0.0.1", "http://10.0.0.1:81/"},
    {"[::1]:9000", "http://[::1%25lo]:9000/"},
    {"[::1]:9000", "http://[::1]:9001/"},
    {"fe80::1", "http://[fe80::1%25eth0]/"},
    {"localhost", "http://127.0.0.1/"},
};

TEST(HostRules, hold_back_everything_else) {
  for (const auto& [entry, address] : kHeldBack)
    EXPECT_FALSE(allowed(entry, address)) << entry << " " << address;
}

TEST(HostRules, are_hosts) {
  for (const std::string entry : {"",
                                  "*",
                                  "*.",
                                  ".",
                                  "..",
                                  "http://example.org",
                                  "example.org/",
                                  "example.org:",
                                  "example.org:0",
                                  "example.org:x",
                                  "example.org:70000",
                                  "user@example.org",
                                  "*.127.0.0.1",
                                  "1.",
                                  "*.1",
                                  "a.0x1",
                                  "1.2.3.4.5",
                                  "*.*.org",
                                  "exa mple.org",
                                  "a..b",
                                  ".example.org",
                                  "b\xc3\xbcrste.de",
                                  "[::1",
                                  "[::1]x",
                                  "::1%lo",
                                  "*.[::1]"})
    EXPECT_THROW(parse_host_rule(entry), Error) << entry;
}

}  // namespace
}  // namespace dvlm
