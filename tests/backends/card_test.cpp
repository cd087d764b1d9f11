// Engine and scheduler on the model for cards, whose kernels run on the host here, or on a card
// (cuda/test_device.h).
#include <gtest/gtest.h>

#include "backends/load_model.h"
#include "cuda/model.h"
#include "cuda/test_device.h"
#include "engine/scheduler.h"
#include "random_folder.h"

namespace dvlm {
namespace {

constexpr const char* kDevice = "under-test";

std::unique_ptr<Model> load_under_test(const Checkpoint& checkpoint, const ModelOptions& options) {
  return cuda::load_model(checkpoint, test::test_device(), options);
}

EngineOptions options_for(const std::filesystem::path& folder, size_t prefixes) {
  add_backend(kDevice, load_under_test);
  return {.model = folder,
          .load = {.device = kDevice, .kv_limit = size_t{32} << 20},
          .max_cached_prefixes = prefixes};
}

Request question(const std::string& words, DecoderKind kind) {
  Request request;
  request.conversation = {{"user", {text_part(words)}}};
  request.decode.kind = kind;
  request.decode.block_size = 8;
  request.decode.max_tokens = 10;
  return request;
}

Request picture_question(const std::string& words, DecoderKind kind) {
  Request request = question(words, kind);
  Image image{112, 84, std::vector<uint8_t>(112 * 84 * 3)};
  for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<uint8_t>(i * 7);
  request.images_in_memory["picture"] = std::move(image);
  request.conversation[0].content.insert(request.conversation[0].content.begin(), image_part("picture"));
  request.min_pixels = 3136;
  return request;
}

TEST(OnCard, dvlm_tiny_sees_the_hammer) {
  Engine engine(options_for(std::filesystem::path(DVLM_MODELS) / "dvlm-tiny", 1));
  std::vector<TokenId> tokens;
  for (const DecoderKind kind : {DecoderKind::autoregressive, DecoderKind::speculative}) {
    Request request = question("Where is the hammer?", kind);
    request.conversation[0].content.insert(request.conversation[0].content.begin(),
                                           image_part(DVLM_MODELS "/../examples/desk.png"));
    request.decode.max_tokens = 16;
    const Answer answer = engine.generate(request);
    EXPECT_EQ(answer.text, "The hammer is at the top left.") << name_of(kind);
    EXPECT_TRUE(tokens.empty() || answer.tokens == tokens);
    tokens = answer.tokens;
    engine.clear();
  }
}

// Passes are shared, prompts cut, prefixes and pictures reused: no text changes.
TEST(OnCard, neighbours_and_earlier_turns_change_no_text) {
  const RandomFolder folder;
  constexpr DecoderKind kKinds[] = {DecoderKind::autoregressive, DecoderKind::speculative, DecoderKind::fused,
                                    DecoderKind::masked_diffusion};
  std::vector<Request> requests;
  for (int i = 0; i < 8; ++i) {
    const std::string words(static_cast<size_t>(5 + 9 * i), static_cast<char>('a' + i));
    requests.push_back(i % 3 == 1 ? picture_question(words, kKinds[i % 4]) : question(words, kKinds[i % 4]));
    if (i % 2)
      requests.back().decode.sampling = {.temperature = 1.2, .top_p = 0.95, .seed = static_cast<uint64_t>(i)};
  }
  std::vector<Answer> alone;
  {
    Engine engine(options_for(folder.path(), 1));
    for (const Request& request : requests) {
      engine.clear();
      alone.push_back(engine.generate(request));
    }
  }
  Engine engine(options_for(folder.path(), 32));
  Scheduler scheduler(engine.generator(), {.max_batch = 6, .prefill_rows = 7, .prefill_rows_alone = 19});
  for (int turn = 0; turn < 2; ++turn) {  // the second finds the first one's prefixes and pictures
    std::vector<std::shared_ptr<RequestHandle>> handles;
    handles.reserve(requests.size());
    for (const Request& request : requests) handles.push_back(scheduler.submit(request));
    for (size_t i = 0; i < handles.size(); ++i) {
      ASSERT_TRUE(handles[i]);
      while (!handles[i]->wait(std::chrono::seconds(1)).done) {
      }
      EXPECT_EQ(handles[i]->answer().tokens, alone[i].tokens) << "request " << i << ", turn " << turn;
      EXPECT_TRUE(turn == 0 || handles[i]->answer().reused_tokens > 0) << i;
    }
  }
  EXPECT_LT(scheduler.totals().generator.passes, 16u * 10u) << "passes must have been shared";
}

}  // namespace
}  // namespace dvlm
