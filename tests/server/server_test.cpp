// The server over loopback, with the model that comes with dvlm.
#include "server/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <thread>

#include "core/files.h"

namespace dvlm {
namespace {

using nlohmann::json;

std::string base64(const std::string& bytes) {
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
    static Engine engine({.model = std::string(DVLM_MODELS) + "/dvlm-tiny", .threads = 2});
    return engine;
  }

  void start(ServerOptions options = {}) {
    options.port = 0;
    server_ = std::make_unique<Server>(engine(), options);
    port_ = server_->bind();
    thread_ = std::thread([this] { server_->run(); });
    client_ = std::make_unique<httplib::Client>("127.0.0.1", port_);
    client_->set_read_timeout(60);
    while (!client_->Get("/health")) std::this_thread::yield();
  }
  ~Served() override {
    if (!server_) return;
    client_.reset();
    server_->stop();
    thread_.join();
  }

  json post(const json& body, int status = 200) {
    const auto result = client_->Post("/v1/chat/completions", body.dump(), "application/json");
    EXPECT_TRUE(result) << httplib::to_string(result.error());
    if (!result) return {};
    EXPECT_EQ(result->status, status) << result->body;
    return json::parse(result->body, nullptr, false);
  }
  std::vector<json> post_streamed(json body) {
    body["stream"] = true;
    const auto result = client_->Post("/v1/chat/completions", body.dump(), "application/json");
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
  static std::string text_of(const json& answer) { return answer["choices"][0]["message"]["content"]; }

  std::unique_ptr<Server> server_;
  std::thread thread_;
  int port_ = 0;
  std::unique_ptr<httplib::Client> client_;
};

TEST_F(Served, a_picture_is_answered_as_the_engine_answers_it) {
  start();
  const json body = picture_question("Where is the hammer?");
  const json answer = post(body);
  EXPECT_EQ(text_of(answer), "The hammer is at the top left.");
  EXPECT_EQ(answer["object"], "chat.completion");
  EXPECT_EQ(answer["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(answer["dvlm"]["decoder"], "spec");
  EXPECT_GT(answer["usage"]["prompt_tokens"], 64);
  EXPECT_EQ(answer["usage"]["total_tokens"].get<int>(),
            answer["usage"]["prompt_tokens"].get<int>() + answer["usage"]["completion_tokens"].get<int>());

  json described = picture_question("Describe the picture.");
  described["max_tokens"] = 120;
  const std::string whole = text_of(post(described));
  for (const char* decoder : {"ar", "fused", "auto"}) {
    described["dvlm"] = {{"decoder", decoder}, {"block_size", 8}};
    EXPECT_EQ(text_of(post(described)), whole) << decoder;
  }
  described["stream_options"] = {{"include_usage", true}};
  std::string streamed;
  const std::vector<json> events = post_streamed(described);
  ASSERT_GT(events.size(), 4);
  EXPECT_EQ(events[0]["choices"][0]["delta"]["role"], "assistant");
  for (const json& event : events) {
    EXPECT_EQ(event["id"], events[0]["id"]);
    if (!event["choices"].empty()) streamed += event["choices"][0]["delta"].value("content", "");
  }
  EXPECT_EQ(streamed, whole);
  EXPECT_EQ(events[events.size() - 2]["choices"][0]["finish_reason"], "stop");
  EXPECT_GT(events.back()["usage"]["completion_tokens"], 20);
}

TEST_F(Served, stop_strings_seeds_and_limits_count) {
  start();
  json body = picture_question("Describe the picture.");
  body["max_tokens"] = 120;
  const std::string whole = text_of(post(body));
  body["stop"] = ". There";
  const json stopped = post(body);
  EXPECT_EQ(text_of(stopped), whole.substr(0, whole.find(". There")));
  EXPECT_EQ(stopped["choices"][0]["finish_reason"], "stop");
  std::string streamed;
  for (const json& event : post_streamed(body)) streamed += event["choices"][0]["delta"].value("content", "");
  EXPECT_EQ(streamed, text_of(stopped));
  body.erase("stop");
  body["max_tokens"] = 5;
  const json cut = post(body);
  EXPECT_EQ(cut["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(cut["usage"]["completion_tokens"], 5);
  body["max_tokens"] = 60;
  body["temperature"] = 1.5;
  body["seed"] = 7;
  const std::string sampled = text_of(post(body));
  EXPECT_EQ(text_of(post(body)), sampled);
  body["seed"] = 8;
  EXPECT_NE(text_of(post(body)), sampled);
}

TEST_F(Served, requests_at_once_are_all_answered) {
  start();
  const std::string expected = text_of(post(picture_question("Where is the hammer?")));
  std::vector<std::thread> clients;
  std::atomic<int> right{0};
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([&] {
      httplib::Client client("127.0.0.1", port_);
      client.set_read_timeout(60);
      const auto result = client.Post("/v1/chat/completions", picture_question("Where is the hammer?").dump(),
                                      "application/json");
      right += result && result->status == 200 && text_of(json::parse(result->body)) == expected;
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(right, 8);
  EXPECT_THAT(client_->Get("/metrics")->body, testing::HasSubstr("\ndvlm_requests_total 9\n"));
}

TEST_F(Served, a_full_queue_says_so_and_a_client_that_goes_frees_its_place) {
  ServerOptions options;
  options.most_waiting = 1;
  start(options);
  json long_one = question("Tell me everything.");
  long_one["max_tokens"] = 4000;
  long_one["temperature"] = 2;  // it will not end soon
  std::atomic<int> refused{0};
  {
    std::vector<std::thread> clients;
    for (int i = 0; i < 4; ++i) {
      clients.emplace_back([&] {
        httplib::Client client("127.0.0.1", port_);
        client.set_read_timeout(1);  // then it is gone
        const auto result = client.Post("/v1/chat/completions", long_one.dump(), "application/json");
        if (result && result->status == 429) refused += result->has_header("Retry-After");
      });
    }
    for (std::thread& client : clients) client.join();
  }
  EXPECT_GE(refused, 1);
  EXPECT_EQ(text_of(post(picture_question("Where is the hammer?"))), "The hammer is at the top left.");
}

TEST_F(Served, wrong_requests_get_a_sentence) {
  start();
  const auto message = [&](const json& body, int status = 400) {
    const json answer = post(body, status);
    EXPECT_TRUE(answer.contains("error"));
    return answer["error"].value("message", "");
  };
  EXPECT_THAT(message(json::object()), testing::HasSubstr("messages"));
  json body = question("Hello");
  body["model"] = "gpt-9";
  EXPECT_THAT(message(body, 404), testing::HasSubstr("dvlm-tiny"));
  body = question("Hello");
  body["messages"][0]["content"] = {
      {{"type", "image_url"}, {"image_url", {{"url", "data:image/png;base64,AAAA"}}}}};
  EXPECT_FALSE(message(body).empty());
  body["stream"] = true;
  EXPECT_FALSE(message(body).empty()) << "the status tells, streamed or not";
  body = question(std::string(2'000'000, 'a'));
  EXPECT_THAT(message(body), testing::HasSubstr("context"));

  const auto raw = [&](const std::string& text) {
    return client_->Post("/v1/chat/completions", text, "application/json")->status;
  };
  EXPECT_EQ(raw(""), 400);
  EXPECT_EQ(raw("{"), 400);
  EXPECT_EQ(raw("[]"), 400);
  EXPECT_EQ(raw(std::string(100'000, '[')), 400);
  EXPECT_EQ(raw("{\"messages\": \"\xFF\xFE\"}"), 400);
  EXPECT_EQ(client_->Get("/v1/chat/completions")->status, 404);
  EXPECT_EQ(client_->Get("/nothing")->status, 404);
  EXPECT_TRUE(json::parse(client_->Get("/nothing")->body).contains("error"));
  EXPECT_EQ(text_of(post(picture_question("Where is the hammer?"))), "The hammer is at the top left.");
}

TEST_F(Served, large_bodies_are_refused) {
  ServerOptions options;
  options.body_limit = 1000;
  start(options);
  EXPECT_EQ(client_->Post("/v1/chat/completions", std::string(2000, ' '), "application/json")->status, 413);
  httplib::Client packing("127.0.0.1", port_);
  packing.set_compress(true);  // a megabyte in a few hundred bytes
  const auto result = packing.Post("/v1/chat/completions", std::string(1'000'000, ' '), "application/json");
  ASSERT_TRUE(result);
  EXPECT_EQ(result->status, 413);
  post(question("Hello"));
}

TEST_F(Served, keys_are_asked_for) {
  ServerOptions options;
  options.api_keys = {"first", "second"};
  start(options);
  EXPECT_EQ(client_->Get("/health")->status, 200);
  EXPECT_EQ(client_->Get("/v1/models")->status, 401);
  EXPECT_EQ(client_->Get("/v1/models", {{"Authorization", "Bearer third"}})->status, 401);
  EXPECT_EQ(client_->Get("/v1/models", {{"Authorization", "Bearer second"}})->status, 200);
}

TEST_F(Served, stopping_finishes_what_was_accepted) {
  start();
  json body = picture_question("Describe the picture.");
  body["max_tokens"] = 120;
  const std::string expected = text_of(post(body));
  std::string got;
  std::thread asking([&] {
    httplib::Client client("127.0.0.1", port_);
    client.set_read_timeout(60);
    const auto result = client.Post("/v1/chat/completions", body.dump(), "application/json");
    if (result) got = text_of(json::parse(result->body));
  });
  while (client_->Get("/metrics")->body.find("dvlm_requests_running 1") == std::string::npos &&
         client_->Get("/metrics")->body.find("dvlm_requests_total 2") == std::string::npos)
    std::this_thread::yield();
  server_->stop();
  asking.join();
  EXPECT_EQ(got, expected);
}

}  // namespace
}  // namespace dvlm
