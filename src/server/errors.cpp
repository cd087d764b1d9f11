#include "server/errors.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "server/connection.h"

namespace dvlm {

using nlohmann::json;

namespace {

constexpr const char* kJson = "application/json";

const char* type_of(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 429:
      return "rate_limit_error";
    default:
      return status < 500 ? "invalid_request_error" : "server_error";
  }
}

}  // namespace

ApiError no_such_model(const std::string& name) {
  return {404, fmt::format("there is no such model here: ask for \"{}\"", name), "model", "model_not_found"};
}

json messages_error_json(const ApiError& error) {
  constexpr std::pair<int, const char*> kTypes[] = {{401, "authentication_error"}, {403, "permission_error"},
                                                    {404, "not_found_error"},      {413, "request_too_large"},
                                                    {429, "rate_limit_error"},     {503, "overloaded_error"}};
  const auto known = std::ranges::find(kTypes, error.status, &std::pair<int, const char*>::first);
  json out = error_json(error);
  out["type"] = "error";
  out["error"]["type"] = known != std::end(kTypes) ? known->second
                         : error.status < 500      ? "invalid_request_error"
                                                   : "api_error";
  return out;
}

json error_json(const ApiError& error) {
  return {{"error",
           {{"message", error.message},
            {"type", type_of(error.status)},
            {"param", error.param.empty() ? json() : json(error.param)},
            {"code", error.code ? json(error.code) : json()}}}};
}

std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

void send_json(httplib::Response& response, const json& value) {
  response.set_content(dump(value), kJson);
}

void send_error(httplib::Response& response, const ApiError& error) {
  const std::string& path = Connection::current().record.path;
  const bool messages = path == "/v1/messages" || path.starts_with("/v1/messages/");
  response.status = error.status;
  send_json(response, messages ? messages_error_json(error) : error_json(error));
}

std::string bare_response(int status, const std::string& message, const std::string& id) {
  const std::string body = dump(error_json({status, message}));
  return fmt::format(
      "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nX-Request-Id: {}\r\nConnection: close\r\n"
      "\r\n{}",
      status, status == 408 ? "Request Timeout" : "Request Header Fields Too Large", kJson, body.size(), id,
      body);
}

}  // namespace dvlm
