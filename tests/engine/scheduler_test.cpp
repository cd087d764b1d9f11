// Many requests on one engine.
#include "engine/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "random_folder.h"

namespace dvlm {
namespace {

using namespace std::chrono_literals;

Request question(const std::string& words, int max_tokens = 24) {
  Request request;
  request.conversation = {{"user", {text_part(words)}}};
  request.decode.kind = DecoderKind::autoregressive;
  request.decode.block_size = 8;
  request.decode.max_tokens = max_tokens;
  return request;
}

Request picture_question(int grey, const std::string& words) {
  Request request = question(words);
  Image image{112, 84, std::vector<uint8_t>(112 * 84 * 3, static_cast<uint8_t>(grey))};
  for (size_t i = 0; i < image.pixels.size(); i += 7) image.pixels[i] ^= 0x55;
  request.images_in_memory["picture"] = std::move(image);
  request.conversation[0].content.insert(request.conversation[0].content.begin(), image_part("picture"));
  request.min_pixels = 3136;
  return request;
}

// Requests of every kind.
std::vector<Request> mixture() {
  std::vector<Request> requests;
  constexpr DecoderKind kKinds[] = {DecoderKind::autoregressive, DecoderKind::speculative, DecoderKind::fused,
                                    DecoderKind::masked_diffusion};
  for (int i = 0; i < 16; ++i) {
    const std::string words = "Question number " + std::to_string(i * i * 31) + ": what is there to see?";
    Request request = i % 3 == 0 ? picture_question(i, words) : question(words);
    request.decode.kind = kKinds[i % 4];
    request.decode.max_tokens = 5 + i * 3;
    if (i % 2) request.decode.sampling = {1.5, 0, 0.95, static_cast<uint64_t>(i)};
    if (i % 4 != 3) request.decode.logprobs = i % 3 - 1;
    requests.push_back(std::move(request));
  }
  return requests;
}

struct Received {
  AnswerPart whole;
  std::string error;
  bool server_fault = false;
  Answer answer;
};

Received receive(RequestHandle& handle) {
  Received received;
  const auto start = std::chrono::steady_clock::now();
  for (;;) {
    RequestHandle::Update update = handle.wait(100ms);
    received.whole.text += update.text;
    received.whole.logprobs.insert(received.whole.logprobs.end(), update.logprobs.begin(),
                                   update.logprobs.end());
    received.whole.passes.insert(received.whole.passes.end(), update.passes.begin(), update.passes.end());
    if (!update.done) {
      if (std::chrono::steady_clock::now() - start > 60s) throw std::runtime_error("no answer in a minute");
      continue;
    }
    received.error = update.error;
    received.server_fault = update.server_fault;
    if (update.error.empty()) received.answer = handle.answer();
    return received;
  }
}

class Scheduled : public testing::Test {
 protected:
  static RandomFolder& folder() {
    static RandomFolder folder;
    return folder;
  }
  static EngineOptions options(size_t kv_limit = 0, size_t prefixes = 32) {
    return {.model = folder().path(),
            .load = {.precision = Precision::f32, .threads = 1, .kv_limit = kv_limit},
            .max_cached_prefixes = prefixes};
  }
  // The answer of an engine that has never heard of anybody else.
  static Answer alone(const Request& request) {
    static Engine engine(options());
    engine.clear();
    return engine.generate(request);
  }
};

TEST_F(Scheduled, neighbours_change_no_text) {
  const std::vector<Request> requests = mixture();
  for (const int prefill_rows : {5, 64}) {
    Engine engine(options());
    Scheduler scheduler(engine.generator(),
                        {.max_batch = 6, .prefill_rows = prefill_rows, .prefill_rows_alone = 19});
    std::vector<std::shared_ptr<RequestHandle>> handles;
    handles.reserve(requests.size());
    for (const Request& request : requests) handles.push_back(scheduler.submit(request));
    for (size_t i = 0; i < requests.size(); ++i) {
      const Received got = receive(*handles[i]);
      EXPECT_EQ(got.error, "");
      const Answer expected = alone(requests[i]);
      EXPECT_EQ(got.answer.tokens, expected.tokens) << "request " << i;
      EXPECT_EQ(got.whole.text, expected.text) << "streamed, request " << i;
      EXPECT_EQ(got.answer.text, expected.text);
      if (requests[i].decode.logprobs >= 0) {
        EXPECT_GE(got.whole.logprobs.size() + 1, expected.tokens.size());
      }
    }
    const SchedulerTotals totals = scheduler.totals();
    EXPECT_EQ(totals.requests, requests.size());
    EXPECT_EQ(totals.failed + totals.cancelled + totals.refused + totals.waiting, 0u);
    uint64_t passes = 0;
    for (size_t i = 0; i < requests.size(); ++i)
      passes += static_cast<uint64_t>(handles[i]->answer().stats.nfe);
    EXPECT_LT(totals.generator.passes, passes) << "passes must have been shared";
  }
}

TEST_F(Scheduled, a_prefix_is_computed_once) {
  Engine engine(options());
  Scheduler scheduler(engine.generator(), {});
  const std::string rules(200, 'x');
  const auto asked = [&](const std::string& words) {
    Request request = question(words);
    request.conversation.insert(request.conversation.begin(), {"system", {text_part(rules)}});
    return request;
  };
  // At once: the second waits for what the first computes.
  const auto first = scheduler.submit(asked("One?")), second = scheduler.submit(asked("Two?")),
             same = scheduler.submit(asked("One?"));
  EXPECT_EQ(receive(*first).answer.reused_tokens, 0);
  EXPECT_GT(receive(*second).answer.reused_tokens, 50);
  const Received again = receive(*same);
  EXPECT_EQ(again.answer.reused_tokens, again.answer.prompt_tokens - 1);
  EXPECT_EQ(again.answer.tokens, first->answer().tokens);
  // Later, and after somebody else: a further turn.
  receive(*scheduler.submit(question("Something else entirely")));
  Request further = asked("One?");
  further.conversation.push_back({"assistant", {text_part(first->answer().text)}});
  further.conversation.push_back({"user", {text_part("And then?")}});
  const Received turn = receive(*scheduler.submit(further));
  EXPECT_GE(turn.answer.reused_tokens, first->answer().prompt_tokens - 1);
  EXPECT_EQ(turn.answer.tokens, alone(further).tokens);
  // The same picture is encoded once; another one at its place shares nothing behind it.
  const Request red = picture_question(200, "What is it?"), blue = picture_question(20, "What is it?");
  const Received saw_red = receive(*scheduler.submit(red)), saw_blue = receive(*scheduler.submit(blue));
  EXPECT_EQ(saw_red.answer.tokens, alone(red).tokens);
  EXPECT_EQ(saw_blue.answer.tokens, alone(blue).tokens);
  receive(*scheduler.submit(red));
  EXPECT_EQ(scheduler.totals().generator.visuals.encoded, 2u);
}

TEST_F(Scheduled, pictures_that_wait_have_so_much_memory) {
  const Request red = picture_question(200, "What is it?"), blue = picture_question(20, "What is it?");
  EngineOptions bounded = options();
  const auto tokens = static_cast<size_t>(alone(red).image_tokens);
  const VisionConfig vision = Engine(options()).config().vision;
  const auto side = static_cast<size_t>(vision.spatial_merge_size) * static_cast<size_t>(vision.patch_size);
  const size_t token = 3 * side * side * static_cast<size_t>(vision.temporal_patch_size) * sizeof(float);
  bounded.images.waiting = tokens * token + token / 2;
  Engine engine(bounded);
  Scheduler scheduler(engine.generator(), {.max_batch = 1});
  const auto long_text = scheduler.submit(question("How long?", 400));
  const auto first = scheduler.submit(red);
  ASSERT_TRUE(first);
  EXPECT_FALSE(scheduler.submit(blue)) << "the first picture waits behind the long text";
  EXPECT_EQ(scheduler.totals().refused, 1u);
  receive(*long_text);
  EXPECT_EQ(receive(*first).answer.tokens, alone(red).tokens);
  const auto second = scheduler.submit(blue);
  ASSERT_TRUE(second);
  EXPECT_EQ(receive(*second).answer.tokens, alone(blue).tokens);

  Request both = red;
  both.conversation[0].content.push_back(blue.conversation[0].content[0]);
  both.images_in_memory.insert(blue.images_in_memory.begin(), blue.images_in_memory.end());
  EXPECT_NE(receive(*scheduler.submit(both)).error.find("those of one request may have at most"),
            std::string::npos);
}

TEST_F(Scheduled, little_memory_makes_requests_wait_and_the_impossible_fail) {
  size_t page = 0;
  {
    Engine engine(options());
    const auto sequence = engine.model().new_sequence(1);
    page = engine.model().kv_memory().used;
  }
  Engine engine(options(5 * page));
  Scheduler scheduler(engine.generator(), {.max_batch = 8});
  std::vector<Request> requests;
  std::vector<std::shared_ptr<RequestHandle>> handles;
  for (int i = 0; i < 12; ++i) {
    requests.push_back(question("Question " + std::to_string(i * 7919) + "?", 100));  // two or three pages
    handles.push_back(scheduler.submit(requests.back()));
  }
  const auto impossible = scheduler.submit(question("What about this one?", 400));
  for (size_t i = 0; i < handles.size(); ++i)
    EXPECT_EQ(receive(*handles[i]).answer.tokens, alone(requests[i]).tokens) << i;
  const Received refused = receive(*impossible);
  EXPECT_THAT(refused.error, testing::HasSubstr("keys and values need"));
  EXPECT_THAT(refused.error, testing::HasSubstr("max-tokens"));
  EXPECT_FALSE(refused.server_fault);
  EXPECT_LE(scheduler.totals().generator.kv.used, 5 * page);
  EXPECT_EQ(receive(*scheduler.submit(requests[0])).error, "");
}

TEST_F(Scheduled, cancelling_frees_at_any_point) {
  Engine engine(options(0, 0));  // keeps nothing
  Scheduler scheduler(engine.generator(), {.max_batch = 2});
  bool midway = false;
  for (int tries = 0; tries < 50 && !midway; ++tries) {  // one may have been written before it is cancelled
    std::vector<std::shared_ptr<RequestHandle>> handles;
    for (int i = 0; i < 6; ++i) {
      Request request = picture_question(i, "Tell me everything about it.");
      request.decode.max_tokens = 300;
      handles.push_back(scheduler.submit(request));
    }
    handles[5]->cancel();  // while it waits
    EXPECT_THAT(receive(*handles[5]).error, testing::HasSubstr("given up"));
    while (handles[0]->wait(10ms).text.empty()) {
    }
    for (const auto& handle : handles) handle->cancel();
    midway = receive(*handles[0]).answer.finish == FinishReason::cancelled;
    for (const auto& handle : handles) receive(*handle);
  }
  EXPECT_TRUE(midway);
  EXPECT_EQ(receive(*scheduler.submit(question("Still there?"))).error, "");
  const SchedulerTotals totals = scheduler.totals();
  EXPECT_EQ(totals.running + totals.waiting, 0u);
  EXPECT_EQ(totals.generator.kv.used, 0u);
  EXPECT_EQ(totals.generator.prefixes, 0u);
}

TEST_F(Scheduled, a_full_queue_refuses_and_wrong_requests_fail_alone) {
  Engine engine(options());
  Scheduler scheduler(engine.generator(), {.max_batch = 1, .max_waiting = 2});
  std::vector<std::shared_ptr<RequestHandle>> handles;
  size_t refused = 0;
  for (int i = 0; i < 10; ++i) {
    handles.push_back(scheduler.submit(question("How long?", 200)));
    if (!handles.back()) handles.pop_back(), ++refused;
  }
  EXPECT_GE(refused, 6u);
  EXPECT_EQ(scheduler.totals().refused, refused);
  for (const auto& handle : handles) EXPECT_EQ(receive(*handle).error, "");

  Request missing = question("Where?");
  missing.conversation[0].content.push_back(image_part("/nowhere.png"));
  EXPECT_THAT(receive(*scheduler.submit(missing)).error, testing::HasSubstr("/nowhere.png"));
  Request impossible = question("How sure?");
  impossible.decode.kind = DecoderKind::masked_diffusion;
  impossible.decode.logprobs = 1;
  EXPECT_THAT(receive(*scheduler.submit(impossible)).error, testing::HasSubstr("probabilities"));
  EXPECT_THAT(receive(*scheduler.submit(question(std::string(5000, 'x')))).error,
              testing::HasSubstr("context"));
}

TEST_F(Scheduled, who_is_given_up_leaves_the_queue_at_once) {
  Engine engine(options());
  Scheduler scheduler(engine.generator(), {.max_batch = 1, .max_waiting = 1});
  std::vector<std::shared_ptr<RequestHandle>> given_up;
  for (int i = 0; i < 50; ++i) {  // many to a pass
    given_up.push_back(scheduler.submit(question("How long?", 200)));
    ASSERT_TRUE(given_up.back()) << "request " << i << " found the queue full";
    given_up.back()->cancel();
  }
  const auto last = scheduler.submit(question("Still there?"));
  ASSERT_TRUE(last);
  EXPECT_EQ(receive(*last).error, "");
  for (const auto& handle : given_up) receive(*handle);
}

TEST_F(Scheduled, its_end_ends_everybody) {
  std::vector<std::shared_ptr<RequestHandle>> handles;
  {
    Engine engine(options());
    Scheduler scheduler(engine.generator(), {.max_batch = 2});
    for (int i = 0; i < 5; ++i) handles.push_back(scheduler.submit(question("For ever?", 400)));
    while (handles[0]->wait(10ms).text.empty()) {
    }
  }
  for (const auto& handle : handles) EXPECT_TRUE(handle->wait(0ms).done);
}

TEST_F(Scheduled, stop_strings_end_where_autoregression_would) {
  const Answer whole = alone(question("Say something.", 60));
  const std::string stop = whole.text.substr(whole.text.size() / 2, 3);
  Request request = question("Say something.", 60);
  request.stop = {stop};
  const Answer ar = alone(request);
  EXPECT_EQ(ar.text, whole.text.substr(0, whole.text.find(stop)));
  EXPECT_EQ(ar.finish, FinishReason::stop);
  Engine engine(options());
  Scheduler scheduler(engine.generator(), {});
  for (const DecoderKind kind : {DecoderKind::speculative, DecoderKind::fused}) {
    request.decode.kind = kind;
    const Received got = receive(*scheduler.submit(request));
    EXPECT_EQ(got.whole.text, ar.text);
    EXPECT_EQ(got.answer.tokens, ar.tokens) << "nothing beyond the stop string";
  }
}

}  // namespace
}  // namespace dvlm
