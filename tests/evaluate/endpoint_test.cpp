// Servers as they are met: busy, slow, broken, strange.
#include "evaluate/endpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/files.h"
#include "evaluate/answers.h"
#include "message_of.h"
#include "scripted_server.h"
#include "temporary_folder.h"

namespace dvlm {
namespace {

using nlohmann::json;
using testing::HasSubstr;

std::string response(int status, const std::string& type, const std::string& body,
                     const std::string& headers = "") {
  return "HTTP/1.1 " + std::to_string(status) + " Any\r\nContent-Type: " + type +
         "\r\nConnection: close\r\n" + headers + "\r\n" + body;
}

std::string event(const std::string& text) {
  return "data: " + json{{"choices", {{{"index", 0}, {"delta", {{"content", text}}}}}}}.dump() + "\n\n";
}

const std::string kEnd =
    "data: {\"choices\": [{\"index\": 0, \"delta\": {}, \"finish_reason\": \"stop\"}]}\n\n"
    "data: {\"choices\": [], \"usage\": {\"prompt_tokens\": 7, \"completion_tokens\": 3}}\n\n"
    "data: [DONE]\n\n";

const std::string kGood =
    response(200, "text/event-stream; charset=utf-8", event("a ham") + event("mer") + kEnd);

EndpointAnswer ask(const ScriptedServer& server, int tries = 3, double timeout = 5) {
  return ask_endpoint(
      {.url = server.url(), .model = "some", .key = "secret", .timeout = timeout, .tries = tries},
      {{"messages", json::array()}});
}

TEST(Endpoint, ReadsAStream) {
  ScriptedServer server({kGood});
  const EndpointAnswer answer = ask(server);
  EXPECT_EQ(answer.text, "a hammer");
  EXPECT_EQ(answer.finish_reason, "stop");
  EXPECT_EQ(answer.prompt_tokens, 7);
  EXPECT_EQ(answer.tokens, 3);
  EXPECT_GT(answer.first_ms, 0);
  EXPECT_LE(answer.first_ms, answer.total_ms);
  const std::string request = server.requests().at(0);
  EXPECT_THAT(request, HasSubstr("POST /v1/chat/completions HTTP/1.1"));
  EXPECT_THAT(request, HasSubstr("Authorization: Bearer secret"));
  EXPECT_THAT(request, HasSubstr("\"model\":\"some\""));
}

TEST(Endpoint, ReadsProbabilities) {
  const json entry = {
      {"token", "a"}, {"logprob", -0.5}, {"top_logprobs", {{{"token", "a"}, {"logprob", -0.5}}}}};
  const json piece = {{"choices", {{{"delta", {{"content", "a"}}}, {"logprobs", {{"content", {entry}}}}}}}};
  ScriptedServer server({response(200, "text/event-stream",
                                  "data: " + piece.dump() + "\n\ndata: " + piece.dump() + "\n\n" + kEnd)});
  const EndpointAnswer answer = ask(server);
  ASSERT_EQ(answer.scores.size(), 2u);
  EXPECT_EQ(answer.scores[1].chosen, ScoredToken("a", -0.5));
}

TEST(Endpoint, ReadsAnAnswerInOnePiece) {
  ScriptedServer server(
      {response(200, "application/json",
                R"({"choices": [{"message": {"content": "a cup"}, "finish_reason": "length"}],
                                      "usage": {"completion_tokens": 2}})")});
  EXPECT_EQ(ask(server).text, "a cup");
}

TEST(Endpoint, TriesAgainWhereThatMayHelp) {
  const std::vector<std::string> bad = {
      response(429, "application/json", R"({"error": {"message": "slow down"}})", "Retry-After: 0\r\n"),
      response(503, "text/plain", "starting"),
      response(200, "text/event-stream", event("a ham")),
      response(200, "text/event-stream", "data: {\"choices\": [{\"delta\": {\"conte"),
      response(200, "text/event-stream", "data: nonsense\n\n"),
      response(200, "text/event-stream", "data: {\"error\": {\"message\": \"out of memory\"}}\n\n"),
      response(200, "application/json", "[1, 2"),
      response(200, "application/json", R"({"choices": 5})"),
      response(200, "application/json", R"({"choices": [{}]})"),
      "nonsense",
      ""};
  for (const std::string& text : bad) {
    ScriptedServer server({text, kGood});
    EXPECT_EQ(ask(server).text, "a hammer") << text;
    EXPECT_EQ(server.requests().size(), 2u) << text;
    ScriptedServer never({text});
    const std::string problem = message_of([&] { ask(never, 1); });
    EXPECT_THAT(problem, HasSubstr(never.url())) << text;
    EXPECT_THAT(problem, HasSubstr("tries")) << problem;
  }
}

// Of several threads, too, and tries count.
TEST(Endpoint, RequestsKeepTheirPace) {
  using std::chrono::milliseconds;
  RequestPace pace(60 * 50);  // one in 20 ms
  const Clock::time_point start = Clock::now();
  std::vector<std::jthread> threads;
  threads.reserve(4);
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int turn = 0; turn < 5; ++turn) EXPECT_TRUE(pace.wait({}));
    });
  threads.clear();
  EXPECT_GE(Clock::now() - start, milliseconds(19 * 20));
  RequestPace slow(1);
  EXPECT_TRUE(slow.wait({}));
  EXPECT_FALSE(slow.wait([] { return true; })) << "cancelled long before its turn";
  ScriptedServer server({response(503, "text/plain", ""), kGood});
  EndpointOptions options{.url = server.url(), .model = "some", .timeout = 5, .tries = 2};
  options.pace = std::make_shared<RequestPace>(60 / 0.7);
  const Clock::time_point asked = Clock::now();
  EXPECT_EQ(ask_endpoint(options, {{"messages", json::array()}}).text, "a hammer");
  EXPECT_GE(Clock::now() - asked, milliseconds(690));
}

TEST(Endpoint, ASlowAnswerIsGivenUp) {
  // An event without its end: the connection closes, which is no whole answer either.
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET, address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  ASSERT_EQ(::bind(socket, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(socket, 4), 0);  // connects, and nobody answers
  ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size);
  const std::string url = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  EXPECT_THAT(message_of([&] {
                ask_endpoint({.url = url, .model = "m", .timeout = 0.2, .tries = 1}, json::object());
              }),
              HasSubstr("no whole answer came within"));
  ::close(socket);
  EXPECT_THAT(message_of([&] { ask_endpoint({.url = url, .model = "m", .tries = 1}, json::object()); }),
              HasSubstr("connect"));
}

TEST(Endpoint, RefusalsAreTold) {
  ScriptedServer long_prompt(
      {response(400, "application/json", R"({"error": {"message": "prompt too long"}})")});
  EXPECT_THROW(ask(long_prompt), EndpointRefusal);
  EXPECT_EQ(long_prompt.requests().size(), 1u);
  ScriptedServer locked({response(401, "application/json", R"({"error": "who are you"})")});
  EXPECT_THAT(message_of([&] { ask(locked); }), HasSubstr("who are you"));
  ScriptedServer unknown({response(404, "application/json", R"({"error": {"message": "no such model"}})")});
  EXPECT_THAT(message_of([&] { ask(unknown); }), HasSubstr("no such model"));
  ScriptedServer moved({response(302, "text/plain", "", "Location: http://elsewhere/\r\n")});
  EXPECT_THAT(message_of([&] { ask(moved); }), HasSubstr("redirect"));
  EXPECT_THAT(message_of([&] {
                ask_endpoint({.url = "file:///etc/passwd", .model = "m", .tries = 1}, json::object());
              }),
              HasSubstr("file:///etc/passwd"));
}

// Behind a status of 200, as servers that stream have to.
TEST(Endpoint, RefusalsInsideAStreamAreRefusals) {
  ScriptedServer server({response(
      200, "text/event-stream", "data: {\"error\": {\"message\": \"prompt too long\", \"code\": 400}}\n\n")});
  EXPECT_THROW(ask(server), EndpointRefusal);
  EXPECT_EQ(server.requests().size(), 1u);
}

TEST(Endpoint, AnAnswerEndsWhereItSaysSo) {
  const std::string longer = "Content-Length: 100000\r\n";  // which never come
  for (const char* end :
       {"data: [DONE]\n\n", "data: {\"choices\": [{\"delta\": {}, \"finish_reason\": \"stop\"}]}\n\n"}) {
    ScriptedServer server({response(200, "text/event-stream", event("a hammer") + end, longer)});
    EXPECT_EQ(ask(server, 1).text, "a hammer") << end;
  }
}

TEST(Endpoint, UsageThatCannotBeIsNotKnown) {
  for (const char* usage :
       {R"({"prompt_tokens": -5, "completion_tokens": 1e300})", R"({"prompt_tokens": null})",
        R"({"completion_tokens": 99999999999999999})", R"({"completion_tokens": "3"})"}) {
    ScriptedServer server(
        {response(200, "text/event-stream",
                  event("a") + "data: {\"choices\": [], \"usage\": " + usage + "}\n\ndata: [DONE]\n\n")});
    const EndpointAnswer answer = ask(server, 1);
    EXPECT_EQ(answer.text, "a") << usage;
    EXPECT_EQ(answer.prompt_tokens, 0) << usage;
    EXPECT_EQ(answer.tokens, 0) << usage;
  }
}

TEST(Endpoint, KeysComeFromTheEnvironment) {
  ::setenv("DVLM_TEST_KEY", " abc\n", 1);
  EXPECT_EQ(key_from_environment("DVLM_TEST_KEY"), "abc");
  ::setenv("DVLM_TEST_KEY", "a b", 1);
  EXPECT_THAT(message_of([] { key_from_environment("DVLM_TEST_KEY"); }), HasSubstr("no key"));
  EXPECT_THAT(message_of([] { key_from_environment("DVLM_NOT_SET"); }), HasSubstr("DVLM_NOT_SET"));
}

class Three : public TestSet {
 public:
  std::string name() const override { return "POPE"; }
  std::filesystem::path file() const override { return "POPE.jsonl"; }
  int64_t size() const override { return 3; }
  std::string id(int64_t i) const override { return std::to_string(i); }
  TestQuestion question(int64_t i) const override {
    return {id(i), {{"user", {text_part("Is it?")}}}, {{"answer", "Yes"}, {"index", id(i)}}};
  }
};

// What was answered before a server died is kept, and what it refuses is an answer, too.
TEST(Endpoint, NothingIsLost) {
  const TemporaryFolder folder;
  const AnswerOptions options{.output = folder.path()};
  const std::string refusal = response(413, "text/plain", "too large"),
                    gone = response(500, "text/plain", "gone");
  {
    ScriptedServer server({kGood, refusal, gone});
    const EndpointOptions endpoint{.url = server.url(), .model = "m", .tries = 1};
    EXPECT_THAT(message_of([&] {
                  answer_task(endpoint, {{"seed", 1}}, Three(), options);
                }),
                HasSubstr("what was answered is kept"));
  }
  const std::vector<PredictionSet> kept = read_all_predictions(folder.path());
  ASSERT_EQ(kept.size(), 1u);
  ASSERT_EQ(kept[0].predictions.size(), 2u);
  EXPECT_EQ(kept[0].predictions[0].answer, "a hammer");
  EXPECT_THAT(kept[0].predictions[1].finish, HasSubstr("refused"));
}

TEST(Endpoint, PicturesAreSaidToBeWhatTheyAre) {
  const TemporaryFolder folder;
  write_file(folder / "a.webp", "RIFF1234WEBPVP8 ");
  const Conversation conversation = {{"user",
                                      {image_part((folder / "a.webp").string()),
                                       image_part("data:;base64,iVBORw0KGgo="), text_part("What?")}}};
  const json content = endpoint_messages(conversation)[0]["content"];
  EXPECT_THAT(content[0]["image_url"]["url"].get<std::string>(),
              testing::StartsWith("data:image/webp;base64,UklGR"));
  EXPECT_EQ(content[1]["image_url"]["url"], "data:image/png;base64,iVBORw0KGgo=");
  EXPECT_EQ(content[2]["text"], "What?");
  EXPECT_THAT(message_of([] { endpoint_messages({{"user", {video_part("a.mp4")}}}); }), HasSubstr("videos"));
  write_file(folder / "secret", "root:x:0:0");
  EXPECT_THAT(message_of([&] {
                endpoint_messages({{"user", {image_part((folder / "secret").string())}}});
              }),
              HasSubstr("no picture"));
}

}  // namespace
}  // namespace dvlm
