// Clients that are slow, too many, or gone, and what the server tells of its requests.
#include <mutex>

#include "raw.h"
#include "served.h"

namespace dvlm {
namespace {

using std::chrono::milliseconds;

class Clients : public Served {
 protected:
  static std::string request(const json& body) {
    const std::string text = body.dump();
    const std::string path = body.contains("prompt") ? "/v1/completions" : "/v1/chat/completions";
    return "POST " + path + " HTTP/1.1\r\nContent-Length: " + std::to_string(text.size()) + "\r\n\r\n" + text;
  }
};

TEST_F(Clients, who_sends_too_slowly_is_told_so) {
  ServerOptions options;
  options.read_timeout = 2;
  start(options);
  const auto begun = std::chrono::steady_clock::now();
  Raw head(port_), body(port_), silent(port_);
  EXPECT_TRUE(head.send("POST /v1/chat/completions HTTP/1.1\r\nX-Slow: "));
  EXPECT_TRUE(body.send("POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 100000\r\n\r\n"));
  EXPECT_THAT(head.drip(), testing::StartsWith("HTTP/1.1 408"));
  EXPECT_THAT(body.drip(), testing::StartsWith("HTTP/1.1 408"));
  EXPECT_EQ(silent.read_all(), "");
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(10));
  post(question("Hello"));
}

TEST_F(Clients, large_heads_are_refused) {
  start();
  Raw raw(port_);
  std::string head = "GET /health HTTP/1.1\r\n";
  for (int i = 0; i < 2000; ++i) head += "X-" + std::to_string(i) + ": " + std::string(40, 'x') + "\r\n";
  raw.send(head);
  EXPECT_THAT(raw.read_all(), testing::StartsWith("HTTP/1.1 431"));
  Raw ranges(port_);
  std::string list = "0-0";
  while (list.size() < 7000) list += ",0-0";
  ranges.send("GET /health HTTP/1.1\r\nRange: bytes=" + list + "\r\n\r\n");
  EXPECT_THAT(ranges.read_all(), testing::EndsWith("{\"status\":\"ok\"}"));
  Raw nonsense(port_);
  nonsense.send(std::string(5000, '\xFF') + "\r\n\r\n");
  EXPECT_THAT(nonsense.read_all(),
              testing::AllOf(testing::StartsWith("HTTP/1.1 400"), testing::HasSubstr("X-Request-Id: req-")));
}

TEST_F(Clients, who_sends_no_request_makes_way_and_too_many_requests_are_turned_away) {
  ServerOptions options;
  options.max_connections = 4;
  start(options);
  const auto asked = [&] {
    Raw raw(port_);
    raw.send("GET /health HTTP/1.1\r\n\r\n");
    const std::string answer = raw.read_all();
    return answer.empty() ? 0 : std::stoi(answer.substr(9, 3));
  };
  {
    std::vector<std::unique_ptr<Raw>> open;
    open.reserve(12);
    for (int i = 0; i < 12; ++i) open.push_back(std::make_unique<Raw>(port_));
    EXPECT_EQ(asked(), 200) << "in the place of one that sends nothing";
    EXPECT_GE(metric("dvlm_http_connections_cut_off_total"), 8);
    open.clear();
    for (int i = 0; i < 4; ++i) {
      open.push_back(std::make_unique<Raw>(port_));
      open.back()->send("POST /v1/completions HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{");
    }
    EXPECT_EQ(asked(), 200) << "in the place of one that does not send its body";
    open.clear();
    // Four that are answered hold all places. Who asks before their requests are read takes one of them.
    int status = 200;
    for (int i = 0; i < 500 && status == 200; ++i) {
      open.push_back(std::make_unique<Raw>(port_));
      open.back()->send(request(endless()));
      if (i >= 3) status = asked();
    }
    EXPECT_EQ(status, 503);
  }
  EXPECT_TRUE(becomes("dvlm_http_connections", 1));
  EXPECT_GE(metric("dvlm_http_connections_refused_total"), 1);
}

TEST_F(Clients, who_goes_before_the_first_token_is_given_up) {
  ServerOptions options;
  options.scheduler.max_batch = 1;
  start(options);
  Raw running(port_), streamed(port_), whole(port_);
  running.send(request(endless()));
  ASSERT_TRUE(becomes("dvlm_requests_running", 1));
  json body = question("Hello");
  whole.send(request(body));
  body["stream"] = true;
  streamed.send(request(body));
  ASSERT_TRUE(becomes("dvlm_http_requests_open", 3));
  whole.close();
  EXPECT_TRUE(becomes("dvlm_http_requests_open", 2));
  streamed.close();
  EXPECT_TRUE(becomes("dvlm_http_requests_open", 1));
  EXPECT_EQ(metric("dvlm_requests_running"), 1) << "the others went while this one still ran";
  running.close();
  EXPECT_TRUE(becomes("dvlm_http_requests_open", 0));
  EXPECT_TRUE(becomes("dvlm_requests_running", 0));
}

TEST_F(Clients, who_goes_leaves_a_place_in_the_queue) {
  ServerOptions options;
  options.scheduler.max_waiting = 1;
  options.scheduler.max_batch = 1;
  start(options);
  Raw running(port_), gone(port_);
  running.send(request(endless()));
  ASSERT_TRUE(becomes("dvlm_requests_running", 1));
  gone.send(request(question("Hello")));
  ASSERT_TRUE(becomes("dvlm_requests_waiting", 1));
  gone.close();
  ASSERT_TRUE(becomes("dvlm_http_requests_open", 1));
  Raw next(port_);
  next.send(request(question("Hello")));
  EXPECT_TRUE(becomes("dvlm_http_requests_open", 2)) << "it was not refused";
  running.close();
  EXPECT_THAT(next.read_all(), testing::StartsWith("HTTP/1.1 200"));
}

TEST_F(Clients, what_takes_too_long_ends) {
  ServerOptions options;
  options.timeout = 1;
  start(options);
  Raw running(port_), waiting(port_);
  running.send(request(endless()));
  ASSERT_TRUE(becomes("dvlm_requests_running", 1));
  waiting.send(request(endless()));
  EXPECT_THAT(running.read_all(),
              testing::AllOf(testing::StartsWith("HTTP/1.1 200"), testing::HasSubstr("\"length\"")));
  EXPECT_FALSE(waiting.read_all().empty());
}

TEST_F(Clients, bodies_are_bounded_in_values_and_in_memory) {
  start();
  EXPECT_EQ(client_->Post("/tokenize", "[" + std::string(3'000'000, ',') + "]", "application/json")->status,
            400);
  httplib::Client packing("127.0.0.1", port_);
  packing.set_compress(true);
  EXPECT_EQ(packing.Put("/nothing", std::string(1'000'000, ' '), "application/json")->status, 404);
  Raw chunked(port_);
  chunked.send("POST /tokenize HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n");
  EXPECT_THAT(chunked.read_all(), testing::StartsWith("HTTP/1.1 400"));
  Raw packed(port_);
  packed.send("POST /tokenize HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 8\r\n\r\nnonsense");
  EXPECT_THAT(packed.read_all(), testing::StartsWith("HTTP/1.1 400"));
  EXPECT_TRUE(becomes("dvlm_http_body_memory_bytes", 0));
}

TEST_F(Clients, every_answer_has_an_id_and_a_line) {
  std::mutex mutex;
  std::vector<json> lines;
  ServerOptions options;
  options.log = [&](const std::string& line) {
    const std::lock_guard lock(mutex);
    EXPECT_TRUE(line.ends_with("}\n"));
    lines.push_back(json::parse(line));
  };
  start(options);
  const auto line_of = [&](const std::string& id) {
    for (int i = 0; i < 500; ++i) {
      {
        const std::lock_guard lock(mutex);
        for (const json& line : lines)
          if (line["id"] == id) return line;
      }
      std::this_thread::sleep_for(milliseconds(10));
    }
    return json::object();
  };
  const std::string body = question("Hello secret").dump();
  const auto ask = [&](const std::string& path, const httplib::Headers& headers) {
    return client_->Post(path, headers, body, "application/json");
  };
  EXPECT_EQ(ask("/v1/chat/completions", {{"X-Request-Id", "mine-1"}})->get_header_value("X-Request-Id"),
            "mine-1");
  const json line = line_of("mine-1");
  EXPECT_EQ(line["status"], 200);
  EXPECT_EQ(line["method"], "POST");
  EXPECT_EQ(line["path"], "/v1/chat/completions");
  EXPECT_EQ(line["address"], "127.0.0.1");
  EXPECT_GT(line["prompt_tokens"], 5);
  EXPECT_GT(line["completion_tokens"], 0);
  EXPECT_LE(line["first_token_ms"], line["total_ms"]);
  EXPECT_EQ(line["finish_reason"], "length");
  EXPECT_THAT(line.dump(), testing::Not(testing::HasSubstr("secret")));

  for (const std::string& wrong : {std::string("two words"), std::string(200, 'x'), std::string("\xC3\xA4")})
    EXPECT_THAT(ask("/nothing", {{"X-Request-Id", wrong}})->get_header_value("X-Request-Id"),
                testing::StartsWith("req-"));
  const std::string made = client_->Get("/nothing")->get_header_value("X-Request-Id");
  EXPECT_EQ(line_of(made)["status"], 404);
  EXPECT_FALSE(line_of(made).contains("prompt_tokens"));
  // The server must not outlive what its log writes to.
  client_.reset();
  server_->stop();
  thread_.join();
  server_.reset();
}

TEST_F(Clients, metrics_tell_what_happened) {
  start();
  post(picture_question("Where is the hammer?"));
  post_streamed(question("Hello"));
  post(json::object(), 400);
  EXPECT_TRUE(becomes("dvlm_http_requests_open", 0));
  EXPECT_EQ(metric("dvlm_answers_total{decoder=\"auto\"}"), 2);
  EXPECT_EQ(metric("dvlm_time_to_first_token_seconds_count"), 2);
  EXPECT_EQ(metric("dvlm_request_seconds_bucket{le=\"+Inf\"}"), 2);
  EXPECT_TRUE(becomes("dvlm_http_answers_total{class=\"4xx\"}", 1));
  EXPECT_GE(metric("dvlm_http_answers_total{class=\"2xx\"}"), 3);
  EXPECT_GE(metric("dvlm_decode_tokens_total{decoder=\"auto\"}"),
            metric("dvlm_decode_passes_total{decoder=\"auto\"}") / 2);
  EXPECT_GT(metric("dvlm_peak_memory_bytes"), 1e6);
}

TEST_F(Clients, two_servers_do_not_share_a_port) {
  start();
  ServerOptions options;
  options.port = port_;
  Server second(engine(), options);
  EXPECT_ANY_THROW(second.bind());
}

}  // namespace
}  // namespace dvlm
