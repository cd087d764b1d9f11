// Which names and pages may ask. Lines of the input: an origin and a host that the owner allows, each empty
// for none, and where the server listens; the rest is the head of a request. What is let through is one of
// the owner's, or this machine's own: another library says which host an address names.
#include "server/origins.h"

#include <curl/curl.h>

#include <algorithm>

#include "core/ascii.h"
#include "fuzzing.h"

namespace {

using namespace dvlm;

// The host that a browser would go to, in lower case without brackets; empty when it would go nowhere.
std::string host_of(const std::string& address) {
  const std::unique_ptr<CURLU, decltype(&curl_url_cleanup)> parsed(curl_url(), curl_url_cleanup);
  char* host = nullptr;
  if (curl_url_set(parsed.get(), CURLUPART_URL, address.c_str(), 0) != CURLUE_OK ||
      curl_url_get(parsed.get(), CURLUPART_HOST, &host, 0) != CURLUE_OK)
    return "";
  std::string name = lower(host);
  curl_free(host);
  return name.starts_with('[') ? name.substr(1, name.size() - 2) : name;
}

void check_host(const std::string& sent, const std::string& allowed, const std::string& listens) {
  const std::string host = host_of("http://" + sent + "/");
  if (host.empty()) return;
  const bool own = host == "localhost" || host == "::1" || host == "127.0.0.1" || host == listens;
  const bool owners = !allowed.empty() && (host == host_of("http://" + allowed + "/") || host == allowed);
  const bool short_name = allowed.empty() && host.find_first_of(".:") == host.npos;
  DVLM_ASSERT(own || owners || short_name);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  const std::string origin = lower(trim(input.line())), host = lower(trim(input.line()));
  const bool local = input.line() != "0.0.0.0";
  const std::string listens = local ? "127.0.0.1" : "0.0.0.0";
  const std::string text(input.rest());
  const RequestHead head = parse_head(text.substr(0, text.find("\r\n\r\n")) + "\r\n\r\n");
  if (head.status != 0) return 0;
  fuzz::accepts([&] {
    const Origins origins(origin.empty() ? std::vector<std::string>{} : std::vector{origin},
                          host.empty() ? std::vector<std::string>{} : std::vector{host}, listens);
    const char* refusal = origins.refusal(head);
    httplib::Response response;
    origins.allow(head, response);
    for (const auto& [name, value] : response.headers)
      DVLM_ASSERT(value.find_first_of(std::string_view("\r\n\0", 3)) == value.npos);
    if (refusal) return;
    const std::string sent = head.header("host"), page = lower(head.header("origin"));
    if (!sent.empty() && (local || !host.empty())) check_host(lower(sent), host, listens);
    if (page.empty() || origin == "*" || (page == "null" && origin == "null")) return;
    const std::string page_host = host_of(page), owners = host_of(origin);
    DVLM_ASSERT(page.ends_with("://" + lower(sent)) || (!owners.empty() && page_host == owners) ||
                page == origin);
  });
  return 0;
}
