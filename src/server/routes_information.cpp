// The addresses that say how the server is and what it serves.
#include <nlohmann/json.hpp>

#include "core/memory.h"
#include "server/errors.h"
#include "server/routes.h"

namespace dvlm {

namespace {

using nlohmann::json;

json model_json(const ServerState& state) {
  return {{"id", state.options.model_name},
          {"object", "model"},
          {"created", state.started},
          {"owned_by", "dvlm"},
          {"max_model_len", state.config.text.max_positions}};
}

void send_health(const ServerState& state, httplib::Response& response) {
  const std::string lost = state.scheduler.totals().device_lost;
  if (lost.empty()) return send_json(response, {{"status", "ok"}});
  response.status = 503;
  send_json(response, {{"status", "lost"}, {"reason", lost}});
}

void send_ready(const ServerState& state, httplib::Response& response) {
  const SchedulerTotals totals = state.scheduler.totals();
  const bool full = totals.waiting >= state.options.scheduler.max_waiting, lost = !totals.device_lost.empty();
  response.status = full || lost || state.stopping ? 503 : 200;
  send_json(response, {{"status", state.stopping ? "ending" : lost ? "lost" : full ? "full" : "ready"}});
}

void send_metrics(const ServerState& state, const HttpServer& http, httplib::Response& response) {
  PrometheusText out;
  write_totals(out, state.scheduler.totals());
  state.metrics.write(out);
  const ConnectionTotals& connections = http.totals();
  out.add("http_requests_open", "gauge", "Requests for text that are not answered to the end",
          state.exchanges);
  out.add("http_connections", "gauge", "Connections", connections.open);
  out.add("http_connections_refused_total", "counter", "Connections beyond the limit", connections.refused);
  out.add("http_connections_cut_off_total", "counter",
          "Connections without a request that made way for others", connections.cut_off);
  out.add("http_body_memory_bytes", "gauge", "Bodies of requests under way", connections.body_memory);
  out.add("peak_memory_bytes", "gauge", "Largest memory of the process so far", peak_rss_bytes());
  response.set_content(out.take(), "text/plain; version=0.0.4");
}

}  // namespace

void add_information(Routes& routes, ServerState& state, const HttpServer& http) {
  routes.get("/health", [&state](const auto&, auto& response) { send_health(state, response); });
  routes.get("/ready", [&state](const auto&, auto& response) { send_ready(state, response); });
  routes.get("/metrics",
             [&state, &http](const auto&, auto& response) { send_metrics(state, http, response); });
  routes.get("/v1/models", [&state](const auto&, auto& response) {
    send_json(response, {{"object", "list"}, {"data", json::array({model_json(state)})}});
  });
  routes.get("/v1/models/{id}", [&state](const httplib::Request& request, httplib::Response& response) {
    if (request.matches[1].str() == state.options.model_name) return send_json(response, model_json(state));
    send_error(response, no_such_model(state.options.model_name));
  });
}

}  // namespace dvlm
