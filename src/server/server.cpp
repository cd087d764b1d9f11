#include "server/server.h"

#include <httplib.h>

#include <atomic>
#include <chrono>
#include <random>
#include <thread>

#include "checkpoint/json.h"
#include "core/error.h"
#include "core/log.h"
#include "core/memory.h"
#include "engine/request_json.h"
#include "engine/scheduler.h"
#include "server/page.h"

namespace dvlm {

namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kPatience{200};  // between looks at whether the client is still there
constexpr const char* kJson = "application/json";
constexpr const char* kTooLarge = "the request is larger than this server takes";

// Replacement characters instead of an exception: what a client sent may be quoted.
std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

void refuse(httplib::Response& response, int status, const std::string& message, const char* type) {
  response.status = status;
  response.set_content(dump(openai_error(message, type)), kJson);
}

// In a time that depends on the lengths alone.
bool same_secret(const std::string& a, const std::string& b) {
  if (a.size() != b.size()) return false;
  unsigned difference = 0;
  for (size_t i = 0; i < a.size(); ++i)
    difference |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b[i]);
  return difference == 0;
}

std::string random_id() {
  static thread_local std::mt19937_64 random{std::random_device{}()};
  return fmt::format("chatcmpl-{:016x}{:08x}", random(), random() >> 32);
}

int64_t unix_time() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// An accepted request: gives its ticket up when it goes. `count`: of those that are not answered to the end.
struct Pending {
  explicit Pending(std::atomic<int>& pending) : count(pending) { ++count; }
  std::atomic<int>& count;
  std::shared_ptr<Ticket> ticket;
  ChatRequest chat;
  DecodeOptions decode;
  ChatIdentity identity;
  Clock::time_point deadline;
  Ticket::News news;  // read, not yet sent

  ~Pending() {
    if (ticket) ticket->cancel();
    --count;
  }
  void wait() {
    news = ticket->wait(kPatience);
    if (Clock::now() > deadline) ticket->cancel();
  }
};

using Sink = httplib::DataSink;

bool send(Sink& sink, const std::string& text) {
  return sink.write(text.data(), text.size());
}

bool send_event(Sink& sink, const json& event) {
  return send(sink, "data: " + dump(event) + "\n\n");
}

// Server-sent events. False: the client is gone.
bool stream(Sink& sink, Pending& pending) {
  const ChatIdentity& id = pending.identity;
  if (!send_event(sink, chat_chunk(id, {{"role", "assistant"}, {"content", ""}}))) return false;
  for (;; pending.wait()) {
    const Ticket::News& news = pending.news;
    if (!sink.is_writable()) return false;
    if (!news.text.empty() && !send_event(sink, chat_chunk(id, {{"content", news.text}}))) return false;
    if (!news.done) continue;
    if (!news.error.empty()) {
      if (!send_event(sink, openai_error(news.error, news.ours ? "server_error" : "invalid_request_error")))
        return false;
    } else {
      const Answer& answer = pending.ticket->answer();
      if (!send_event(sink, chat_chunk(id, json::object(), openai_finish_reason(answer)))) return false;
      if (pending.chat.include_usage) {
        json usage = chat_chunk(id, json::object());
        usage["choices"] = json::array();
        usage["usage"] = usage_json(answer);
        usage["dvlm"] = answer_json(answer, pending.decode).at("stats");
        if (!send_event(sink, usage)) return false;
      }
    }
    if (!send(sink, "data: [DONE]\n\n")) return false;
    sink.done();
    return true;
  }
}

// One object at the end.
bool whole(Sink& sink, Pending& pending) {
  for (; !pending.news.done; pending.wait())
    if (!sink.is_writable()) return false;
  const Ticket::News& news = pending.news;
  const json out = news.error.empty()
                       ? chat_completion(pending.identity, pending.ticket->answer(), pending.decode)
                       : openai_error(news.error, "server_error");
  if (!send(sink, dump(out))) return false;
  sink.done();
  return true;
}

}  // namespace

struct Server::Impl {
  Impl(Engine& engine, const ServerOptions& given)
      : options(given), config(engine.config()), scheduler(engine, {.max_waiting = given.most_waiting}) {
    http.set_payload_max_length(options.body_limit);
    http.set_read_timeout(30);  // a client that stops sending
    http.set_write_timeout(30);
    // One request per connection: what is left unread of a refused one must never be taken for the next.
    http.set_keep_alive_max_count(1);
    const size_t connections = options.most_waiting + 16;  // each takes a thread while it waits
    http.new_task_queue = [connections] { return new httplib::ThreadPool(connections); };
    http.set_pre_routing_handler(
        [this](const auto& request, auto& response) { return check_key(request, response); });
    http.set_error_handler([](const auto&, auto& response) { explain(response); });
    http.set_exception_handler([](const auto&, auto& response, const std::exception_ptr&) {
      refuse(response, 500, "the server could not answer", "server_error");
    });
    add_page(http);
    http.Get("/health",
             [](const auto&, auto& response) { response.set_content("{\"status\":\"ok\"}", kJson); });
    http.Get("/ready", [this](const auto&, auto& response) { ready(response); });
    http.Get("/v1/models", [this](const auto&, auto& response) { models(response); });
    http.Get("/metrics", [this](const auto&, auto& response) { metrics(response); });
    http.Post("/v1/chat/completions", [this](const auto&, auto& response,
                                             const httplib::ContentReader& read) { chat(read, response); });
  }

  httplib::Server::HandlerResponse check_key(const httplib::Request& request,
                                             httplib::Response& response) const {
    if (options.api_keys.empty() || request.path == "/health" || is_page_path(request.path))
      return httplib::Server::HandlerResponse::Unhandled;
    const std::string given = request.get_header_value("Authorization");
    bool known = false;
    for (const std::string& key : options.api_keys) known |= same_secret(given, "Bearer " + key);
    if (known) return httplib::Server::HandlerResponse::Unhandled;
    response.set_header("WWW-Authenticate", "Bearer");
    refuse(response, 401, "a valid API key is needed: Authorization: Bearer KEY", "authentication_error");
    return httplib::Server::HandlerResponse::Handled;
  }

  // Answers of the HTTP library itself, which have no body.
  static void explain(httplib::Response& response) {
    if (!response.body.empty()) return;
    const char* message = response.status == 404   ? "there is nothing at this address"
                          : response.status == 413 ? kTooLarge
                                                   : "the request is not one that this server understands";
    refuse(response, response.status, message,
           response.status >= 500 ? "server_error" : "invalid_request_error");
  }

  void ready(httplib::Response& response) const {
    const bool full = scheduler.totals().waiting >= options.most_waiting;
    response.status = full ? 503 : 200;
    response.set_content(full ? "{\"status\":\"full\"}" : "{\"status\":\"ready\"}", kJson);
  }

  void models(httplib::Response& response) const {
    const json model = {
        {"id", options.model_name}, {"object", "model"}, {"created", started}, {"owned_by", "dvlm"}};
    response.set_content(dump({{"object", "list"}, {"data", {model}}}), kJson);
  }

  void metrics(httplib::Response& response) const {
    const SchedulerTotals t = scheduler.totals();
    std::string out;
    const auto add = [&](const char* name, const char* type, const char* help, double value) {
      out += fmt::format("# HELP dvlm_{0} {2}\n# TYPE dvlm_{0} {1}\ndvlm_{0} {3}\n", name, type, help, value);
    };
    add("requests_total", "counter", "Requests that were worked on", static_cast<double>(t.requests));
    add("requests_failed_total", "counter", "Of these, requests that ended with an error",
        static_cast<double>(t.failed));
    add("requests_cancelled_total", "counter",
        "Of these, requests cut short: stop strings, timeouts, clients gone",
        static_cast<double>(t.cancelled));
    add("requests_refused_total", "counter", "Requests that found the queue full",
        static_cast<double>(t.refused));
    add("requests_waiting", "gauge", "Requests in the queue", static_cast<double>(t.waiting));
    add("requests_running", "gauge", "Requests being answered", static_cast<double>(t.running));
    add("prompt_tokens_total", "counter", "Tokens of prompts", static_cast<double>(t.prompt_tokens));
    add("prompt_tokens_reused_total", "counter", "Of these, tokens whose keys and values were held",
        static_cast<double>(t.reused_tokens));
    add("tokens_total", "counter", "Tokens written", static_cast<double>(t.tokens));
    add("passes_total", "counter", "Passes over the model", static_cast<double>(t.passes));
    add("busy_seconds_total", "counter", "Time spent answering", t.seconds);
    add("peak_memory_bytes", "gauge", "Largest memory of the process so far",
        static_cast<double>(peak_rss_bytes()));
    response.set_content(out, "text/plain; version=0.0.4");
  }

  // The limit holds for what a compressed body becomes, too.
  bool read_body(const httplib::ContentReader& read, std::string& body) const {
    return read([&](const char* data, size_t length) {
      if (length > options.body_limit - body.size()) return false;
      body.append(data, length);
      return true;
    });
  }

  void chat(const httplib::ContentReader& read, httplib::Response& response) {
    auto pending = std::make_shared<Pending>(pending_requests);
    try {
      std::string text;
      if (stopping) return refuse(response, 503, "the server is about to end", "server_error");
      if (!read_body(read, text)) return refuse(response, 413, kTooLarge, "invalid_request_error");
      const json body = parse_json(text, "the request");
      pending->chat = parse_chat_request(body, config, options.chat);
      if (body.contains("model") && body["model"] != options.model_name)
        return refuse(response, 404,
                      fmt::format("there is no such model here: ask for \"{}\"", options.model_name),
                      "invalid_request_error");
    } catch (const Error& error) {
      return refuse(response, 400, printable(error.what(), 4096), "invalid_request_error");
    }
    pending->decode = pending->chat.request.decode;
    pending->identity = {random_id(), options.model_name, unix_time()};
    pending->deadline = Clock::now() + std::chrono::seconds(options.timeout);
    pending->ticket = scheduler.submit(std::move(pending->chat.request));
    if (!pending->ticket) {
      response.set_header("Retry-After", "1");
      return refuse(response, 429, "too many requests wait already: try again", "rate_limit_error");
    }
    respond(pending, response);
  }

  // The status is known with the first news: a prompt that cannot be answered is a 400, streamed or not.
  static void respond(const std::shared_ptr<Pending>& pending, httplib::Response& response) {
    while (!pending->news.done && pending->news.text.empty()) pending->wait();
    if (const Ticket::News& news = pending->news; news.done && !news.error.empty())
      return refuse(response, news.ours ? 500 : 400, news.error,
                    news.ours ? "server_error" : "invalid_request_error");
    const bool events = pending->chat.stream;
    if (events) response.set_header("Cache-Control", "no-cache");
    response.set_chunked_content_provider(events ? "text/event-stream" : kJson,
                                          [pending, events](size_t, Sink& sink) {
                                            return events ? stream(sink, *pending) : whole(sink, *pending);
                                          });
  }

  const ServerOptions options;
  const ModelConfig config;
  const int64_t started = unix_time();
  std::atomic<bool> stopping{false};
  std::atomic<int> pending_requests{0};
  Scheduler scheduler;
  httplib::Server http;
};

Server::Server(Engine& engine, const ServerOptions& options)
    : impl_(std::make_unique<Impl>(engine, options)) {}
Server::~Server() = default;

int Server::bind() {
  Impl& self = *impl_;
  const ServerOptions& options = self.options;
  const int port = options.port == 0 ? self.http.bind_to_any_port(options.host)
                   : self.http.bind_to_port(options.host, options.port) ? options.port
                                                                        : -1;
  if (port < 0)
    fail("cannot listen on {}:{}: the address is in use or not of this machine", options.host, options.port);
  return port;
}

void Server::run() {
  impl_->http.listen_after_bind();
}

void Server::stop() {
  impl_->stopping = true;
  // Once it stops, the library writes no further pieces of an answer.
  while (impl_->pending_requests > 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  impl_->http.stop();
}

}  // namespace dvlm
