#include "server/server.h"

#include <algorithm>
#include <thread>

#include "core/ascii.h"
#include "core/error.h"
#include "core/log.h"
#include "server/connection.h"
#include "server/errors.h"
#include "server/origins.h"
#include "server/page.h"
#include "server/routes.h"
#include "server/server_state.h"

namespace dvlm {

namespace {

using HandlerResponse = httplib::Server::HandlerResponse;

// Compares in a time that depends on the lengths alone, so that nobody can guess a key piece by piece.
bool same_secret(const std::string& a, const std::string& b) {
  if (a.size() != b.size()) return false;
  unsigned difference = 0;
  for (size_t i = 0; i < a.size(); ++i)
    difference |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b[i]);
  return difference == 0;
}

ConnectionLimits limits_of(const ServerOptions& options) {
  ConnectionLimits limits;
  limits.connections = options.max_connections;
  limits.body_memory = 4 * options.body_limit;
  limits.body_bytes = options.body_limit + options.body_limit / 8 + limits.head_bytes;
  limits.request = std::chrono::seconds(options.read_timeout);
  limits.head = limits.request / 6;
  return limits;
}

// Answers of the HTTP library itself, which have no body.
void explain(httplib::Response& response) {
  if (!response.body.empty()) return;
  send_error(response, {response.status, response.status == 404 ? "there is nothing at this address"
                                         : response.status == 413
                                             ? kTooLarge
                                             : "the request is not one that this server understands"});
}

void report(const std::exception_ptr& thrown, httplib::Response& response) {
  const std::string& id = Connection::current().record.id;
  try {
    std::rethrow_exception(thrown);
  } catch (const std::exception& error) {
    log(LogLevel::error, fmt::format("request {}: {}", id, printable(error.what(), 4096)));
  } catch (...) {
    log(LogLevel::error, fmt::format("request {}: an unknown exception", id));
  }
  send_error(response, {500, fmt::format("the server could not answer (request {})", id)});
}

}  // namespace

struct Server::Impl {
  Impl(Engine& engine, const ServerOptions& options)
      : state(engine, options),
        origins(options.origins, options.hosts, options.host),
        http(limits_of(options), [this](Connection& connection) { ended(connection); }),
        routes(http, state) {
    http.set_payload_max_length(options.body_limit);
    http.set_pre_routing_handler(
        [this](const auto& request, auto& response) { return begin(request, response); });
    http.set_post_routing_handler([this](const auto&, auto& response) { complete(response); });
    http.set_error_handler([](const auto&, auto& response) { explain(response); });
    http.set_exception_handler(
        [](const auto&, auto& response, const std::exception_ptr& thrown) { report(thrown, response); });
    add_page(http);
    add_information(routes, state, http);
    add_openai(routes, state);
    add_blocks(routes, state);
    add_others(routes, state);
  }

  // Before any handler, and before a body is read: for an address without a handler the library would take
  // whatever a compressed body becomes.
  HandlerResponse begin(const httplib::Request& request, httplib::Response& response) const {
    RequestRecord& record = Connection::current().record;
    const RequestHead& head = Connection::current().head();
    record.id = request_id(head.header("x-request-id"));
    record.method = request.method;
    record.path = request.path;
    if (head.status != 0) {
      send_error(response, {head.status, head.problem});
      return HandlerResponse::Handled;
    }
    if (const char* refusal = origins.refusal(head)) {
      send_error(response, {403, refusal});
      return HandlerResponse::Handled;
    }
    if (origins.is_preflight(head)) {
      response.status = 200;
      return HandlerResponse::Handled;
    }
    if (!has_key(request.path, head)) {
      response.set_header("WWW-Authenticate", "Bearer");
      send_error(response, {401, "a valid API key is needed: Authorization: Bearer KEY, or x-api-key: KEY",
                            "", "invalid_api_key"});
      return HandlerResponse::Handled;
    }
    if ((request.method == "GET" || request.method == "HEAD") && is_page_path(request.path))
      return HandlerResponse::Unhandled;
    std::string allowed;
    const int refusal = routes.refusal(request.method, request.path, allowed);
    if (refusal == 0) return HandlerResponse::Unhandled;
    if (refusal == 405) response.set_header("Allow", allowed);
    send_error(response, {refusal, refusal == 404 ? "there is nothing at this address"
                                                  : fmt::format("this address takes {}", allowed)});
    return HandlerResponse::Handled;
  }

  // Headers as they were sent: the library takes percent signs for escapes. Anthropic's clients send their
  // key in a header of its own, some beside another one for a proxy.
  bool has_key(const std::string& path, const RequestHead& head) const {
    const std::vector<std::string>& keys = state.options.api_keys;
    if (keys.empty() || path == "/health" || is_page_path(path)) return true;
    const std::string authorization = head.header("authorization"), other = head.header("x-api-key");
    const size_t space = std::min(authorization.find(' '), authorization.size());
    const bool bearer = same_word(std::string_view(authorization).substr(0, space), "bearer");
    const std::string given(trim(std::string_view(authorization).substr(space)));
    bool known = false;
    for (const std::string& key : keys)
      known |= (bearer && same_secret(given, key)) || same_secret(other, key);
    return known;
  }

  // The library calls this just before it writes an answer, also one that it made itself.
  void complete(httplib::Response& response) const {
    RequestRecord& record = Connection::current().record;
    if (record.id.empty()) record.id = request_id("");
    record.status = response.status;
    response.set_header("X-Request-Id", record.id);
    origins.allow(Connection::current().head(), response);
  }

  void ended(const Connection& connection) {
    const RequestRecord& record = connection.record;
    state.metrics.add_status(record.status);
    if (!state.options.log) return;
    const std::chrono::duration<double, std::milli> total = Clock::now() - record.start;
    state.options.log(log_line(record, total.count(), std::chrono::system_clock::now()));
  }

  ServerState state;
  const Origins origins;
  HttpServer http;
  Routes routes;
};

Server::Server(Engine& engine, const ServerOptions& options)
    : impl_(std::make_unique<Impl>(engine, options)) {}
Server::~Server() = default;

int Server::bind() {
  Impl& self = *impl_;
  const ServerOptions& options = self.state.options;
  const int port = options.port == 0 ? self.http.bind_to_any_port(options.host)
                   : self.http.bind_to_port(options.host, options.port) ? options.port
                                                                        : -1;
  if (port < 0)
    fail("cannot listen on {}:{}: the address is in use or not of this machine", options.host, options.port);
  self.http.widen_backlog();
  return port;
}

void Server::run() {
  impl_->http.listen_after_bind();
}

void Server::stop() {
  Impl& self = *impl_;
  self.state.stopping = true;
  self.http.stop_reading();
  // A library that has stopped writes no further pieces of an answer.
  while (self.state.exchanges > 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  self.http.stop();
}

std::vector<std::string> Server::routes() const {
  return impl_->routes.list();
}

}  // namespace dvlm
