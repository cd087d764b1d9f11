#include "server/origins.h"

#include <algorithm>

#include "core/ascii.h"
#include "core/error.h"

namespace dvlm {

namespace {

constexpr const char* kOriginMethods = "GET, HEAD, POST, OPTIONS";
constexpr const char* kOriginHeaders = "authorization, content-type, x-request-id";

bool is_header_name(std::string_view text) {
  constexpr std::string_view kSigns = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::ranges::all_of(text, [&](char c) {
    return (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'z') || kSigns.find(c) != kSigns.npos;
  });
}

// As browsers write it: in lower case, without the scheme's own port.
std::string parse_origin(const std::string& entry) {
  std::string origin = lower(trim(entry));
  if (origin == "*" || origin == "null") return origin;
  if (origin.ends_with('/')) origin.pop_back();
  const bool secure = origin.starts_with("https://");
  const std::string_view port = secure ? ":443" : ":80";
  const size_t host = secure ? 8 : 7;
  const bool plain = std::ranges::all_of(origin, [](char c) { return c > ' ' && c < 127; });
  if (!plain || !(secure || origin.starts_with("http://")) || origin.size() == host ||
      origin.find_first_of("/?#@*,", host) != origin.npos)
    fail("{} is no origin of pages: give http://localhost:5173, https://example.org, null or *",
         printable(entry));
  if (origin.ends_with(port)) origin.resize(origin.size() - port.size());
  return origin;
}

// "[::1]:8080" is "::1", "example.org:80" is "example.org"; what is neither stays what it is.
std::string without_port(const std::string& host) {
  const bool brackets = host.starts_with('[');
  const size_t end = std::min(brackets ? host.find(']') : host.find(':'), host.size());
  const std::string_view behind =
      std::string_view(host).substr(std::min(end + (brackets ? 1 : 0), host.size()));
  const bool port = behind.starts_with(':') && behind.find_first_not_of("0123456789", 1) == behind.npos;
  if (end == host.size() || !(port || (brackets && behind.empty()))) return host;
  return brackets ? host.substr(1, end - 1) : host.substr(0, end);
}

// One label, as machines have in their own network: nobody elsewhere can own such a name and lead it here. A
// number is an address (8021 is 0.0.31.85).
bool is_short_name(std::string_view host) {
  const bool number = host.starts_with("0x") || host.find_first_not_of("0123456789") == host.npos;
  return !number && std::ranges::all_of(host, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '-' || c == '_';
  });
}

// Those that every request may have, and those that the page's client library adds of its own.
std::string allowed_headers(std::string_view asked) {
  std::string out = kOriginHeaders;
  while (!asked.empty()) {
    const size_t end = std::min(asked.find(','), asked.size());
    const std::string name = lower(trim(asked.substr(0, end)));
    if (is_header_name(name) && (", " + out + ",").find(", " + name + ",") == std::string::npos)
      out += ", " + name;
    asked.remove_prefix(std::min(asked.size(), end + 1));
  }
  return out;
}

}  // namespace

Origins::Origins(const std::vector<std::string>& allowed, const std::vector<std::string>& hosts,
                 const std::string& listens) {
  const std::string own = lower(listens);
  const bool local = own == "localhost" || own == "::1" || own.starts_with("127.");
  takes_short_names_ = local && hosts.empty();
  if (local || !hosts.empty()) hosts_ = {"localhost", "127.0.0.1", "::1", own};
  for (const std::string& host : hosts) {
    hosts_.push_back(without_port(lower(trim(host))));
    if (hosts_.back().empty() || hosts_.back().find_first_of("/*@, ") != std::string::npos)
      fail("{} is no host name: give example.org or 192.168.1.5", printable(host));
  }
  for (const std::string& entry : allowed) allowed_.push_back(parse_origin(entry));
  all_ = std::ranges::find(allowed_, "*") != allowed_.end();
}

bool Origins::allows(const std::string& origin) const {
  return !origin.empty() && (all_ || std::ranges::find(allowed_, origin) != allowed_.end());
}

const char* Origins::refusal(const RequestHead& head) const {
  const std::string host = lower(head.header("host")), origin = lower(head.header("origin"));
  const std::string name = without_port(host);
  const bool known = hosts_.empty() || std::ranges::find(hosts_, name) != hosts_.end() ||
                     (takes_short_names_ && is_short_name(name));
  if (!host.empty() && !known)
    return "the Host of the request is none of this server's names; its owner can add it by --allow-host";
  const bool own = origin == "http://" + host || origin == "https://" + host;
  if (!origin.empty() && !own && !allows(origin))
    return "pages of this Origin may not ask; the server's owner can allow it by --allow-origin";
  return nullptr;
}

bool Origins::is_preflight(const RequestHead& head) const {
  return head.method == "OPTIONS" && allows(head.header("origin")) &&
         !head.header("access-control-request-method").empty();
}

void Origins::allow(const RequestHead& head, httplib::Response& response) const {
  if (allowed_.empty()) return;
  response.set_header("Vary", "Origin");
  const std::string origin = head.header("origin");
  if (!allows(origin)) return;
  response.set_header("Access-Control-Allow-Origin", all_ ? "*" : origin);
  response.set_header("Access-Control-Expose-Headers", "X-Request-Id, Retry-After");
  if (!is_preflight(head)) return;
  response.set_header("Access-Control-Allow-Methods", kOriginMethods);
  response.set_header("Access-Control-Allow-Headers",
                      allowed_headers(head.header("access-control-request-headers")));
  response.set_header("Access-Control-Max-Age", "600");
}

}  // namespace dvlm
