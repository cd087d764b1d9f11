#include "server/request_head.h"

#include <fmt/core.h>

#include <algorithm>

#include "core/ascii.h"
#include "server/errors.h"

namespace dvlm {

namespace {

constexpr std::string_view kLineEnd = "\r\n";

std::string_view take_line(std::string_view& text) {
  const size_t end = std::min(text.find(kLineEnd), text.size());
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(text.size(), end + kLineEnd.size()));
  return line;
}

// Calls `use` with each item of a list with commas, without the space around it.
template <class Use>
void for_items(std::string_view list, const Use& use) {
  while (!list.empty()) {
    const size_t end = std::min(list.find(','), list.size());
    if (const std::string_view item = trim(list.substr(0, end)); !item.empty()) use(item);
    list.remove_prefix(std::min(list.size(), end + 1));
  }
}

// "http://host/path" as a client of a proxy says it, without the host.
std::string_view without_host(std::string_view target) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!begins_with_word(target, scheme)) continue;
    const size_t path = target.find_first_of("/?", scheme.size());
    return path == target.npos ? "/" : target.substr(path);
  }
  return target;
}

// Where the library, which ends lines at a line feed, would see other headers than are read here.
bool has_half_a_line_end(std::string_view head) {
  for (size_t at = 0; (at = head.find_first_of(kLineEnd, at)) != head.npos; at += kLineEnd.size())
    if (head.substr(at, kLineEnd.size()) != kLineEnd) return true;
  return false;
}

std::string request_line(std::string_view line, RequestHead& out) {
  if (out.status != 0) return "GET / HTTP/1.1";  // refused for signs that the library must not see
  const size_t first = line.find(' '), last = line.rfind(' ');
  if (first == line.npos || first == last) return std::string(line);
  out.method = line.substr(0, first);
  out.http_1_0 = line.substr(last + 1) == "HTTP/1.0";
  const std::string_view target = without_host(trim(line.substr(first, last - first)));
  return fmt::format("{} {}{} {}", out.method, target.starts_with('?') ? "/" : "", target,
                     line.substr(last + 1));
}

// The encodings that a client takes, without those that it takes with the weight 0.
std::string wanted_encodings(std::string_view list) {
  std::string out;
  for_items(list, [&](std::string_view item) {
    const size_t semicolon = std::min(item.find(';'), item.size());
    const size_t weight = lower(item).find("q=", semicolon);
    const bool refused = weight != item.npos && item.find_first_not_of("0. ", weight + 2) == item.npos;
    if (!refused) out += (out.empty() ? "" : ", ") + lower(trim(item.substr(0, semicolon)));
  });
  return out;
}

void refuse(RequestHead& out, int status, const char* problem) {
  if (out.status == 0) out.status = status, out.problem = problem;
}

void read_transfer_encoding(std::string_view value, RequestHead& out) {
  for_items(value, [&](std::string_view item) {
    if (same_word(item, "identity")) return;
    if (!same_word(item, "chunked")) refuse(out, 501, "the only transfer encoding known here is chunked");
    if (out.body == RequestHead::Body::chunked) refuse(out, 400, "the body is chunked twice");
    if (out.http_1_0) refuse(out, 400, "HTTP/1.0 has no transfer encodings: send Content-Length");
    out.body = RequestHead::Body::chunked;
  });
}

void read_length(std::string_view value, std::string& length, RequestHead& out) {
  constexpr size_t kMaxDigits = 18;
  const bool number =
      !value.empty() && value.size() <= kMaxDigits && value.find_first_not_of("0123456789") == value.npos;
  if (!number || (!length.empty() && length != value))
    refuse(out, 400, "Content-Length must be one whole number");
  length = value;
}

std::string content_encoding(std::string_view value, RequestHead& out) {
  std::string word = lower(value);
  if (word == "identity" || word.empty()) return "";
  if (word == "gzip" || word == "x-gzip") return "gzip";
  if (word != "deflate" && word != "br")
    refuse(out, 415, "the body's Content-Encoding is not known here: use gzip, deflate, br or none");
  return word;
}

// What a header says of the body and of the answer.
struct Framing {
  std::string length, content_encoding, accept_encoding, if_none_match;
  bool expects_continue = false;
};

void read_header(const std::string& name, std::string_view value, Framing& framing, RequestHead& out) {
  if (name == "transfer-encoding") {
    read_transfer_encoding(value, out);
  } else if (name == "content-length") {
    read_length(value, framing.length, out);
  } else if (name == "content-encoding") {
    framing.content_encoding = content_encoding(value, out);
  } else if (name == "accept-encoding") {
    framing.accept_encoding = wanted_encodings(value);
  } else if (name == "if-none-match") {
    framing.if_none_match = value;
  } else if (name == "expect") {
    framing.expects_continue = same_word(value, "100-continue") && !out.http_1_0;
  } else if (name == "content-type" && begins_with_word(value, "multipart/")) {
    refuse(out, 415, "multipart bodies are not taken: send JSON (application/json)");
  }
}

// Headers that say one thing: who reads the first of two and who reads the last would disagree.
bool stands_once(std::string_view name) {
  constexpr std::string_view kNames[] = {"host",         "authorization",    "x-api-key", "origin",
                                         "content-type", "content-encoding", "expect"};
  return std::ranges::find(kNames, name) != std::end(kNames);
}

void frame(const Framing& framing, uint64_t most, RequestHead& out) {
  if (out.body == RequestHead::Body::chunked && !framing.length.empty())
    refuse(out, 400, "the body is chunked and has a Content-Length");
  if (!framing.length.empty() && out.status == 0 && std::stoull(framing.length) > most)
    refuse(out, 413, kTooLarge);
  if (out.status != 0) {
    out.body = RequestHead::Body::none;
    return;
  }
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) out.text += fmt::format("{}: {}\r\n", name, value);
  };
  if (!framing.length.empty()) out.body = RequestHead::Body::length;
  add("Content-Length", framing.length);
  add("Content-Encoding", framing.content_encoding);
  add("Accept-Encoding", framing.accept_encoding);
  add("If-None-Match", framing.if_none_match);
  add("Expect", framing.expects_continue ? "100-continue" : "");
}

}  // namespace

std::string RequestHead::header(std::string_view name) const {
  const auto found = std::ranges::find_if(headers, [&](const auto& header) { return header.first == name; });
  return found == headers.end() ? "" : found->second;
}

RequestHead parse_head(std::string_view head, uint64_t most) {
  RequestHead out;
  Framing framing;
  if (head.starts_with(kLineEnd)) head.remove_prefix(kLineEnd.size());  // some clients end a body with it
  if (head.find('\0') != head.npos) refuse(out, 400, "the head has a zero byte in it");
  if (has_half_a_line_end(head)) refuse(out, 400, "a line of the head ends with half of a line end");
  out.text = request_line(take_line(head), out) + "\r\n";
  for (std::string_view line = take_line(head); !line.empty(); line = take_line(head)) {
    const size_t colon = line.find(':');
    if (colon == line.npos || colon == 0 || line.substr(0, colon).find_first_of(" \t") != line.npos) {
      refuse(out, 400,
             "a header is no \"name: value\": its name has a space in it, or it goes on in a second line");
      continue;
    }
    const std::string name = lower(line.substr(0, colon));
    if (stands_once(name) &&
        std::ranges::count(out.headers, name, &std::pair<std::string, std::string>::first) > 0)
      refuse(out, 400,
             "a header stands twice that may stand once: Host, Origin, Authorization or one of the body's");
    out.headers.emplace_back(name, trim(line.substr(colon + 1)));
    read_header(out.headers.back().first, out.headers.back().second, framing, out);
  }
  frame(framing, most, out);
  out.text += "\r\n";
  return out;
}

}  // namespace dvlm
