// The server over loopback, with the model that comes with dvlm.
#include "served.h"

namespace dvlm {
namespace {

TEST_F(Served, a_picture_is_answered_as_the_engine_answers_it) {
  start();
  const json body = picture_question("Where is the hammer?");
  const json answer = post(body);
  EXPECT_EQ(text_of(answer), "The hammer is at the top left.");
  EXPECT_EQ(answer["object"], "chat.completion");
  EXPECT_EQ(answer["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(answer["dvlm"]["decoder"], "auto");
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
  body.erase("seed");
  const json drawn = post(body), again = post(body);
  EXPECT_NE(drawn["dvlm"]["seed"], again["dvlm"]["seed"]) << "without a seed every request is another draw";
  body["dvlm"]["seed"] = drawn["dvlm"]["seed"];
  EXPECT_EQ(post(body)["choices"], drawn["choices"]);
  body["seed"] = 8;
  EXPECT_EQ(post(body, 400)["error"]["param"], "dvlm.seed") << "it stands in two places";
  body.erase("dvlm");
  EXPECT_NE(text_of(post(body)), sampled);
}

TEST_F(Served, requests_at_once_are_all_answered) {
  start();
  const std::string expected = text_of(post(picture_question("Where is the hammer?")));
  std::vector<std::thread> clients;
  clients.reserve(8);
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
  options.scheduler.max_waiting = options.scheduler.max_batch = 1;
  start(options);
  const json long_one = endless();
  std::atomic<int> refused{0};
  {
    std::vector<std::thread> clients;
    clients.reserve(4);
    for (int i = 0; i < 4; ++i) {
      clients.emplace_back([&] {
        httplib::Client client("127.0.0.1", port_);
        client.set_read_timeout(1);  // then it is gone
        const auto result = client.Post("/v1/completions", long_one.dump(), "application/json");
        if (result && result->status == 429) refused += result->has_header("Retry-After");
      });
    }
    for (std::thread& client : clients) client.join();
  }
  EXPECT_GE(refused, 1);
  EXPECT_TRUE(becomes("dvlm_requests_waiting", 0));
  EXPECT_EQ(text_of(post(picture_question("Where is the hammer?"))), "The hammer is at the top left.");
}

TEST_F(Served, wrong_requests_get_a_sentence) {
  start();
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
  const auto wrong_method = client_->Get("/v1/chat/completions");
  EXPECT_EQ(wrong_method->status, 405);
  EXPECT_EQ(wrong_method->get_header_value("Allow"), "POST");
  EXPECT_EQ(client_->Put("/v1/models", "", "text/plain")->status, 405);
  EXPECT_EQ(client_->Post("/nothing", std::string(100'000, 'x'), "text/plain")->status, 404);
  EXPECT_EQ(client_->Get("/nothing")->status, 404);
  EXPECT_TRUE(json::parse(client_->Get("/nothing")->body).contains("error"));
  EXPECT_EQ(text_of(post(picture_question("Where is the hammer?"))), "The hammer is at the top left.");
}

TEST_F(Served, errors_have_a_code_and_name_the_field) {
  start();
  const auto refused = [&](const json& body, int status = 400, const char* path = "/v1/chat/completions") {
    const json error = post(body, status, path)["error"];
    return json({error["param"], error["code"]});
  };
  const std::string long_text = std::string(20'000, 'a');
  EXPECT_EQ(refused(question(long_text)), json({"messages", "context_length_exceeded"}));
  json body = question(long_text);
  body["stream"] = true;
  EXPECT_EQ(refused(body), json({"messages", "context_length_exceeded"}));
  EXPECT_EQ(refused({{"prompt", long_text}}, 400, "/v1/completions"),
            json({"prompt", "context_length_exceeded"}));
  EXPECT_EQ(refused({{"text", long_text}}, 400, "/generate"), json({"text", "context_length_exceeded"}));
  body = question("Hello");
  body["model"] = "gpt-9";
  EXPECT_EQ(refused(body, 404), json({"model", "model_not_found"}));
  body = question("Hello");
  body["temperature"] = 9;
  EXPECT_EQ(refused(body), json({"temperature", nullptr}));
  body = picture_question("Hello");
  body["messages"][0]["content"][0]["image_url"]["url"] = "data:image/png;base64,AAAA";
  EXPECT_EQ(refused(body), json({"messages", nullptr}));
  body["messages"][0]["content"][0]["image_url"]["url"] = "https://example.org/a.png";
  EXPECT_EQ(refused(body), json({"messages", nullptr}));
  body = {{"text", "<|image_pad|>"}, {"image_data", "data:image/png;base64,AAAA"}};
  EXPECT_EQ(refused(body, 400, "/generate"), json({"image_data", nullptr}));
  body = {{"text", "a"}, {"sampling_params", {{"temperature", -1}}}};
  EXPECT_EQ(refused(body, 400, "/generate"), json({"sampling_params.temperature", nullptr}));
  EXPECT_EQ(refused({{"tokens", "x"}}, 400, "/detokenize"), json({"tokens", nullptr}));
  const json missing = json::parse(client_->Get("/v1/models/other")->body)["error"];
  EXPECT_EQ(missing["code"], "model_not_found");
}

TEST_F(Served, the_body_of_a_request_is_no_file) {
  start();
  for (const char* wrong : {"", "{", "[]", "nonsense", "{\"messages\": \"\xFF\"}", "5"}) {
    const std::string body = client_->Post("/v1/chat/completions", wrong, "application/json")->body;
    EXPECT_THAT(json::parse(body)["error"]["message"].get<std::string>(),
                testing::AllOf(testing::HasSubstr("the request"), testing::Not(testing::HasSubstr("file"))));
  }
}

TEST_F(Served, usage_is_null_in_every_event_but_the_last) {
  start();
  json chat = question("Hello"), raw = {{"prompt", "Hello"}};
  for (const auto& [body, path] :
       {std::pair(&chat, "/v1/chat/completions"), std::pair(&raw, "/v1/completions")}) {
    (*body)["n"] = 2;
    for (const json& event : post_streamed(*body, path)) EXPECT_FALSE(event.contains("usage"));
    (*body)["stream_options"] = {{"include_usage", true}};
    const std::vector<json> events = post_streamed(*body, path);
    for (const json& event : events) {
      ASSERT_TRUE(event.contains("usage"));
      EXPECT_EQ(event["usage"].is_null(), &event != &events.back());
    }
  }
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
  const auto without = client_->Get("/v1/models");
  EXPECT_EQ(without->status, 401);
  EXPECT_EQ(json::parse(without->body)["error"]["code"], "invalid_api_key");
  EXPECT_EQ(client_->Get("/v1/models", {{"Authorization", "Bearer third"}})->status, 401);
  EXPECT_EQ(client_->Get("/v1/models", {{"Authorization", "Bearer second"}})->status, 200);
  EXPECT_EQ(client_->Get("/v1/models", {{"x-api-key", "second"}})->status, 200);
  EXPECT_EQ(client_->Get("/v1/models", {{"x-api-key", "third"}})->status, 401);
  EXPECT_EQ(client_->Get("/v1/models", {{"x-api-key", "second"}, {"Authorization", "Basic x"}})->status, 200);
  EXPECT_EQ(json::parse(client_->Get("/v1/messages/none", {{"x-api-key", "second"}})->body)["error"]["type"],
            "not_found_error");
  const auto messages = client_->Post("/v1/messages", "{}", "application/json");
  EXPECT_EQ(messages->status, 401);
  EXPECT_EQ(json::parse(messages->body)["type"], "error");
}

// UTF-8's mark, which some clients write in front.
TEST_F(Served, a_mark_in_front_of_the_body_changes_nothing) {
  start();
  json body = question("Hello");
  body["tools"] = {
      {{"type", "function"}, {"function", {{"name", "f"}, {"parameters", {{"type", "object"}}}}}}};
  const auto result = client_->Post("/v1/chat/completions", "\xEF\xBB\xBF" + body.dump(), "application/json");
  EXPECT_EQ(result->status, 200) << result->body;
}

// Events with names, as OpenAI's responses and Anthropic's messages have them, and nothing behind the last.
TEST_F(Served, blocks_are_streamed_under_their_names) {
  start();
  const std::string expected = text_of(post(question("Hello")));
  const auto ask = [&](const char* path, const json& body) {
    const auto result = client_->Post(path, body.dump(), "application/json");
    EXPECT_EQ(result->status, 200) << result->body;
    return result->body;
  };
  const json response = {{"input", "Hello"}};
  EXPECT_EQ(json::parse(ask("/v1/responses", response))["output"][0]["content"][0]["text"], expected);
  json message = question("Hello");
  message["max_tokens"] = 100;
  EXPECT_EQ(json::parse(ask("/v1/messages", message))["content"][0]["text"], expected);
  message.erase("max_tokens");
  EXPECT_GT(json::parse(ask("/v1/messages/count_tokens", message))["input_tokens"], 5);
  const json streamed = {{"stream", true}, {"max_tokens", 100}, {"messages", message["messages"]}};
  const std::string events = ask("/v1/messages", streamed);
  EXPECT_EQ(events.find("event: message_start\ndata: {"), 0u);
  EXPECT_EQ(events.substr(events.rfind("event: ")),
            "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
  EXPECT_EQ(ask("/v1/responses", {{"stream", true}, {"input", "Hello"}}).find("[DONE]"), std::string::npos);
  const auto refused = client_->Post("/v1/messages", R"({"messages": []})", "application/json");
  EXPECT_EQ(refused->status, 400);
  EXPECT_EQ(json::parse(refused->body)["type"], "error");
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
  while (metric("dvlm_http_requests_open") < 1 && metric("dvlm_requests_total") < 2)
    std::this_thread::yield();
  server_->stop();
  asking.join();
  EXPECT_EQ(got, expected);
}

}  // namespace
}  // namespace dvlm
