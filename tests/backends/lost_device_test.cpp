// A card that fails for good under a server, and one that only runs out of memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "backends/load_model.h"
#include "cuda/device_array.h"
#include "cuda/failing_device.h"
#include "cuda/model.h"
#include "random_folder.h"
#include "server/metric.h"
#include "server/raw.h"
#include "server/server.h"

namespace dvlm {
namespace {

using nlohmann::json;
using test::FailingDevice;
using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

std::shared_ptr<FailingDevice>& device() {
  static std::shared_ptr<FailingDevice> current;
  return current;
}

class LostDevice : public testing::Test {
 protected:
  LostDevice() {
    device() = std::make_shared<FailingDevice>(size_t{256} << 20);
    add_backend("failing", [](const Checkpoint& checkpoint, const ModelOptions& options) {
      return cuda::load_model(checkpoint, device(), options);
    });
    engine_ = std::make_unique<Engine>(
        EngineOptions{.model = folder_.path(), .load = {.device = "failing", .kv_limit = size_t{16} << 20}});
  }
  ~LostDevice() override {
    stop();
    engine_.reset();
    device().reset();
  }

  void start() {
    ServerOptions options;
    options.port = 0;
    options.scheduler.max_batch = 2;
    server_ = std::make_unique<Server>(*engine_, options);
    port_ = server_->bind();
    thread_ = std::thread([this] { server_->run(); });
    client_ = std::make_unique<httplib::Client>("127.0.0.1", port_);
    client_->set_read_timeout(60);
    while (!client_->Get("/health")) std::this_thread::yield();
  }
  void stop() {
    if (!server_) return;
    client_.reset();
    server_->stop();
    thread_.join();
    server_.reset();
  }

  // Never ends by itself before 400 tokens.
  static json endless() {
    return {{"prompt", "For ever?"}, {"max_tokens", 400}, {"dvlm", {{"decoder", "ar"}}}};
  }
  static std::string request(const json& body) {
    const std::string text = body.dump();
    return "POST /v1/completions HTTP/1.1\r\nContent-Length: " + std::to_string(text.size()) + "\r\n\r\n" +
           text;
  }
  double metric(const std::string& name) { return test::metric(*client_, name); }
  bool becomes(const std::string& name, double value) { return test::becomes(*client_, name, value); }

  const RandomFolder folder_{{0}};  // its end token is one that it does not write
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Server> server_;
  std::thread thread_;
  int port_ = 0;
  std::unique_ptr<httplib::Client> client_;
};

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST_F(LostDevice, everybody_is_told_and_the_server_says_that_it_is_not_well) {
  testing::internal::CaptureStderr();
  start();
  json streamed = endless();
  streamed["stream"] = true;
  Raw stream(port_), running(port_), waiting(port_), waiting_stream(port_);
  stream.send(request(streamed));
  ASSERT_TRUE(becomes("dvlm_time_to_first_token_seconds_count", 1));
  running.send(request(endless()));
  ASSERT_TRUE(becomes("dvlm_requests_running", 2));
  device()->hold();
  waiting.send(request(endless()));
  waiting_stream.send(request(streamed));
  ASSERT_TRUE(becomes("dvlm_requests_waiting", 2));
  EXPECT_EQ(client_->Get("/health")->status, 200);
  EXPECT_EQ(metric("dvlm_device_lost"), 0);

  device()->lose();
  const auto refusal = AllOf(StartsWith("HTTP/1.1 503"), HasSubstr(FailingDevice::kLost),
                             HasSubstr("\"code\":\"device_lost\""));
  EXPECT_THAT(stream.read_all(), AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("data: {\"choices\""),
                                       HasSubstr("data: {\"error\""), HasSubstr(FailingDevice::kLost),
                                       HasSubstr("data: [DONE]")));
  EXPECT_THAT(running.read_all(), refusal);
  EXPECT_THAT(waiting.read_all(), refusal);
  EXPECT_THAT(waiting_stream.read_all(), refusal);
  for (const json& later : {endless(), streamed}) {
    Raw raw(port_);
    raw.send(request(later));
    EXPECT_THAT(raw.read_all(), refusal);
  }

  const auto health = client_->Get("/health"), ready = client_->Get("/ready");
  EXPECT_EQ(health->status, 503);
  EXPECT_THAT(health->body, AllOf(HasSubstr("\"lost\""), HasSubstr(FailingDevice::kLost)));
  EXPECT_EQ(ready->status, 503);
  EXPECT_THAT(ready->body, HasSubstr("\"lost\""));
  EXPECT_EQ(metric("dvlm_device_lost"), 1);
  EXPECT_EQ(metric("dvlm_requests_running") + metric("dvlm_requests_waiting"), 0);
  EXPECT_EQ(metric("dvlm_requests_total"), 6);
  EXPECT_EQ(metric("dvlm_requests_failed_total"), 6);
  EXPECT_TRUE(becomes("dvlm_http_requests_open", 0));

  const auto asked = std::chrono::steady_clock::now();
  stop();
  EXPECT_LT(std::chrono::steady_clock::now() - asked, std::chrono::seconds(5));
  EXPECT_EQ(count(testing::internal::GetCapturedStderr(), FailingDevice::kLost), 1);
}

TEST_F(LostDevice, a_server_that_is_told_to_end_in_that_moment_ends) {
  start();
  Raw running(port_), waiting(port_);
  running.send(request(endless()));
  waiting.send(request(endless()));
  ASSERT_TRUE(becomes("dvlm_requests_running", 2));
  device()->hold();
  std::thread ending([&] { server_->stop(); });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  device()->lose();
  ending.join();
  EXPECT_THAT(running.read_all(), StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(waiting.read_all(), StartsWith("HTTP/1.1 503"));
}

TEST_F(LostDevice, it_may_fail_at_a_picture) {
  start();
  device()->hold();
  // A white picture of 2 x 2 pixels.
  const std::string picture = "data:image/x-portable-anymap;base64,UDYgMiAyIDI1NQr///////////////8=";
  const json body = {
      {"messages",
       {{{"role", "user"},
         {"content",
          {{{"type", "image_url"}, {"image_url", {{"url", picture}}}}, {{"type", "text"}, {"text", "?"}}}}}}},
      {"dvlm", {{"decoder", "ar"}}}};
  std::thread asking([&] {
    httplib::Client client("127.0.0.1", port_);
    client.set_read_timeout(60);
    const auto result = client.Post("/v1/chat/completions", body.dump(), "application/json");
    ASSERT_TRUE(result);
    EXPECT_EQ(result->status, 503) << result->body;
    EXPECT_THAT(result->body, HasSubstr(FailingDevice::kLost));
  });
  EXPECT_TRUE(becomes("dvlm_http_requests_open", 1));
  device()->lose();
  asking.join();
  EXPECT_EQ(client_->Get("/health")->status, 503);
}

TEST_F(LostDevice, a_pass_without_memory_is_one_requests_trouble) {
  start();
  const auto ask = [&] {
    json body = endless();
    body["max_tokens"] = 4;
    return client_->Post("/v1/completions", body.dump(), "application/json")->status;
  };
  device()->refuse_memory(2);  // for all requests of the pass together, and for this one alone
  EXPECT_EQ(ask(), 500);
  EXPECT_EQ(device()->refusals_left(), 0);
  EXPECT_EQ(client_->Get("/health")->status, 200);
  EXPECT_EQ(ask(), 200);
  EXPECT_EQ(metric("dvlm_device_lost"), 0);
}

TEST_F(LostDevice, who_asks_the_engine_hears_it_every_time) {
  Request request;
  request.conversation = {{"user", {text_part("Where?")}}};
  request.decode.kind = DecoderKind::autoregressive;
  request.decode.block_size = 8;
  request.decode.max_tokens = 4;
  engine_->generate(request);
  device()->lose();
  for (int i = 0; i < 2; ++i) EXPECT_THROW(engine_->generate(request), DeviceLost);
  EXPECT_THROW(engine_->score(request, [](size_t, std::span<const float>) {}), DeviceLost);
}

TEST(DeviceArray, holds_nothing_where_there_was_no_memory) {
  const auto device = std::make_shared<FailingDevice>(size_t{1} << 20);
  cuda::DeviceArray<float> array(device);
  EXPECT_TRUE(array.room(100).data);
  EXPECT_THROW(array.room(1 << 20), Error);
  const auto again = array.room(50);
  ASSERT_TRUE(again.data);
  EXPECT_EQ(again.size, 50u);
}

}  // namespace
}  // namespace dvlm
