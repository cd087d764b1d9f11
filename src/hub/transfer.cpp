#include "hub/transfer.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <memory>

#include "core/error.h"

namespace dvlm {

namespace {

struct Call {
  CURL* curl;
  int64_t from;
  const std::function<bool()>& cancelled;
  const std::function<void(std::string_view)>& take;
  std::exception_ptr thrown = {};
};

long status_of(CURL* curl) {
  long status = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  return status;
}

size_t take_body(char* bytes, size_t size, size_t count, void* data) {
  auto& call = *static_cast<Call*>(data);
  const long status = status_of(call.curl);
  if (status != 200 && status != 206) return size * count;  // an error's text
  try {
    call.take({bytes, size * count});
  } catch (...) {
    call.thrown = std::current_exception();
    return 0;
  }
  return size * count;
}

int go_on(void* data, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  const auto& call = *static_cast<Call*>(data);
  return call.cancelled && call.cancelled() ? 1 : 0;
}

template <class Value>
void set(CURL* curl, CURLoption option, Value value) {
  if (curl_easy_setopt(curl, option, value) != CURLE_OK)
    fail("nothing can be downloaded: libcurl lacks option {}", static_cast<int>(option));
}

void set_options(Call& call, const std::string& address, const std::string& token) {
  CURL* curl = call.curl;
  set(curl, CURLOPT_URL, address.c_str());
  set(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  set(curl, CURLOPT_REDIR_PROTOCOLS_STR, address.starts_with("https:") ? "https" : "http,https");
  set(curl, CURLOPT_FOLLOWLOCATION, 1L);
  set(curl, CURLOPT_MAXREDIRS, 10L);
  set(curl, CURLOPT_USERAGENT, "dvlm");
  set(curl, CURLOPT_NOSIGNAL, 1L);
  set(curl, CURLOPT_CONNECTTIMEOUT, 30L);
  set(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);  // bytes per second
  set(curl, CURLOPT_LOW_SPEED_TIME, 30L);
  if (call.from > 0) set(curl, CURLOPT_RESUME_FROM_LARGE, static_cast<curl_off_t>(call.from));
  if (!token.empty()) {  // not to other hosts
    set(curl, CURLOPT_HTTPAUTH, static_cast<long>(CURLAUTH_BEARER));
    set(curl, CURLOPT_XOAUTH2_BEARER, token.c_str());
  }
  set(curl, CURLOPT_WRITEFUNCTION, take_body);
  set(curl, CURLOPT_WRITEDATA, &call);
  set(curl, CURLOPT_XFERINFOFUNCTION, go_on);
  set(curl, CURLOPT_XFERINFODATA, &call);
  set(curl, CURLOPT_NOPROGRESS, 0L);
}

}  // namespace

TransferEnd transfer(const std::string& address, const std::string& token, int64_t from,
                     const std::function<bool()>& cancelled,
                     const std::function<void(std::string_view)>& take) {
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(), curl_easy_cleanup);
  if (!curl) fail("nothing can be downloaded: libcurl does not start");
  Call call{curl.get(), from, cancelled, take};
  set_options(call, address, token);
  const CURLcode code = curl_easy_perform(curl.get());
  if (call.thrown) std::rethrow_exception(call.thrown);
  TransferEnd out{.status = status_of(curl.get())};
  // Before anything was taken. libcurl says so, too, of errors that have a page of their own.
  out.from_start = code == CURLE_RANGE_ERROR && (out.status == 200 || out.status == 206);
  curl_off_t wait = 0;
  curl_easy_getinfo(curl.get(), CURLINFO_RETRY_AFTER, &wait);
  out.wait_s = static_cast<int>(std::clamp<curl_off_t>(wait, 0, 300));
  const bool answered = out.status >= 300;
  out.complete = code == CURLE_OK && !answered;
  out.final = answered && out.status < 500 && out.status != 408 && out.status != 429 && out.status != 416;
  out.problem = answered ? fmt::format("the server answers {}", out.status) : curl_easy_strerror(code);
  return out;
}

}  // namespace dvlm
