// Which addresses a server has, and what happens there.
#pragma once
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "server/connection.h"
#include "server/server_state.h"

namespace dvlm {

// The HTTP library takes addresses as regular expressions.
std::string literal(std::string_view path);

class Routes {
 public:
  Routes(HttpServer& http, ServerState& state) : http_(http), state_(state) {}

  using Handler = std::function<void(const httplib::Request&, httplib::Response&)>;
  using JsonHandler = std::function<void(const nlohmann::json& body, httplib::Response&)>;
  // `path`: with {name} at its end it stands for all that begin like it; request.matches[1] is the rest.
  void get(const std::string& path, Handler handler);
  // The body is read within its bounds and parsed; an Error of the handler becomes a 400, a Refused its
  // status.
  void post(const std::string& path, JsonHandler handler);

  // 0: there is a handler; 404; or 405 with the methods that would do.
  int refusal(const std::string& method, const std::string& path, std::string& allowed) const;
  std::vector<std::string> list() const;

 private:
  struct Route {
    const char* method;
    std::string path;
  };

  void handle(const httplib::ContentReader& read, httplib::Response& response, const JsonHandler& handler);
  nlohmann::json read_json_body(const httplib::ContentReader& read, const httplib::Response& response) const;

  HttpServer& http_;
  ServerState& state_;
  std::vector<Route> routes_;
};

void add_information(Routes& routes, ServerState& state, const HttpServer& http);  // health, models, metrics
void add_openai(Routes& routes, ServerState& state);                               // /v1
void add_blocks(Routes& routes, ServerState& state);  // OpenAI's responses, Anthropic's messages
void add_others(Routes& routes, ServerState& state);  // vLLM's and SGLang's

}  // namespace dvlm
