#include "server/fetch.h"

#include <algorithm>

#include "core/error.h"

namespace dvlm {

namespace {

constexpr size_t kMaxHeaders = size_t{64} << 10;  // bytes
constexpr long kSlow = 1000;                      // bytes per second
constexpr long kSlowTime = 5;                     // seconds

// What the callbacks of one transfer share. They must not throw.
struct Transfer {
  const WebAddress& address;
  const FetchLimits& limits;
  const std::function<bool()>& cancelled;
  CURL* curl;
  std::string body;
  size_t headers = 0;  // bytes
  bool near = false;   // the name led to an address that is not public
  bool too_large = false;
};

long status_of(CURL* curl) {
  long status = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  return status;
}

bool may_connect(const Transfer& transfer, const curl_sockaddr& to) {
  const auto ip = ip_of(to.addr, to.addrlen);
  if (!ip || port_of(to.addr, to.addrlen) != transfer.address.port()) return false;
  return transfer.address.ip() ? ip == transfer.address.ip() : is_public(*ip);
}

// Asked with the address that is about to be connected to: what the name means a moment later does not count.
curl_socket_t open_socket(void* data, curlsocktype purpose, curl_sockaddr* to) {
  auto& transfer = *static_cast<Transfer*>(data);
  if (purpose == CURLSOCKTYPE_IPCXN && may_connect(transfer, *to))
    return ::socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
  transfer.near = true;
  return CURL_SOCKET_BAD;
}

size_t take_header(char*, size_t size, size_t count, void* data) {
  auto& transfer = *static_cast<Transfer*>(data);
  transfer.headers += size * count;
  return transfer.headers <= kMaxHeaders ? size * count : 0;
}

size_t take_body(char* bytes, size_t size, size_t count, void* data) {
  auto& transfer = *static_cast<Transfer*>(data);
  if (status_of(transfer.curl) != 200) return 0;
  transfer.too_large = size * count > transfer.limits.bytes - transfer.body.size();
  if (transfer.too_large) return 0;
  try {
    transfer.body.append(bytes, size * count);
  } catch (const std::bad_alloc&) {
    return 0;
  }
  return size * count;
}

int go_on(void* data, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  const auto& transfer = *static_cast<Transfer*>(data);
  return transfer.cancelled && transfer.cancelled() ? 1 : 0;
}

template <class Value>
void set(CURL* curl, CURLoption option, Value value) {
  if (curl_easy_setopt(curl, option, value) != CURLE_OK)
    fail("the server cannot fetch pictures: its libcurl lacks option {}", static_cast<int>(option));
}

void set_options(Transfer& transfer) {
  CURL* curl = transfer.curl;
  set(curl, CURLOPT_CURLU, transfer.address.parts());
  set(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  set(curl, CURLOPT_FOLLOWLOCATION, 0L);
  // None from the environment either.
  set(curl, CURLOPT_PROXY, "");
  set(curl, CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
  set(curl, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
  set(curl, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set(curl, CURLOPT_HTTP_CONTENT_DECODING, 0L);
  set(curl, CURLOPT_HTTP_TRANSFER_DECODING, 1L);  // chunks
  set(curl, CURLOPT_USERAGENT, "dvlm");
  set(curl, CURLOPT_NOSIGNAL, 1L);
  const long time = static_cast<long>(std::max<int64_t>(transfer.limits.time.count(), 1));  // 0: for ever
  set(curl, CURLOPT_TIMEOUT_MS, time);
  set(curl, CURLOPT_CONNECTTIMEOUT_MS, time);
  set(curl, CURLOPT_LOW_SPEED_LIMIT, kSlow);
  set(curl, CURLOPT_LOW_SPEED_TIME, kSlowTime);
  set(curl, CURLOPT_MAXFILESIZE_LARGE, static_cast<curl_off_t>(transfer.limits.bytes));
  set(curl, CURLOPT_OPENSOCKETFUNCTION, open_socket);
  set(curl, CURLOPT_OPENSOCKETDATA, &transfer);
  set(curl, CURLOPT_HEADERFUNCTION, take_header);
  set(curl, CURLOPT_HEADERDATA, &transfer);
  set(curl, CURLOPT_WRITEFUNCTION, take_body);
  set(curl, CURLOPT_WRITEDATA, &transfer);
  set(curl, CURLOPT_XFERINFOFUNCTION, go_on);
  set(curl, CURLOPT_XFERINFODATA, &transfer);
  set(curl, CURLOPT_NOPROGRESS, 0L);
}

// Says nothing of addresses: the client knows the name alone.
[[noreturn]] void explain(const Transfer& transfer, CURLcode code, const std::string& name) {
  const long status = status_of(transfer.curl);
  if (transfer.too_large || code == CURLE_FILESIZE_EXCEEDED)
    fail("{}: the file is larger than the {} bytes allowed for it; take a smaller picture", name,
         transfer.limits.bytes);
  if (status >= 300 && status < 400)
    fail("{}: its server answers with a redirect ({}), which is not followed; give the address it leads to",
         name, status);
  if (status > 200) fail("{}: its server answers with status {} instead of a picture", name, status);
  if (transfer.headers > kMaxHeaders)
    fail("{}: its server sends more than {} bytes of headers", name, kMaxHeaders);
  if (code == CURLE_OPERATION_TIMEDOUT)
    fail("{}: its server is too slow; the picture must come within {:.1f} seconds", name,
         static_cast<double>(transfer.limits.time.count()) / 1000);
  if (code == CURLE_ABORTED_BY_CALLBACK) fail("{}: no longer wanted", name);
  if (transfer.near) fail("{}: its host is not at a public address, and others are not connected to", name);
  fail("{}: cannot be fetched: {}", name, curl_easy_strerror(code));
}

}  // namespace

std::string fetch(const WebAddress& address, const std::string& raw_name, const FetchLimits& limits,
                  const std::function<bool()>& cancelled) {
  const std::string name = printable(raw_name);
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  const std::unique_ptr<CURL, void (*)(CURL*)> curl(ready == CURLE_OK ? curl_easy_init() : nullptr,
                                                    curl_easy_cleanup);
  if (!curl) fail("{}: the server cannot fetch pictures at present", name);
  Transfer transfer{address, limits, cancelled, curl.get(), {}};
  set_options(transfer);
  const CURLcode code = curl_easy_perform(curl.get());
  if (code != CURLE_OK || status_of(curl.get()) != 200) explain(transfer, code, name);
  return std::move(transfer.body);
}

}  // namespace dvlm
