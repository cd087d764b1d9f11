// HTTP as its clients spell it: heads, bodies, and pages of other origins.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "core/error.h"
#include "raw.h"
#include "served.h"
#include "server/chunked_body.h"
#include "server/origins.h"
#include "server/request_head.h"

namespace dvlm {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;
using Body = RequestHead::Body;

TEST(RequestHeads, are_made_plain) {
  const RequestHead head = parse_head(
      "\r\nPOST HTTP://example.org:80/v1/x?a=b HTTP/1.1\r\nHOST: example.org\r\nexpect: 100-Continue\r\n"
      "TRANSFER-encoding: Chunked\r\nContent-Encoding: X-GZIP\r\nRange: bytes=0-1\r\n"
      "Accept-Encoding: GZIP;q=1.0, br;q=0, Deflate\r\nAUTHORIZATION:  Bearer a%41  \r\n\r\n");
  EXPECT_EQ(head.status, 0) << head.problem;
  EXPECT_EQ(head.method, "POST");
  EXPECT_EQ(head.body, Body::chunked);
  EXPECT_FALSE(head.http_1_0);
  EXPECT_EQ(head.header("authorization"), "Bearer a%41");
  EXPECT_EQ(head.text,
            "POST /v1/x?a=b HTTP/1.1\r\nContent-Encoding: gzip\r\nAccept-Encoding: gzip, deflate\r\n"
            "Expect: 100-continue\r\n\r\n");
}

TEST(RequestHeads, lose_the_host_of_their_address) {
  for (const auto& [given, expected] :
       std::vector<std::pair<std::string, std::string>>{{"/a", "/a"},
                                                        {"http://x", "/"},
                                                        {"HTTPS://x/", "/"},
                                                        {"http://x?a", "/?a"},
                                                        {"http://", "/"},
                                                        {"http://[::1]:8/v1/models", "/v1/models"},
                                                        {"/http://x/a", "/http://x/a"},
                                                        {"*", "*"}})
    EXPECT_THAT(parse_head("GET " + given + " HTTP/1.1\r\n\r\n").text,
                StartsWith("GET " + expected + " HTTP/1.1\r\n"));
}

TEST(RequestHeads, say_how_long_the_body_is_or_are_refused) {
  const auto head_of = [](const std::string& headers, const char* version = "1.1") {
    return parse_head(std::string("POST / HTTP/") + version + "\r\n" + headers + "\r\n");
  };
  EXPECT_EQ(head_of("").body, Body::none);
  EXPECT_EQ(head_of("content-LENGTH: 12\r\n").body, Body::length);
  EXPECT_EQ(head_of("Content-Length: 12\r\nContent-Length: 12\r\n").body, Body::length);
  EXPECT_EQ(head_of("Transfer-Encoding: identity\r\nContent-Length: 3\r\n").body, Body::length);
  EXPECT_EQ(head_of("Transfer-Encoding: ,chunked\r\n").body, Body::chunked);
  for (const auto& [headers, status] :
       std::vector<std::pair<std::string, int>>{{"Content-Length: 12\r\nContent-Length: 13\r\n", 400},
                                                {"Content-Length: -1\r\n", 400},
                                                {"Content-Length: 1, 1\r\n", 400},
                                                {"Content-Length: \r\n", 400},
                                                {"Content-Length: 99999999999999999999\r\n", 400},
                                                {"Transfer-Encoding: chunked, chunked\r\n", 400},
                                                {"Transfer-Encoding: gzip, chunked\r\n", 501},
                                                {"Transfer-Encoding : chunked\r\n", 400},
                                                {"A: b\r\n Transfer-Encoding: chunked\r\n", 400},
                                                {"A: b\r\n and more\r\n", 400},
                                                {std::string("A: b\0c\r\n", 8), 400},
                                                {"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", 400},
                                                {"Host: a\r\nX: y\r\nhost: b\r\n", 400},
                                                {"Authorization: a\r\nAuthorization: a\r\n", 400},
                                                {"Content-Type: Multipart/form-data; boundary=x\r\n", 415},
                                                {"Content-Encoding: zstd\r\n", 415}}) {
    EXPECT_EQ(head_of(headers).status, status) << headers;
    EXPECT_EQ(head_of(headers).body, Body::none) << headers;
  }
  const RequestHead huge =
      parse_head("POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 99000000000\r\n\r\n", 1 << 20);
  EXPECT_EQ(huge.status, 413);
  EXPECT_THAT(huge.text, Not(HasSubstr("Expect")));
  EXPECT_EQ(head_of("Transfer-Encoding: chunked\r\n", "1.0").status, 400);
  EXPECT_THAT(head_of("Expect: 100-continue\r\nContent-Length: 1\r\n", "1.0").text, Not(HasSubstr("Expect")));
  for (const char* nonsense :
       {"", "\r\n", "\r\n\r\n", "x\r\n\r\n", " \r\n\r\n", "a b\r\n:\r\n\r\n", "  \r\n: x\r\n"})
    EXPECT_EQ(parse_head(nonsense).body, Body::none);
}

// The library ends lines at a line feed: what stands behind one would be headers of which nothing here knows.
TEST(RequestHeads, have_whole_line_ends) {
  for (const std::string& given :
       {std::string("GET / HTTP/1.1\r\nIf-None-Match: a\nRange: bytes=0-1\r\n\r\n"),
        std::string("GET /\nRange: bytes=0-1 HTTP/1.1\r\n\r\n"), std::string("GET /\r HTTP/1.1\r\n\r\n"),
        std::string("GET / HTTP/1.1\r\n\nx: y\r\n\r\n"), std::string("GET /\0 HTTP/1.1\r\n\r\n", 19)}) {
    EXPECT_EQ(parse_head(given).status, 400) << given;
    EXPECT_EQ(parse_head(given).text, "GET / HTTP/1.1\r\n\r\n") << given;
  }
}

// All of the body, or "broken". `piece`: bytes that arrive at once.
std::string unchunked(std::string sent, size_t piece) {
  const auto receive = [&](char* to, size_t size) {
    const size_t count = sent.copy(to, std::min(size, piece));
    sent.erase(0, count);
    return static_cast<ssize_t>(count);
  };
  ChunkedBody body;
  std::string out;
  for (char buffer[7];;) {
    const ssize_t got = body.read(buffer, sizeof buffer, receive);
    if (got < 0) return "broken";
    if (got == 0) return out;
    out.append(buffer, static_cast<size_t>(got));
  }
}

TEST(ChunkedBodies, are_put_together_and_trailers_dropped) {
  for (const size_t piece : {1, 2, 5, 1000}) {
    EXPECT_EQ(unchunked("0\r\n\r\n", piece), "");
    EXPECT_EQ(unchunked("3\r\nabc\r\n0A ; x=\"y\"\r\n0123456789\r\n000\r\n\r\n", piece), "abc0123456789");
    EXPECT_EQ(unchunked("3\r\na\r\n\r\n0\r\nA: b\r\nDigest: x\r\n\r\nGET", piece), "a\r\n");
    for (const char* broken :
         {"", "0\r\n", "0\r\nA: b\r\n", "3\r\nabcd\r\n0\r\n\r\n", "3\r\nab", "-1\r\na\r\n0\r\n\r\n", "\r\n",
          "+3\r\nabc\r\n0\r\n\r\n", "0x3\r\nabc\r\n0\r\n\r\n", "g\r\n", "fffffffffffffffff\r\na", "nonsense"})
      EXPECT_EQ(unchunked(broken, piece), "broken") << broken;
  }
  EXPECT_EQ(unchunked("0\r\n" + std::string(100'000, 'a') + "\r\n\r\n", 4096), "broken");
  std::string trailers;
  for (int i = 0; i < 20'000; ++i) trailers += "a: b\r\n";
  EXPECT_EQ(unchunked("0\r\n" + trailers + "\r\n", 4096), "broken");
}

class Http : public Served {
 protected:
  std::string say(const std::string& text) {
    Raw raw(port_);
    raw.send(text);
    return raw.read_all();
  }
  static std::string chat(const json& body, const std::string& version = "1.1",
                          const std::string& headers = "") {
    const std::string text = body.dump();
    return "POST /v1/chat/completions HTTP/" + version + "\r\n" + headers +
           "Content-Length: " + std::to_string(text.size()) + "\r\n\r\n" + text;
  }
};

TEST_F(Http, clients_of_http_1_0_get_no_chunks) {
  start();
  json body = question("Hello");
  body["stream"] = true;
  std::string answer = say(chat(body, "1.0"));
  const size_t end = answer.find("\r\n\r\n");
  EXPECT_THAT(answer.substr(0, end),
              AllOf(HasSubstr("Connection: close"), Not(HasSubstr("Transfer-Encoding")),
                    Not(HasSubstr("Content-Length"))));
  EXPECT_THAT(answer.substr(end + 4), AllOf(StartsWith("data: {"), testing::EndsWith("data: [DONE]\n\n")));
  answer = say(chat(body));
  EXPECT_THAT(answer, HasSubstr("Transfer-Encoding: chunked"));
  body["stream"] = false;
  EXPECT_THAT(say(chat(body, "1.0")), AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("Content-Length")));
}

TEST_F(Http, tokens_of_heads_have_no_case) {
  start();
  const json body = question("Hello");
  EXPECT_THAT(say(chat(body, "1.1", "EXPECT: 100-Continue\r\nCONNECTION: Close\r\n")),
              AllOf(StartsWith("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"), HasSubstr("chat.completion")));
  const std::string text = json({{"prompt", "Hello"}}).dump();
  const std::string chunk = fmt::format("{:x}\r\n{}\r\n0\r\n", text.size(), text);
  for (const char* encoding : {"chunked", "Chunked", "CHUNKED"})
    for (const char* trailers : {"", "X-Digest: abc\r\nX-More: d\r\n"})
      EXPECT_THAT(say(fmt::format("POST /tokenize HTTP/1.1\r\nTRANSFER-ENCODING: {}\r\n\r\n{}{}\r\n",
                                  encoding, chunk, trailers)),
                  AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("\"count\"")));
  for (const char* type : {"Application/JSON", "application/json; charset=\"UTF-8\"", "text/plain"})
    EXPECT_EQ(client_->Post("/tokenize", text, type)->status, 200);
}

TEST_F(Http, heads_that_say_no_length_or_two_are_answered_at_once) {
  start();
  EXPECT_THAT(say("POST /tokenize HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 400"));
  EXPECT_THAT(say("POST /tokenize HTTP/1.1\r\nContent-Length: x\r\n\r\n"),
              AllOf(StartsWith("HTTP/1.1 400"), HasSubstr("Content-Length must"), HasSubstr("X-Request-Id")));
  EXPECT_THAT(say("POST /tokenize HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n"), StartsWith("HTTP/1.1 501"));
  EXPECT_THAT(say("POST /tokenize HTTP/1.1\r\nContent-Encoding: zstd\r\nContent-Length: 1\r\n\r\nx"),
              StartsWith("HTTP/1.1 415"));
}

TEST_F(Http, addresses_may_have_a_host) {
  start();
  for (const char* target : {"http://127.0.0.1/health", "HTTP://example.org:8080/health?x=1", "/health"})
    EXPECT_THAT(say(fmt::format("GET {} HTTP/1.1\r\n\r\n", target)),
                testing::EndsWith("{\"status\":\"ok\"}"));
}

TEST_F(Http, head_is_get_without_a_body) {
  start();
  for (const char* path : {"/health", "/v1/models", "/v1/models/other", "/metrics", "/", "/nothing"}) {
    const auto got = client_->Get(path), head = client_->Head(path);
    ASSERT_TRUE(got && head) << path;
    EXPECT_EQ(head->status, got->status) << path;
    EXPECT_EQ(head->get_header_value("Content-Type"), got->get_header_value("Content-Type")) << path;
    EXPECT_TRUE(head->body.empty());
    EXPECT_THAT(say(std::string("HEAD ") + path + " HTTP/1.1\r\n\r\n"), testing::EndsWith("\r\n\r\n"));
  }
  EXPECT_EQ(client_->Head("/v1/chat/completions")->status, 405);
  EXPECT_EQ(client_->Post("/health", "", "text/plain")->get_header_value("Allow"), "GET, HEAD");
}

TEST_F(Http, keys_are_found_behind_any_spelling_of_bearer) {
  ServerOptions options;
  options.api_keys = {"first%41"};
  start(options);
  const auto status = [&](const std::string& value) {
    return std::stoi(say("GET /v1/models HTTP/1.1\r\nAUTHORIZATION: " + value + "\r\n\r\n").substr(9, 3));
  };
  for (const char* right :
       {"Bearer first%41", "bearer first%41", "BEARER    first%41", "  Bearer first%41  "})
    EXPECT_EQ(status(right), 200) << right;
  for (const char* wrong : {"", "Bearer", "Bearer ", "first%41", "Basic first%41", "Bearerfirst%41",
                            "Bearer firstA", "Bearer FIRST%41", "Bearer first%41 x"})
    EXPECT_EQ(status(wrong), 401) << wrong;
}

TEST(OriginRules, are_those_of_browsers) {
  for (const char* wrong :
       {"", "localhost", "http://", "http://a/b", "http://a b", "ftp://a", "http://*.a", "https:a"})
    EXPECT_THROW(Origins({wrong}), Error) << wrong;
  const Origins origins({"HTTP://Example.org:80/", "https://b.example:8443", "null"});
  const auto allowed = [&](const std::string& origin) {
    httplib::Response response;
    origins.allow(parse_head("GET / HTTP/1.1\r\norigin: " + origin + "\r\n\r\n"), response);
    EXPECT_EQ(response.get_header_value("Vary"), "Origin");
    return response.get_header_value("Access-Control-Allow-Origin");
  };
  for (const char* origin : {"http://example.org", "https://b.example:8443", "null"})
    EXPECT_EQ(allowed(origin), origin);
  for (const char* origin : {"", "https://example.org", "http://example.org.evil", "https://b.example", "*"})
    EXPECT_EQ(allowed(origin), "") << origin;
}

TEST(OriginRules, refuse_names_and_pages_from_elsewhere) {
  const auto refused = [](const Origins& origins, const std::string& headers) {
    return origins.refusal(parse_head("POST / HTTP/1.1\r\n" + headers + "\r\n")) != nullptr;
  };
  const Origins local({"http://localhost:5173"});
  for (const char* right :
       {"", "Host: x\r\n", "Host: Robot-7:8080\r\n", "Host: 127.0.0.1:8080\r\n", "Host: LOCALHOST\r\n",
        "Host: [::1]:80\r\n", "Host: localhost:8080\r\nOrigin: http://localhost:8080\r\n",
        "Host: localhost:8080\r\nOrigin: http://localhost:5173\r\n"})
    EXPECT_FALSE(refused(local, right)) << right;
  for (const char* wrong :
       {"Host: [::1]evil.example\r\n", "Host: localhost:evil.example\r\n", "Host: localhost:80:80\r\n",
        "Host: evil.example\r\n", "Host: 8021\r\n", "Host: 0x7f000001:8080\r\n",
        "Host: localhost.evil.example\r\n", "Host: 127.0.0.1.evil.example:8080\r\n",
        "Host: localhost:8080\r\nOrigin: http://evil.example\r\n",
        "Host: localhost:8080\r\nOrigin: http://localhost:8081\r\n", "Host: localhost\r\nOrigin: null\r\n"})
    EXPECT_TRUE(refused(local, wrong)) << wrong;
  const Origins everywhere({}, {}, "0.0.0.0"), named({}, {"Example.org:443"}, "0.0.0.0");
  EXPECT_FALSE(refused(everywhere, "Host: robot.lan:8080\r\n"));
  EXPECT_TRUE(refused(everywhere, "Host: robot.lan:8080\r\nOrigin: http://evil.example\r\n"));
  EXPECT_FALSE(refused(named, "Host: example.org\r\nOrigin: https://example.org\r\n"));
  EXPECT_TRUE(refused(named, "Host: robot.lan\r\n"));
  EXPECT_THROW(Origins({}, {"a/b"}), Error);
}

TEST_F(Http, pages_of_other_origins_may_ask_when_the_owner_allows_them) {
  ServerOptions options;
  options.api_keys = {"key"};
  options.origins = {"http://localhost:5173"};
  start(options);
  const httplib::Headers page = {{"Origin", "http://localhost:5173"}, {"Authorization", "Bearer key"}};
  const auto ask = [&](const std::string& origin) {
    return client_->send([&] {
      httplib::Request request;
      request.method = "OPTIONS";
      request.path = "/v1/chat/completions";
      request.headers = {{"Origin", origin},
                         {"Access-Control-Request-Method", "POST"},
                         {"Access-Control-Request-Headers", "authorization, X-Stainless-OS, a b"}};
      return request;
    }());
  };
  const auto preflight = ask("http://localhost:5173");
  ASSERT_TRUE(preflight);
  EXPECT_EQ(preflight->status, 200);
  EXPECT_EQ(preflight->get_header_value("Access-Control-Allow-Origin"), "http://localhost:5173");
  EXPECT_EQ(preflight->get_header_value("Vary"), "Origin");
  EXPECT_THAT(preflight->get_header_value("Access-Control-Allow-Methods"), HasSubstr("POST"));
  EXPECT_EQ(preflight->get_header_value("Access-Control-Allow-Headers"),
            "authorization, content-type, x-request-id, x-stainless-os");
  EXPECT_EQ(ask("http://evil.example")->status, 403);

  const auto origin_of = [&](const json& body, const httplib::Headers& headers, int status) {
    const auto result = client_->Post("/v1/chat/completions", headers, body.dump(), "application/json");
    EXPECT_EQ(result->status, status);
    return result->get_header_value("Access-Control-Allow-Origin");
  };
  json streamed = question("Hello");
  streamed["stream"] = true;
  EXPECT_EQ(origin_of(question("Hello"), page, 200), "http://localhost:5173");
  EXPECT_EQ(origin_of(streamed, page, 200), "http://localhost:5173");
  EXPECT_EQ(origin_of(json::object(), page, 400), "http://localhost:5173");
  EXPECT_EQ(origin_of(json::object(), {{"Origin", "http://localhost:5173"}}, 401), "http://localhost:5173");
  EXPECT_EQ(
      origin_of(question("Hello"), {{"Origin", "http://evil.example"}, {"Authorization", "Bearer key"}}, 403),
      "");
}

TEST_F(Http, pages_of_other_origins_are_not_allowed_unasked) {
  start();
  const auto result = client_->Get("/v1/models", {{"Origin", "http://localhost:5173"}});
  EXPECT_EQ(result->status, 403);
  EXPECT_FALSE(result->has_header("Access-Control-Allow-Origin"));
  EXPECT_FALSE(result->has_header("Vary"));
  EXPECT_EQ(client_->Get("/v1/models", {{"Host", "evil.example"}})->status, 403);
  EXPECT_EQ(client_->Options("/v1/models")->status, 405);
}

}  // namespace
}  // namespace dvlm
