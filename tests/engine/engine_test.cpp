#include "engine/engine.h"

#include <gtest/gtest.h>

#include "backends/load_model.h"
#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "core/files.h"
#include "engine/cost_file.h"
#include "engine/generator.h"
#include "message_of.h"
#include "random_folder.h"

namespace dvlm {
namespace {

Image scene(int width, int height, uint64_t seed) {
  Image image{width, height, std::vector<uint8_t>(size_t{3} * width * height)};
  for (size_t i = 0; i < image.pixels.size(); ++i)
    image.pixels[i] = static_cast<uint8_t>(uniform(seed, 0, i / 300) * 255);
  return image;
}

Request question(int max_tokens = 24) {
  Request request;
  request.images_in_memory["red"] = scene(84, 112, 1);
  request.images_in_memory["blue"] = scene(84, 112, 2);
  request.conversation = {{"user", {image_part("red"), text_part("Where is the hammer?")}}};
  request.decode.kind = DecoderKind::autoregressive;
  request.min_pixels = 3136;
  request.decode.block_size = 8;
  request.decode.max_tokens = max_tokens;
  return request;
}

class EngineTest : public testing::Test {
 protected:
  static RandomFolder& folder() {
    static RandomFolder folder;
    return folder;
  }
  static EngineOptions options() {
    return {.model = folder().path(), .load = {.precision = Precision::f32, .threads = 1}};
  }
  Engine engine_{options()};
};

#define EXPECT_MENTIONS(message, part) EXPECT_NE((message).find(part), std::string::npos) << (message)

TEST_F(EngineTest, AnswersAboutAPictureWithEveryDecoder) {
  Request request = question();
  const Answer ar = engine_.generate(request);
  EXPECT_EQ(ar.tokens.size(), 24u);
  EXPECT_EQ(ar.finish, FinishReason::length);
  EXPECT_EQ(ar.image_tokens, 12);
  ASSERT_EQ(ar.images.size(), 1u);
  EXPECT_EQ(ar.images[0].width, 84);
  EXPECT_EQ(ar.images[0].resized_height, 112);
  EXPECT_EQ(ar.images[0].tokens, 12);
  EXPECT_EQ(ar.prompt_tokens, static_cast<int>(engine_.prepare(request).tokens.size()));
  EXPECT_EQ(ar.stats.nfe, 23);
  EXPECT_GT(ar.tokens_per_s(), 0);
  request.decode.kind = DecoderKind::speculative;
  EXPECT_EQ(engine_.generate(request).tokens, ar.tokens);
  request.decode.kind = DecoderKind::automatic;
  const Answer automatic = engine_.generate(request);
  EXPECT_EQ(automatic.tokens, ar.tokens);
  EXPECT_FALSE(automatic.stats.blocks.empty());
  request.decode.kind = DecoderKind::masked_diffusion;
  const Answer mdm = engine_.generate(request);
  EXPECT_EQ(mdm.tokens.size(), 24u);
  EXPECT_EQ(mdm.tokens[0], ar.tokens[0]);
}

TEST_F(EngineTest, ThePictureMatters) {
  Request request = question();
  const auto red = engine_.generate(request).tokens;
  request.conversation[0].content[0].source = "blue";
  const Answer blue = engine_.generate(request);
  EXPECT_NE(red, blue.tokens);
  EXPECT_LT(blue.reused_tokens, blue.prompt_tokens - blue.image_tokens) << "not behind another picture";
  engine_.clear();
  EXPECT_EQ(engine_.generate(request).tokens, blue.tokens);
}

TEST_F(EngineTest, ScoresEveryTokenOfAPromptAsTheAnswerIsChosen) {
  Request request = question(1);
  const std::vector<TokenId> tokens = engine_.prepare(request).tokens;
  std::vector<TokenId> likeliest;
  engine_.score(request, [&](size_t i, std::span<const float> logits) {
    EXPECT_EQ(i, likeliest.size());
    likeliest.push_back(
        static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
  });
  ASSERT_EQ(likeliest.size(), tokens.size());
  EXPECT_EQ(likeliest.back(), engine_.generate(request).tokens[0]);
  // A prompt of several passes, cut in the middle of the picture's pads.
  Request ids;
  ids.decode = request.decode;
  ids.input_ids.assign(120, 7);
  ids.input_ids.insert(ids.input_ids.end(), tokens.begin(), tokens.end());
  ids.conversation = request.conversation;
  ids.images_in_memory = request.images_in_memory;
  ids.min_pixels = request.min_pixels;
  TokenId last = -1;
  engine_.score(ids, [&](size_t, std::span<const float> logits) {
    last = static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  });
  EXPECT_EQ(last, engine_.generate(ids).tokens[0]);
}

TEST_F(EngineTest, StreamsWhatItAnswers) {
  for (const auto kind :
       {DecoderKind::autoregressive, DecoderKind::masked_diffusion, DecoderKind::speculative}) {
    Request request = question(60);
    request.decode.kind = kind;
    request.decode.sampling = {.temperature = 2, .seed = 4};
    std::string streamed;
    const Answer answer = engine_.generate(request, [&](std::string_view piece) { streamed += piece; });
    EXPECT_EQ(streamed, answer.text);
    EXPECT_EQ(answer.text, engine_.tokenizer().decode(answer.tokens, true));
    EXPECT_FALSE(answer.text.empty());
  }
}

TEST_F(EngineTest, WhatIsReadAheadIsThereWhenItIsAskedAbout) {
  Request known = question(0);
  known.conversation[0].content.pop_back();
  for (const DecoderInfo& decoder : decoders()) {
    engine_.clear();
    Request asked = question();
    known.decode.kind = asked.decode.kind = decoder.kind;
    const Answer from_nothing = engine_.generate(asked);
    engine_.clear();
    const Answer read = engine_.generate(known);
    EXPECT_EQ(read.finish, FinishReason::length);
    EXPECT_TRUE(read.tokens.empty());
    EXPECT_EQ(read.text, "");
    EXPECT_EQ(read.stats.nfe, 0);
    const Answer answer = engine_.generate(asked);
    EXPECT_EQ(answer.tokens, from_nothing.tokens);
    EXPECT_GE(answer.reused_tokens, answer.image_tokens + 2) << decoder.name;
  }
}

TEST_F(EngineTest, AFurtherTurnReusesThePrefixAndWritesTheSame) {
  Request request = question(10);
  request.decode.kind = DecoderKind::speculative;
  const Answer first = engine_.generate(request);
  EXPECT_EQ(first.reused_tokens, 0);
  request.conversation.push_back({"assistant", {text_part(first.text)}});
  request.conversation.push_back({"user", {image_part("blue"), text_part("And here?")}});
  const Answer second = engine_.generate(request);
  EXPECT_GE(second.reused_tokens, first.prompt_tokens - 1);
  request.conversation.push_back({"assistant", {text_part(second.text)}});
  request.conversation.push_back({"user", {text_part("Which one is larger?")}});
  const Answer third = engine_.generate(request);
  EXPECT_GE(third.reused_tokens, second.prompt_tokens - 1);
  EXPECT_EQ(third.images.size(), 2u);

  Engine fresh(options());
  EXPECT_EQ(fresh.generate(request).tokens, third.tokens);
  fresh.clear();
  request.decode.kind = DecoderKind::autoregressive;
  EXPECT_EQ(fresh.generate(request).tokens, third.tokens);
  EXPECT_EQ(fresh.generate(request).tokens, third.tokens)
      << "the same prompt again, all but its last token held";
}

TEST_F(EngineTest, StopsWhenCancelledAndStaysUsable) {
  Request request = question(50);
  request.decode.kind = DecoderKind::autoregressive;
  const auto whole = engine_.generate(request).tokens;
  for (const int pieces : {0, 1, 4}) {
    engine_.clear();
    int written = 0;
    const Answer answer = engine_.generate(
        request, [&](std::string_view) { ++written; }, [&] { return written == pieces; });
    EXPECT_EQ(answer.finish, FinishReason::cancelled);
    EXPECT_EQ(written, pieces);
    EXPECT_LT(answer.tokens.size(), whole.size());
    EXPECT_EQ(engine_.generate(request).tokens, whole);
  }
}

TEST_F(EngineTest, TellsHowFarPictureAndPromptAreRead) {
  const Request request = question(2);
  std::vector<WorkProgress> heard;
  const Answer answer =
      engine_.generate(request, {}, {}, [&](const WorkProgress& work) { heard.push_back(work); });
  std::map<Stage, std::vector<std::pair<int64_t, int64_t>>> stages;
  for (const WorkProgress& work : heard) stages[work.stage].emplace_back(work.done, work.total);
  using Steps = std::vector<std::pair<int64_t, int64_t>>;
  EXPECT_EQ(stages[Stage::picture], (Steps{{0, 2}, {1, 2}, {2, 2}})) << "two layers of the vision tower";
  const int64_t prompt = answer.prompt_tokens;
  EXPECT_EQ(stages[Stage::prompt], (Steps{{0, prompt}, {prompt / 2, prompt}, {prompt, prompt}}))
      << "and of the text tower";
  EXPECT_EQ(heard.front().picture, 1);
  EXPECT_EQ(heard.front().image.tokens, answer.images[0].tokens);

  heard.clear();
  engine_.generate(request, {}, {}, [&](const WorkProgress& work) { heard.push_back(work); });
  ASSERT_FALSE(heard.empty());
  EXPECT_EQ(heard.back().total, 1) << "only the last token is not held";
  EXPECT_EQ(heard.front().stage, Stage::prompt);
}

TEST_F(EngineTest, IsCancelledBetweenLayers) {
  const Request request = question(20);
  const auto whole = engine_.generate(request).tokens;
  for (const Stage stage : {Stage::picture, Stage::prompt}) {
    engine_.clear();
    int layers = 0;
    const Answer answer = engine_.generate(
        request, {}, [&] { return layers == 2; },
        [&](const WorkProgress& work) { layers += work.stage == stage; });
    EXPECT_EQ(answer.finish, FinishReason::cancelled);
    EXPECT_TRUE(answer.tokens.empty());
    EXPECT_EQ(layers, 2) << "none and one: the second layer was not computed";
    EXPECT_EQ(engine_.generate(request).tokens, whole);
  }
}

TEST_F(EngineTest, LearnsCostsWithoutAPassForThemAlone) {
  Request request = question(24);
  request.decode.kind = DecoderKind::automatic;
  const Answer answer = engine_.generate(request);
  EXPECT_EQ(engine_.generator().totals().passes,
            static_cast<uint64_t>(answer.stats.prefill_passes + answer.stats.nfe));
  EXPECT_TRUE(answer.stats.blocks.contains(8)) << "the first draft";
}

TEST_F(EngineTest, KeepsWhatDraftsWereWorthForTheNextProcess) {
  const TemporaryFolder packed;
  EngineOptions keeping = options();
  keeping.load.packed_file = packed / "weights";
  const CostFile file(packed / "weights.costs");
  const std::string key = load_model(Checkpoint(folder().path()), keeping.load)->timing_name();
  // Its own, which take no time, are not kept.
  file.keep(key, 8, {{{{1, 1e6}, {32, 1e6}}}, {}}, false, {});
  Request request = question();
  request.decode.kind = DecoderKind::automatic;
  const std::vector<TokenId> tokens = Engine(keeping).generate(request).tokens;
  const auto seen = [&](int grammar) {
    const KeptCosts found = file.find(key, 8).value_or(KeptCosts{});
    double all = 0;
    for (const DraftEvidence& drafts : found.drafts[static_cast<size_t>(grammar)]) all += drafts.all.seen;
    return all;
  };
  const double before = seen(0);
  EXPECT_GT(before, 0);
  EXPECT_EQ(seen(1), 0);
  const double cost = file.find(key, 8)->costs.exact.of(1);
  EXPECT_LT(cost, 1e6) << "passes are faster than the file said";
  EXPECT_EQ(Engine(keeping).generate(request).tokens, tokens);
  EXPECT_LT(file.find(key, 8)->costs.exact.of(1), cost) << "it goes on from there";
  EXPECT_GE(seen(0), before);
  EXPECT_EQ(engine_.generate(request).tokens, tokens);
}

TEST(WorkProgress, SaysWhatAPictureCostsAndWhatWouldMakeItCheaper) {
  ModelConfig config;
  const auto tokens = [](int width, int height) { return width / 28 * (height / 28); };
  EXPECT_EQ(expensive_picture({1280, 720, 1288, 728, tokens(1288, 728)}, config),
            "1,196 picture tokens; --max-pixels 400000 would make 480");
  EXPECT_EQ(expensive_picture({700, 700, 700, 700, tokens(700, 700)}, config),
            "625 picture tokens; --max-pixels 240000 would make 289");
  EXPECT_EQ(expensive_picture({10000, 8000, 10024, 8008, tokens(10024, 8008)}, config),
            "102,388 picture tokens; --max-pixels 400000 would make 500");
}

TEST_F(EngineTest, StopsAtTheCheckpointsStopTokenAndDoesNotPrintIt) {
  Request request = question(30);
  const auto tokens = engine_.generate(request).tokens;
  const TokenId stop = tokens[6];
  const auto end = std::find(tokens.begin(), tokens.end(), stop) + 1;
  const RandomFolder stopping({stop});
  Engine engine({.model = stopping.path(), .load = {.precision = Precision::f32, .threads = 1}});
  for (const auto kind : {DecoderKind::autoregressive, DecoderKind::speculative}) {
    request.decode.kind = kind;
    const Answer answer = engine.generate(request);
    EXPECT_EQ(answer.finish, FinishReason::stop);
    EXPECT_EQ(answer.tokens, std::vector<TokenId>(tokens.begin(), end));
    EXPECT_EQ(answer.text, engine.tokenizer().decode(std::vector<TokenId>(tokens.begin(), end - 1), true));
  }
}

TEST_F(EngineTest, TakesTokenIdsInsteadOfText) {
  Request request = question();
  const auto expected = engine_.generate(request).tokens;
  request.input_ids = engine_.prepare(request).tokens;
  engine_.clear();
  EXPECT_EQ(engine_.generate(request).tokens, expected);
  request.input_ids.push_back(1024);
  EXPECT_MENTIONS(message_of([&] { engine_.generate(request); }), "1024");
  request.input_ids = {1, 2, 3};
  EXPECT_MENTIONS(message_of([&] { engine_.generate(request); }), "pads for 1 pictures");
}

TEST_F(EngineTest, SamplesOneTextPerSeed) {
  Request request = question(40);
  request.decode.sampling = {.temperature = 1.5, .top_k = 50, .top_p = 0.95, .seed = 9};
  const auto ar = engine_.generate(request).tokens;
  request.decode.kind = DecoderKind::speculative;
  EXPECT_EQ(engine_.generate(request).tokens, ar);
  request.decode.sampling.seed = 10;
  EXPECT_NE(engine_.generate(request).tokens, ar);
}

TEST_F(EngineTest, RefusesWhatItCannotAnswerAndStaysUsable) {
  Request request = question();
  const auto expected = engine_.generate(request).tokens;
  const auto error = [&](auto change) {
    Request changed = question();
    change(changed);
    return message_of([&] { engine_.generate(changed); });
  };
  std::string message = error([](Request& r) {
    std::string words;
    for (int i = 0; i < 600; ++i) words += " hammer";
    r.conversation[0].content.push_back(text_part(words));
  });
  EXPECT_MENTIONS(message, "512 positions");
  EXPECT_MENTIONS(message, "tokens (12 of them pictures)");
  message = error([](Request& r) {
    r.images_in_memory["red"] = scene(1000, 1000, 3);
    r.min_pixels = 600 * 784;
  });
  EXPECT_MENTIONS(message, "512 positions");
  EXPECT_MENTIONS(message, "--max-pixels");
  message = error([](Request& r) { r.conversation[0].content[0].source = "nowhere.png"; });
  EXPECT_MENTIONS(message, "nowhere.png");
  message = error([](Request& r) { r.conversation[0].content[0].source = "http://example.org/a.png"; });
  EXPECT_MENTIONS(message, "download it first");
  message = error([](Request& r) { r.decode.max_tokens = -1; });
  EXPECT_MENTIONS(message, "max_tokens");
  message = error([](Request& r) { r.decode.sampling.top_p = 2; });
  EXPECT_MENTIONS(message, "top_p");
  EXPECT_EQ(engine_.generate(request).tokens, expected);
}

TEST_F(EngineTest, EndsWithTheContext) {
  Request request = question(100000);
  request.decode.kind = DecoderKind::speculative;
  while (engine_.prepare(request).tokens.size() < 500)
    request.conversation[0].content.push_back(text_part(" hammer"));
  const Answer answer = engine_.generate(request);
  EXPECT_EQ(answer.finish, FinishReason::length);
  EXPECT_EQ(answer.prompt_tokens + static_cast<int>(answer.tokens.size()), 512);
}

TEST(EngineWithoutMask, OffersAutoregressiveDecodingAndAutoDoesThat) {
  const RandomFolder folder;
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"}) {
    std::string content = read_file(folder.path() / name);
    for (size_t at; (at = content.find("|<MASK>|")) != std::string::npos;)
      content.replace(at, 8, "|<OTHER>|");
    write_file(folder.path() / name, content);
  }
  Engine engine({.model = folder.path(), .load = {.precision = Precision::f32, .threads = 1}});
  Request request = question(3);
  const auto tokens = engine.generate(request).tokens;
  EXPECT_EQ(tokens.size(), 3u);
  request.decode.kind = DecoderKind::automatic;
  const Answer stepped = engine.generate(request);
  EXPECT_EQ(stepped.tokens, tokens);
  EXPECT_EQ(stepped.stats.blocks, (std::map<int, int>{{1, 2}})) << "it does not draft";
  for (const auto kind : {DecoderKind::masked_diffusion, DecoderKind::speculative}) {
    request.decode.kind = kind;
    EXPECT_MENTIONS(message_of([&] { engine.generate(request); }), "--decoder ar");
  }
}

class EngineWithBlockAttention : public testing::Test {
 protected:
  EngineWithBlockAttention() {
    const std::filesystem::path config = folder_.path() / "config.json";
    std::string text = read_file(config);
    write_file(config, text.insert(text.find('{') + 1, "\"clean_attention\": \"block\","));
  }
  EngineOptions options() const {
    return {.model = folder_.path(), .load = {.precision = Precision::f32, .threads = 1}};
  }
  RandomFolder folder_;
};

TEST_F(EngineWithBlockAttention, AnswersByMaskedDiffusionAndRefusesOthersByName) {
  Engine engine(options());
  Request request = question();
  for (const DecoderInfo& info : decoders()) {
    request.decode.kind = info.kind;
    if (info.lossless) {
      EXPECT_MENTIONS(message_of([&] { engine.generate(request); }), "clean_attention");
    }
  }
  EXPECT_MENTIONS(message_of([&] { engine.score(request, [](size_t, std::span<const float>) {}); }),
                  "clean_attention");
  request.decode.kind = DecoderKind::masked_diffusion;
  EXPECT_EQ(engine.generate(request).tokens.size(), 24u);
}

// The picture is seen from the start of the prompt on, so that nothing of an earlier prompt may stay.
TEST_F(EngineWithBlockAttention, AFurtherTurnIsReadAnewAndItsAnswersInTheirBlocks) {
  Engine engine(options());
  Request request = question(10);
  request.decode.kind = DecoderKind::masked_diffusion;
  const Answer first = engine.generate(request);
  request.conversation.push_back({"assistant", {text_part("The hammer is at the top left, I think.")}});
  request.conversation.push_back({"user", {image_part("blue"), text_part("And here?")}});
  const Answer second = engine.generate(request);
  EXPECT_EQ(second.reused_tokens, 0);
  EXPECT_EQ(Engine(options()).generate(request).tokens, second.tokens);
  EXPECT_GT(second.stats.prefill_passes, 3) << "stretch, blocks of the answer, stretch";
  EXPECT_EQ(first.stats.prefill_passes, 1);
}

TEST(EngineMemory, NamesTheRemedyWhenTheBudgetIsTooSmall) {
  const RandomFolder folder;
  const auto options = [&](size_t limit) {
    return EngineOptions{.model = folder.path(),
                         .load = {.precision = Precision::f32, .threads = 1, .memory_limit = limit}};
  };
  const auto load_error = [&](size_t limit) { return message_of([&] { Engine engine(options(limit)); }); };
  EXPECT_MENTIONS(load_error(1000), "memory");
  size_t limit = size_t{1} << 20;
  while (limit < size_t{1} << 30 && load_error(limit) != "no error") limit += size_t{1} << 16;
  Engine engine(options(limit));  // just enough for the weights
  Request request = question(400);
  EXPECT_MENTIONS(message_of([&] { engine.generate(request); }), "--max-tokens");
}

}  // namespace
}  // namespace dvlm
