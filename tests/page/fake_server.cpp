#include "fake_server.h"

#include <algorithm>

#include "server/page.h"

namespace dvlm {

namespace {

using nlohmann::json;

json record(const char* kind, size_t rows, json block, size_t accepted, size_t emitted) {
  return {{"kind", kind},
          {"rows", rows},
          {"block", std::move(block)},
          {"accepted", accepted},
          {"emitted", emitted}};
}

json event(json passes, const std::string& content) {
  return {{"choices", {{{"index", 0}, {"delta", {{"content", content}}}}}},
          {"dvlm", {{"passes", std::move(passes)}}}};
}

}  // namespace

FakeServer::FakeServer(Options options) : options_(std::move(options)) {
  http_.set_keep_alive_max_count(1);  // as the real one; it also ends at once
  add_page(http_);
  http_.Get("/v1/models", [](const auto&, auto& response) {
    response.set_content(R"({"object": "list", "data": [{"id": "a-model"}]})", "application/json");
  });
  http_.Post("/v1/chat/completions",
             [this](const auto& request, auto& response) { chat(request, response); });
  port_ = http_.bind_to_any_port("127.0.0.1");
  thread_ = std::thread([this] { http_.listen_after_bind(); });
  while (!http_.is_running()) std::this_thread::yield();
}

FakeServer::~FakeServer() {
  http_.stop();
  thread_.join();
}

std::vector<json> FakeServer::questions() const {
  const std::lock_guard lock(mutex_);
  return questions_;
}

std::vector<json> FakeServer::read_ahead() const {
  const std::lock_guard lock(mutex_);
  return read_ahead_;
}

void FakeServer::chat(const httplib::Request& request, httplib::Response& response) {
  const json body = json::parse(request.body, nullptr, false);
  const bool reads_alone = body["max_tokens"] == 0;
  {
    const std::lock_guard lock(mutex_);
    (reads_alone ? read_ahead_ : questions_).push_back(body);
  }
  if (body["dvlm"].contains("passes") && !options_.knows_passes) {
    response.status = 400;
    response.set_content(R"({"error": {"message": "dvlm: the field \"passes\" is not known"}})",
                         "application/json");
    return;
  }
  const std::string decoder = body["dvlm"]["decoder"];
  auto events = decoder == "ar" ? autoregressive() : decoder == "mdm" ? masked_diffusion() : speculative();
  if (body.contains("tools") && body["messages"].back()["role"] != "tool") events = calling();
  if (reads_alone) events.clear();
  Events work;
  for (const json& one : options_.work)
    work.push_back({{"choices", {{{"index", 0}, {"delta", json::object()}}}}, {"dvlm", {{"progress", one}}}});
  events.insert(events.begin(), work.begin(), work.end());
  if (!options_.knows_passes)
    for (json& one : events) one.erase("dvlm");
  response.set_chunked_content_provider(
      "text/event-stream", [this, events = std::move(events)](size_t, httplib::DataSink& sink) {
        const auto send = [&](const std::string& data) {
          const std::string text = "data: " + data + "\n\n";
          return sink.is_writable() && sink.write(text.data(), text.size());
        };
        for (size_t i = 0; i < events.size(); ++i) {
          if (i == options_.breaks_after || !send(events[i].dump())) return false;
          std::this_thread::sleep_for(std::chrono::milliseconds(options_.pass_ms));
        }
        send(R"({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})");
        send("[DONE]");
        sink.done();
        return true;
      });
}

FakeServer::Events FakeServer::autoregressive() const {
  Events out;
  for (const std::string& token : options_.tokens)
    out.push_back(event({record(out.empty() ? "prefill" : "decode", 1, json::array(), 0, 1)}, token));
  return out;
}

FakeServer::Events FakeServer::calling() const {
  Events out;
  for (const json& piece : options_.calls)
    out.push_back({{"choices", {{{"index", 0}, {"delta", {{"tool_calls", json::array({piece})}}}}}}});
  return out;
}

// Draft and verification in one event, as when both came since the last one.
FakeServer::Events FakeServer::speculative() const {
  const auto& tokens = options_.tokens;
  Events out = {event({record("prefill", 70, json::array(), 0, 1)}, tokens[0])};
  size_t at = 0;  // of the last token that is text
  for (size_t round = 0; at + 1 < tokens.size(); ++round) {
    const size_t left = tokens.size() - at, size = std::min<size_t>(options_.block, left);
    const size_t accepted = std::min<size_t>(
        {static_cast<size_t>(options_.accepted[round % options_.accepted.size()]), size, left - 1});
    json block = json::array();
    std::string content;
    for (size_t i = 0; i < size; ++i) block.push_back(i < accepted ? tokens[at + i] : " wrong");
    for (size_t i = 1; i <= accepted; ++i) content += tokens[at + i];
    out.push_back(event(
        {record("draft", size, block, 1, 0), record("verify", size, block, accepted, accepted)}, content));
    at += accepted;
  }
  return out;
}

// Unmasks the last tokens of a block first, then all others.
FakeServer::Events FakeServer::masked_diffusion() const {
  const auto& tokens = options_.tokens;
  Events out = {event({record("prefill", 70, json::array(), 0, 1)}, tokens[0])};
  for (size_t at = 0; at + 1 < tokens.size();) {
    const size_t size = std::min<size_t>(options_.block, tokens.size() - at);
    const auto from = tokens.begin() + static_cast<ptrdiff_t>(at);
    const json whole = std::vector<std::string>(from, from + static_cast<ptrdiff_t>(size));
    json half = whole;
    for (size_t i = 1; i <= size / 2; ++i) half[i] = nullptr;
    std::string content;
    for (size_t i = 1; i < size; ++i) content += tokens[at + i];
    out.push_back(event({record("denoise", size, half, 1, 0)}, ""));
    out.push_back(event({record("denoise", size, whole, size, size - 1)}, content));
    at += size - 1;
    if (at + 1 >= tokens.size()) break;
    ++at;
    out.push_back(event({record("commit", size, whole, size, 1)}, tokens[at]));
  }
  return out;
}

}  // namespace dvlm
