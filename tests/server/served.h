// A server over loopback with the model that comes with dvlm, for tests.
#pragma once
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>
#include <nlohmann/json.hpp>

#include <memory>
#include <thread>

#include "core/files.h"
#include "server/metric.h"
#include "server/server.h"

namespace dvlm {

using nlohmann::json;

inline std::string base64(const std::string& bytes) {
  static constexpr char kLetters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t at = 0; at < bytes.size(); at += 3) {
    uint32_t word = 0;
    for (size_t i = 0; i < 3; ++i)
      word = word << 8 | (at + i < bytes.size() ? static_cast<uint8_t>(bytes[at + i]) : 0);
    for (size_t i = 0; i < 4; ++i) out += at + i <= bytes.size() ? kLetters[word >> (18 - 6 * i) & 63] : '=';
  }
  return out;
}

class Served : public testing::Test {
 protected:
  // One engine for all tests: it is what takes time.
  static Engine& engine() {
    static Engine engine({.model = std::string(DVLM_MODELS) + "/dvlm-tiny", .load = {.threads = 2}});
    return engine;
  }

  // The library's client, patient.
  std::unique_ptr<httplib::Client> connect() const {
    auto client = std::make_unique<httplib::Client>("127.0.0.1", port_);
    client->set_read_timeout(600);  // sanitizers take a minute for a large picture
    return client;
  }
  void start(ServerOptions options = {}) {
    options.port = 0;
    server_ = std::make_unique<Server>(engine(), options);
    port_ = server_->bind();
    thread_ = std::thread([this] { server_->run(); });
    client_ = connect();
    while (!client_->Get("/health")) std::this_thread::yield();
  }
  ~Served() override {
    if (!server_) return;
    client_.reset();
    server_->stop();
    thread_.join();
  }

  json post(const json& body, int status = 200, const std::string& path = "/v1/chat/completions") {
    const auto result = client_->Post(path, body.dump(), "application/json");
    EXPECT_TRUE(result) << httplib::to_string(result.error());
    if (!result) return {};
    EXPECT_EQ(result->status, status) << result->body;
    return json::parse(result->body, nullptr, false);
  }
  std::vector<json> post_streamed(json body, const std::string& path = "/v1/chat/completions") {
    body["stream"] = true;
    const auto result = client_->Post(path, body.dump(), "application/json");
    EXPECT_TRUE(result && result->status == 200);
    EXPECT_EQ(result->get_header_value("Content-Type"), "text/event-stream");
    std::vector<json> events;
    std::string text = result->body;
    EXPECT_TRUE(text.ends_with("data: [DONE]\n\n"));
    for (size_t at = 0; at < text.size();) {
      const size_t end = text.find("\n\n", at);
      const std::string event = text.substr(at, end - at);
      EXPECT_TRUE(event.starts_with("data: "));
      if (event != "data: [DONE]") events.push_back(json::parse(event.substr(6)));
      at = end + 2;
    }
    return events;
  }

  static json question(const std::string& text) {
    return {{"messages", {{{"role", "user"}, {"content", text}}}}, {"max_tokens", 40}};
  }
  static json picture_question(const std::string& text) {
    const std::string png = read_file(std::string(DVLM_MODELS) + "/../examples/desk.png");
    const std::string url = "data:image/png;base64," + base64(png);
    json body = question(text);
    body["messages"][0]["content"] = {{{"type", "image_url"}, {"image_url", {{"url", url}}}},
                                      {{"type", "text"}, {"text", text}}};
    return body;
  }
  std::string message(const json& body, int status = 400, const std::string& path = "/v1/chat/completions") {
    const json answer = post(body, status, path);
    EXPECT_TRUE(answer.contains("error"));
    return answer["error"].value("message", "");
  }
  double metric(const std::string& name) { return test::metric(*client_, name); }
  bool becomes(const std::string& name, double value) { return test::becomes(*client_, name, value); }
  // For /v1/completions: the model says yes until it may no longer.
  static json endless() {
    return {{"prompt", "yes yes yes yes"}, {"max_tokens", 4096}, {"dvlm", {{"decoder", "ar"}}}};
  }
  static std::string text_of(const json& answer) { return answer["choices"][0]["message"]["content"]; }

  std::unique_ptr<Server> server_;
  std::thread thread_;
  int port_ = 0;
  std::unique_ptr<httplib::Client> client_;
};

}  // namespace dvlm
