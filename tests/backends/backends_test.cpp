// Engine, server and measurements run on a backend that they have never heard of.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <thread>

#include "core/error.h"
#include "engine/cost_file.h"
#include "measure/decoding.h"
#include "measure/passes.h"
#include "scripted_backend.h"
#include "server/server.h"
#include "temporary_folder.h"

namespace dvlm {
namespace {

constexpr const char* kText = "There is a hammer at the top left.";

class Scripted : public testing::Test {
 protected:
  Scripted() {
    add_scripted_backend();
    const Tokenizer tokenizer(folder());
    ScriptedModel::script() = tokenizer.encode(kText, ControlTokens::as_text);
    ScriptedModel::script().push_back(*tokenizer.find("<|im_end|>"));
  }
  static std::string folder() { return std::string(DVLM_MODELS) + "/dvlm-tiny"; }
  static EngineOptions options() { return {.model = folder(), .load = {.device = "scripted"}}; }
  static Request question() {
    Request request;
    ContentPart question;
    question.text = "Where?";
    request.conversation = {{"user", {question}}};
    return request;
  }
};

TEST_F(Scripted, an_unknown_device_is_named_beside_those_there_are) {
  try {
    load_model(Checkpoint(folder()), {.device = "abacus"});
    ADD_FAILURE() << "loaded";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(),
                testing::AllOf(testing::HasSubstr("abacus"), testing::HasSubstr("cpu, scripted, slow")));
  }
}

TEST_F(Scripted, the_engine_answers_with_every_decoder) {
  Engine engine(options());
  for (const DecoderKind kind : {DecoderKind::autoregressive, DecoderKind::masked_diffusion,
                                 DecoderKind::speculative, DecoderKind::fused, DecoderKind::automatic}) {
    Request request = question();
    request.decode.kind = kind;
    request.decode.block_size = 8;
    const Answer answer = engine.generate(request);
    EXPECT_EQ(answer.text, kText) << name_of(kind);
    EXPECT_EQ(answer.finish, FinishReason::stop);
  }
}

TEST_F(Scripted, costs_of_passes_are_learnt_and_kept_for_the_next_start) {
  const TemporaryFolder folder;
  EngineOptions slow = options();
  slow.load = {.device = "slow", .packed_file = folder / "weights.bin"};
  const CostFile file(folder / "weights.bin.costs");
  const auto answer = [&](int block_size) {
    Engine engine(slow);
    Request request = question();
    request.decode.kind = DecoderKind::automatic;
    request.decode.block_size = block_size;
    EXPECT_EQ(engine.generate(request).text, kText);
  };
  answer(8);
  const auto first = file.find("slow", 8);
  ASSERT_TRUE(first);
  EXPECT_GE(first->costs.exact.of(8), 70);
  EXPECT_EQ(first->costs.exact.most(), widest_exact(8));
  EXPECT_FALSE(file.find("slow", 9));
  answer(4);
  EXPECT_TRUE(file.find("slow", 8)) << "costs for larger blocks serve smaller ones, and stay";
  answer(16);
  const auto wider = file.find("slow", 16);
  ASSERT_TRUE(wider);
  EXPECT_EQ(wider->costs.exact.most(), widest_exact(16));
}

TEST_F(Scripted, the_server_serves_it) {
  Engine engine(Scripted::options());
  ServerOptions options;
  options.port = 0;
  Server server(engine, options);
  httplib::Client client("127.0.0.1", server.bind());
  std::thread thread([&] { server.run(); });
  const auto result = client.Post(
      "/v1/chat/completions", R"({"messages": [{"role": "user", "content": "Where?"}]})", "application/json");
  server.stop();
  thread.join();
  ASSERT_TRUE(result);
  EXPECT_EQ(result->status, 200);
  EXPECT_THAT(result->body, testing::HasSubstr(kText));
}

TEST_F(Scripted, measurements_time_it) {
  Machine machine("scripted", 1);
  const int before = ScriptedModel::loaded();
  const auto passes = time_passes(
      {.shape = "tiny", .precisions = {"bf16"}, .rows = {1, 8}, .contexts = {0, 40}, .repeats = 1}, machine);
  EXPECT_EQ(passes.size(), 4);
  const RecordedAnswer answer{.tokens = 41, .accepted = {{8, std::vector<int>(40, 4)}}};
  const auto decoded = time_decoders({.shape = "tiny",
                                      .model = {.device = "scripted"},
                                      .precisions = {"bf16"},
                                      .decoders = {"ar", "spec"},
                                      .blocks = {8},
                                      .answers = 1},
                                     {answer});
  ASSERT_EQ(decoded.size(), 2);
  EXPECT_EQ(decoded[0].nfe, 40);
  EXPECT_EQ(decoded[1].nfe, 16);
  EXPECT_EQ(ScriptedModel::loaded() - before, 2);
}

}  // namespace
}  // namespace dvlm
