#include "server/routes.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "checkpoint/json.h"
#include "core/error.h"
#include "server/errors.h"
#include "server/grammar_fields.h"
#include "server/request_fields.h"

namespace dvlm {

namespace {

using nlohmann::json;

// A value takes many times the memory of its text.
constexpr std::ptrdiff_t kMaxValues = 1'000'000;

void check_values(const std::string& text) {
  const auto values = std::ranges::count_if(text, [](char c) { return c == ',' || c == '[' || c == '{'; });
  if (values > kMaxValues) fail("the request has more than {} JSON values", kMaxValues);
}

std::string beginning(const std::string& path) {
  return path.substr(0, path.find('{'));
}

bool leads_to(const std::string& route, const std::string& path) {
  const std::string begin = beginning(route);
  return begin.size() == route.size() ? path == route : path.size() > begin.size() && path.starts_with(begin);
}

std::string pattern(const std::string& path) {
  const std::string out = literal(beginning(path));
  return out.size() < path.size() && path.back() == '}' ? out + "(.+)" : out;
}

}  // namespace

std::string literal(std::string_view path) {
  std::string out;
  for (const char c : path) {
    if (c == '.') out += '\\';
    out += c;
  }
  return out;
}

void Routes::get(const std::string& path, Handler handler) {
  routes_.push_back({"GET", path});
  http_.Get(pattern(path), std::move(handler));
}

void Routes::post(const std::string& path, JsonHandler handler) {
  routes_.push_back({"POST", path});
  http_.Post(pattern(path), [this, handler = std::move(handler)](
                                const httplib::Request&, httplib::Response& response,
                                const httplib::ContentReader& read) { handle(read, response, handler); });
}

int Routes::refusal(const std::string& method, const std::string& path, std::string& allowed) const {
  for (const Route& route : routes_) {
    if (!leads_to(route.path, path)) continue;
    if (method == route.method || (method == "HEAD" && route.method == std::string_view("GET"))) return 0;
    allowed += (allowed.empty() ? "" : ", ") + std::string(route.method);
    if (route.method == std::string_view("GET")) allowed += ", HEAD";
  }
  return allowed.empty() ? 404 : 405;
}

std::vector<std::string> Routes::list() const {
  std::vector<std::string> out;
  for (const Route& route : routes_) out.push_back(std::string(route.method) + " " + route.path);
  return out;
}

// The limit holds for what a compressed body becomes, too.
json Routes::read_json_body(const httplib::ContentReader& read, const httplib::Response& response) const {
  Connection& connection = Connection::current();
  std::string text;
  bool too_large = false, no_room = false;
  const bool complete = read([&](const char* data, size_t length) {
    too_large = length > state_.options.body_limit - text.size();
    no_room = !too_large && !connection.take_body_memory(length);
    if (too_large || no_room) return false;
    text.append(data, length);
    return true;
  });
  connection.has_request();
  if (no_room) throw Refused(503, "other requests fill the memory for requests: try again");
  if (connection.late()) throw Refused(408, kTooSlow);
  // The library has left its own status.
  if (too_large || response.status == 413) throw Refused(413, kTooLarge);
  if (!complete) fail("the body of the request is not what its headers say");
  check_values(text);
  json body = parse_json(text, "the request");
  keep_schemas_as_text(body, text);
  return body;
}

void Routes::handle(const httplib::ContentReader& read, httplib::Response& response,
                    const JsonHandler& handler) {
  try {
    if (state_.stopping) throw Refused(503, "the server is about to end");
    const json body = read_json_body(read, response);
    if (const std::string& name = state_.options.model_name;
        body.is_object() && body.contains("model") && !body["model"].is_null() && body["model"] != name)
      throw Refused(no_such_model(name));
    handler(body, response);
  } catch (const Refused& refused) {
    const ApiError& error = refused.error();
    if (error.status == 429 || error.status == 503) response.set_header("Retry-After", "1");
    send_error(response, error);
  } catch (const FieldError& error) {
    send_error(response, {400, printable(error.what(), 4096), error.field()});
  } catch (const Error& error) {
    send_error(response, {400, printable(error.what(), 4096)});
  }
}

}  // namespace dvlm
