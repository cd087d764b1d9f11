#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/files.h"
#include "engine/prompt_reader.h"
#include "measure/answers.h"
#include "measure/decoding.h"
#include "measure/dictated_model.h"
#include "measure/passes.h"
#include "measure/random_checkpoint.h"
#include "random_folder.h"
#include "text/mask_token.h"

namespace dvlm {
namespace {

TEST(RandomCheckpoint, is_sound_in_all_types) {
  for (const DType linears : {DType::bf16, DType::f8_e4m3, DType::i8}) {
    const RandomCheckpoint random(shape_named("tiny"), linears);
    EXPECT_THAT(random.checkpoint().problems(), testing::IsEmpty());
    EXPECT_EQ(random.checkpoint().tensors().at("model.layers.0.mlp.down_proj.weight").type, linears);
  }
}

TEST(RandomCheckpoint, has_the_published_number_of_weights) {  // docs/reference.md, Tensors
  int64_t count = 0, tensors = 0;
  for (const auto& [name, shape] : expected_tensors(shape_named("3b"))) {
    count += TensorView{DType::bf16, shape, nullptr}.elements();
    ++tensors;
  }
  EXPECT_EQ(count, 3'754'622'976);
  EXPECT_EQ(tensors, 824);
  EXPECT_THROW(shape_named("7b"), Error);
}

TEST(TimePasses, fills_in_every_column) {
  Machine machine("cpu", 1);
  const auto timings =
      time_passes({.shape = "tiny", .rows = {1, 8}, .contexts = {0, 40}, .repeats = 1}, machine);
  ASSERT_EQ(timings.size(), 8);
  for (const PassTiming& t : timings) {
    EXPECT_GT(t.ms, 0);
    EXPECT_GT(t.probe_gb_per_s, 0);
    EXPECT_GT(t.roofline_ratio(), 0);
  }
  EXPECT_EQ(timings[0].precision, "bf16");
  EXPECT_EQ(timings[7].precision, "fp8");
  EXPECT_LT(timings[4].bytes, timings[0].bytes);  // fp8 reads less
  EXPECT_GT(timings[2].bytes, timings[0].bytes);  // keys of the context
  EXPECT_NEAR(timings[1].flops / timings[0].flops, 8, 0.5);
}

TEST(TimeAnswers, writes_what_the_model_writes) {
  const EngineOptions model{.model = std::string(DVLM_MODELS) + "/dvlm-tiny", .load = {.threads = 1}};
  const GrammarSource form{GrammarKind::json_schema,
                           R"({"items":{"enum":["hammer","book","key"]},"maxItems":4})"};
  Example example;
  example.conversation = {{"user", {text_part("Which objects are there?")}}};
  const auto timings =
      time_answers(model, {.shape = "tiny", .decoders = {"ar", "fused"}, .form = form, .max_tokens = 40},
                   {example, example});
  ASSERT_EQ(timings.size(), 6);
  Engine engine(model);
  for (const AnswerTiming& t : timings) {
    Request request;
    request.conversation = example.conversation;
    if (t.kind != AnswerKind::free) request.grammar = form;
    request.decode.kind = decoder_kind(t.decoder);
    request.decode.max_tokens = 40;
    const Answer answer = engine.generate(request);
    EXPECT_EQ(t.answers, 2);
    EXPECT_EQ(t.tokens, 2 * (std::ssize(answer.tokens) - 1)) << t.decoder;
    EXPECT_GT(t.ms, 0);
    if (t.kind == AnswerKind::same_text) {
      EXPECT_EQ(t.forced, 0);
      EXPECT_GE(t.nfe, 2 * answer.stats.nfe);
      EXPECT_LE(t.nfe, t.tokens);
      continue;
    }
    EXPECT_EQ(t.forced, 2 * answer.stats.forced);
    EXPECT_EQ(t.nfe, 2 * answer.stats.nfe);
  }
  EXPECT_GT(timings[1].forced, 0) << "in the form";
}

TEST(DictatedModel, writes_the_text_with_drafts_of_its_own) {
  Engine engine({.model = std::string(DVLM_MODELS) + "/dvlm-tiny", .load = {.threads = 1}});
  Request request;
  request.conversation = {{"user", {text_part("Describe the picture in detail.")}}};
  request.decode.kind = DecoderKind::fused;
  request.decode.max_tokens = 60;
  const Answer answer = engine.generate(request);
  const Prompt prompt = engine.reader().read(request);
  const auto dictate = [&](const std::vector<TokenId>& text) {
    DictatedModel model(engine.model(), static_cast<int>(prompt.tokens.size()), text);
    const auto sequence = model.new_sequence(1000);
    DecodeOptions options = request.decode;
    options.max_tokens = static_cast<int>(text.size());
    const auto decoder =
        make_decoder(prompt, *sequence, options,
                     {.mask_token = *mask_token(engine.tokenizer(), engine.config()),
                      .valid_tokens = std::min(engine.tokenizer().size(), engine.config().text.vocab_size)});
    std::vector<TokenId> written;
    while (decoder->finished() == FinishReason::none)
      for (const TokenId token : decoder->take(model.forward(decoder->next()))) written.push_back(token);
    EXPECT_EQ(written, text);
    return decoder->stats().nfe;
  };
  EXPECT_EQ(dictate(answer.tokens), answer.stats.nfe) << "its own text costs what it costs";
  std::vector<TokenId> other(answer.tokens.begin(), answer.tokens.end() - 1);
  std::ranges::reverse(other);
  EXPECT_GT(dictate(other), answer.stats.nfe) << "drafts of another text are wrong";
}

RecordedAnswer answer_with(int tokens, int block, int accepted) {
  const RecordedAnswer::RightDrafts right = {
      {block, std::vector<int>(static_cast<size_t>(tokens - 1), accepted)}};
  return {tokens, right, right};
}

TEST(Replay, gives_a_random_model_the_recorded_rounds) {
  const std::vector<RecordedAnswer> answers = {answer_with(41, 8, 4)};
  const auto timings = time_decoders({.shape = "tiny",
                                      .precisions = {"bf16"},
                                      .decoders = {"ar", "spec", "fused"},
                                      .blocks = {8},
                                      .prompt = 20,
                                      .branches = 8,
                                      .answers = 1},
                                     answers);
  ASSERT_EQ(timings.size(), 3);
  EXPECT_EQ(timings[0].tokens, 40);
  EXPECT_EQ(timings[0].nfe, 40);
  EXPECT_EQ(timings[1].tokens, 40);
  EXPECT_EQ(timings[1].nfe, 16);  // 8 rounds of 4 drafts and one token more, two passes each
  EXPECT_EQ(timings[2].nfe, 9);   // a step, then such rounds of one pass each
}

// Models are asked for the odds of what they draft; the text is the recorded one whatever they say.
TEST(Replay, plants_the_recorded_odds) {
  RecordedAnswer answer = answer_with(6, 8, 4);
  for (int p = 1; p < 6; ++p)
    for (int i = 0; i < 7; ++i) answer.accepted_odds[8].push_back(static_cast<int8_t>(40 - 10 * i - p));
  const auto model = load_random(shape_named("tiny"), "bf16", {.threads = 1});
  const auto sequence = model->new_sequence(40);
  ReplayModel replay(*model, 20);
  replay.assign(sequence.get(), answer);
  const Prompt prompt = replay_prompt(20);
  const auto decoder = make_decoder(prompt, *sequence, {.kind = DecoderKind::speculative, .block_size = 8},
                                    {.mask_token = kReplayMask});
  EXPECT_EQ(decoder->take(replay.forward(decoder->next()))[0], ReplayModel::token(0));
  const auto chosen = replay.forward(decoder->next());
  ASSERT_EQ(chosen.size(), 7);
  for (int i = 0; i < std::ssize(chosen); ++i) {
    EXPECT_EQ(chosen[static_cast<size_t>(i)].token, ReplayModel::token(i < 4 ? i + 1 : i + 2));
    const double p = static_cast<double>(chosen[static_cast<size_t>(i)].probability);
    EXPECT_NEAR(10 * std::log10(p / (1 - p)), 39 - 10 * i, 0.05);
  }
}

TEST(Replay, lets_confidence_shorten_verification) {
  RecordedAnswer answer = answer_with(41, 8, 3);
  for (int p = 1; p < 41; ++p)
    for (int i = 0; i < 7; ++i) answer.accepted_odds[8].push_back(i < 3 ? 30 : -5);
  const DecodeBenchOptions options{.shape = "tiny",
                                   .precisions = {"bf16"},
                                   .decoders = {"spec"},
                                   .blocks = {8},
                                   .prompt = 20,
                                   .draft_p_min = 0.5,
                                   .answers = 1};
  const DecodeTiming trimmed = time_decoders(options, {answer})[0];
  EXPECT_EQ(trimmed.tokens, 40);
  EXPECT_EQ(trimmed.rounds, 10);
  EXPECT_EQ(trimmed.verified, 40);  // one known and three that are sure
  answer.accepted_odds.clear();
  EXPECT_GT(time_decoders(options, {answer})[0].verified, 60) << "without odds all seem certain";
}

TEST(Replay, lets_auto_choose_among_recorded_sizes) {
  RecordedAnswer answer = answer_with(200, 8, 7);
  answer.accepted[32] = std::vector<int>(199, 0);
  const auto timings = time_decoders({.shape = "tiny",
                                      .precisions = {"fp8"},
                                      .decoders = {"auto"},
                                      .prompt = 10,
                                      .max_tokens = 150,
                                      .answers = 1},
                                     {answer});
  ASSERT_EQ(timings.size(), 1);
  EXPECT_EQ(timings[0].tokens, 149);
  int rounds = 0;
  for (const auto& [block, count] : timings[0].blocks) rounds += count;
  EXPECT_GT(rounds, 0);
}

TEST(Replay, records_what_drafts_are_worth) {
  const RandomFolder folder({0}, 3);
  Example example;
  example.conversation = {{"user", {text_part("Where is the hammer?")}}};
  const std::vector<RecordedAnswer> answers = record_acceptance(
      {.model = folder.path(), .load = {.threads = 1}}, {example}, {2, 3, 4, 5, 6, 7, 8}, 20);
  ASSERT_EQ(answers.size(), 1);
  EXPECT_EQ(answers[0].tokens, 20);
  ASSERT_EQ(answers[0].accepted.at(2).size(), 19);
  for (const int right : answers[0].accepted.at(8)) EXPECT_TRUE(right >= 0 && right < 8);
  // The rounds of speculation are those that the recording predicts.
  Engine engine({.model = folder.path(), .load = {.threads = 1}});
  Request request;
  request.conversation = example.conversation;
  request.decode.kind = DecoderKind::speculative;
  request.decode.block_size = 8;
  request.decode.max_tokens = 20;
  // Blocks end with the text: the last ones are shorter.
  const auto right = [](const RecordedAnswer::RightDrafts& by_block, int p) {
    const int block = std::min(8, 20 - p);
    return block < 2 ? 0 : by_block.at(block)[static_cast<size_t>(p - 1)];
  };
  int rounds = 0;
  for (int p = 1; p < 20; ++rounds) p += 1 + right(answers[0].accepted, p);
  EXPECT_EQ(engine.generate(request).stats.rounds, rounds);
  request.decode.kind = DecoderKind::fused;
  request.decode.branches = 8;
  rounds = 1;  // a step that drafts
  for (int p = 2; p < 20; ++rounds) p += 1 + right(answers[0].branched, p);
  EXPECT_EQ(engine.generate(request).stats.rounds, rounds);

  const TemporaryFolder out;
  write_acceptance(out / "a.json", answers);
  EXPECT_EQ(read_acceptance(out / "a.json")[0].accepted, answers[0].accepted);
  const RecordedAnswer again = read_acceptance(out / "a.json")[0];
  EXPECT_EQ(again.branched, answers[0].branched);
  EXPECT_EQ(again.accepted_odds, answers[0].accepted_odds);
  EXPECT_EQ(again.branched_odds, answers[0].branched_odds);
  ASSERT_EQ(again.accepted_odds.at(8).size(), 19 * 7);
  ASSERT_EQ(again.branched_odds.at(2).size(), 19);
  write_file(out / "a.json", R"([{"tokens": 5, "accepted": {"8": [1, 2]}}])");
  EXPECT_THROW(read_acceptance(out / "a.json"), Error);
}

TEST(Replay, reads_odds_as_hostile_and_does_without_them) {
  const TemporaryFolder out;
  const auto with = [&](const std::string& rest) {
    write_file(out / "a.json",
               R"([{"tokens": 3, "accepted": {"4": [1, 2]}, "branched": {"2": [1, 0]})" + rest + "}]");
    return read_acceptance(out / "a.json")[0];
  };
  EXPECT_TRUE(with("").accepted_odds.empty());
  const RecordedAnswer sound = with(R"(, "accepted_odds": {"4": " ~>>>>"}, "branched_odds": {"2": ">?"})");
  EXPECT_EQ(sound.accepted_odds.at(4), (std::vector<int8_t>{-30, 64, 0, 0, 0, 0}));
  EXPECT_EQ(sound.branched_odds.at(2), (std::vector<int8_t>{0, 1}));
  for (const char* wrong : {R"({"4": ">>>>>"})", R"({"4": ">>>>>>>"})", R"({"4": ">>
>>>"})",
                            R"({"4": ">>ä>>"})", R"({"4": ">>>>>"})", R"({"4": [1, 2, 3, 4, 5, 6]})",
                            R"({"8": ">>>>>>"})", R"({})", R"([])", R"("text")"})
    EXPECT_THROW(with(R"(, "accepted_odds": )" + std::string(wrong)), Error) << wrong;
}

}  // namespace
}  // namespace dvlm
